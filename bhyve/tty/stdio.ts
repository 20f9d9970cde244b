// The `stdio` backend: this process's standard input and output. A terminal is in raw
// mode meanwhile, and Ctrl-A is the way out. The end of the input is not the end of the
// machine: its output goes on.

import type { HostChannel } from "../char_channel.ts";
import { ESCAPE_HELP, EscapeKeys } from "./escape.ts";
import { RawMode, type RawTerminal } from "./raw_mode.ts";
import {
  type ByteStream,
  forwardInput,
  forwardOutput,
  type Tty,
} from "./tty.ts";

/** The process's standard streams. */
export interface StandardStreams extends ByteStream, RawTerminal {
  /** whether standard input is a terminal */
  readonly isTerminal: boolean;
}

/** What the operator's keys reach. */
export interface StdioActions {
  /** Ends the machine at once. */
  end(): void;
  /** Says a line to the operator. */
  say(line: string): void;
}

/** Standard input and output as a serial line. */
export class StdioTty implements Tty {
  readonly isPatient = true;
  readonly #streams: StandardStreams;
  readonly #actions: StdioActions;
  readonly #rawMode: RawMode | undefined;

  /** Puts a terminal into raw mode, and says how to get out. */
  constructor(streams: StandardStreams, actions: StdioActions) {
    this.#streams = streams;
    this.#actions = actions;
    if (!streams.isTerminal) return;
    actions.say("Ctrl-A x ends the machine, Ctrl-A h shows all keys");
    this.#rawMode = new RawMode(streams);
  }

  async serve(channel: HostChannel): Promise<void> {
    void forwardInput(this.#input(), channel);
    await forwardOutput(channel, this.#streams);
  }

  #input(): Pick<ByteStream, "read"> {
    const streams = this.#streams;
    if (!streams.isTerminal) return streams;
    const keys = new EscapeKeys({
      end: () => this.#actions.end(),
      help: () => ESCAPE_HELP.forEach((line) => this.#actions.say(line)),
    });
    return {
      async read(buffer) {
        // a Ctrl-A that was held back may come on top
        const count = await streams.read(buffer.subarray(1));
        if (count === null) return null;
        const passed = keys.feed(buffer.subarray(1, 1 + count));
        buffer.set(passed);
        return passed.length;
      },
    };
  }

  close(): void {
    this.#rawMode?.restore();
  }
}

/** This process's own streams. */
export const STANDARD_STREAMS: StandardStreams = {
  get isTerminal() {
    return Deno.stdin.isTerminal();
  },
  read: (buffer) => Deno.stdin.read(buffer),
  write: (bytes) => Deno.stdout.write(bytes),
  setRaw: (mode) => Deno.stdin.setRaw(mode),
};
