// A local APIC (Intel SDM vol. 3, chapter 11), in xAPIC mode behind memory and in
// x2APIC mode behind MSRs, with vmm(4)'s choices: it stays at FEE00000h, its ID is
// fixed, LINT pins are edges and EOI broadcasts cannot be suppressed. SMIs are lost.
// Accepting, acknowledging and ending an interrupt allocate nothing.

import type { BusHandler } from "../bus.ts";
import type { InterruptSource } from "../cpu/cpu.ts";
import type { DeviceState, Lifecycle } from "../device.ts";
import {
  type ApicTarget,
  DELIVERY,
  matchesLogical,
  matchesWide,
  MESSAGE,
  type MessageBus,
  widenDestination,
} from "./apic_bus.ts";
import type { LocalApicHost, LocalApicOptions } from "./apic_host.ts";
import { LocalInterrupts } from "./apic_local.ts";
import {
  APIC,
  APIC_REGISTERS,
  APIC_RESET,
  APIC_VERSION,
  ESR,
  FIRST_VECTOR,
  illegalRegister,
  isLvt,
  LVT,
  SVR_ENABLED,
} from "./apic_registers.ts";
import { ApicTimer } from "./apic_timer.ts";
import { VectorUnit } from "./apic_vectors.ts";
import {
  allOnes,
  APIC_MODE,
  type ApicRegisterFile,
  baseOfMode,
  modeOfBase,
  readWindow,
  readX2apicMsr,
  writeWindow,
  writeX2apicMsr,
} from "./apic_window.ts";
import {
  flag,
  integer,
  PlatformStateError,
  StateFormat,
  table,
  u32,
  u8,
} from "./state.ts";

const MSR_TSC_DEADLINE = 0x6e0;

const STATE = new StateFormat("local-apic", 1, {
  mode: integer(APIC_MODE.X2APIC),
  registers: table(u32, APIC_REGISTERS),
  errors: u8,
  isWaiting: flag,
  hasExtInt: flag,
  pins: table(flag, 2),
  timer: ApicTimer.CHECK,
});

