// The real-time clock and its 128 bytes of memory (Motorola MC146818 data sheet),
// behind ports 70h and 71h as with vmm(4): the NMI bit of the index, daylight saving
// and the square wave mean nothing. It keeps the host's time of day, from which a
// guest may set it off, and needs no host timer while nobody wants interrupts.

import type { BusHandler } from "../bus.ts";
import type { Clock, DeviceState, IrqLine, Lifecycle } from "../device.ts";
import type { Alarm } from "./alarm_queue.ts";
import { alarmOf } from "./clock.ts";
import { byteRegisters } from "./port_registers.ts";
import {
  getTime,
  nextAlarm,
  putTime,
  RTC,
  RTC_B,
  TIME_REGISTERS,
} from "./rtc_fields.ts";
import { integer, StateFormat, table, time, u8 } from "./state.ts";

/** Bytes of its memory. */
export const RTC_BYTES = 128;

// Register A: the update is near; the divider; the rate.
const UPDATING = 0x80;
const DIVIDER = 0x70;
const DIVIDER_RUNS = 0x20;
const RATE = 0x0f;
// An update takes 1984 us, and is announced 244 us before.
const UPDATE_SECONDS = 0.002_228;
// Register C: the interrupt, and its sources at their bits of register B.
const INTERRUPT = 0x80;
const SOURCES = RTC_B.PERIODIC | RTC_B.ALARM | RTC_B.UPDATE;
// Register D: the battery is good.
const BATTERY = 0x80;
// Where Date ends, in seconds.
const LAST_SECOND = 8.64e12;
// Seconds since 1970 are exact to a quarter of a microsecond: an alarm that is set for
// one is set a little later, so that it never rings before.
const SLACK_NS = 1_000;

const STATE = new StateFormat("rtc", 1, {
  index: integer(RTC_BYTES - 1),
  registers: table(u8, RTC_BYTES),
  offset: time,
  stopped: time,
});

/** What a real-time clock is made of. */
export interface RtcOptions {
  /** guest time, by which it ticks */
  readonly clock: Clock;
  /** the host's seconds since 1970, with fractions, in the zone that the guest sees */
  readonly wallClock: () => number;
  /** pulsed for each interrupt */
  readonly irq: IrqLine;
}

/** The clock, its alarm, its periodic interrupt and its memory. */
export class Rtc implements Lifecycle {
  readonly name = "rtc";
  readonly #clock: Clock;
  readonly #wallClock: () => number;
  readonly #irq: IrqLine;
  readonly #alarm: Alarm;
  readonly #registers = new Uint8Array(RTC_BYTES);
  #index = 0;
  // The time of day at guest time 0, while it runs.
  #base = 0;
  // How far the guest has set it from the host's.
  #offset = 0;
  // The time of day at which it was stopped by SET or the divider.
  #stopped = 0;
  // Up to when events are in register C: the time of day, and for the periodic
  // interrupt, which SET does not stop, the guest's.
  #seen = 0;
  #seenUptime = 0;

  /**
   * Makes it as it is after power-on.
   *
   * @param options time and its interrupt
   */
  constructor({ clock, wallClock, irq }: RtcOptions) {
    this.#clock = clock;
    this.#wallClock = wallClock;
    this.#irq = irq;
    this.#alarm = alarmOf(clock, () => this.#advance());
    this.#registers[RTC.A] = DIVIDER_RUNS;
    this.#registers[RTC.B] = RTC_B.HOURS_24;
    this.#registers[RTC.D] = BATTERY;
    this.#base = wallClock() - this.#uptime;
    this.#skip();
    this.#show();
  }

  /** A reset of the machine: the battery keeps the time and the memory. */
  reset(): void {
    this.#advance();
    this.#registers[RTC.B]! &= ~SOURCES;
    this.#registers[RTC.C] = 0;
    this.#index = 0;
    this.#arm();
  }

  // --- Time ----------------------------------------------------------------

