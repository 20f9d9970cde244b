// One virtual x86-64 processor behind vmm(4)'s per-vCPU interface: run until an
// exit, registers, descriptors, MSRs, capabilities, event injection, save and
// restore. The software engine behind it is `engine.ts`.

import { Capabilities } from "./capabilities.ts";
import type { CpuStatistics } from "./cpu_statistics.ts";
import { Cpuid } from "./cpuid.ts";
import { Engine } from "./engine.ts";
import { EventQueue } from "./event_queue.ts";
import { CpuError, type VmEntry, type VmExit } from "./exits.ts";
import { readFxImage, writeFxImage } from "./fx_image.ts";
import { HostCalls, hostFunctions, readTsc } from "./host_calls.ts";
import { InstructionSet } from "./instruction_set.ts";
import { InterruptShadow } from "./interrupt_shadow.ts";
import { MSR_EFER, MsrFile } from "./msr.ts";
import {
  type CpuOptions,
  DEFAULT_CPUID,
  type RunOptions,
  type SegmentDescriptor,
} from "./options.ts";
import { RegisterAccess } from "./register_access.ts";
import { REGISTER, type RegisterNumber } from "./registers.ts";
import { regionOptions } from "./regions/limits.ts";
import { resetState } from "./reset.ts";
import { RunLoop } from "./run_loop.ts";
import {
  type CpuState,
  type PendingEvent,
  restoreState,
  saveState,
} from "./save.ts";
import {
  CPL,
  CR4_RESERVED,
  RESERVED_PA,
  TASK_SWITCH_EXITS,
  TIME_WINDOW,
  TSC_OFFSET,
  VENDOR_INTEL,
  XCR0,
} from "./state.ts";
import { StateWords } from "./state_words.ts";
import { Stepping } from "./stepping.ts";

export {
  CAPABILITY,
  type CpuOptions,
  type DeviceBus,
  EVENT_KIND,
  type InterruptSource,
  type RunOptions,
  type SegmentDescriptor,
} from "./options.ts";

type Deliver = (vector: number, error: number, kind: number) => number;

/** A software x86-64 processor. */
export class VirtualCpu {
  /** What CPUID shows. */
  readonly cpuid: Cpuid;
  readonly #engine: Engine;
  readonly #words: StateWords;
  readonly #msrs: MsrFile;
  readonly #host: HostCalls;
  readonly #registers: RegisterAccess;
  readonly #capabilities: Capabilities;
  readonly #events: EventQueue;
  readonly #stepping: Stepping;
  readonly #loop: RunLoop;
  #isRunning = false;

  /**
   * Makes a processor in its state after reset.
   *
   * @throws {CpuidError} where the configuration makes no processor
   */
  constructor(options: CpuOptions) {
    const config = { ...DEFAULT_CPUID, ...options.cpuid };
    const cpuid = new Cpuid(config);
    const instructions = new InstructionSet(cpuid);
    const engine = new Engine({
      memory: options.memory,
      host: hostFunctions(() => this.#host),
      supports: (code) => instructions.supports(code),
      decoderOptions: instructions.decoderOptions,
      regions: regionOptions(options.compile),
      compiler: options.compiler,
      observer: options.compiled,
      ...options.state === undefined ? {} : { state: options.state },
    });
    const msrs = new MsrFile({
      state: engine.state,
      vendor: config.vendor,
      vcpu: config.vcpu,
      cpuid,
      changed: (index) => {
        // What no TLB and no mode depends on is read where it is used.
        this.#loop.isDirty ||= index === MSR_EFER;
      },
      readTsc: () => readTsc(options),
    });
    const words = new StateWords(engine);
    const host = new HostCalls({ options, words, msrs, cpuid });
    const shadow = new InterruptShadow(words);
    const capabilities = new Capabilities(words, cpuid);
    const events = new EventQueue({
      options,
      words,
      shadow,
      capabilities,
      deliver: engine.runtime.deliverEvent as Deliver,
      exitOf: (status) => host.exitOf(status),
    });
    const stepping = new Stepping({ words, shadow, capabilities, events });
    const parts = { words, host, shadow, capabilities, events, stepping };
    this.cpuid = cpuid;
    this.#engine = engine;
    this.#msrs = msrs;
    this.#words = words;
    this.#host = host;
    this.#registers = new RegisterAccess(words, shadow);
    this.#capabilities = capabilities;
    this.#events = events;
    this.#stepping = stepping;
    this.#loop = new RunLoop({ ...parts, options, engine });
    this.#describe(config.vendor === "intel");
    words.setWord(TIME_WINDOW, options.timeWindow ?? 0);
    this.reset();
  }

  // Tells emitted code what the processor is.
  #describe(isIntel: boolean): void {
    this.#words.setWord(VENDOR_INTEL, isIntel ? 1 : 0);
    const physical = (1n << BigInt(this.cpuid.physicalBits)) - 1n;
    this.#words.setQuad(RESERVED_PA, 0x000f_ffff_ffff_f000n & ~physical);
    this.#words.setQuad(CR4_RESERVED, BigInt(this.cpuid.reservedCr4));
  }

  // --- Registers -----------------------------------------------------------

  /** Puts the processor in the state after power-on or INIT, as vmm(4) does. */
  reset(): void {
    this.#requireStopped();
    resetState(this.#engine.state);
    this.#events.reset();
    this.#stepping.pendingDebug = 0;
    this.#host.forget();
    this.#loop.isDirty = true;
  }

  #requireStopped(): void {
    if (this.#isRunning) {
      throw new CpuError(
        "Cannot use a virtual CPU while it runs: stop it first",
      );
    }
  }

