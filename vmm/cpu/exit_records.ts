// Exits made from memory 0, as the records of `exits.ts`: those that the engine's
// statuses stand for, and those that emitted code leaves for by itself.

import {
  EXIT_CODE,
  type MmioExit,
  type PlainExit,
  SUSPEND,
  type SuspendedExit,
  type VmExit,
} from "./exits.ts";
import { readFlags } from "./flag_words.ts";
import { EXIT_REASON } from "./runtime/host.ts";
import { NO_ERROR_CODE } from "./runtime/traps.ts";
import { SCRATCH_PA } from "./runtime/walk.ts";
import { RIP, SCRATCH } from "./state.ts";
import type { StateWords } from "./state_words.ts";

/** An exit while the instruction executes: where it is is known only afterwards. */
export type UnplacedExit = VmExit extends infer E
  ? E extends VmExit ? Omit<E, "rip"> : never
  : never;

/** An exit without a payload. */
export function plainExit(
  words: StateWords,
  code: PlainExit["code"],
): PlainExit {
  return { code, rip: words.quad(RIP), length: 0 };
}

/** The exit of a triple fault. */
export function shutdownExit(words: StateWords): SuspendedExit {
  return {
    code: EXIT_CODE.SUSPENDED,
    how: SUSPEND.TRIPLEFAULT,
    rip: words.quad(RIP),
    length: 0,
  };
}

/** The exit of an instruction that lies in device memory. */
export function fetchExit(words: StateWords): MmioExit {
  return {
    code: EXIT_CODE.INST_EMUL,
    rip: words.quad(RIP),
    length: 0,
    gpa: Number(words.quad(SCRATCH + 8 * SCRATCH_PA)),
    bytes: 1,
    write: false,
    value: 0n,
    fetch: true,
  };
}

/** The exit that emitted code leaves for with a reason of `EXIT_REASON`. */
export function exitFor(words: StateWords, reason: number): UnplacedExit {
  switch (reason) {
    case EXIT_REASON.HLT:
      return {
        code: EXIT_CODE.HLT,
        length: 0,
        rflags: readFlags(words.view),
        intrStatus: 0n,
      };
    case EXIT_REASON.MONITOR:
      return { code: EXIT_CODE.MONITOR, length: 0 };
    case EXIT_REASON.MWAIT:
      return { code: EXIT_CODE.MWAIT, length: 0 };
    case EXIT_REASON.PAUSE:
      return { code: EXIT_CODE.PAUSE, length: 0 };
    case EXIT_REASON.TASK_SWITCH:
      return taskSwitchExit(words);
    default:
      throw new Error(`Emitted code left with reason ${reason}`);
  }
}

function taskSwitchExit(words: StateWords): UnplacedExit {
  const slot = (n: number) => words.word(SCRATCH + 8 * n);
  return {
    code: EXIT_CODE.TASK_SWITCH,
    length: 0,
    tssSelector: slot(0),
    reason: slot(1),
    errorCode: slot(2) === NO_ERROR_CODE ? 0 : slot(2),
    errorCodeValid: slot(2) !== NO_ERROR_CODE,
    ext: slot(3) !== 0,
  };
}
