// The functions that TypeScript gives the emitted runtime. Only 32-bit integers
// cross; wider values lie in SCRATCH, where slot 0 is the value read or written.

/** What a host function answers: see each function. */
export const HOST = {
  /** Nothing was done; an exit is recorded: the instruction is left undone. */
  EXIT: 0,
  /** Done. */
  DONE: 1,
  /** The instruction raises #GP(0). */
  FAULT: 2,
} as const;

/** Signatures of the host functions. */
export const HOST_SIGNATURES = {
  /** Reads `width` bytes of device memory at a guest-physical address: `HOST`. */
  mmioRead: { params: ["i32", "i32", "i32"], results: ["i32"] },
  /** Writes `width` bytes of device memory: low, high, width: `HOST`. */
  mmioWrite: { params: ["i32", "i32", "i32"], results: ["i32"] },
  /** Reads a port: port, width: `HOST`. */
  portRead: { params: ["i32", "i32"], results: ["i32"] },
  /** Writes a port: port, width: `HOST`. */
  portWrite: { params: ["i32", "i32"], results: ["i32"] },
  /** Drops the code that a write of `length` bytes hits: page, offset, length. */
  codeWrite: { params: ["i32", "i32", "i32"], results: [] },
  /** RDMSR of an index: `HOST`. */
  readMsr: { params: ["i32"], results: ["i32"] },
  /** WRMSR of an index: `HOST`. */
  writeMsr: { params: ["i32"], results: ["i32"] },
  /** CPUID: takes and leaves EAX EBX ECX EDX in SCRATCH slots 0 to 3: `HOST`. */
  cpuid: { params: [], results: ["i32"] },
  /** Reads the host's time stamp, before TSC_OFFSET. */
  readTsc: { params: [], results: [] },
  /** 64 random bits. */
  random: { params: [], results: [] },
  /** Writes CR8: the value is in SCRATCH. */
  writeCr8: { params: [], results: [] },
  /** Reads CR8 into SCRATCH. */
  readCr8: { params: [], results: [] },
  /** Records an exit of a kind of `EXIT_REASON`, with SCRATCH as its payload: `HOST`. */
  exit: { params: ["i32"], results: ["i32"] },
} as const;

/** The name of a host function. */
export type HostName = keyof typeof HOST_SIGNATURES;

/** What `exit` is called for, and what SCRATCH then holds. RIP is behind it. */
export const EXIT_REASON = {
  /** HLT retired. */
  HLT: 1,
  /** MONITOR retired. */
  MONITOR: 2,
  /** MWAIT retired. */
  MWAIT: 3,
  /** PAUSE retired. */
  PAUSE: 4,
  /**
   * A task switch is due; RIP is at the instruction. Slots: 0 TSS selector,
   * 1 reason (0 CALL, 1 IRET, 2 JMP, 3 IDT gate), 2 error code or -1, 3 EXT.
   */
  TASK_SWITCH: 5,
} as const;
