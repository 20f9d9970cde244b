// The high precision event timer (IA-PC HPET specification 1.0a, section 2) as vmm(4)
// has it: a counter of 32 bits at 2^24 Hz, eight timers of 32 bits that can all be
// periodic and send messages, I/O APIC pins 24 to 31, no legacy replacement.

import type { BusHandler } from "../bus.ts";
import type {
  Clock,
  DeviceState,
  IrqLine,
  Lifecycle,
  MsiSink,
} from "../device.ts";
import {
  HPET_COUNTER,
  HPET_HZ,
  HPET_NS_PER_TICK,
  HpetCounter,
} from "./hpet_counter.ts";
import { HpetTimer } from "./hpet_timer.ts";
import { flag, StateFormat, table, time, u32 } from "./state.ts";

/** Where it is in memory. */
export const HPET_BASE = 0xfed0_0000;
/** How many addresses it has. */
export const HPET_LENGTH = 0x400;
/** Its timers. */
export const HPET_TIMERS = 8;
/** The lower half of its capabilities: Intel, eight timers, revision 1. */
export const HPET_CAPABILITIES = 0x8086_0701;

const PERIOD_FS = Math.floor(1e15 / HPET_HZ);

// Offsets of registers.
const REGISTER = {
  CAPABILITIES: 0x000,
  PERIOD: 0x004,
  CONFIG: 0x010,
  STATUS: 0x020,
  COUNTER: HPET_COUNTER,
  TIMERS: 0x100,
} as const;
const TIMER_STRIDE = 0x20;
const ENABLED = 1;
const FIRST_PIN = 24;

const STATE = new StateFormat("hpet", 1, {
  isEnabled: flag,
  counter: u32,
  start: time,
  status: u32,
  timers: table(HpetTimer.CHECK, HPET_TIMERS),
});

/** What a HPET is made of. */
export interface HpetOptions {
  /** guest time, by which it counts */
  readonly clock: Clock;
  /** lines to I/O APIC pins 24 to 31, used by nobody else */
  readonly lines: readonly IrqLine[];
  /** where its messages go */
  readonly msi: MsiSink;
  /** where the main counter is, for other threads to see: `HPET_COUNTER_WORDS` */
  readonly counter?: Float64Array;
}

/** The counter and its timers. */
export class Hpet implements BusHandler, Lifecycle {
  readonly name = "hpet";
  readonly #lines: readonly IrqLine[];
  readonly #msi: MsiSink;
  readonly #timers: readonly HpetTimer[];
  readonly #main: HpetCounter;
  #status = 0;

  /**
   * Makes it as it is after power-on.
   *
   * @param options time, lines and messages
   */
  constructor({ clock, lines, msi, counter }: HpetOptions) {
    this.#main = new HpetCounter(clock, counter);
    this.#lines = lines;
    this.#msi = msi;
    this.#timers = Array.from(
      { length: HPET_TIMERS },
      (_, n) =>
        new HpetTimer(clock, HPET_NS_PER_TICK, () => this.#interrupt(n)),
    );
  }

  reset(): void {
    this.#main.reset();
    this.#status = 0;
    for (const timer of this.#timers) timer.reset();
    this.#drive();
  }

  // --- Counting ------------------------------------------------------------

  /** The main counter. */
  get counter(): number {
    return this.#main.value;
  }

  #enable(isEnabled: boolean): void {
    if (isEnabled === this.#main.isEnabled) return;
    this.#main.enable(isEnabled);
    for (const timer of this.#timers) this.#schedule(timer);
  }

  #schedule(timer: HpetTimer): void {
    const { isEnabled, start, base, elapsed } = this.#main;
    if (isEnabled) timer.schedule(start, base, elapsed);
    else timer.stop();
  }

  // --- Interrupts ----------------------------------------------------------

  #interrupt(number: number): void {
    const timer = this.#timers[number]!;
    if (!timer.isInterrupting) return;
    if (timer.isMessage) {
      this.#msi.raise(timer.messageAddress, timer.messageData);
    } else if (timer.isLevel) {
      this.#status |= 1 << number;
      this.#drive();
    } else this.#lines[timer.route - FIRST_PIN]?.pulse();
  }