  /**
   * Reads a register by its number in vmm(4). Segment registers give selectors.
   *
   * @throws {CpuError} for an unknown number, and for GDTR and IDTR
   */
  getRegister(register: RegisterNumber): bigint {
    this.#requireStopped();
    return this.#registers.get(register);
  }

  /**
   * Writes a register by its number in vmm(4). Segment registers take selectors;
   * nothing is loaded from a descriptor table.
   *
   * @throws {CpuError} for an unknown number, and for GDTR and IDTR
   */
  setRegister(register: RegisterNumber, value: bigint): void {
    this.#requireStopped();
    this.#loop.isDirty = true;
    // An answer to an exit is void once the caller changes where the CPU is.
    if (register === REGISTER.RIP) this.#host.forget();
    this.#registers.set(register, value);
  }

  /** Reads a segment's hidden part, or GDTR or IDTR. @throws {CpuError} */
  getDescriptor(register: RegisterNumber): SegmentDescriptor {
    this.#requireStopped();
    return this.#registers.getDescriptor(register);
  }

  /** Writes a segment's hidden part, or GDTR or IDTR. @throws {CpuError} */
  setDescriptor(register: RegisterNumber, value: SegmentDescriptor): void {
    this.#requireStopped();
    this.#registers.setDescriptor(register, value);
    this.#loop.isDirty = true;
  }

  /** Reads an MSR; undefined where the processor has none of this index. */
  getMsr(index: number): bigint | undefined {
    this.#requireStopped();
    return this.#msrs.read(index >>> 0);
  }

  /** Writes an MSR as WRMSR would; false where that would fault. */
  setMsr(index: number, value: bigint): boolean {
    this.#requireStopped();
    this.#loop.isDirty = true;
    return this.#msrs.write(index >>> 0, value) === "done";
  }

  /** XCR0. */
  get xcr0(): bigint {
    return this.#words.quad(XCR0);
  }

  /** The current privilege level, 0 to 3. */
  get privilege(): number {
    this.#loop.sync();
    return this.#words.word(CPL);
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
    return this.#capabilities.get(capability);
  }

  /** Sets a capability of vmm(4). @throws {CpuError} for one that cannot be set */
  setCapability(capability: number, value: number): void {
    this.#requireStopped();
    this.#capabilities.set(capability, value);
    this.#loop.isDirty = true;
  }

  /** Exceptions (bit n: vector n) that exit instead of being delivered. */
  get exceptionExits(): number {
    return this.#capabilities.exceptionExits;
  }
  set exceptionExits(mask: number) {
    this.#capabilities.exceptionExits = mask;
  }

  /** Whether a task switch exits instead of happening. */
  set taskSwitchExits(on: boolean) {
    this.#words.setWord(TASK_SWITCH_EXITS, on ? 1 : 0);
  }

  /** Whether CPUID exits, to be answered by the caller. */
  set cpuidExits(on: boolean) {
    this.#capabilities.cpuidExits = on;
  }

  /**
   * Injects an exception, delivered before the next instruction.
   *
   * @param errorCode undefined where the exception pushes none
   * @throws {CpuError} for a bad vector, #DF, or where one is pending already
   */
  injectException(vector: number, errorCode?: number): void {
    this.#events.injectException(vector, errorCode);
  }

  /** Injects an external interrupt, whatever IF says. @throws {CpuError} */
  injectInterrupt(vector: number): void {
    this.#events.injectInterrupt(vector);
  }

  /** Latches a non-maskable interrupt. */
  injectNmi(): void {
    this.#events.injectNmi();
    this.attend();
  }

  /** The injected event that waits to be delivered. */
  get pendingEvent(): PendingEvent | undefined {
    return this.#events.injected;
  }
  set pendingEvent(event: PendingEvent | undefined) {
    this.#events.injected = event;
  }

  /** Whether an event waits that the guest lets in: what ends HLT. */
  get hasEvent(): boolean {
    return this.#events.isDeliverable;
  }

  /** What is added to the host's time stamp to give the guest's, 64 bits. */
  get tscOffset(): bigint {
    return this.#words.quad(TSC_OFFSET);
  }

  /** Makes the CPU look at its interrupt source soon; from the same thread. */
  attend(): void {
    this.#loop.attend();
  }

  /** Makes `run` return REQIDLE soon. */
  requestStop(): void {
    this.#loop.requestStop();
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
      this.#host.answer(entry);
      return this.#loop.run(limit);
    } finally {
      this.#isRunning = false;
    }
  }

  // --- Save and restore ----------------------------------------------------

  /** The processor's whole state, as plain data. */
  save(): CpuState {
    this.#requireStopped();
    return saveState(this.#engine.state, this.#msrs, {
      ...this.#events.save(),
      pendingDebug: this.#stepping.pendingDebug,
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
    this.#events.restore(events);
    this.#stepping.pendingDebug = events.pendingDebug;
    this.#host.forget();
    this.#loop.isDirty = true;
  }

  /** Counters of the engine. */
  get statistics(): CpuStatistics {
    const { cache, lookups, hot, emptied, regions } = this.#engine;
    return {
      blocks: cache.decoded,
      instructions: cache.instructions,
      ...{ lookups, hot, emptied },
      ...(regions === undefined ? {} : { regions: regions.statistics }),
    };
  }

  /** Lets go of guest memory: the processor is not used any more. */
  close(): void {
    this.#requireStopped();
    this.#engine.close();
  }
}
