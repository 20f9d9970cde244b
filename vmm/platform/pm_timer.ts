// The ACPI power management timer (ACPI 6.5, 4.8.3.3): a free-running counter of
// 32 bits at 3.579545 MHz, read by accesses of 32 bits as vmm(4) wants it; others read
// all ones.

import type { BusHandler } from "../bus.ts";
import type { Clock, DeviceState, Lifecycle } from "../device.ts";
import { allOnes } from "./apic_window.ts";
import { StateFormat, time } from "./state.ts";

/** Its frequency, in hertz. */
export const PM_TIMER_HZ = 3_579_545;
/** Its port. */
export const PM_TIMER_PORT = 0x408;

const STATE = new StateFormat("pm-timer", 1, { start: time });

/** The counter so many nanoseconds after its start. */
export function pmTimerValue(nanoseconds: number): number {
  const ticks = Math.floor(Math.max(0, nanoseconds) * PM_TIMER_HZ / 1e9);
  return ticks % 2 ** 32;
}

/** The counter; it starts with the machine and no reset stops it. */
export class PmTimer implements BusHandler, Lifecycle {
  readonly name = "pm-timer";
  readonly #clock: Clock;
  readonly #started: Float64Array;

  /**
   * Makes it as it is after power-on.
   *
   * @param clock guest time, by which it counts
   * @param started where its start is, one number, for other threads to see
   */
  constructor(clock: Clock, started: Float64Array = new Float64Array(1)) {
    this.#clock = clock;
    this.#started = started;
    this.#start = clock.now();
  }

  get #start(): number {
    return this.#started[0]!;
  }
  set #start(time: number) {
    this.#started[0] = time;
  }

  reset(): void {}

  /** The counter. */
  get value(): number {
    return pmTimerValue(this.#clock.now() - this.#start);
  }

  read(offset: number, bytes: number): number | bigint {
    return offset === 0 && bytes === 4 ? this.value : allOnes(bytes);
  }

  write(): void {}

  save(): DeviceState {
    return STATE.save({ start: this.#start });
  }

  restore(state: DeviceState): void {
    this.#start = STATE.check(state).start;
  }
}
