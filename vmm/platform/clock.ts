// Guest time: a monotonic host clock less the time that the machine was stopped, and
// the timers of every device in one queue that the machine's loop runs. Nothing here
// waits: the loop asks for the next deadline and sleeps as it likes.

import type { Clock, DeviceState, TimerHandle } from "../device.ts";
import { type Alarm, AlarmQueue, type QueuedAlarm } from "./alarm_queue.ts";
import { StateFormat, time } from "./state.ts";

/** Nanoseconds of the host that never go back, from any start. */
export type MonotonicSource = () => number;

const STATE = new StateFormat("guest-clock", 1, { now: time });

class ClockAlarm implements Alarm, QueuedAlarm, TimerHandle {
  time = 0;
  order = 0;
  slot = -1;

  constructor(
    readonly clock: { readonly floor: number; readonly queue: AlarmQueue },
    readonly fire: () => void,
  ) {}

  get isSet(): boolean {
    return this.slot >= 0;
  }

  set(nanoseconds: number): void {
    const { queue, floor } = this.clock;
    queue.set(this, nanoseconds < floor ? floor : nanoseconds);
  }

  clear(): void {
    this.clock.queue.remove(this);
  }

  cancel(): void {
    this.clear();
  }
}

/** Guest time over a source; it starts at 0 and runs. */
export class GuestClock implements Clock {
  readonly #source: MonotonicSource;
  // `floor` is the earliest time an alarm may be set to: while alarms ring it is
  // later than those that ring, so that a timer that re-arms itself cannot hold
  // `runDue` for ever.
  readonly #shared = { queue: new AlarmQueue(), floor: -Infinity };
  #offset: number;
  #stoppedAt: number | undefined;

  /**
   * Starts guest time.
   *
   * @param source the host's time
   * @param zero the host's time at guest time 0; the default is now
   */
  constructor(source: MonotonicSource, zero: number = source()) {
    this.#source = source;
    this.#offset = zero;
  }

  now(): number {
    return this.#stoppedAt ?? this.#source() - this.#offset;
  }

  at(nanoseconds: number, fire: () => void): TimerHandle {
    const alarm = new ClockAlarm(this.#shared, fire);
    alarm.set(nanoseconds);
    return alarm;
  }

  /** A timer that can be set again and again without an allocation. */
  alarm(fire: () => void): Alarm {
    return new ClockAlarm(this.#shared, fire);
  }

  /** Fires what is due, the earliest first; nothing while time is stopped. */
  runDue(): void {
    const { queue } = this.#shared;
    if (this.#stoppedAt !== undefined) return;
    const now = this.now();
    // Later than now even where a double cannot tell nanoseconds apart.
    const floor = Math.max(now + 1, now * (1 + Number.EPSILON));
    this.#shared.floor = floor;
    try {
      for (
        let first = queue.first;
        first !== undefined && first.time <= now;
        first = queue.first
      ) {
        queue.remove(first);
        first.fire();
      }
    } finally {
      this.#shared.floor = -Infinity;
    }
  }

  /** When the next timer is due, in guest time; undefined where none ever is. */
  nextDeadline(): number | undefined {
    if (this.#stoppedAt !== undefined) return undefined;
    const next = this.#shared.queue.first?.time;
    return next === Infinity ? undefined : next;
  }

  /** Whether time is stopped. */
  get isPaused(): boolean {
    return this.#stoppedAt !== undefined;
  }

  /** Stops time; nothing happens where it is stopped. */
  pause(): void {
    this.#stoppedAt ??= this.now();
  }

  /** Lets time go on from where it was stopped. */
  resume(): void {
    if (this.#stoppedAt === undefined) return;
    this.#offset = this.#source() - this.#stoppedAt;
    this.#stoppedAt = undefined;
  }

  /** The time of day of the guest. Timers belong to who set them. */
  save(): DeviceState {
    return STATE.save({ now: this.now() });
  }

  /**
   * Goes on at a saved time, stopped or running as it is now. Devices set their
   * timers when they are restored, which must be after this.
   *
   * @throws {PlatformStateError} for a state that is no clock's
   */
  restore(state: DeviceState): void {
    const { now } = STATE.check(state);
    this.#offset = this.#source() - now;
    if (this.#stoppedAt !== undefined) this.#stoppedAt = now;
  }
}

// For clocks that have only `at`, such as those of tests: an allocation a setting.
class HandleAlarm implements Alarm {
  #handle: TimerHandle | undefined;
  readonly #ring: () => void;

  constructor(readonly clock: Clock, fire: () => void) {
    this.#ring = () => {
      this.#handle = undefined;
      fire();
    };
  }

  get isSet(): boolean {
    return this.#handle !== undefined;
  }

  set(nanoseconds: number): void {
    this.#handle?.cancel();
    this.#handle = this.clock.at(nanoseconds, this.#ring);
  }

  clear(): void {
    this.#handle?.cancel();
    this.#handle = undefined;
  }
}

/** A timer of any clock that is made once and set many times. */
export function alarmOf(clock: Clock, fire: () => void): Alarm {
  return clock instanceof GuestClock
    ? clock.alarm(fire)
    : new HandleAlarm(clock, fire);
}
