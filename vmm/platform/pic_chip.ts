// One 8259A interrupt controller (Intel 8259A data sheet): initialisation and
// operation commands, rotating priorities, polling, and the ELCR of chipsets that
// have it. Left out: the MCS-80 mode, single chips (ICW3 is expected as announced, and
// ignored), LTIM, which ELCR replaces.

import { flag, integer, record, u8 } from "./state.ts";

/** A vector's lower bits where nothing asks: the spurious interrupt. */
export const SPURIOUS_PIN = 7;

// Bits of the first command words, which bits 4 and 3 tell apart.
const ICW1 = { SELECT: 0x10, SINGLE: 0x02, NEED_ICW4: 0x01 } as const;
const ICW4 = { NESTED: 0x10, AUTO_EOI: 0x02 } as const;
const OCW3 = {
  SELECT: 0x08,
  SET_SPECIAL_MASK: 0x40,
  SPECIAL_MASK: 0x20,
  POLL: 0x04,
  SET_READ: 0x02,
  READ_ISR: 0x01,
} as const;

// What the chip expects next at its odd address.
const EXPECTS = { MASK: 0, ICW2: 1, ICW3: 2, ICW4: 3 } as const;

const CHECK = record({
  irr: u8,
  isr: u8,
  imr: u8,
  pins: u8,
  elcr: u8,
  base: u8,
  lowest: integer(7),
  expects: integer(EXPECTS.ICW4),
  icw1: u8,
  isNested: flag,
  isAutoEoi: flag,
  isAutoRotate: flag,
  isSpecialMask: flag,
  isPolled: flag,
  readsIsr: flag,
});

/** The state of a chip. */
export type PicChipState = ReturnType<typeof CHECK>;

const POWER_ON: PicChipState = {
  irr: 0,
  isr: 0,
  imr: 0,
  pins: 0,
  elcr: 0,
  base: 0,
  lowest: 7,
  expects: EXPECTS.MASK,
  icw1: 0,
  isNested: false,
  isAutoEoi: false,
  isAutoRotate: false,
  isSpecialMask: false,
  isPolled: false,
  readsIsr: false,
};

/** One chip; whoever drives it looks at `request` after each call. */
export class PicChip {
  /** Checks a saved state. */
  static readonly CHECK: typeof CHECK = CHECK;

