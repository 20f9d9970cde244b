// Timers that any thread can read by itself, since they only count guest time: the
// HPET's main counter and the ACPI timer. Systems check their time stamps against them
// and take a slow answer for a bad clock.

import {
  type GuestClock,
  HPET_BASE,
  HPET_COUNTER,
  HpetCounter,
  PM_TIMER_PORT,
  pmTimerValue,
  type SharedTimes,
} from "../vmm/platform/mod.ts";

const COUNTER = HPET_BASE + HPET_COUNTER;

/** The timers of a machine whose devices are in another thread. */
export class LocalTimers {
  readonly #clock: GuestClock;
  readonly #hpet: HpetCounter;
  readonly #pmStart: Float64Array;

  constructor(clock: GuestClock, times: SharedTimes) {
    this.#clock = clock;
    this.#hpet = new HpetCounter(clock, times.hpet);
    this.#pmStart = times.pmTimer;
  }

  /** Reads a port; undefined where it is none of a timer. */
  readPort(port: number, bytes: number): number | undefined {
    if (port !== PM_TIMER_PORT || bytes !== 4) return undefined;
    return pmTimerValue(this.#clock.now() - this.#pmStart[0]!);
  }

  /** Reads device memory; undefined where it is none of a timer. */
  readMemory(gpa: number, bytes: number): bigint | undefined {
    if (gpa !== COUNTER || bytes < 4) return undefined;
    return BigInt(this.#hpet.value);
  }
}
