// A queue of alarms ordered by time: a binary heap whose entries know their place, so
// that an alarm is set, moved and taken back without an allocation.

/** A timer that is made once and set many times. */
export interface Alarm {
  /** Sets it, or moves it, to a guest time in nanoseconds. */
  set(nanoseconds: number): void;
  /** Takes it back; nothing happens where it is not set. */
  clear(): void;
  /** Whether it will ring. */
  readonly isSet: boolean;
}

/** An entry of the queue. */
export interface QueuedAlarm {
  /** when it rings, in nanoseconds */
  time: number;
  /** which of two with the same time rings first: the lower */
  order: number;
  /** where it is in the heap; -1: not in it */
  slot: number;
  /** what rings */
  readonly fire: () => void;
}

function isBefore(a: QueuedAlarm, b: QueuedAlarm): boolean {
  return a.time < b.time || a.time === b.time && a.order < b.order;
}

/** Alarms by time; those of one time in the order in which they were set. */
export class AlarmQueue {
  readonly #heap: QueuedAlarm[] = [];
  #order = 0;

  /** How many are set. */
  get size(): number {
    return this.#heap.length;
  }

  /** The alarm that rings next. */
  get first(): QueuedAlarm | undefined {
    return this.#heap[0];
  }

  /** Puts an alarm in, or moves it. @throws {RangeError} where it is no time */
  set(alarm: QueuedAlarm, time: number): void {
    if (Number.isNaN(time)) {
      throw new RangeError("Cannot set an alarm: its time is not a number");
    }
    alarm.time = time;
    alarm.order = this.#order++;
    if (alarm.slot < 0) {
      alarm.slot = this.#heap.length;
      this.#heap.push(alarm);
    }
    this.#settle(alarm);
  }

  /** Takes an alarm out, if it is in. */
  remove(alarm: QueuedAlarm): void {
    const { slot } = alarm;
    if (slot < 0) return;
    alarm.slot = -1;
    const last = this.#heap.pop()!;
    if (last === alarm) return;
    last.slot = slot;
    this.#heap[slot] = last;
    this.#settle(last);
  }

  #settle(alarm: QueuedAlarm): void {
    this.#rise(alarm);
    this.#sink(alarm);
  }

  #rise(alarm: QueuedAlarm): void {
    while (alarm.slot > 0) {
      const parent = this.#heap[(alarm.slot - 1) >> 1]!;
      if (!isBefore(alarm, parent)) return;
      this.#swap(alarm, parent);
    }
  }

  #sink(alarm: QueuedAlarm): void {
    for (;;) {
      const left = this.#heap[2 * alarm.slot + 1];
      const right = this.#heap[2 * alarm.slot + 2];
      if (left === undefined) return;
      const least = right !== undefined && isBefore(right, left) ? right : left;
      if (!isBefore(least, alarm)) return;
      this.#swap(alarm, least);
    }
  }

  #swap(a: QueuedAlarm, b: QueuedAlarm): void {
    const { slot } = a;
    a.slot = b.slot;
    b.slot = slot;
    this.#heap[a.slot] = a;
    this.#heap[b.slot] = b;
  }
}