  readonly #cascade: number;
  readonly #elcrMask: number;
  #state: { -readonly [K in keyof PicChipState]: PicChipState[K] } = {
    ...POWER_ON,
  };

  /**
   * @param cascade bits of pins with a chip behind, which follow its output
   * @param elcrMask bits of pins that can be level-triggered
   */
  constructor(cascade: number, elcrMask: number) {
    this.#cascade = cascade;
    this.#elcrMask = elcrMask;
  }

  /** Into the state after power-on. */
  reset(): void {
    this.#state = { ...POWER_ON };
  }

  get #levels(): number {
    return this.#state.elcr | this.#cascade;
  }

  /** Drives a pin. */
  setPin(pin: number, level: boolean): void {
    const state = this.#state;
    const bit = 1 << pin;
    const isLevel = (this.#levels & bit) !== 0;
    const was = (state.pins & bit) !== 0;
    if (level && (isLevel || !was)) state.irr |= bit;
    // An edge that was seen waits for its acknowledgement: pulses are interrupts.
    if (!level && isLevel) state.irr &= ~bit;
    if (level) state.pins |= bit;
    else state.pins &= ~bit;
  }

  /** Which pins are level-triggered, as ELCR. */
  get elcr(): number {
    return this.#state.elcr;
  }
  set elcr(value: number) {
    const state = this.#state;
    const changed = state.elcr ^ value & this.#elcrMask;
    state.elcr = value & this.#elcrMask;
    const levels = changed & state.elcr;
    state.irr = state.irr & ~levels | state.pins & levels;
  }

  /** The pin that would be acknowledged now, or -1. */
  get request(): number {
    const { irr, imr, isr, lowest, isNested, isSpecialMask } = this.#state;
    const asking = irr & ~imr;
    // In special mask mode only the level itself is locked out.
    const open = isSpecialMask ? asking & ~isr : asking;
    const stops = isSpecialMask ? 0 : isNested ? isr & ~this.#cascade : isr;
    if (open === 0) return -1;
    for (let n = 1; n <= 8; n++) {
      const pin = (lowest + n) & 7;
      if ((stops >> pin & 1) !== 0) return -1;
      if ((open >> pin & 1) !== 0) return pin;
    }
    return -1;
  }

  /** The vector of a pin. */
  vector(pin: number): number {
    return this.#state.base | pin;
  }

  /** Takes a pin's interrupt into service. */
  acknowledge(pin: number): void {
    const state = this.#state;
    const bit = 1 << pin;
    if ((this.#levels & bit) === 0) state.irr &= ~bit;
    if (!state.isAutoEoi) state.isr |= bit;
    else if (state.isAutoRotate) state.lowest = pin;
  }

  // --- Registers -----------------------------------------------------------

  /** Reads at address 0 (A0 = 0) or 1. */
  read(address: number): number {
    const state = this.#state;
    if (state.isPolled) return this.#poll();
    if (address === 1) return state.imr;
    return state.readsIsr ? state.isr : state.irr;
  }

  // A poll acknowledges like the processor.
  #poll(): number {
    this.#state.isPolled = false;
    const pin = this.request;
    if (pin < 0) return SPURIOUS_PIN;
    this.acknowledge(pin);
    return 0x80 | pin;
  }

  /** Writes at address 0 (A0 = 0) or 1. */
  write(address: number, value: number): void {
    if (address === 1) this.#writeOdd(value);
    else if ((value & ICW1.SELECT) !== 0) this.#initialise(value);
    else if ((value & OCW3.SELECT) !== 0) this.#control(value);
    else this.#end(value >> 5, value & 7);
  }

  #initialise(icw1: number): void {
    const { pins, elcr, base } = this.#state;
    this.#state = {
      ...POWER_ON,
      pins,
      elcr,
      base,
      icw1,
      irr: pins & this.#levels,
      expects: EXPECTS.ICW2,
    };
  }

  #writeOdd(value: number): void {
    const state = this.#state;
    switch (state.expects) {
      case EXPECTS.MASK:
        state.imr = value;
        return;
      case EXPECTS.ICW2:
        state.base = value & 0xf8;
        state.expects = (state.icw1 & ICW1.SINGLE) !== 0
          ? this.#afterIcw3()
          : EXPECTS.ICW3;
        return;
      case EXPECTS.ICW3:
        state.expects = this.#afterIcw3();
        return;
      case EXPECTS.ICW4:
        state.isAutoEoi = (value & ICW4.AUTO_EOI) !== 0;
        state.isNested = (value & ICW4.NESTED) !== 0;
        state.expects = EXPECTS.MASK;
    }
  }

  #afterIcw3(): number {
    return (this.#state.icw1 & ICW1.NEED_ICW4) !== 0
      ? EXPECTS.ICW4
      : EXPECTS.MASK;
  }

  // OCW3.
  #control(value: number): void {
    const state = this.#state;
    if ((value & OCW3.SET_SPECIAL_MASK) !== 0) {
      state.isSpecialMask = (value & OCW3.SPECIAL_MASK) !== 0;
    }
    if ((value & OCW3.POLL) !== 0) state.isPolled = true;
    else if ((value & OCW3.SET_READ) !== 0) {
      state.readsIsr = (value & OCW3.READ_ISR) !== 0;
    }
  }

  // OCW2: bits 7 to 5 are rotate, specific, end of interrupt.
  #end(command: number, level: number): void {
    const isRotate = (command & 4) !== 0;
    const isSpecific = (command & 2) !== 0;
    const isEnd = (command & 1) !== 0;
    if (!isEnd && !isSpecific) {
      this.#state.isAutoRotate = isRotate;
      return;
    }
    const pin = isSpecific ? level : this.#inService();
    if (pin < 0) return;
    if (isEnd) this.#state.isr &= ~(1 << pin);
    if (isRotate) this.#state.lowest = pin;
  }

  // What a non-specific end means: the highest in service, but in special mask mode
  // not one that is masked.
  #inService(): number {
    const { isr, imr, lowest, isSpecialMask } = this.#state;
    const ends = isSpecialMask ? isr & ~imr : isr;
    for (let n = 1; n <= 8; n++) {
      const pin = (lowest + n) & 7;
      if ((ends >> pin & 1) !== 0) return pin;
    }
    return -1;
  }

  // --- Save and restore ----------------------------------------------------

  /** Its state. */
  save(): PicChipState {
    return { ...this.#state };
  }

  /** Goes on from a checked state. */
  restore(state: PicChipState): void {
    this.#state = {
      ...state,
      base: state.base & 0xf8,
      elcr: state.elcr & this.#elcrMask,
    };
  }
}
