// One timer of the HPET (IA-PC HPET specification 1.0a, 2.3.8 to 2.3.10): its
// configuration, its comparator, which in periodic mode moves on by itself, and where
// its interrupt goes.

import type { Clock } from "../device.ts";
import { record, u32 } from "./state.ts";
import { TickTimer } from "./tick_timer.ts";

// Offsets of registers.
const REGISTER = {
  CONFIG: 0x00,
  ROUTES: 0x04,
  COMPARATOR: 0x08,
  MESSAGE_DATA: 0x10,
  MESSAGE_ADDRESS: 0x14,
} as const;

// Bits of the configuration.
const LEVEL = 1 << 1;
const INTERRUPTS = 1 << 2;
const PERIODIC = 1 << 3;
const CAN_BE_PERIODIC = 1 << 4;
const SET_VALUE = 1 << 6;
const MODE_32 = 1 << 8;
const ROUTE_SHIFT = 9;
const ROUTE = 31 << ROUTE_SHIFT;
const MESSAGE = 1 << 14;
const CAN_SEND = 1 << 15;
const WRITABLE = LEVEL | INTERRUPTS | PERIODIC | SET_VALUE | MODE_32 | ROUTE |
  MESSAGE;
const FIXED = CAN_BE_PERIODIC | CAN_SEND;

/** I/O APIC pins that a timer may use, by bit. */
export const HPET_ROUTES = 0xff00_0000;

// Ticks until a counter of 32 bits has a value again.
const WRAP = 2 ** 32;

const CHECK = record({
  config: u32,
  comparator: u32,
  period: u32,
  data: u32,
  address: u32,
  base: u32,
  timer: TickTimer.CHECK,
});

/** The state of a timer. */
export type HpetTimerState = ReturnType<typeof CHECK>;

/** One timer. */
export class HpetTimer {
  /** Checks a saved state. */
  static readonly CHECK: typeof CHECK = CHECK;

  readonly #timer: TickTimer;
  #config = FIXED;
  // After power-on all ones: the counter does not get there soon.
  #comparator = WRAP - 1;
  #period = 0;
  #data = 0;
  #address = 0;
  // The counter's value when it was started.
  #base = 0;

  /**
   * Makes it as it is after power-on.
   *
   * @param expire called when the counter reaches the comparator
   */
  constructor(clock: Clock, nsPerTick: number, expire: () => void) {
    this.#timer = new TickTimer(clock, nsPerTick, () => {
      this.#follow();
      expire();
    });
  }

  /** Into the state after power-on. */
  reset(): void {
    this.stop();
    this.#config = FIXED;
    this.#comparator = WRAP - 1;
    this.#period = 0;
    this.#data = 0;
    this.#address = 0;
    this.#base = 0;
  }

  // --- Configuration -------------------------------------------------------

  /** Whether it interrupts at all. */
  get isInterrupting(): boolean {
    return (this.#config & INTERRUPTS) !== 0;
  }

  /** Whether its interrupt stays until its status is cleared. */
  get isLevel(): boolean {
    return (this.#config & LEVEL) !== 0;
  }

  /** Whether it sends a message instead of driving a pin. */
  get isMessage(): boolean {
    return (this.#config & MESSAGE) !== 0;
  }

  /** Where its message goes. */
  get messageAddress(): number {
    return this.#address;
  }

  /** What its message says. */
  get messageData(): number {
    return this.#data;
  }

  /** The I/O APIC pin that it drives; 0: none. */
  get route(): number {
    const route = (this.#config & ROUTE) >>> ROUTE_SHIFT;
    return (HPET_ROUTES >>> route & 1) !== 0 ? route : 0;
  }

  get #isPeriodic(): boolean {
    return (this.#config & PERIODIC) !== 0 && this.#period > 0;
  }

  // --- Expiring ------------------------------------------------------------

  /**
   * Expires when the counter has the comparator's value, and then once a period, or
   * whenever the counter comes by again.
   *
   * @param start guest time when the counter was started
   * @param base the counter's value then
   * @param elapsed ticks since then
   */
  schedule(start: number, base: number, elapsed: number): void {
    const counter = (base + elapsed) % WRAP;
    const wait = (this.#comparator - counter + WRAP) % WRAP;
    const period = this.#isPeriodic ? this.#period : WRAP;
    this.#base = base;
    this.#timer.start(start, elapsed + wait, period);
  }

  /** Expires no more. */
  stop(): void {
    this.#timer.stop();
  }

  // Periods that were left out move the comparator, too: it is the next expiry.
  #follow(): void {
    if (!this.#isPeriodic) return;
    this.#comparator = (this.#base + this.#timer.next) % WRAP;
  }

  // --- Registers -----------------------------------------------------------

  /** Reads four bytes. */
  read(offset: number): number {
    switch (offset) {
      case REGISTER.CONFIG:
        return this.#config;
      case REGISTER.ROUTES:
        return HPET_ROUTES;
      case REGISTER.COMPARATOR:
        return this.#comparator;
      case REGISTER.MESSAGE_DATA:
        return this.#data;
      case REGISTER.MESSAGE_ADDRESS:
        return this.#address;
      default:
        return 0;
    }
  }

  /** Writes four bytes; true: its expiries changed. */
  write(offset: number, value: number): boolean {
    switch (offset) {
      case REGISTER.CONFIG:
        return this.#configure(value);
      case REGISTER.COMPARATOR:
        return this.#compare(value);
      case REGISTER.MESSAGE_DATA:
        this.#data = value;
        return false;
      case REGISTER.MESSAGE_ADDRESS:
        this.#address = value;
        return false;
      default:
        return false;
    }
  }

  #configure(value: number): boolean {
    const was = this.#config;
    this.#config = value & WRITABLE | FIXED;
    return ((was ^ this.#config) & PERIODIC) !== 0;
  }

  // In periodic mode a write sets the period, and the comparator only if that was
  // asked for just before (2.3.9.2.2).
  #compare(value: number): boolean {
    if ((this.#config & PERIODIC) === 0) {
      this.#comparator = value;
      return true;
    }
    this.#period = value;
    if ((this.#config & SET_VALUE) !== 0) this.#comparator = value;
    this.#config &= ~SET_VALUE;
    return true;
  }

  // --- Save and restore ----------------------------------------------------

  /** Its state. */
  save(): HpetTimerState {
    return {
      config: this.#config,
      comparator: this.#comparator,
      period: this.#period,
      data: this.#data,
      address: this.#address,
      base: this.#base,
      timer: this.#timer.save(),
    };
  }

  /** Goes on from a checked state. */
  restore(state: HpetTimerState): void {
    this.#config = state.config & WRITABLE | FIXED;
    this.#comparator = state.comparator;
    this.#period = state.period;
    this.#data = state.data;
    this.#address = state.address;
    this.#base = state.base;
    this.#timer.restore(state.timer);
  }
}
