// The HPET's main counter (IA-PC HPET Specification 1.0a, 2.3.7): 32 bits that count
// guest time, kept in three numbers so that other threads can read it by themselves.

import type { Clock } from "../device.ts";

/** Its frequency, in hertz. */
export const HPET_HZ: number = 2 ** 24;
/** Nanoseconds in a tick; exact. */
export const HPET_NS_PER_TICK: number = 1e9 / HPET_HZ;
/** Where it is read, from the start of the HPET. */
export const HPET_COUNTER = 0xf0;
/** Numbers that say how the main counter counts. */
export const HPET_COUNTER_WORDS = 3;

/** The main counter, which other threads can read without its device. */
export class HpetCounter {
  readonly #clock: Clock;
  // Whether it runs; its value when it was started, or now where it is stopped; when
  // that was.
  readonly #words: Float64Array;

  /** @param words `HPET_COUNTER_WORDS` that other threads see */
  constructor(
    clock: Clock,
    words: Float64Array = new Float64Array(HPET_COUNTER_WORDS),
  ) {
    this.#clock = clock;
    this.#words = words;
  }

  /** Whether it runs. */
  get isEnabled(): boolean {
    return this.#words[0] !== 0;
  }

  /** What it starts from, or stands at. */
  get base(): number {
    return this.#words[1]!;
  }
  set base(value: number) {
    this.#words[1] = value;
  }

  /** When it was started, in guest time. */
  get start(): number {
    return this.#words[2]!;
  }

  /** Ticks since it was started. */
  get elapsed(): number {
    const passed = (this.#clock.now() - this.start) / HPET_NS_PER_TICK;
    return Math.max(0, Math.floor(passed));
  }

  /** Its value. */
  get value(): number {
    return this.isEnabled ? (this.base + this.elapsed) % 2 ** 32 : this.base;
  }

  /** Starts or stops it. */
  enable(isEnabled: boolean): void {
    this.#words.set([isEnabled ? 1 : 0, this.value, this.#clock.now()]);
  }

  /** As after power-on. */
  reset(): void {
    this.#words.fill(0);
  }

  /** Goes on from saved values. */
  restore(
    { isEnabled, counter, start }: {
      readonly isEnabled: boolean;
      readonly counter: number;
      readonly start: number;
    },
  ): void {
    this.#words.set([isEnabled ? 1 : 0, counter, start]);
  }
}
