// What a virtual CPU is made of and told: its options, the devices and the
// interrupt controller in its thread, vmm(4)'s capabilities.

import type { CpuidConfig } from "./cpuid.ts";
import type { GuestMemory } from "./guest_memory.ts";
import type { RegionOptions } from "./regions/limits.ts";
import type { MailMemory } from "./regions/mail.ts";
import type { RegionObserver } from "./regions/tier.ts";

/** Kinds of events, as VMX and SVM number them. */
export const EVENT_KIND = {
  INTERRUPT: 0,
  NMI: 2,
  EXCEPTION: 3,
  SOFTWARE_INTERRUPT: 4,
} as const;

/** The hidden part of a segment register, or a descriptor table register. */
export interface SegmentDescriptor {
  /** linear address, 64 bits */
  readonly base: bigint;
  /** limit in bytes, 32 bits */
  readonly limit: number;
  /** access word of vmm(4): see `ACCESS` in `state.ts` */
  readonly access: number;
}

/** Capabilities of vmm(4) by number (`enum vm_cap_type`). */
export const CAPABILITY = {
  HALT_EXIT: 0,
  MTRAP_EXIT: 1,
  PAUSE_EXIT: 2,
  UNRESTRICTED_GUEST: 3,
  ENABLE_INVPCID: 4,
  BPT_EXIT: 5,
  RDPID: 6,
  RDTSCP: 7,
  IPI_EXIT: 8,
  MASK_HWINTR: 9,
  RFLAGS_TF: 10,
} as const;

/** Devices in the CPU's own thread; what they do not claim becomes an exit. */
export interface DeviceBus {
  /** Reads device memory: the value, or undefined where no device is there. */
  readMemory?(gpa: number, bytes: number): bigint | undefined;
  /** Writes device memory: whether a device took it. */
  writeMemory?(gpa: number, bytes: number, value: bigint): boolean;
  /** Reads a port. */
  readPort?(port: number, bytes: number): number | undefined;
  /** Writes a port. */
  writePort?(port: number, bytes: number, value: number): boolean;
  /** Reads an MSR that the processor itself has not, such as the local APIC's. */
  readMsr?(index: number): bigint | undefined;
  /** Writes such an MSR; `fault` raises #GP(0). */
  writeMsr?(index: number, value: bigint): "done" | "fault" | "unknown";
}

/** The interrupt controller at the CPU's INTR pin. */
export interface InterruptSource {
  /** Whether an interrupt waits whose priority the processor accepts. */
  pending(): boolean;
  /** Takes the interrupt: its vector. */
  acknowledge(): number;
  /** The task priority, CR8. */
  taskPriority?: number;
}

/** What a virtual CPU is made of. */
export interface CpuOptions {
  /** the machine's memory */
  readonly memory: GuestMemory;
  /** what CPUID shows; the default is one AMD-style processor */
  readonly cpuid?: Partial<CpuidConfig>;
  /**
   * Mail to the thread that compiles; without it, the processor's own does.
   *
   * @internal
   */
  readonly compiler?: MailMemory | undefined;
  /**
   * what is compiled: `false` nothing, `true` every block when it is first executed
   * (for tests of that tier), else what is hot, by these options and the defaults
   */
  readonly compile?: boolean | Partial<RegionOptions>;
  /** is told of compiled code, after each module */
  readonly compiled?: RegionObserver | undefined;
  /** devices in this thread */
  readonly bus?: DeviceBus;
  /** interrupt controller in this thread */
  readonly interrupts?: InterruptSource;
  /**
   * called between blocks, at least once in 20,000 instructions: whether anything called
   * the processor since (another thread's `Kick`, `attend`), or it has just begun to run
   */
  readonly poll?: (isCalled: boolean) => void;
  /** called where the guest seems to wait for another processor, by PAUSE */
  readonly waited?: () => void;
  /** called for each CPUID */
  readonly countCpuid?: () => void;
  /** the host's time stamp counter; the default counts nanoseconds */
  readonly readTsc?: () => bigint;
  /**
   * instructions for which a time stamp may be reckoned from the one before, where
   * `readTsc` counts nanoseconds; the default is 0: each is read
   */
  readonly timeWindow?: number;
  /** memory 0 that other threads know, see `createStateMemory` */
  readonly state?: WebAssembly.Memory;
  /** 64 random bits; the default is the host's generator */
  readonly random?: () => bigint;
}

/** How long a run may take. */
export interface RunOptions {
  /**
   * stop with BOGUS after this many instructions; a fault counts as one, with what ran
   * before it since the last branch, but for the last thousand
   */
  readonly instructions?: number;
}

/** What CPUID shows where the options do not say. */
export const DEFAULT_CPUID: CpuidConfig = {
  vendor: "amd",
  vcpu: 0,
  sockets: 1,
  cores: 1,
  threads: 1,
  x2apic: false,
};
