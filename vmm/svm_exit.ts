// Why a virtual CPU stopped, in the words of AMD's SVM: exit code and both exit
// informations (AMD APM vol. 2, 15.10 to 15.13, 15.25.6 and appendix C). Left out: the
// address size and segment of port accesses, which our exits do not have.

import {
  EXIT_CODE,
  type InoutExit,
  type MmioExit,
  SUSPEND,
  type TaskSwitchExit,
  type VmExit,
} from "./cpu/exits.ts";

/** Exit codes of SVM that a software processor has an event for. */
export const SVM_EXIT = {
  /** plus the exception's vector */
  EXCEPTION: 0x40,
  INTR: 0x60,
  CPUID: 0x72,
  PAUSE: 0x77,
  HLT: 0x78,
  IOIO: 0x7b,
  MSR: 0x7c,
  TASK_SWITCH: 0x7d,
  SHUTDOWN: 0x7f,
  MONITOR: 0x8a,
  MWAIT: 0x8b,
  NPF: 0x400,
} as const;

const VECTOR_DB = 1;
const VECTOR_BP = 3;

/**
 * The SVM exit code of each of vmm(4)'s. What is not here left because the host asked
 * for it, as an interrupt does. Single steps are debug exceptions.
 */
export const SVM_EXIT_CODES: ReadonlyMap<number, number> = new Map([
  [EXIT_CODE.INOUT, SVM_EXIT.IOIO],
  [EXIT_CODE.INOUT_STR, SVM_EXIT.IOIO],
  [EXIT_CODE.RDMSR, SVM_EXIT.MSR],
  [EXIT_CODE.WRMSR, SVM_EXIT.MSR],
  [EXIT_CODE.HLT, SVM_EXIT.HLT],
  [EXIT_CODE.PAUSE, SVM_EXIT.PAUSE],
  [EXIT_CODE.MONITOR, SVM_EXIT.MONITOR],
  [EXIT_CODE.MWAIT, SVM_EXIT.MWAIT],
  [EXIT_CODE.INST_EMUL, SVM_EXIT.NPF],
  [EXIT_CODE.PAGING, SVM_EXIT.NPF],
  [EXIT_CODE.TASK_SWITCH, SVM_EXIT.TASK_SWITCH],
  [EXIT_CODE.CPUID, SVM_EXIT.CPUID],
  [EXIT_CODE.MTRAP, SVM_EXIT.EXCEPTION + VECTOR_DB],
  [EXIT_CODE.DB, SVM_EXIT.EXCEPTION + VECTOR_DB],
  [EXIT_CODE.BPT, SVM_EXIT.EXCEPTION + VECTOR_BP],
  [EXIT_CODE.EXCEPTION, SVM_EXIT.EXCEPTION],
]);

/** An exit as the fields EXITCODE, EXITINFO1 and EXITINFO2 give it. */
export interface SvmExit {
  readonly code: bigint;
  readonly info1: bigint;
  readonly info2: bigint;
}

function codeOf(exit: VmExit): number {
  if (exit.code === EXIT_CODE.SUSPENDED) {
    return exit.how === SUSPEND.TRIPLEFAULT ? SVM_EXIT.SHUTDOWN : SVM_EXIT.INTR;
  }
  const code = SVM_EXIT_CODES.get(exit.code) ?? SVM_EXIT.INTR;
  return exit.code === EXIT_CODE.EXCEPTION ? code + exit.vector : code;
}

type Infos = readonly [bigint, bigint];
const NO_INFOS: Infos = [0n, 0n];

// 15.10.2: type, string, repeat, size, port; then where the guest goes on.
function ioInfos(exit: InoutExit): Infos {
  const flags = (exit.in ? 1 : 0) | (exit.string ? 4 : 0) | (exit.rep ? 8 : 0);
  const size = exit.bytes << 4;
  const info1 = BigInt(flags | size) | BigInt(exit.port) << 16n;
  return [info1, BigInt.asUintN(64, exit.rip + BigInt(exit.length))];
}

const NPF_WRITE = 2n;
// Nested tables are walked as if by a user.
const NPF_USER = 4n;
const NPF_FETCH = 16n;
// The fault was for the final address, not in a walk of the guest's tables.
const NPF_FINAL = 1n << 32n;

function pageInfos(exit: MmioExit): Infos {
  const info1 = NPF_FINAL | NPF_USER | (exit.write ? NPF_WRITE : 0n) |
    (exit.fetch ? NPF_FETCH : 0n);
  return [info1, BigInt(exit.gpa)];
}

const REASON_IRET = 1;
const REASON_JMP = 2;

// 15.14.1: selector; error code, IRET, JMP, whether there is an error code.
function taskInfos(exit: TaskSwitchExit): Infos {
  const bit = (on: boolean, n: bigint) => on ? 1n << n : 0n;
  const info2 = BigInt(exit.errorCode >>> 0) |
    bit(exit.reason === REASON_IRET, 36n) |
    bit(exit.reason === REASON_JMP, 38n) | bit(exit.errorCodeValid, 44n);
  return [BigInt(exit.tssSelector), info2];
}

function infosOf(exit: VmExit): Infos {
  switch (exit.code) {
    case EXIT_CODE.INOUT:
      return ioInfos(exit);
    case EXIT_CODE.INST_EMUL:
      return pageInfos(exit);
    case EXIT_CODE.WRMSR:
      return [1n, 0n];
    case EXIT_CODE.TASK_SWITCH:
      return taskInfos(exit);
    case EXIT_CODE.EXCEPTION:
      return [BigInt((exit.errorCode ?? 0) >>> 0), 0n];
    default:
      return NO_INFOS;
  }
}

/** What SVM would report of an exit; zeros before the first. */
export function svmExit(exit: VmExit | undefined): SvmExit {
  if (exit === undefined) return { code: 0n, info1: 0n, info2: 0n };
  const [info1, info2] = infosOf(exit);
  return { code: BigInt(codeOf(exit)), info1, info2 };
}
