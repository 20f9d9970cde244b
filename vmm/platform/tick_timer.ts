// A counter at a fixed frequency that calls out once or periodically. Every expiry is
// computed from the start in whole ticks, so periods never drift, however late the
// host is. Setting and expiring allocate nothing.

import type { Clock } from "../device.ts";
import type { Alarm } from "./alarm_queue.ts";
import { alarmOf } from "./clock.ts";
import { flag, record, ticks, time } from "./state.ts";

/**
 * The shortest time between two expiries of a periodic timer, in nanoseconds. A
 * guest may ask for 1 ns; the expiries between are then left out, as vmm(4) leaves
 * out those that it is late for, and the phase is kept. Real systems ask for 122 us
 * (the RTC at 8192 Hz) or, for sound through the PIT, 60 us; at 50 us a timer costs
 * the machine's thread no more than 20,000 calls a second, about 2 % of it.
 */
export const MIN_PERIOD_NS = 50_000;

const CHECK = record({
  start: time,
  next: ticks,
  period: ticks,
  isRunning: flag,
});

/** The state of a counter. */
export type TickTimerState = ReturnType<typeof CHECK>;

/** Ticks since a start, and an expiry among them. */
export class TickTimer {
  /** Checks a saved state. */
  static readonly CHECK: typeof CHECK = CHECK;

  readonly #clock: Clock;
  readonly #nsPerTick: number;
  readonly #minTicks: number;
  readonly #expire: () => void;
  readonly #alarm: Alarm;
  #start = 0;
  #next = 0;
  #period = 0;
  #reached = 0;
  #isRunning = false;

  /**
   * @param nsPerTick length of a tick in nanoseconds
   * @param expire called at each expiry, when the next one is already set
   */
  constructor(clock: Clock, nsPerTick: number, expire: () => void) {
    this.#clock = clock;
    this.#nsPerTick = nsPerTick;
    this.#minTicks = MIN_PERIOD_NS / nsPerTick;
    this.#expire = expire;
    this.#alarm = alarmOf(clock, () => this.#ring());
  }

  /**
   * Counts from a time and expires.
   *
   * @param from guest time of tick 0, in nanoseconds
   * @param first tick of the first expiry
   * @param period ticks between the later ones; 0: there are none
   */
  start(from: number, first: number, period: number): void {
    this.#start = from;
    this.#next = first;
    this.#period = period;
    this.#reached = 0;
    this.#isRunning = true;
    this.#arm();
  }

  /** Lets nothing expire any more, and forgets the start. */
  stop(): void {
    this.#isRunning = false;
    this.#alarm.clear();
    this.#start = 0;
    this.#next = 0;
    this.#period = 0;
    this.#reached = 0;
  }

  /** Whether an expiry is to come. */
  get isRunning(): boolean {
    return this.#isRunning;
  }

  /** Ticks between expiries, from the next one on; 0: there is only that one. */
  set period(ticks: number) {
    this.#period = ticks;
  }
  get period(): number {
    return this.#period;
  }

  /** The tick of the next expiry. */
  get next(): number {
    return this.#next;
  }

  /** Whole ticks since the start. */
  get elapsed(): number {
    const passed = this.#clock.now() - this.#start;
    // An expiry that happened was reached, whatever rounding says.
    return Math.max(this.#reached, Math.floor(passed / this.#nsPerTick));
  }

  #arm(): void {
    this.#alarm.set(Math.ceil(this.#start + this.#next * this.#nsPerTick));
  }

  #ring(): void {
    this.#reached = this.#next;
    if (this.#period > 0) {
      this.#advance();
      this.#arm();
    } else {
      this.#isRunning = false;
    }
    this.#expire();
  }

  // On to the next expiry that is not past and not too soon after this one.
  #advance(): void {
    const soonest = Math.max(this.elapsed + 1, this.#next + this.#minTicks);
    const periods = Math.ceil((soonest - this.#next) / this.#period);
    this.#next += Math.max(1, periods) * this.#period;
  }

  /** Its state. */
  save(): TickTimerState {
    return {
      start: this.#start,
      next: this.#next,
      period: this.#period,
      isRunning: this.#isRunning,
    };
  }

  /** Goes on from a checked state; an expiry that is past happens soon. */
  restore(state: TickTimerState): void {
    this.start(state.start, state.next, state.period);
    this.#isRunning = state.isRunning;
    if (!state.isRunning) this.#alarm.clear();
  }
}
