// Interrupts of ISA devices: each is wired to a pin of the 8259s and to one of the
// I/O APIC, the same but for the timer's, which is on pin 2 (the interrupt source
// override that the MADT tells of).

import type { IrqLine } from "../device.ts";
import { type IoApic, requirePin } from "./ioapic.ts";
import { type PicPair, requireIrq } from "./pic.ts";

/** A pin of a controller that counts who asserts it. */
export interface CountedPin {
  /** One more asserts it. */
  assert(): void;
  /** One less asserts it. */
  deassert(): void;
}

/** The I/O APIC's pin of an ISA interrupt. */
export function ioapicPinOfIsa(irq: number): number {
  return irq === 0 ? 2 : irq;
}

/** A pin of the I/O APIC. @throws {RangeError} for one that it has not */
export function ioapicPin(ioapic: IoApic, pin: number): CountedPin {
  requirePin(pin);
  return {
    assert: () => ioapic.assert(pin),
    deassert: () => ioapic.deassert(pin),
  };
}

/** A pin of the 8259s. @throws {RangeError} for one that they have not */
export function picPin(pic: PicPair, irq: number): CountedPin {
  requireIrq(irq);
  return {
    assert: () => pic.assert(irq),
    deassert: () => pic.deassert(irq),
  };
}

/**
 * The pins of an ISA interrupt.
 *
 * @param irq 0 to 15, but for 2, which is the cascade
 * @throws {RangeError} for another number
 */
export function isaPins(
  pic: PicPair,
  ioapic: IoApic,
  irq: number,
): CountedPin[] {
  if (!Number.isInteger(irq) || irq < 0 || irq > 15 || irq === 2) {
    throw new RangeError(
      `Cannot use ISA interrupt ${irq}: expected 0 to 15 but not 2`,
    );
  }
  return [picPin(pic, irq), ioapicPin(ioapic, ioapicPinOfIsa(irq))];
}

/** One device's line to some pins; it asserts each once, however often it is set. */
export class PinLine implements IrqLine {
  readonly #pins: readonly CountedPin[];
  #level = false;

  /**
   * Makes a line that is not asserted.
   *
   * @param pins what it drives
   */
  constructor(pins: readonly CountedPin[]) {
    this.#pins = pins;
  }

  /** Whether it is asserted. */
  get level(): boolean {
    return this.#level;
  }

  set(level: boolean): void {
    if (level === this.#level) return;
    this.#level = level;
    for (let n = 0; n < this.#pins.length; n++) {
      if (level) this.#pins[n]!.assert();
      else this.#pins[n]!.deassert();
    }
  }

  pulse(): void {
    for (let n = 0; n < this.#pins.length; n++) {
      this.#pins[n]!.assert();
      this.#pins[n]!.deassert();
    }
  }

  /** Remembers a level that the pins have counted already, or forgot. */
  assume(level: boolean): void {
    this.#level = level;
  }
}
