// A terminal device or a pseudo-terminal of the host as a serial line, in raw mode.

import type { HostChannel } from "../char_channel.ts";
import { RawMode } from "./raw_mode.ts";
import { forwardInput, forwardOutput, type Tty, TtyError } from "./tty.ts";

/** A terminal by its path. */
export class DeviceTty implements Tty {
  readonly isPatient = false;
  // Two files, because reads and writes of one wait for each other.
  readonly #input: Deno.FsFile;
  readonly #output: Deno.FsFile;
  readonly #rawMode: RawMode;

  /**
   * Opens a terminal.
   *
   * @throws {TtyError} where the path is something else
   * @throws {Error} of the host, where it cannot be opened
   */
  constructor(path: string) {
    this.#input = Deno.openSync(path, { read: true });
    try {
      if (!this.#input.isTerminal()) throw new TtyError("not a terminal");
      this.#output = Deno.openSync(path, { write: true });
    } catch (error) {
      this.#input.close();
      throw error;
    }
    this.#rawMode = new RawMode(this.#input);
  }

  async serve(channel: HostChannel): Promise<void> {
    void forwardInput(this.#input, channel);
    await forwardOutput(channel, this.#output);
  }

  close(): void {
    this.#rawMode.restore();
    this.#input.close();
    this.#output.close();
  }
}
