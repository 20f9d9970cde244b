// One virtual x86-64 processor behind vmm(4)'s per-vCPU interface: run until an
// exit, registers, descriptors, MSRs, capabilities, event injection, save and
// restore. The software engine behind it is `engine.ts`.

import { Cpuid, type CpuidConfig } from "./cpuid.ts";
import { Engine, FETCH_FROM_DEVICE } from "./engine.ts";
import { resetState } from "./reset.ts";
import {
  CpuError,
  EXIT_CODE,
  SUSPEND,
  type VmEntry,
  type VmExit,
} from "./exits.ts";
import { type Combined, combineExceptions } from "./exceptions.ts";
import { FLAG } from "./flags.ts";
import { readFlags, writeFlags } from "./flag_words.ts";
import { readFxImage, writeFxImage } from "./fx_image.ts";
import type { GuestMemory } from "./guest_memory.ts";
import { MODE } from "./mode.ts";
import { MsrFile } from "./msr.ts";
import {
  PLAIN_REGISTERS,
  REGISTER,
  type RegisterNumber,
  SEGMENT_NUMBERS,
} from "./registers.ts";
import { type CpuState, restoreState, saveState } from "./save.ts";
import { EXIT_REASON, HOST } from "./runtime/host.ts";
import { NO_ERROR_CODE, STATUS, VECTOR } from "./runtime/traps.ts";
import { CR4_DE } from "./runtime/walk.ts";
import {
  ACCESS,
  ATTENTION,
  BUDGET,
  CPL,
  CR0,
  CR4,
  CR4_RESERVED,
  CR8,
  CS,
  DR,
  EXCEPTION_EXITS,
  EXIT_CONTROLS,
  EXIT_ON,
  FORCE_STEP,
  FS,
  GS,
  MODE_KEY,
  NMI_BLOCKED,
  RESERVED_PA,
  RIP,
  SCRATCH,
  SEG_ACCESS,
  SEG_BASE,
  SEG_LIMIT,
  SEG_SELECTOR,
  SEGMENT_STRIDE,
  SEGMENTS,
  SHADOW_KIND,
  SHADOW_RIP,
  SS,
  SYSTEM_FLAGS,
  TASK_SWITCH_EXITS,
  TRACE_AFTER,
  TRAP_ERROR,
  TRAP_VECTOR,
  VENDOR_INTEL,
  WATCH_HITS,
  XCR0,
} from "./state.ts";

/** Instructions between two looks at what other threads want. */
const SLICE = 20_000;
/** Below this many instructions left, a limit is kept by single steps. */
const EXACT_BELOW = 128;

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
  /** whether every block is compiled when it is decoded: for tests of that tier */
  readonly compile?: boolean;
  /** devices in this thread */
  readonly bus?: DeviceBus;
  /** interrupt controller in this thread */
  readonly interrupts?: InterruptSource;
  /** called between blocks, at least once in 20,000 instructions */
  readonly poll?: () => void;
  /** the host's time stamp counter; the default counts nanoseconds */
  readonly readTsc?: () => bigint;
  /** 64 random bits; the default is the host's generator */
  readonly random?: () => bigint;
}

/** How long a run may take. */
export interface RunOptions {
  /** stop with BOGUS after this many instructions; faults count as one */
  readonly instructions?: number;
}

const DEFAULT_CPUID: CpuidConfig = {
  vendor: "amd",
  vcpu: 0,
  sockets: 1,
  cores: 1,
  threads: 1,
  x2apic: false,
};

interface Injected {
  readonly vector: number;
  readonly kind: number;
  readonly error: number;
}

/** DR7: general detect. */
const DR7_GD = 1 << 13;

const BYTES_MASK = [0n, 0xffn, 0xffffn, 0n, 0xffff_ffffn] as const;

/** A software x86-64 processor. */
export class VirtualCpu {
  /** What CPUID shows. */
  readonly cpuid: Cpuid;
  readonly #options: CpuOptions;
  readonly #engine: Engine;
  readonly #msrs: MsrFile;
  readonly #replies: bigint[] = [];
  #reply = 0;
  #msrFault = false;
  #pending: VmExit | undefined;
  #isRunning = false;
  #holdsBus = false;
  #isDirty = true;
  #stop = false;
  #nmi = false;
  #injected: Injected | undefined;
  #pendingDebug = 0;
  #capabilities = new Map<number, number>();
  #entryLength = 0;

