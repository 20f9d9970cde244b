// The local APIC's timer (Intel SDM vol. 3, 11.5.4): one-shot, periodic and
// TSC-deadline mode, at 128 MiHz over the divider. A new divider takes effect at once,
// on what is left of the count.

import type { Clock } from "../device.ts";
import type { Alarm } from "./alarm_queue.ts";
import { alarmOf } from "./clock.ts";
import { hex64, integer, record, u32 } from "./state.ts";
import { TickTimer } from "./tick_timer.ts";

/** The clock that the divider divides, in hertz: what vmm(4) gives its guests. */
export const APIC_TIMER_HZ: number = 128 * 1024 * 1024;
const NS_PER_TICK = 1e9 / APIC_TIMER_HZ;
// A deadline that the alarm was early for is looked at again after this long.
const MIN_RETRY_NS = 1_000;

/** Modes: bits 18:17 of the timer's LVT entry; 3 is reserved and never fires. */
export const TIMER_MODE = { ONE_SHOT: 0, PERIODIC: 1, DEADLINE: 2 } as const;

/** A time stamp counter as the guest sees it. */
export interface TimeStamp {
  /** Its value. */
  read(): bigint;
  /** counts in a second */
  readonly frequency: number;
}

const CHECK = record({
  mode: integer(3),
  initial: u32,
  divide: integer(0xb),
  deadline: hex64,
  counter: TickTimer.CHECK,
});

/** The state of a timer. */
export type ApicTimerState = ReturnType<typeof CHECK>;

/** The divisor that a divide configuration register stands for. */
function divisor(divide: number): number {
  return 1 << ((((divide & 8) >> 1 | divide & 3) + 1) & 7);
}

/** One local APIC's timer. */
export class ApicTimer {
  /** Checks a saved state. */
  static readonly CHECK: typeof CHECK = CHECK;

  readonly #clock: Clock;
  readonly #tsc: TimeStamp;
  readonly #expire: () => void;
  readonly #counter: TickTimer;
  readonly #alarm: Alarm;
  #mode: number = TIMER_MODE.ONE_SHOT;
  #initial = 0;
  #divide = 0;
  #deadline = 0n;

  /**
   * Makes it as it is after power-on.
   *
   * @param expire called when the timer's interrupt is due
   */
  constructor(clock: Clock, tsc: TimeStamp, expire: () => void) {
    this.#clock = clock;
    this.#tsc = tsc;
    this.#expire = expire;
    this.#counter = new TickTimer(clock, NS_PER_TICK, expire);
    this.#alarm = alarmOf(clock, () => this.#ring());
  }

  /** Into the state after power-on. */
  reset(): void {
    this.#disarm();
    this.#mode = TIMER_MODE.ONE_SHOT;
    this.#divide = 0;
  }

  #disarm(): void {
    this.#counter.stop();
    this.#alarm.clear();
    this.#initial = 0;
    this.#deadline = 0n;
  }

  /** Changes the mode; to and from TSC-deadline mode disarms. */
  set mode(mode: number) {
    if (mode === this.#mode) return;
    if (mode >= TIMER_MODE.DEADLINE || this.#mode >= TIMER_MODE.DEADLINE) {
      this.#disarm();
    }
    this.#mode = mode;
    if (this.#counter.isRunning) this.#counter.period = this.#period;
  }
  get mode(): number {
    return this.#mode;
  }

  get #period(): number {
    return this.#mode === TIMER_MODE.PERIODIC
      ? this.#initial * divisor(this.#divide)
      : 0;
  }

  /** The initial count: a write starts the counter, 0 stops it. */
  set initial(count: number) {
    if (this.#mode >= TIMER_MODE.DEADLINE) return;
    this.#initial = count;
    this.#count(count);
  }
  get initial(): number {
    return this.#initial;
  }

  #count(count: number): void {
    this.#counter.stop();
    if (count === 0) return;
    const first = count * divisor(this.#divide);
    this.#counter.start(this.#clock.now(), first, this.#period);
  }

  /** The divide configuration register: bits 3, 1 and 0. */
  set divide(divide: number) {
    const left = this.current;
    this.#divide = divide;
    if (this.#counter.isRunning) this.#count(left);
  }
  get divide(): number {
    return this.#divide;
  }

  /** The current count. */
  get current(): number {
    if (!this.#counter.isRunning) return 0;
    const left = this.#counter.next - this.#counter.elapsed;
    const counts = Math.ceil(left / divisor(this.#divide));
    const { period } = this.#counter;
    if (period === 0) return Math.max(0, Math.min(counts, this.#initial));
    // Expiries may have been left out, or be late.
    const phase = (counts - 1) % this.#initial;
    return (phase < 0 ? phase + this.#initial : phase) + 1;
  }

  /** IA32_TSC_DEADLINE: 0 where nothing is armed. */
  set deadline(deadline: bigint) {
    if (this.#mode !== TIMER_MODE.DEADLINE) return;
    this.#deadline = deadline;
    this.#seek();
  }
  get deadline(): bigint {
    return this.#deadline;
  }

  /** The time stamp was written: the deadline is nearer or farther. */
  tscChanged(): void {
    this.#seek();
  }

  #seek(soonest = 0): void {
    this.#alarm.clear();
    if (this.#deadline === 0n) return;
    const left = Number(this.#deadline - this.#tsc.read());
    const wait = Math.ceil(left * 1e9 / this.#tsc.frequency);
    this.#alarm.set(this.#clock.now() + Math.max(soonest, wait));
  }

  #ring(): void {
    if (this.#tsc.read() < this.#deadline) return this.#seek(MIN_RETRY_NS);
    this.#deadline = 0n;
    this.#expire();
  }

  /** Its state. */
  save(): Record<keyof ApicTimerState, unknown> {
    return {
      mode: this.#mode,
      initial: this.#initial,
      divide: this.#divide,
      deadline: `0x${this.#deadline.toString(16)}`,
      counter: this.#counter.save(),
    };
  }

  /** Goes on from a checked state. */
  restore(state: ApicTimerState): void {
    this.#disarm();
    this.#mode = state.mode;
    this.#initial = state.initial;
    this.#divide = state.divide;
    this.#deadline = state.deadline;
    const { counter } = state;
    const period = counter.isRunning ? this.#period : counter.period;
    this.#counter.restore({ ...counter, period });
    this.#seek();
  }
}
