// The loader's console: where it says what it loads, and what was wrong. Standard
// output, or a terminal that `-c` names. There is no menu, so nothing is read from it.

import { printable } from "../vmm/message.ts";
import { attempt, requirePath } from "./named_file.ts";

/** Where a loader's messages go. */
export interface LoadConsole {
  /** Writes a line, without its end. */
  line(text: string): void;
  /** Lets go of the terminal. */
  close(): void;
}

/** Writes all of a text; a reader that went away is no reason to stop. */
export function writeAll(
  sink: { writeSync(bytes: Uint8Array): number },
  text: string,
): void {
  let rest = new TextEncoder().encode(text);
  try {
    while (rest.length > 0) rest = rest.subarray(sink.writeSync(rest));
  } catch (error) {
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}

/** A console on a stream of this process. */
export function streamConsole(write: (text: string) => void): LoadConsole {
  return {
    line: (text) => write(`${printable(text)}\n`),
    close: () => {},
  };
}

/**
 * A console on a terminal.
 *
 * @throws {LoadRefusal} where it cannot be opened for reading and writing
 */
export function openConsole(path: string): LoadConsole {
  requirePath(path, ["read", "write"]);
  const options = { read: true, write: true };
  const file = attempt(path, () => Deno.openSync(path, options));
  return {
    // nothing between here and the other end adds the return
    line: (text) => writeAll(file, `${printable(text)}\r\n`),
    close: () => file.close(),
  };
}