  /**
   * Makes a processor in its state after reset.
   *
   * @throws {CpuidError} where the configuration makes no processor
   */
  constructor(options: CpuOptions) {
    this.#options = options;
    const config = { ...DEFAULT_CPUID, ...options.cpuid };
    this.cpuid = new Cpuid(config);
    this.#engine = new Engine({
      memory: options.memory,
      host: this.#host(),
      supports: (code) => this.cpuid.supports(code),
      decoderOptions: this.cpuid.decoderOptions,
      compile: options.compile ?? false,
    });
    this.#msrs = new MsrFile({
      state: this.#engine.state,
      vendor: config.vendor,
      vcpu: config.vcpu,
      cpuid: this.cpuid,
      changed: () => this.#isDirty = true,
      readTsc: () => this.#tsc(),
    });
    this.#word(VENDOR_INTEL, config.vendor === "intel" ? 1 : 0);
    const physical = (1n << BigInt(this.cpuid.physicalBits)) - 1n;
    this.#quad(RESERVED_PA, 0x000f_ffff_ffff_f000n & ~physical);
    this.#quad(CR4_RESERVED, BigInt(this.cpuid.reservedCr4));
    this.reset();
  }

  // --- Memory 0 ------------------------------------------------------------

  #word(address: number, value?: number): number {
    const { words } = this.#engine;
    if (value !== undefined) words[address >> 2] = value;
    return words[address >> 2]!;
  }

  #quad(address: number, value?: bigint): bigint {
    const { state } = this.#engine;
    if (value !== undefined) {
      state.setBigUint64(address, BigInt.asUintN(64, value), true);
    }
    return state.getBigUint64(address, true);
  }

  // --- Registers -----------------------------------------------------------

  /** Puts the processor in the state after power-on or INIT, as vmm(4) does. */
  reset(): void {
    this.#requireStopped();
    resetState(this.#engine.state);
    this.#nmi = false;
    this.#injected = undefined;
    this.#pendingDebug = 0;
    this.#forget();
    this.#isDirty = true;
  }

  #requireStopped(): void {
    if (this.#isRunning) {
      throw new CpuError(
        "Cannot use a virtual CPU while it runs: stop it first",
      );
    }
  }

  // An answer to an exit is void once the caller changes where the CPU is.
  #forget(): void {
    this.#replies.length = 0;
    this.#pending = undefined;
  }

  /**
   * Reads a register by its number in vmm(4). Segment registers give selectors.
   *
   * @throws {CpuError} for an unknown number, and for GDTR and IDTR
   */
  getRegister(register: RegisterNumber): bigint {
    this.#requireStopped();
    const plain = PLAIN_REGISTERS.get(register);
    if (plain !== undefined) return this.#quad(plain);
    const segment = SEGMENT_NUMBERS.indexOf(register);
    if (segment >= 0 && segment < 8) {
      return BigInt(this.#word(this.#slot(segment) + SEG_SELECTOR));
    }
    switch (register) {
      case REGISTER.RFLAGS:
        return readFlags(this.#engine.state);
      case REGISTER.INTR_SHADOW:
        return this.#isShadowed() ? 1n : 0n;
      case REGISTER.ENTRY_INST_LENGTH:
        return BigInt(this.#entryLength);
      case REGISTER.FS_BASE:
        return this.#quad(FS + SEG_BASE);
      case REGISTER.GS_BASE:
        return this.#quad(GS + SEG_BASE);
      default:
        throw new CpuError(
          `Cannot read register ${register}: expected a number of vmm(4) other than GDTR and IDTR`,
        );
    }
  }

  /**
   * Writes a register by its number in vmm(4). Segment registers take selectors;
   * nothing is loaded from a descriptor table.
   *
   * @throws {CpuError} for an unknown number, and for GDTR and IDTR
   */
  setRegister(register: RegisterNumber, value: bigint): void {
    this.#requireStopped();
    this.#isDirty = true;
    if (register === REGISTER.RIP) this.#forget();
    const plain = PLAIN_REGISTERS.get(register);
    if (plain !== undefined) {
      this.#quad(plain, value);
      return;
    }
    const segment = SEGMENT_NUMBERS.indexOf(register);
    if (segment >= 0 && segment < 8) {
      this.#word(this.#slot(segment) + SEG_SELECTOR, Number(value & 0xffffn));
      return;
    }
    switch (register) {
      case REGISTER.RFLAGS:
        writeFlags(this.#engine.state, value);
        return;
      case REGISTER.INTR_SHADOW:
        this.#word(SHADOW_KIND, value === 0n ? 0 : 1);
        this.#quad(SHADOW_RIP, this.#quad(RIP));
        return;
      case REGISTER.ENTRY_INST_LENGTH:
        this.#entryLength = Number(value & 15n);
        return;
      case REGISTER.FS_BASE:
        this.#quad(FS + SEG_BASE, value);
        return;
      case REGISTER.GS_BASE:
        this.#quad(GS + SEG_BASE, value);
        return;
      default:
        throw new CpuError(
          `Cannot write register ${register}: expected a number of vmm(4) other than GDTR and IDTR`,
        );
    }
  }

  #slot(segment: number): number {
    return SEGMENTS + segment * SEGMENT_STRIDE;
  }

  #descriptorSlot(register: RegisterNumber): number {
    const segment = SEGMENT_NUMBERS.indexOf(register);
    if (segment < 0) {
      throw new CpuError(
        `Register ${register} has no descriptor: expected ES to GDTR (22 to 31)`,
      );
    }
    return this.#slot(segment);
  }

  /** Reads a segment's hidden part, or GDTR or IDTR. @throws {CpuError} */
  getDescriptor(register: RegisterNumber): SegmentDescriptor {
    this.#requireStopped();
    const slot = this.#descriptorSlot(register);
    return {
      base: this.#quad(slot + SEG_BASE),
      limit: this.#word(slot + SEG_LIMIT) >>> 0,
      access: this.#word(slot + SEG_ACCESS) >>> 0,
    };
  }

  /** Writes a segment's hidden part, or GDTR or IDTR. @throws {CpuError} */
  setDescriptor(register: RegisterNumber, value: SegmentDescriptor): void {
    this.#requireStopped();
    const slot = this.#descriptorSlot(register);
    const { limit } = value;
    if (!Number.isInteger(limit) || limit < 0 || limit > 0xffff_ffff) {
      throw new CpuError(
        `Cannot set a limit of ${limit}: expected 0 to 0xffffffff`,
      );
    }
    this.#quad(slot + SEG_BASE, value.base);
    this.#word(slot + SEG_LIMIT, limit | 0);
    this.#word(slot + SEG_ACCESS, value.access | 0);
    this.#isDirty = true;
  }

  /** Reads an MSR; undefined where the processor has none of this index. */
  getMsr(index: number): bigint | undefined {
    this.#requireStopped();
    return this.#msrs.read(index >>> 0);
  }

  /** Writes an MSR as WRMSR would; false where that would fault. */
  setMsr(index: number, value: bigint): boolean {
    this.#requireStopped();
    this.#isDirty = true;
    return this.#msrs.write(index >>> 0, value) === "done";
  }

  /** XCR0. */
  get xcr0(): bigint {
    return this.#quad(XCR0);
  }

  /** The current privilege level, 0 to 3. */
  get privilege(): number {
    this.#sync();
    return this.#word(CPL);
  }

  /** The x87, MMX and SSE state as an FXSAVE64 image of 512 bytes. */
  getFxImage(): Uint8Array<ArrayBuffer> {
    this.#requireStopped();
    return readFxImage(this.#engine.state);
  }

  /** Sets the x87, MMX and SSE state as FXRSTOR64 would. */
  setFxImage(image: Uint8Array): void {
    this.#requireStopped();
    writeFxImage(this.#engine.state, image);
  }

  // --- Capabilities and events ---------------------------------------------

  /** A capability of vmm(4) by number. @throws {CpuError} for an unknown one */
  getCapability(capability: number): number {
    if (capability < 0 || capability > CAPABILITY.RFLAGS_TF) {
      throw new CpuError(`No capability ${capability}: expected 0 to 10`);
    }
    switch (capability) {
      case CAPABILITY.UNRESTRICTED_GUEST:
      case CAPABILITY.ENABLE_INVPCID:
        return 1;
      case CAPABILITY.RDPID:
        return this.cpuid.has("rdpid") ? 1 : 0;
      case CAPABILITY.RDTSCP:
        return this.cpuid.has("rdtscp") ? 1 : 0;
      default:
        return this.#capabilities.get(capability) ?? 0;
    }
  }

  /** Sets a capability of vmm(4). @throws {CpuError} for one that cannot be set */
  setCapability(capability: number, value: number): void {
    this.#requireStopped();
    const settable: number[] = [
      CAPABILITY.HALT_EXIT,
      CAPABILITY.MTRAP_EXIT,
      CAPABILITY.PAUSE_EXIT,
      CAPABILITY.BPT_EXIT,
      CAPABILITY.IPI_EXIT,
      CAPABILITY.MASK_HWINTR,
      CAPABILITY.RFLAGS_TF,
    ];
    if (!settable.includes(capability)) {
      if (this.getCapability(capability) === value) return;
      throw new CpuError(
        `Cannot set capability ${capability} to ${value}: it is fixed`,
      );
    }
    this.#capabilities.set(capability, value);
    const controls = this.#has(CAPABILITY.PAUSE_EXIT) ? EXIT_ON.PAUSE : 0;
    this.#word(EXIT_CONTROLS, controls);
    this.#updateExceptionExits();
    this.#isDirty = true;
  }

  #has(capability: number): boolean {
    return (this.#capabilities.get(capability) ?? 0) !== 0;
  }

  #exceptionExits = 0;

  /** Exceptions (bit n: vector n) that exit instead of being delivered. */
  get exceptionExits(): number {
    return this.#exceptionExits;
  }
  set exceptionExits(mask: number) {
    this.#exceptionExits = mask >>> 0;
    this.#updateExceptionExits();
  }

  // INT3 and INTO look at this, since they deliver their exception themselves.
  #updateExceptionExits(): void {
    const bpt = this.#has(CAPABILITY.BPT_EXIT) ? 1 << VECTOR.BP : 0;
    this.#word(EXCEPTION_EXITS, this.#exceptionExits | bpt);
  }

  /** Whether a task switch exits instead of happening. */
  set taskSwitchExits(on: boolean) {
    this.#word(TASK_SWITCH_EXITS, on ? 1 : 0);
  }

  /**
   * Injects an exception, delivered before the next instruction.
   *
   * @param errorCode undefined where the exception pushes none
   * @throws {CpuError} for a bad vector, #DF, or where one is pending already
   */
  injectException(vector: number, errorCode?: number): void {
    if (!(vector >= 0 && vector < 32) || vector === VECTOR.DF) {
      throw new CpuError(
        `Cannot inject exception ${vector}: expected 0 to 31 but not 8`,
      );
    }
    this.#inject({
      vector,
      kind: EVENT_KIND.EXCEPTION,
      error: errorCode ?? NO_ERROR_CODE,
    });
    // An injected exception ends the interrupt shadow.
    this.#word(SHADOW_KIND, 0);
  }

  /** Injects an external interrupt, whatever IF says. @throws {CpuError} */
  injectInterrupt(vector: number): void {
    if (!(vector >= 0 && vector < 256)) {
      throw new CpuError(
        `Cannot inject interrupt ${vector}: expected 0 to 255`,
      );
    }
    this.#inject({ vector, kind: EVENT_KIND.INTERRUPT, error: NO_ERROR_CODE });
  }

  #inject(event: Injected): void {
    if (this.#injected !== undefined) {
      throw new CpuError("Cannot inject an event: one is pending already");
    }
    this.#injected = event;
  }

  /** Latches a non-maskable interrupt. */
  injectNmi(): void {
    this.#nmi = true;
    this.attend();
  }

  /** Makes the CPU look at its interrupt source soon; from the same thread. */
  attend(): void {
    this.#word(ATTENTION, 1);
    this.#word(BUDGET, 0);
  }

  /** Makes `run` return REQIDLE soon. */
  requestStop(): void {
    this.#stop = true;
    this.attend();
  }

  // --- Running -------------------------------------------------------------

  /**
   * Runs until an exit.
   *
   * @param entry the answer to the exit before, where it asks for one; without
   *   it, the instruction that exited is tried again
   * @throws {CpuError} where it runs already
   */
  run(entry?: VmEntry, options: RunOptions = {}): VmExit {
    this.#requireStopped();
    const limit = options.instructions ?? Infinity;
    if (!(limit >= 0)) {
      throw new CpuError(
        `Cannot run ${limit} instructions: expected 0 or more`,
      );
    }
    this.#isRunning = true;
    try {
      this.#engine.syncMap();
      this.#answer(entry);
      return this.#loop(limit);
    } finally {
      this.#isRunning = false;
    }
  }

  #answer(entry: VmEntry | undefined): void {
    this.#msrFault = false;
    if (this.#pending === undefined || entry === undefined) {
      this.#forget();
      return;
    }
    this.#msrFault = entry.fault ?? false;
    this.#replies.push(BigInt(entry.value ?? 0));
    this.#pending = undefined;
  }

  // Derives what depends on registers that were set from outside.
  #sync(): void {
    if (!this.#isDirty) return;
    this.#isDirty = false;
    const isProtected = (this.#word(CR0) & 1) !== 0;
    const vm86 = isProtected && (this.#word(SYSTEM_FLAGS) & FLAG.VM) !== 0;
    const dpl = (this.#word(SS + SEG_ACCESS) >> ACCESS.DPL_SHIFT) & 3;
    this.#word(CPL, vm86 ? 3 : isProtected ? dpl : 0);
    this.#runtime("flushAll");
    this.#runtime("dropJumps");
    this.#runtime("updateMode");
  }

  #runtime(name: "flushAll" | "dropJumps" | "updateMode"): void {
    (this.#engine.runtime[name] as () => void)();
  }

  #loop(limit: number): VmExit {
    let left = limit;
    for (;;) {
      if (this.#stop) {
        this.#stop = false;
        return this.#plain(EXIT_CODE.REQIDLE);
      }
      if (left <= 0) return this.#plain(EXIT_CODE.BOGUS);
      this.#options.poll?.();
      this.#sync();
      const event = this.#events();
      if (event !== undefined) return event;
      const step = left < EXACT_BELOW || this.#replies.length > 0 ||
        this.#isShadowed() || this.#has(CAPABILITY.MTRAP_EXIT);
      this.#setForcedStep(step);
      const isStep = (this.#word(MODE_KEY) & MODE.STEP) !== 0;
      const before = isStep ? this.#beforeStep() : undefined;
      if (before?.exit !== undefined) return before.exit;
      if (before?.delivered) {
        left--;
        continue;
      }
      const budget = isStep ? 0 : Math.min(left - EXACT_BELOW / 2, SLICE);
      // What ends a block only where an event waits for it looks at this: STI, IRET.
      this.#word(ATTENTION, this.#isAwaited() ? 1 : 0);
      this.#word(TRACE_AFTER, 0);
      this.#reply = 0;
      const shadow = this.#enterShadow();
      const status = this.#engine.advance(budget);
      // An instruction that exited is still to come, and in the shadow.
      if (shadow !== 0 && status === STATUS.EXIT) this.#restoreShadow(shadow);
      // A locked access that faulted or left for a device still holds the bus.
      if (this.#holdsBus) this.#lockBus(false);
      left -= Math.max(budget - this.#word(BUDGET), 1);
      const exit = this.#handle(status, before?.flags ?? 0, isStep);
      if (exit !== undefined) return exit;
    }
  }

  // A shadow covers one instruction, which begins: answers its kind, 0 for none.
  #enterShadow(): number {
    if (!this.#isShadowed()) return 0;
    const kind = this.#word(SHADOW_KIND);
    this.#word(SHADOW_KIND, 0);
    return kind;
  }

  #restoreShadow(kind: number): void {
    if (this.#quad(SHADOW_RIP) === this.#quad(RIP)) {
      this.#word(SHADOW_KIND, kind);
    }
  }

  #setForcedStep(on: boolean): void {
    const value = on ? 1 : 0;
    if (this.#word(FORCE_STEP) === value) return;
    this.#word(FORCE_STEP, value);
    this.#runtime("updateMode");
  }

  #plain(code: (VmExit & { readonly length: number })["code"]): VmExit {
    return { code, rip: this.#quad(RIP), length: 0 } as VmExit;
  }

  #isShadowed(): boolean {
    return this.#word(SHADOW_KIND) !== 0 &&
      this.#quad(SHADOW_RIP) === this.#quad(RIP);
  }

  // Whether an event waits until the guest lets it in.
  #isAwaited(): boolean {
    return this.#nmi || (this.#options.interrupts?.pending() ?? false);
  }

  // Interrupts and injected events, in their order of priority.
  #events(): VmExit | undefined {
    const injected = this.#injected;
    if (injected !== undefined) {
      this.#injected = undefined;
      return this.#deliver(injected.vector, injected.error, injected.kind);
    }
    if (this.#isShadowed()) return undefined;
    this.#word(SHADOW_KIND, 0);
    // Between the parts of an instruction that exited nothing may come.
    if (this.#replies.length > 0) return undefined;
    if (this.#nmi && this.#word(NMI_BLOCKED) === 0) {
      this.#nmi = false;
      const exit = this.#deliver(VECTOR.NMI, NO_ERROR_CODE, EVENT_KIND.NMI);
      this.#word(NMI_BLOCKED, 1);
      return exit;
    }
    const source = this.#options.interrupts;
    const isOpen = (this.#word(SYSTEM_FLAGS) & FLAG.IF) !== 0 &&
      !this.#has(CAPABILITY.MASK_HWINTR);
    if (isOpen && source !== undefined && source.pending()) {
      const vector = source.acknowledge();
      return this.#deliver(vector, NO_ERROR_CODE, EVENT_KIND.INTERRUPT);
    }
    return undefined;
  }

  // Delivers an event and whatever exceptions that raises.
  #deliver(vector: number, error: number, kind: number): VmExit | undefined {
    let event: Combined = { vector, error, kind };
    // DR7.GD is off in the handler, so that it can look (SDM vol. 3, 18.2.4).
    if (vector === VECTOR.DB && kind === EVENT_KIND.EXCEPTION) {
      this.#word(DR + 56, this.#word(DR + 56) & ~DR7_GD);
    }
    for (;;) {
      const deliver = this.#engine.runtime.deliverEvent as (
        ...args: number[]
      ) => number;
      const status = deliver(event.vector, event.error, event.kind);
      if (status === 0) return undefined;
      if (status !== STATUS.FAULT) return this.#handle(status, 0, false);
      const second = {
        vector: this.#word(TRAP_VECTOR),
        error: this.#word(TRAP_ERROR),
        kind: EVENT_KIND.EXCEPTION,
      };
      const combined = combineExceptions(event, second);
      if (combined === undefined) return this.#shutdown();
      event = combined;
    }
  }

  #shutdown(): VmExit {
    return {
      code: EXIT_CODE.SUSPENDED,
      how: SUSPEND.TRIPLEFAULT,
      rip: this.#quad(RIP),
      length: 0,
    };
  }

  #handle(status: number, flags: number, isStep: boolean): VmExit | undefined {
    switch (status) {
      case STATUS.EVENTS:
        this.#replies.length = 0;
        return isStep ? this.#afterStep(flags) : undefined;
      case STATUS.FAULT:
        this.#replies.length = 0;
        return this.#fault(this.#word(TRAP_VECTOR), this.#word(TRAP_ERROR)) ??
          this.#monitorTrap();
      case STATUS.EXIT: {
        const exit = this.#pending;
        if (exit === undefined) throw new Error("An exit left no record");
        return exit;
      }
      case STATUS.SHUTDOWN:
        return this.#shutdown();
      case FETCH_FROM_DEVICE:
        return this.#fetchExit();
      default:
        throw new Error(`The engine stopped with status ${status}`);
    }
  }

  #fetchExit(): VmExit {
    const gpa = Number(this.#quad(SCRATCH + 8 * 14));
    return {
      code: EXIT_CODE.INST_EMUL,
      rip: this.#quad(RIP),
      length: 0,
      gpa,
      bytes: 1,
      write: false,
      value: 0n,
      fetch: true,
    };
  }

  #fault(vector: number, error: number): VmExit | undefined {
    const isWanted = (this.#exceptionExits >>> vector & 1) !== 0;
    if (vector === VECTOR.BP && this.#has(CAPABILITY.BPT_EXIT)) {
      return {
        code: EXIT_CODE.BPT,
        rip: this.#quad(RIP),
        length: 0,
        instLength: 1,
      };
    }
    if (isWanted) {
      return {
        code: EXIT_CODE.EXCEPTION,
        rip: this.#quad(RIP),
        length: 0,
        vector,
        errorCode: error === NO_ERROR_CODE ? undefined : error,
      };
    }
    return this.#deliver(vector, error, EVENT_KIND.EXCEPTION);
  }

  // --- Debugging (Intel SDM vol. 3, 18.3) ----------------------------------

  // Before one instruction: instruction breakpoints.
  #beforeStep(): { flags: number; exit?: VmExit; delivered?: boolean } {
    const flags = this.#word(SYSTEM_FLAGS);
    this.#word(WATCH_HITS, 0);
    const dr7 = this.#word(DR + 56);
    if ((dr7 & 0xff) === 0 || (flags & FLAG.RF) !== 0) return { flags };
    const linear = this.#quad(RIP) + this.#quad(CS + SEG_BASE);
    let hits = 0;
    for (let n = 0; n < 4; n++) {
      const isExecute = (dr7 >> (16 + 4 * n) & 3) === 0;
      const isOn = (dr7 >> (2 * n) & 3) !== 0;
      if (isExecute && isOn && this.#quad(DR + 8 * n) === linear) {
        hits |= 1 << n;
      }
    }
    if (hits === 0) return { flags };
    // The handler's IRET sets RF, lest it stop at the same place again.
    this.#word(SYSTEM_FLAGS, flags | FLAG.RF);
    const exit = this.#debug(hits);
    if (exit === undefined) return { flags, delivered: true };
    this.#word(SYSTEM_FLAGS, flags);
    return { flags, exit };
  }

  // After one instruction: trace trap, data breakpoints, monitor trap.
  #afterStep(before: number): VmExit | undefined {
    if ((before & FLAG.RF) !== 0) {
      this.#word(SYSTEM_FLAGS, this.#word(SYSTEM_FLAGS) & ~FLAG.RF);
    }
    // INT n, SYSCALL and SYSRET trap by the TF that they leave.
    const tracing = this.#word(TRACE_AFTER) !== 0
      ? this.#word(SYSTEM_FLAGS)
      : before;
    const trace = (tracing & FLAG.TF) !== 0 ? 1 << 14 : 0;
    const hits = this.#word(WATCH_HITS) | this.#pendingDebug | trace;
    this.#pendingDebug = 0;
    if (hits !== 0) {
      // MOV SS holds debug exceptions back until after the next instruction.
      if (this.#isShadowed() && this.#word(SHADOW_KIND) === 2) {
        this.#pendingDebug = hits & ~(1 << 14);
      } else {
        const exit = this.#debug(hits);
        if (exit !== undefined) return exit;
      }
    }
    return this.#monitorTrap();
  }

  // The monitor trap comes after an instruction or the delivery of its fault.
  #monitorTrap(): VmExit | undefined {
    return this.#has(CAPABILITY.MTRAP_EXIT)
      ? this.#plain(EXIT_CODE.MTRAP)
      : undefined;
  }

  // I/O breakpoints: R/W 10, with CR4.DE (SDM vol. 3, 18.2.4).
  #watchPort(port: number, bytes: number): void {
    const dr7 = this.#word(DR + 56);
    if ((dr7 & 0xff) === 0 || (this.#word(CR4) & CR4_DE) === 0) return;
    for (let n = 0; n < 4; n++) {
      const isOn = (dr7 >> (2 * n) & 3) !== 0;
      const control = dr7 >> (16 + 4 * n) & 15;
      if (!isOn || (control & 3) !== 2) continue;
      const length = (control >> 2) + 1;
      const first = this.#word(DR + 8 * n) & ~(length - 1);
      if (port < first + length && first < port + bytes) {
        this.#word(WATCH_HITS, this.#word(WATCH_HITS) | 1 << n);
      }
    }
  }

  // Raises #DB with its causes as DR6 bits.
  #debug(causes: number): VmExit | undefined {
    const dr6 = this.#quad(DR + 48) & ~0xfn | BigInt(causes);
    if (this.#has(CAPABILITY.RFLAGS_TF)) {
      return {
        code: EXIT_CODE.DB,
        rip: this.#quad(RIP),
        length: 0,
        traceTrap: (causes & 1 << 14) !== 0,
        dr6,
      };
    }
    this.#quad(DR + 48, dr6);
    return this.#fault(VECTOR.DB, NO_ERROR_CODE);
  }

  // --- Functions for the emitted runtime -----------------------------------

  #host() {
    return {
      mmioRead: (low: number, high: number, bytes: number) =>
        this.#mmioRead((high >>> 0) * 2 ** 32 + (low >>> 0), bytes),
      mmioWrite: (low: number, high: number, bytes: number) =>
        this.#mmioWrite((high >>> 0) * 2 ** 32 + (low >>> 0), bytes),
      portRead: (port: number, bytes: number) => {
        this.#watchPort(port, bytes);
        return this.#portRead(port, bytes);
      },
      portWrite: (port: number, bytes: number) => {
        this.#watchPort(port, bytes);
        return this.#portWrite(port, bytes);
      },
      readMsr: (index: number) => this.#readMsr(index >>> 0),
      writeMsr: (index: number) => this.#writeMsr(index >>> 0),
      cpuid: () => this.#queryCpuid(),
      readTsc: () => void this.#quad(SCRATCH, this.#tsc()),
      random: () => void this.#quad(SCRATCH, this.#random()),
      writeCr8: () => {
        const { interrupts } = this.#options;
        const value = Number(this.#quad(SCRATCH) & 15n);
        this.#word(CR8, value);
        if (interrupts !== undefined) interrupts.taskPriority = value;
      },
      readCr8: () => {
        const priority = this.#options.interrupts?.taskPriority;
        this.#quad(SCRATCH, BigInt(priority ?? this.#word(CR8)));
      },
      busLock: (take: number) => this.#lockBus(take !== 0),
      exit: (reason: number) => this.#recordExit(reason),
    };
  }

  #lockBus(take: boolean): void {
    this.#options.memory.lockBus(take);
    this.#holdsBus = take;
  }

  #tsc(): bigint {
    return this.#options.readTsc?.() ??
      BigInt(Math.floor(performance.now() * 1e6));
  }

  #random(): bigint {
    return this.#options.random?.() ??
      crypto.getRandomValues(new BigUint64Array(1))[0]!;
  }

  // The answer to an access that exited before, if there is one.
  #nextReply(): bigint | undefined {
    return this.#reply < this.#replies.length
      ? this.#replies[this.#reply++]
      : undefined;
  }

  // RIP is where the instruction is only after the trap: it is filled in then.
  #leave(exit: Record<string, unknown> & { code: number }): number {
    const quad = () => this.#quad(RIP);
    this.#pending = Object.defineProperty(exit, "rip", {
      get: quad,
      enumerable: true,
      configurable: true,
    }) as unknown as VmExit;
    return HOST.EXIT;
  }

  #mmioRead(gpa: number, bytes: number): number {
    const value = this.#nextReply() ??
      this.#options.bus?.readMemory?.(gpa, bytes);
    if (value !== undefined) {
      this.#quad(SCRATCH, BigInt.asUintN(8 * bytes, value));
      return HOST.DONE;
    }
    return this.#leave({
      code: EXIT_CODE.INST_EMUL,
      length: 0,
      gpa,
      bytes,
      write: false,
      value: 0n,
      fetch: false,
    });
  }

  #mmioWrite(gpa: number, bytes: number): number {
    if (this.#nextReply() !== undefined) return HOST.DONE;
    const value = BigInt.asUintN(8 * bytes, this.#quad(SCRATCH));
    if (this.#options.bus?.writeMemory?.(gpa, bytes, value)) return HOST.DONE;
    return this.#leave({
      code: EXIT_CODE.INST_EMUL,
      length: 0,
      gpa,
      bytes,
      write: true,
      value,
      fetch: false,
    });
  }

  #portRead(port: number, bytes: number): number {
    const value = this.#nextReply() ??
      this.#options.bus?.readPort?.(port, bytes);
    if (value !== undefined) {
      this.#quad(SCRATCH, BigInt(value) & BYTES_MASK[bytes]!);
      return HOST.DONE;
    }
    return this.#leave({
      code: EXIT_CODE.INOUT,
      length: 0,
      port,
      bytes,
      in: true,
      value: 0,
    });
  }

  #portWrite(port: number, bytes: number): number {
    if (this.#nextReply() !== undefined) return HOST.DONE;
    const value = Number(this.#quad(SCRATCH) & BYTES_MASK[bytes]!);
    if (this.#options.bus?.writePort?.(port, bytes, value)) return HOST.DONE;
    return this.#leave({
      code: EXIT_CODE.INOUT,
      length: 0,
      port,
      bytes,
      in: false,
      value,
    });
  }

  // Whether the answer to the exit before was a fault: it counts for one access.
  #takeMsrFault(): boolean {
    const isFault = this.#msrFault;
    this.#msrFault = false;
    return isFault;
  }

  #readMsr(msr: number): number {
    const known = this.#options.bus?.readMsr?.(msr) ?? this.#msrs.read(msr);
    if (known === undefined && this.#takeMsrFault()) return HOST.FAULT;
    const value = known ?? this.#nextReply();
    if (value === undefined) {
      return this.#leave({ code: EXIT_CODE.RDMSR, length: 0, msr });
    }
    this.#quad(SCRATCH, value);
    return HOST.DONE;
  }

  #writeMsr(msr: number): number {
    const value = this.#quad(SCRATCH);
    const claimed = this.#options.bus?.writeMsr?.(msr, value) ?? "unknown";
    const done = claimed === "unknown" ? this.#msrs.write(msr, value) : claimed;
    if (done === "done") return HOST.DONE;
    if (done === "fault" || this.#takeMsrFault()) return HOST.FAULT;
    if (this.#nextReply() !== undefined) return HOST.DONE;
    return this.#leave({ code: EXIT_CODE.WRMSR, length: 0, msr, value });
  }

  #queryCpuid(): number {
    const at = (n: number) => SCRATCH + 8 * n;
    const values = this.cpuid.query(
      this.#word(at(0)) >>> 0,
      this.#word(at(2)) >>> 0,
      { cr4: this.#word(CR4), xcr0: this.#word(XCR0) },
    );
    values.forEach((value, n) => this.#quad(at(n), BigInt(value >>> 0)));
    return HOST.DONE;
  }

  #recordExit(reason: number): number {
    const slot = (n: number) => this.#word(SCRATCH + 8 * n);
    switch (reason) {
      case EXIT_REASON.HLT:
        return this.#leave({
          code: EXIT_CODE.HLT,
          length: 0,
          rflags: readFlags(this.#engine.state),
          intrStatus: 0n,
        });
      case EXIT_REASON.MONITOR:
        return this.#leave({ code: EXIT_CODE.MONITOR, length: 0 });
      case EXIT_REASON.MWAIT:
        return this.#leave({ code: EXIT_CODE.MWAIT, length: 0 });
      case EXIT_REASON.PAUSE:
        return this.#leave({ code: EXIT_CODE.PAUSE, length: 0 });
      case EXIT_REASON.TASK_SWITCH:
        return this.#leave({
          code: EXIT_CODE.TASK_SWITCH,
          length: 0,
          tssSelector: slot(0),
          reason: slot(1),
          errorCode: slot(2) === NO_ERROR_CODE ? 0 : slot(2),
          errorCodeValid: slot(2) !== NO_ERROR_CODE,
          ext: slot(3) !== 0,
        });
      default:
        throw new Error(`Emitted code left with reason ${reason}`);
    }
  }

  // --- Save and restore ----------------------------------------------------

  /** The processor's whole state, as plain data. */
  save(): CpuState {
    this.#requireStopped();
    return saveState(this.#engine.state, this.#msrs, {
      nmi: this.#nmi,
      injected: this.#injected,
      pendingDebug: this.#pendingDebug,
    });
  }

  /**
   * Puts the processor into a saved state.
   *
   * @throws {CpuError} for a state of another kind or version, or a damaged one
   */
  restore(state: CpuState): void {
    this.#requireStopped();
    const events = restoreState(this.#engine.state, this.#msrs, state);
    this.#nmi = events.nmi;
    this.#injected = events.injected;
    this.#pendingDebug = events.pendingDebug;
    this.#forget();
    this.#isDirty = true;
  }

  /** Counters of the engine. */
  get statistics(): { readonly blocks: number; readonly instructions: number } {
    const { decoded, instructions } = this.#engine.cache;
    return { blocks: decoded, instructions };
  }

  /** Lets go of guest memory: the processor is not used any more. */
  close(): void {
    this.#requireStopped();
    this.#engine.close();
  }
}
