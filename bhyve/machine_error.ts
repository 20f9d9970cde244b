// What ends a machine with an error: the message and the status that bhyve ends with.

import type { InoutExit, MmioExit } from "../vmm/cpu/exits.ts";

/** bhyve's exit status for an error. */
export const STATUS_ERROR = 4;
/** The status of a process that abort(3) ended. */
export const STATUS_ABORT = 134;

const SUFFIX: Readonly<Record<number, string>> = { 1: "b", 2: "w", 4: "l" };

function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}

/** The machine cannot go on. */
export class MachineError extends Error {
  /** the class, for messages */
  override readonly name = "MachineError";

  /** @param status what bhyve exits with */
  constructor(message: string, readonly status: number = STATUS_ERROR) {
    super(message);
  }

  /** A port that no device has, with `-e`. */
  static port({ port, in: isIn, bytes, rip }: InoutExit): MachineError {
    const direction = isIn ? "in" : "out";
    const number = port.toString(16).padStart(4, "0");
    return new MachineError(
      `Unhandled ${direction}${SUFFIX[bytes]} 0x${number} at ${hex(rip)}`,
      STATUS_ABORT,
    );
  }

  /** Memory that no device has, or that holds no code that can be executed. */
  static memory({ gpa, rip, fetch }: MmioExit): MachineError {
    const what = fetch ? "instruction fetch from" : "memory access to";
    return new MachineError(
      `Unhandled ${what} ${hex(gpa)} at ${hex(rip)}`,
      STATUS_ABORT,
    );
  }
}
