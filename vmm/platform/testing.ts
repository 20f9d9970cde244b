// Stand-ins for the platform's tests: a guest clock that tests move, lines that count.

import type { IrqLine } from "../device.ts";
import { GuestClock } from "./clock.ts";

/** Guest time that passes when a test says so, timer by timer. */
export class ManualTime {
  #now = 0;
  /** the clock */
  readonly clock: GuestClock = new GuestClock(() => this.#now);

  /** Lets time pass and fires what comes due, each at its time. */
  advance(nanoseconds: number): void {
    const end = this.#now + nanoseconds;
    for (;;) {
      const next = this.clock.nextDeadline();
      if (next === undefined) break;
      const due = this.#now + Math.max(0, next - this.clock.now());
      if (due > end) break;
      this.#now = due;
      this.clock.runDue();
    }
    this.#now = end;
  }

  /** Lets time pass while the host is busy, then fires what came due. */
  stall(nanoseconds: number): void {
    this.#now += nanoseconds;
    this.clock.runDue();
  }

  /** Lets time pass without firing anything. */
  skip(nanoseconds: number): void {
    this.#now += nanoseconds;
  }
}

/** A line that remembers its level and counts its edges. */
export class CountingLine implements IrqLine {
  level = false;
  edges = 0;

  set(level: boolean): void {
    if (level && !this.level) this.edges++;
    this.level = level;
  }

  pulse(): void {
    this.edges++;
  }
}
