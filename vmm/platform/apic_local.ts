// Local interrupts of a local APIC: the local vector table, the LINT0 and LINT1 pins,
// errors, and interrupts of the 8259s that only pass through (Intel SDM vol. 3, 11.5).
// As with vmm(4) pins are edges, and while the APIC is switched off, by either switch,
// they are the processor's INTR and NMI.

import { DELIVERY, MESSAGE } from "./apic_bus.ts";
import type { ExtIntSource } from "./apic_host.ts";
import {
  APIC,
  FIRST_VECTOR,
  LOCAL_INTERRUPTS,
  LVT,
  SVR_ENABLED,
} from "./apic_registers.ts";

/** What local interrupts lead to. */
export interface LocalInterruptsHost {
  /** Requests a vector of the APIC. */
  interrupt(vector: number): void;
  /** The processor should look at its interrupts. */
  attend(): void;
  /** A non-maskable interrupt. */
  nmi(): void;
  /** An entry was not masked: its index in `LOCAL_INTERRUPTS`. */
  triggered?(source: number): void;
}

/** The local interrupts of one APIC, whose registers are elsewhere. */
export class LocalInterrupts {
  readonly #registers: Uint32Array;
  readonly #extInt: ExtIntSource;
  readonly #host: LocalInterruptsHost;
  readonly #pins = [false, false];
  // An ExtINT that came as a message and was not taken yet.
  #hasExtInt = false;
  // Errors since the last write of ESR.
  #errors = 0;

  constructor(
    registers: Uint32Array,
    extInt: ExtIntSource,
    host: LocalInterruptsHost,
  ) {
    this.#registers = registers;
    this.#extInt = extInt;
    this.#host = host;
  }

  /** As after INIT: pins stay as they are driven. */
  reset(): void {
    this.#hasExtInt = false;
    this.#errors = 0;
  }

  // An APIC that is off in IA32_APIC_BASE has an SVR after reset.
  get #isEnabled(): boolean {
    return (this.#registers[APIC.SVR]! & SVR_ENABLED) !== 0;
  }

  /** Whether an interrupt of the 8259s can be taken. */
  get isExtIntReady(): boolean {
    if (this.#hasExtInt && this.#extInt.isRequesting) return true;
    if (!this.#pins[0]) return false;
    if (!this.#isEnabled) return true;
    const entry = this.#registers[APIC.LVT_LINT0]!;
    return (entry & LVT.MASKED) === 0 &&
      (entry >>> LVT.MODE_SHIFT & 7) === DELIVERY.EXTINT;
  }

  /** Takes the interrupt of the 8259s: its vector. */
  acknowledgeExtInt(): number {
    this.#hasExtInt = false;
    return this.#extInt.acknowledge();
  }

  /** An ExtINT message came. */
  takeExtInt(): void {
    this.#hasExtInt = true;
    this.#host.attend();
  }

  /** Raises a source by its index in `LOCAL_INTERRUPTS`; nothing for others. */
  raise(source: number): void {
    const lvt = LOCAL_INTERRUPTS[source];
    if (lvt === undefined) return;
    if (this.#isEnabled) return this.fire(lvt);
    if (lvt === APIC.LVT_LINT0) this.takeExtInt();
    if (lvt === APIC.LVT_LINT1) this.#host.nmi();
  }

  /** Drives LINT0 or LINT1. */
  setPin(pin: 0 | 1, level: boolean): void {
    const isRising = level && !this.#pins[pin];
    this.#pins[pin] = level;
    if (!isRising) return;
    if (pin === 0) {
      if (this.isExtIntReady) this.#host.attend();
      else this.#fireUnlessExtInt(APIC.LVT_LINT0);
    } else if (this.#isEnabled) this.fire(APIC.LVT_LINT1);
    else this.#host.nmi();
  }

  // A masked entry that is ExtINT is not remembered: the pin's level is.
  #fireUnlessExtInt(lvt: number): void {
    const mode = this.#registers[lvt]! >>> LVT.MODE_SHIFT & 7;
    if (mode !== DELIVERY.EXTINT) this.fire(lvt);
  }

  /** An event of an entry. Those without a mode are of mode 0, fixed. */
  fire(lvt: number): void {
    const entry = this.#registers[lvt]!;
    if ((entry & LVT.MASKED) !== 0 || !this.#isEnabled) return;
    this.#host.triggered?.(LOCAL_INTERRUPTS.indexOf(lvt));
    switch (entry >>> LVT.MODE_SHIFT & 7) {
      case DELIVERY.FIXED:
        return this.#host.interrupt(entry & MESSAGE.VECTOR);
      case DELIVERY.NMI:
        return this.#host.nmi();
      case DELIVERY.EXTINT:
        return this.takeExtInt();
    }
  }

  /** Notes errors; one whose own vector is illegal raises no further one. */
  error(errors: number): void {
    this.#errors |= errors;
    const entry = this.#registers[APIC.LVT_ERROR]!;
    if ((entry & MESSAGE.VECTOR) >= FIRST_VECTOR) this.fire(APIC.LVT_ERROR);
  }

  /** Shows the errors since the last time in ESR (11.5.3). */
  latchErrors(): void {
    this.#registers[APIC.ESR] = this.#errors;
    this.#errors = 0;
  }

  /** Masks every entry: the APIC was switched off (11.4.7.2). */
  maskAll(): void {
    for (const lvt of LOCAL_INTERRUPTS) this.#registers[lvt]! |= LVT.MASKED;
  }

  /** What is not in the registers. */
  get state(): LocalInterruptsState {
    const [lint0, lint1] = this.#pins;
    return {
      errors: this.#errors,
      hasExtInt: this.#hasExtInt,
      pins: [lint0!, lint1!],
    };
  }
  set state({ errors, hasExtInt, pins }: LocalInterruptsState) {
    this.#errors = errors;
    this.#hasExtInt = hasExtInt;
    pins.forEach((level, pin) => this.#pins[pin] = level);
  }
}

/** What local interrupts remember beside the APIC's registers. */
export interface LocalInterruptsState {
  readonly errors: number;
  readonly hasExtInt: boolean;
  readonly pins: readonly boolean[];
}