  get #uptime(): number {
    return this.#clock.now() / 1e9;
  }

  get #isRunning(): boolean {
    const isHeld = (this.#registers[RTC.B]! & RTC_B.SET) !== 0;
    return !isHeld && this.#dividerRuns;
  }

  get #dividerRuns(): boolean {
    return (this.#registers[RTC.A]! & DIVIDER) === DIVIDER_RUNS;
  }

  get #now(): number {
    return this.#isRunning ? this.#base + this.#uptime : this.#stopped;
  }

  #setNow(seconds: number): void {
    const now = Math.max(-LAST_SECOND, Math.min(seconds, LAST_SECOND));
    this.#base = now - this.#uptime;
    this.#offset = now - this.#wallClock();
    this.#stopped = now;
    this.#skip();
  }

  // Nothing happened since the last look.
  #skip(): void {
    this.#seen = this.#now;
    this.#seenUptime = this.#uptime;
  }

  /** Seconds since 1970 in the guest's zone: `vm_rtc_gettime`. */
  get time(): number {
    return Math.floor(this.#now);
  }

  /** Sets the time of day: `vm_rtc_settime`. */
  set time(seconds: number) {
    this.#advance();
    this.#setNow(seconds);
    this.#show();
    this.#arm();
  }

  /** Follows the host again after guest time was stopped: `vm_restore_time`. */
  resync(): void {
    if (!this.#isRunning) return;
    this.#advance();
    this.#base = this.#wallClock() + this.#offset - this.#uptime;
    this.#skip();
    this.#show();
    this.#arm();
  }

  #show(): void {
    putTime(this.#registers, this.#now, this.#registers[RTC.B]!);
  }

  // --- Interrupts ----------------------------------------------------------

  // Periods in a second; 0: none (data sheet, table 3: a rate of 1 or 2 is 8 or 9).
  get #frequency(): number {
    const rate = this.#registers[RTC.A]! & RATE;
    if (rate === 0 || !this.#dividerRuns) return 0;
    return 65_536 >> (rate < 3 ? rate + 7 : rate);
  }

  // Number of the period that was seen last.
  get #period(): number {
    return Math.floor(this.#seenUptime * this.#frequency);
  }

  // Puts what happened since the last look into register C and the time registers.
  #advance(): void {
    const now = this.#now;
    const seen = this.#seen;
    const period = this.#period;
    this.#skip();
    let events = period < this.#period ? RTC_B.PERIODIC : 0;
    if (Math.floor(now) > Math.floor(seen)) {
      events |= RTC_B.UPDATE;
      if (this.#nextAlarm(seen) <= now) events |= RTC_B.ALARM;
      this.#show();
    }
    this.#flag(events);
    this.#arm();
  }

  #nextAlarm(after: number): number {
    return nextAlarm(this.#registers, this.#registers[RTC.B]!, after);
  }

  #flag(events: number): void {
    const flags = this.#registers[RTC.C]! | events;
    const isAsking = (flags & this.#registers[RTC.B]! & SOURCES) !== 0;
    const isNew = isAsking && (flags & INTERRUPT) === 0;
    this.#registers[RTC.C] = flags | (isAsking ? INTERRUPT : 0);
    if (isNew) this.#irq.pulse();
  }

  // Until register C is read there are no more interrupts, so nothing is to be done.
  #arm(): void {
    const isAsking = (this.#registers[RTC.C]! & INTERRUPT) !== 0;
    const next = isAsking ? Infinity : this.#nextEvent();
    if (next === Infinity) return this.#alarm.clear();
    const soonest = this.#clock.now();
    this.#alarm.set(Math.max(soonest, Math.ceil(next * 1e9)) + SLACK_NS);
  }

  // When the next event is that interrupts, in seconds of guest time.
  #nextEvent(): number {
    const enabled = this.#registers[RTC.B]!;
    let next = Infinity;
    if ((enabled & RTC_B.PERIODIC) !== 0 && this.#frequency > 0) {
      next = (this.#period + 1) / this.#frequency;
    }
    if (!this.#isRunning) return next;
    if ((enabled & RTC_B.UPDATE) !== 0) {
      next = Math.min(next, Math.floor(this.#seen) + 1 - this.#base);
    }
    if ((enabled & RTC_B.ALARM) !== 0) {
      next = Math.min(next, this.#nextAlarm(this.#seen) - this.#base);
    }
    return next;
  }

  // --- Registers -----------------------------------------------------------

  /** Ports 70h, which cannot be read, and 71h. */
  readonly ports: BusHandler = byteRegisters({
    read: (offset) => offset === 1 ? this.#read(this.#index) : 0xff,
    write: (offset, value) => {
      if (offset === 0) this.#index = value & RTC_BYTES - 1;
      if (offset === 1) this.#write(this.#index, value);
    },
  });

  #read(register: number): number {
    this.#advance();
    const value = this.#registers[register]!;
    if (register === RTC.A && this.#isUpdating) return value | UPDATING;
    if (register === RTC.C) {
      this.#registers[RTC.C] = 0;
      this.#arm();
    }
    return value;
  }

  get #isUpdating(): boolean {
    const now = this.#now;
    return this.#isRunning && now - Math.floor(now) >= 1 - UPDATE_SECONDS;
  }

  #write(register: number, value: number): void {
    this.#advance();
    switch (register) {
      case RTC.A:
        this.#control(RTC.A, value & ~UPDATING);
        break;
      case RTC.B:
        this.#control(RTC.B, this.#legalB(value));
        break;
      case RTC.C:
      case RTC.D:
        return;
      case RTC.SECONDS:
        // Bit 7 is read-only.
        this.#registers[register] = value & 0x7f;
        break;
      default:
        this.#registers[register] = value;
    }
    if (TIME_REGISTERS.includes(register)) this.#timeWritten();
    this.#arm();
  }

  // SET takes the update interrupt's enable with it.
  #legalB(value: number): number {
    return (value & RTC_B.SET) !== 0 ? value & ~RTC_B.UPDATE : value;
  }

  // Writes A or B, which may stop the clock, start it, or change how it shows.
  #control(register: number, value: number): void {
    const wasRunning = this.#isRunning;
    const now = this.#now;
    const format = this.#registers[RTC.B]!;
    this.#registers[register] = value;
    if (wasRunning) this.#stopped = now;
    if (this.#isRunning && !wasRunning) {
      this.#setNow(getTime(this.#registers, value));
    } else if (this.#isRunning && format !== this.#registers[RTC.B]) {
      this.#show();
    }
    // A source that is enabled while its flag is up interrupts at once.
    this.#flag(0);
  }

  // While it runs a register takes effect at once; SET collects them.
  #timeWritten(): void {
    if (!this.#isRunning) return;
    const format = this.#registers[RTC.B]!;
    const fraction = this.#now - Math.floor(this.#now);
    this.#setNow(getTime(this.#registers, format) + fraction);
    this.#show();
  }

  // --- Memory --------------------------------------------------------------

  /** Reads a byte: `vm_rtc_read`. @throws {RangeError} outside 0 to 127 */
  readMemory(offset: number): number {
    requireOffset(offset);
    this.#advance();
    return this.#registers[offset]!;
  }

  /**
   * Writes a byte of memory: `vm_rtc_write`.
   *
   * @throws {RangeError} outside 14 to 127, and for the century
   */
  writeMemory(offset: number, value: number): void {
    requireOffset(offset);
    if (offset <= RTC.D || offset === RTC.CENTURY) {
      throw new RangeError(
        `Cannot write RTC memory at ${offset}: it is a register of the clock`,
      );
    }
    this.#registers[offset] = value;
  }

  // --- Save and restore ----------------------------------------------------

  save(): DeviceState {
    this.#advance();
    return STATE.save({
      index: this.#index,
      registers: [...this.#registers],
      offset: this.#offset,
      stopped: this.#stopped,
    });
  }

  /** Goes on from a state at the host's time, as far off as it was. */
  restore(state: DeviceState): void {
    const values = STATE.check(state);
    this.#index = values.index;
    this.#registers.set(values.registers);
    this.#registers[RTC.D] = BATTERY;
    this.#offset = values.offset;
    this.#stopped = values.stopped;
    this.#base = this.#wallClock() + this.#offset - this.#uptime;
    // What the guest slept through is not made up for.
    this.#skip();
    if (this.#isRunning) this.#show();
    this.#arm();
  }
}

function requireOffset(offset: number): void {
  if (!Number.isInteger(offset) || offset < 0 || offset >= RTC_BYTES) {
    throw new RangeError(
      `Cannot use RTC memory at ${offset}: expected 0 to ${RTC_BYTES - 1}`,
    );
  }
}
