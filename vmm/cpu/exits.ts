// Why a virtual CPU stopped, with vmm(4)'s exit codes and payloads, and what the
// caller answers. Both are plain data.

/** vmm(4)'s exit codes (`enum vm_exitcode`). */
export const EXIT_CODE = {
  INOUT: 0,
  VMX: 1,
  BOGUS: 2,
  RDMSR: 3,
  WRMSR: 4,
  HLT: 5,
  MTRAP: 6,
  PAUSE: 7,
  PAGING: 8,
  INST_EMUL: 9,
  SPINUP_AP: 10,
  DEPRECATED1: 11,
  RENDEZVOUS: 12,
  IOAPIC_EOI: 13,
  SUSPENDED: 14,
  INOUT_STR: 15,
  TASK_SWITCH: 16,
  MONITOR: 17,
  MWAIT: 18,
  SVM: 19,
  REQIDLE: 20,
  DEBUG: 21,
  VMINSN: 22,
  BPT: 23,
  IPI: 24,
  DB: 25,
  /** Ours: an exception that `exceptionExits` asks for; nothing was delivered. */
  EXCEPTION: 64,
  /** Ours: CPUID, where it is asked for. */
  CPUID: 65,
} as const;

/** Reasons of a suspension (`enum vm_suspend_how`). */
export const SUSPEND = {
  NONE: 0,
  RESET: 1,
  POWEROFF: 2,
  HALT: 3,
  TRIPLEFAULT: 4,
  DESTROY: 5,
} as const;

/** What every exit has. */
export interface ExitBase {
  /** RIP of the instruction (or of the next one where `length` is 0). */
  readonly rip: bigint;
  /** Bytes by which RIP advances when the CPU runs again; 0 for none. */
  readonly length: number;
}

/** A port access: the answer is `{ value }` for a read, `{}` for a write. */
export interface InoutExit extends ExitBase {
  /** tells exits apart */
  readonly code: typeof EXIT_CODE.INOUT;
  /** port number */
  readonly port: number;
  /** width of the access */
  readonly bytes: 1 | 2 | 4;
  /** whether it is INS or OUTS: then each element exits by itself */
  readonly string: boolean;
  /** whether it is one of a repetition's elements */
  readonly rep: boolean;
  /** whether it is IN */
  readonly in: boolean;
  /** What OUT writes; 0 for IN. */
  readonly value: number;
}

/** A device memory access: the answer is `{ value }` for a read, `{}` for a write. */
export interface MmioExit extends ExitBase {
  /** tells exits apart */
  readonly code: typeof EXIT_CODE.INST_EMUL;
  /** guest-physical address */
  readonly gpa: number;
  /** width of the access */
  readonly bytes: number;
  /** whether it is a write */
  readonly write: boolean;
  /** What is written; 0 for a read. */
  readonly value: bigint;
  /** Whether it is an instruction fetch, which no answer can complete. */
  readonly fetch: boolean;
}

/** RDMSR of an unknown register: the answer is `{ value }` or `{ fault: true }`. */
export interface RdmsrExit extends ExitBase {
  /** tells exits apart */
  readonly code: typeof EXIT_CODE.RDMSR;
  /** index of the register */
  readonly msr: number;
}

/** WRMSR of an unknown register: the answer is `{}` or `{ fault: true }`. */
export interface WrmsrExit extends ExitBase {
  /** tells exits apart */
  readonly code: typeof EXIT_CODE.WRMSR;
  /** index of the register */
  readonly msr: number;
  /** the value to write */
  readonly value: bigint;
}

/** HLT retired; RIP is behind it. */
export interface HltExit extends ExitBase {
  /** tells exits apart */
  readonly code: typeof EXIT_CODE.HLT;
  /** RFLAGS at the HLT */
  readonly rflags: bigint;
  /** guest interrupt status (always 0: no APIC acceleration) */
  readonly intrStatus: bigint;
}

/** An exit without a payload. */
export interface PlainExit extends ExitBase {
  /** tells exits apart */
  readonly code:
    | typeof EXIT_CODE.BOGUS
    | typeof EXIT_CODE.MTRAP
    | typeof EXIT_CODE.PAUSE
    | typeof EXIT_CODE.MONITOR
    | typeof EXIT_CODE.MWAIT
    | typeof EXIT_CODE.REQIDLE
    | typeof EXIT_CODE.DEBUG;
}

/** CPUID, where `cpuidExits` asks for it: the answer is `{}` or `{ cpuid }`. */
export interface CpuidExit extends ExitBase {
  /** tells exits apart */
  readonly code: typeof EXIT_CODE.CPUID;
  /** EAX */
  readonly leaf: number;
  /** ECX */
  readonly subleaf: number;
}

/** INT3, with the capability `bpt_exit`; RIP is at it. */
export interface BptExit extends ExitBase {
  /** tells exits apart */
  readonly code: typeof EXIT_CODE.BPT;
  /** bytes of the breakpoint instruction */
  readonly instLength: number;
}

/** #DB, with the capability `rflags_tf`. */
export interface DbExit extends ExitBase {
  /** tells exits apart */
  readonly code: typeof EXIT_CODE.DB;
  /** whether RFLAGS.TF caused it */
  readonly traceTrap: boolean;
  /** DR6 as the guest would see it */
  readonly dr6: bigint;
}

/** The machine cannot go on: a triple fault. */
export interface SuspendedExit extends ExitBase {
  /** tells exits apart */
  readonly code: typeof EXIT_CODE.SUSPENDED;
  /** the reason, of `SUSPEND` */
  readonly how: (typeof SUSPEND)[keyof typeof SUSPEND];
}

/** A task switch, where `taskSwitchExits` asks for it. */
export interface TaskSwitchExit extends ExitBase {
  /** tells exits apart */
  readonly code: typeof EXIT_CODE.TASK_SWITCH;
  /** selector of the new task */
  readonly tssSelector: number;
  /** whether an external event caused it */
  readonly ext: boolean;
  /** error code to push in the new task */
  readonly errorCode: number;
  /** whether there is one */
  readonly errorCodeValid: boolean;
  /** 0 CALL, 1 IRET, 2 JMP, 3 IDT gate */
  readonly reason: number;
}

/** An exception that was asked for; the guest has not seen it. */
export interface ExceptionExit extends ExitBase {
  /** tells exits apart */
  readonly code: typeof EXIT_CODE.EXCEPTION;
  /** exception vector, 0 to 31 */
  readonly vector: number;
  /** undefined where the exception pushes none */
  readonly errorCode: number | undefined;
}

/** Why the CPU stopped. */
export type VmExit =
  | InoutExit
  | MmioExit
  | RdmsrExit
  | WrmsrExit
  | HltExit
  | PlainExit
  | CpuidExit
  | BptExit
  | DbExit
  | SuspendedExit
  | TaskSwitchExit
  | ExceptionExit;

/** What the caller answers to an exit when it runs the CPU again. */
export interface VmEntry {
  /** the value read from a port, device memory or MSR */
  readonly value?: bigint | number;
  /** EAX EBX ECX EDX of a CPUID; the default is what the processor shows */
  readonly cpuid?: readonly [number, number, number, number];
  /** the MSR access raises #GP(0) */
  readonly fault?: boolean;
}

/** Wrong use of the CPU by the program, not by the guest. */
export class CpuError extends Error {
  /** the class, for messages */
  override readonly name = "CpuError";
}