  // A pin is up while any level-triggered timer that is routed to it has its status.
  #drive(): void {
    let pins = 0;
    for (let n = 0; n < HPET_TIMERS; n++) {
      const timer = this.#timers[n]!;
      const isUp = (this.#status >> n & 1) !== 0 && timer.isInterrupting &&
        timer.isLevel && !timer.isMessage;
      if (isUp && timer.route >= FIRST_PIN) {
        pins |= 1 << timer.route - FIRST_PIN;
      }
    }
    for (let n = 0; n < this.#lines.length; n++) {
      this.#lines[n]!.set((pins >> n & 1) !== 0);
    }
  }

  // --- Registers -----------------------------------------------------------

  read(offset: number, bytes: number): number | bigint {
    if (bytes === 4 && (offset & 3) === 0) return this.#read(offset);
    if (bytes !== 8 || (offset & 7) !== 0) return 0;
    return BigInt(this.#read(offset)) | BigInt(this.#read(offset + 4)) << 32n;
  }

  write(offset: number, bytes: number, value: bigint): void {
    if (bytes === 4 && (offset & 3) === 0) this.#write(offset, Number(value));
    if (bytes !== 8 || (offset & 7) !== 0) return;
    this.#write(offset, Number(value & 0xffff_ffffn));
    this.#write(offset + 4, Number(value >> 32n));
  }

  #timerAt(offset: number): HpetTimer | undefined {
    return this.#timers[(offset - REGISTER.TIMERS) / TIMER_STRIDE | 0];
  }

  #read(offset: number): number {
    if (offset >= REGISTER.TIMERS) {
      return this.#timerAt(offset)?.read(offset % TIMER_STRIDE) ?? 0;
    }
    switch (offset) {
      case REGISTER.CAPABILITIES:
        return HPET_CAPABILITIES;
      case REGISTER.PERIOD:
        return PERIOD_FS;
      case REGISTER.CONFIG:
        return this.#main.isEnabled ? ENABLED : 0;
      case REGISTER.STATUS:
        return this.#status;
      case REGISTER.COUNTER:
        return this.counter;
      default:
        return 0;
    }
  }

  #write(offset: number, value: number): void {
    if (offset >= REGISTER.TIMERS) return this.#writeTimer(offset, value);
    switch (offset) {
      case REGISTER.CONFIG:
        return this.#enable((value & ENABLED) !== 0);
      case REGISTER.STATUS:
        this.#status &= ~value;
        return this.#drive();
      case REGISTER.COUNTER:
        // 2.3.7: it is written only while it is stopped.
        if (!this.#main.isEnabled) this.#main.base = value;
    }
  }

  #writeTimer(offset: number, value: number): void {
    const timer = this.#timerAt(offset);
    if (timer === undefined) return;
    if (timer.write(offset % TIMER_STRIDE, value)) this.#schedule(timer);
    // A timer that is no level any more has no status.
    if (!timer.isLevel) this.#status &= ~(1 << this.#timers.indexOf(timer));
    this.#drive();
  }

  // --- Save and restore ----------------------------------------------------

  save(): DeviceState {
    return STATE.save({
      isEnabled: this.#main.isEnabled,
      counter: this.#main.base,
      start: this.#main.start,
      status: this.#status,
      timers: this.#timers.map((timer) => timer.save()),
    });
  }

  restore(state: DeviceState): void {
    const values = STATE.check(state);
    this.#main.restore(values);
    this.#status = values.status & 0xff;
    values.timers.forEach((timer, n) => this.#timers[n]!.restore(timer));
    this.#drive();
  }
}