/** One processor's local APIC. */
export class LocalApic
  implements ApicTarget, BusHandler, InterruptSource, Lifecycle {
  readonly id: number;
  readonly name: string;
  readonly #isBootstrap: boolean;
  readonly #bus: MessageBus;
  readonly #host: LocalApicHost;
  readonly #local: LocalInterrupts;
  readonly #timer: ApicTimer;
  readonly #registers: Uint32Array;
  readonly #modeWord: Uint32Array;
  readonly #vectors: VectorUnit;
  // What the windows see; the APIC itself does not show its registers.
  readonly #file: ApicRegisterFile = {
    readRegister: (number) => this.#read(number),
    writeRegister: (number, value) => this.#write(number, value),
    raise: (errors) => this.#local.error(errors),
  };
  // Whether STARTUP would start the processor.
  #isWaiting = false;

  /**
   * Makes it as it is after power-on.
   *
   * @param options its ID and what is around it
   */
  constructor(options: LocalApicOptions) {
    const { id, clock } = options;
    this.id = id;
    this.name = `lapic@${id}`;
    this.#isBootstrap = options.isBootstrap ?? id === 0;
    this.#bus = options.bus;
    this.#host = options.host;
    this.#registers = options.words?.registers ??
      new Uint32Array(APIC_REGISTERS);
    this.#modeWord = options.words?.mode ?? new Uint32Array(1);
    this.#local = new LocalInterrupts(this.#registers, options.extInt, {
      interrupt: (vector) => this.interrupt(vector),
      attend: () => this.#host.attend(),
      nmi: () => this.#host.nmi(),
      triggered: (source) => this.#host.counted?.("local", source),
    });
    const tsc = options.tsc ??
      { read: () => BigInt(Math.floor(clock.now())), frequency: 1e9 };
    this.#timer = new ApicTimer(
      clock,
      tsc,
      () => this.#local.fire(APIC.LVT_TIMER),
    );
    this.#vectors = new VectorUnit(
      this.#registers,
      () => this.#host.attend(),
    );
    this.reset();
  }

  get #mode(): number {
    return this.#modeWord[0]!;
  }
  set #mode(mode: number) {
    this.#modeWord[0] = mode;
  }

  /** Whether its processor waits for STARTUP. */
  get isWaiting(): boolean {
    return this.#isWaiting;
  }

  reset(): void {
    this.#mode = APIC_MODE.XAPIC;
    this.#local.setPin(0, false);
    this.#local.setPin(1, false);
    this.#isWaiting = !this.#isBootstrap;
    this.#resetRegisters();
  }

  // After power-on, INIT, and when the APIC is switched off.
  #resetRegisters(): void {
    this.#timer.reset();
    this.#registers.fill(0);
    for (const [number, value] of APIC_RESET) this.#registers[number] = value;
    this.#identify();
    this.#local.reset();
    this.#vectors.update();
  }

  // 11.12.9 and 11.12.10.2: wide IDs in x2APIC mode.
  #identify(): void {
    const { id } = this;
    const isWide = this.#mode === APIC_MODE.X2APIC;
    this.#registers[APIC.ID] = isWide ? id : id << 24;
    if (!isWide) return;
    this.#registers[APIC.LDR] = (id & 0xf_fff0) << 12 | 1 << (id & 15);
  }

  // --- The processor's side ------------------------------------------------

  pending(): boolean {
    return this.#vectors.candidate >= 0 || this.#local.isExtIntReady;
  }

  acknowledge(): number {
    this.#host.counted?.("interrupt");
    // As in vmm(4), the 8259s come first.
    if (this.#local.isExtIntReady) {
      this.#host.counted?.("extInt");
      return this.#local.acknowledgeExtInt();
    }
    const vector = this.#vectors.acknowledge();
    return vector >= 0 ? vector : this.#registers[APIC.SVR]! & MESSAGE.VECTOR;
  }

  /** CR8: bits 7:4 of TPR. */
  get taskPriority(): number {
    return this.#registers[APIC.TPR]! >>> 4;
  }
  set taskPriority(priority: number) {
    this.#registers[APIC.TPR] = (priority & 15) << 4;
    this.#vectors.update();
  }

  /** Whether it takes vectors: switched on in IA32_APIC_BASE and in SVR. */
  get isEnabled(): boolean {
    return this.#mode !== APIC_MODE.OFF &&
      (this.#registers[APIC.SVR]! & SVR_ENABLED) !== 0;
  }

  // --- Messages ------------------------------------------------------------

  get priority(): number {
    return this.isEnabled ? this.#registers[APIC.PPR]! : 0x100;
  }

  matches(destination: number, isLogical: boolean): boolean {
    if (this.#mode === APIC_MODE.OFF) return false;
    if (!isLogical) return destination === this.id;
    const ldr = this.#registers[APIC.LDR]!;
    const dfr = this.#registers[APIC.DFR]!;
    return this.#mode === APIC_MODE.X2APIC
      ? matchesWide(ldr, destination)
      : matchesLogical(ldr, dfr, destination);
  }

  accept(message: number): void {
    if (this.#mode === APIC_MODE.OFF) return;
    const vector = message & MESSAGE.VECTOR;
    switch (message >>> MESSAGE.MODE_SHIFT & 7) {
      case DELIVERY.FIXED:
      case DELIVERY.LOWEST_PRIORITY:
        return this.interrupt(vector, (message & MESSAGE.LEVEL) !== 0);
      case DELIVERY.NMI:
        return this.#host.nmi();
      case DELIVERY.INIT:
        return this.#init();
      case DELIVERY.STARTUP:
        return this.#startup(vector);
      case DELIVERY.EXTINT:
        return this.#local.takeExtInt();
    }
  }

  /** Requests a vector; below 16 is a receive error. */
  interrupt(vector: number, isLevel = false): void {
    if (vector < FIRST_VECTOR) return this.#local.error(ESR.RECEIVE_VECTOR);
    if (!this.isEnabled) return;
    this.#vectors.request(vector, isLevel);
  }

  #init(): void {
    this.#resetRegisters();
    this.#isWaiting = !this.#isBootstrap;
    this.#host.init();
  }

  #startup(vector: number): void {
    if (!this.#isWaiting) return;
    this.#isWaiting = false;
    this.#host.startup(vector);
  }

  /** A local interrupt by its index in `LOCAL_INTERRUPTS`: `vm_lapic_local_irq`. */
  localInterrupt(source: number): void {
    this.#local.raise(source);
  }

  /** Drives LINT0 or LINT1. */
  setPin(pin: 0 | 1, level: boolean): void {
    this.#local.setPin(pin, level);
  }

  // --- Registers in memory -------------------------------------------------

  /** Reads a register by memory. */
  read(offset: number, bytes: number): number | bigint {
    return this.#mode === APIC_MODE.XAPIC
      ? readWindow(this.#file, offset, bytes)
      : allOnes(bytes);
  }

  /** Writes a register by memory. */
  write(offset: number, bytes: number, value: bigint): void {
    if (this.#mode !== APIC_MODE.XAPIC || bytes !== 4) return;
    writeWindow(this.#file, offset, bytes, Number(value));
  }

  // --- MSRs ----------------------------------------------------------------

  /** IA32_APIC_BASE, 1Bh. */
  get base(): bigint {
    return baseOfMode(this.#mode, this.#isBootstrap);
  }

  /** Writes IA32_APIC_BASE; false: that faults. It cannot be moved. */
  setBase(value: bigint): boolean {
    const mode = modeOfBase(value, this.#mode);
    if (mode < 0) return false;
    if (mode === this.#mode) return true;
    this.#mode = mode;
    if (mode === APIC_MODE.OFF) this.#resetRegisters();
    else this.#identify();
    this.#notice();
    return true;
  }

  /** Reads MSR 6E0h or 800h to BFFh; undefined: that faults. */
  readMsr(index: number): bigint | undefined {
    if (index === MSR_TSC_DEADLINE) return this.#timer.deadline;
    return this.#mode === APIC_MODE.X2APIC
      ? readX2apicMsr(this.#file, index)
      : undefined;
  }

  /** Writes MSR 6E0h or 800h to BFFh; false: that faults. */
  writeMsr(index: number, value: bigint): boolean {
    if (index === MSR_TSC_DEADLINE) {
      this.#timer.deadline = value;
      return true;
    }
    return this.#mode === APIC_MODE.X2APIC &&
      writeX2apicMsr(this.#file, index, value);
  }

  /** The guest wrote its time stamp counter: deadlines moved. */
  tscChanged(): void {
    this.#timer.tscChanged();
  }

  // --- Registers -----------------------------------------------------------

  #read(number: number): number {
    return number === APIC.TIMER_CURRENT
      ? this.#timer.current
      : this.#registers[number]!;
  }

  // Writes a register whose unwritable bits are 0.
  #write(number: number, value: number): void {
    switch (number) {
      case APIC.EOI:
        return this.#endOfInterrupt();
      case APIC.ESR:
        return this.#local.latchErrors();
      case APIC.SELF_IPI:
        return this.#selfIpi(value);
      case APIC.DFR:
        value |= 0x0fff_ffff;
        break;
    }
    if (isLvt(number) && !this.isEnabled) value |= LVT.MASKED;
    this.#registers[number] = value;
    this.#written(number, value);
  }

  // What follows from a register's new value.
  #written(number: number, value: number): void {
    switch (number) {
      case APIC.TPR:
        return this.#vectors.update();
      case APIC.ICR_LOW:
        return this.#send(value);
      case APIC.SVR:
        return this.#switch();
      case APIC.LVT_TIMER:
        this.#timer.mode = value >>> LVT.TIMER_SHIFT & 3;
        this.#registers[APIC.TIMER_INITIAL] = this.#timer.initial;
        return;
      case APIC.TIMER_INITIAL:
        this.#timer.initial = value;
        this.#registers[APIC.TIMER_INITIAL] = this.#timer.initial;
        return;
      case APIC.TIMER_DIVIDE:
        this.#timer.divide = value;
        return;
      case APIC.LVT_LINT0:
        return this.#notice();
    }
  }

  #endOfInterrupt(): void {
    if (this.#vectors.isIdle) this.#host.counted?.("emptyEnd");
    const vector = this.#vectors.end();
    if (vector >= 0) this.#host.endOfInterrupt(vector);
  }

  #selfIpi(vector: number): void {
    if (vector < FIRST_VECTOR) this.#local.error(ESR.SEND_VECTOR);
    else this.interrupt(vector);
  }

  // 11.6.1. Only the level de-assert of INIT is a level, and it does nothing.
  #send(command: number): void {
    const mode = command >>> MESSAGE.MODE_SHIFT & 7;
    const hasVector = mode === DELIVERY.FIXED ||
      mode === DELIVERY.LOWEST_PRIORITY;
    if (hasVector && (command & MESSAGE.VECTOR) < FIRST_VECTOR) {
      return this.#local.error(ESR.SEND_VECTOR);
    }
    const isDeassert = (command & MESSAGE.LEVEL) !== 0 &&
      (command & MESSAGE.ASSERT) === 0;
    if (mode === DELIVERY.INIT && isDeassert) return;
    this.#host.counted?.("ipi");
    const high = this.#registers[APIC.ICR_HIGH]!;
    const destination = this.#mode === APIC_MODE.X2APIC
      ? high
      : widenDestination(high >>> 24);
    this.#bus.deliver(command & ~MESSAGE.LEVEL, destination, this.id);
  }

  // 11.4.7.2: while it is switched off, all local interrupts are masked.
  #switch(): void {
    if (!this.isEnabled) this.#local.maskAll();
    this.#notice();
  }

  #notice(): void {
    if (this.pending()) this.#host.attend();
  }

  // --- Save and restore ----------------------------------------------------

  save(): DeviceState {
    return STATE.save({
      mode: this.#mode,
      registers: [...this.#registers],
      isWaiting: this.#isWaiting,
      ...this.#local.state,
      timer: this.#timer.save(),
    });
  }

  restore(state: DeviceState): void {
    const values = STATE.check(state);
    const bad = illegalRegister(values.registers);
    if (bad !== undefined) {
      throw new PlatformStateError(
        `Cannot restore local-apic: register 0x${
          bad.toString(16)
        } has bits that do not exist`,
      );
    }
    this.#mode = values.mode;
    this.#registers.set(values.registers);
    this.#registers[APIC.VERSION] = APIC_VERSION;
    this.#identify();
    this.#isWaiting = values.isWaiting;
    this.#local.state = values;
    this.#timer.restore(values.timer);
    this.#vectors.update();
    this.#notice();
  }
}
