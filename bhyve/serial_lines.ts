// The serial lines of a machine on the host's side: every TTY backend that the
// configuration names, opened before the machine starts, and served while it runs.

import { HostChannel } from "./char_channel.ts";
import { type Resources, ttyRefusal } from "./resources.ts";
import { openTty, type Stdio } from "./tty/open.ts";
import type { Tty } from "./tty/tty.ts";

/** How long a reader that is not patient may take for what is left at the end. */
const LAST_WORDS_MS = 1000;

interface Line {
  readonly text: string;
  readonly tty: Tty;
  readonly channel: HostChannel;
}

/** Opened backends with their channels. */
export class SerialLines {
  readonly #lines: Line[] = [];
  #served: Promise<void>[] = [];
  #wake: () => void = () => {};

  /**
   * Opens every backend, or none.
   *
   * @throws {OptionError} naming the key and the value that cannot be opened
   */
  constructor({ ttys }: Resources, stdio: Stdio) {
    for (const { key, text, spec } of ttys) {
      try {
        const tty = openTty(spec, stdio);
        const channel = new HostChannel(() => this.#wake());
        this.#lines.push({ text, tty, channel });
      } catch (error) {
        this.close();
        throw ttyRefusal(key, text, error);
      }
    }
  }

  /** Shared memory of the channels, by what the configuration calls the backends. */
  get buffers(): Record<string, SharedArrayBuffer> {
    return Object.fromEntries(
      this.#lines.map(({ text, channel }) => [text, channel.buffer]),
    );
  }

  /** Says how to wake the machine: it may be another one after a reset. */
  onInput(wake: () => void): void {
    this.#wake = wake;
  }

  /** Carries bytes from now on. */
  serve(): void {
    this.#served = this.#lines.map(({ tty, channel }) => tty.serve(channel));
  }

  /**
   * The machine ended: brings out what is left, then closes.
   *
   * @param hurry settled when nobody waits for slow readers any more
   */
  async finish(hurry: Promise<unknown>): Promise<void> {
    for (const { channel } of this.#lines) channel.end();
    const timers: ReturnType<typeof setTimeout>[] = [];
    const lastWords = () =>
      new Promise<void>((resolve) => {
        timers.push(setTimeout(resolve, LAST_WORDS_MS));
      });
    const deadlines = { patient: hurry.then(lastWords), other: lastWords() };
    await Promise.all(this.#served.map((served, n) => {
      const { isPatient } = this.#lines[n]!.tty;
      const deadline = isPatient ? deadlines.patient : deadlines.other;
      return Promise.race([served, deadline]);
    }));
    timers.forEach((timer) => clearTimeout(timer));
    this.close();
  }

  /** Closes every backend; terminals get their modes back. */
  close(): void {
    for (const { tty } of this.#lines) tty.close();
  }
}
