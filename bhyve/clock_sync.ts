// One time for all threads. Each thread's performance.now() counts from a start of its
// own, which differs by a constant: it is found by questions and answers through shared
// memory. Every answer bounds the difference from both sides (what was answered lies
// between question and receipt), so that no order of events that threads can see
// contradicts it; Linux's test for time stamps that go backwards is such an order.

const QUESTION = 0;
const ANSWER = 1;
const TIME = 2;
const WORDS = 16;

/** Questions, of which the closest answers count. */
const ROUNDS = 400;
/** Longest wait for the other thread, which may still be compiling. */
const PATIENCE_MS = 60_000;
/** Looks at the other thread's word before this one sleeps. */
const SPINS = 20_000;

/** The other thread does not answer. */
export class ClockSyncError extends Error {
  override readonly name = "ClockSyncError";
}

/** Words for one thread and the one whose time it takes. */
export function createClockSync(): SharedArrayBuffer {
  return new SharedArrayBuffer(4 * WORDS);
}

function waitFor(words: Int32Array, at: number, value: number): void {
  for (let n = 0; n < SPINS; n++) {
    if (Atomics.load(words, at) === value) return;
  }
  const until = performance.now() + PATIENCE_MS;
  for (;;) {
    const seen = Atomics.load(words, at);
    if (seen === value) return;
    if (performance.now() > until) {
      throw new ClockSyncError("Cannot agree on the time: a thread is missing");
    }
    Atomics.wait(words, at, seen, 1);
  }
}

function tell(words: Int32Array, at: number, value: number): void {
  Atomics.store(words, at, value);
  Atomics.notify(words, at);
}

/** Answers the other thread's questions, all of them, with this one's time. */
export function answerClock(
  buffer: SharedArrayBuffer,
  now: () => number,
): void {
  const words = new Int32Array(buffer);
  const time = new Float64Array(buffer, 4 * TIME, 1);
  for (let round = 1; round <= ROUNDS; round++) {
    waitFor(words, QUESTION, round);
    time[0] = now();
    tell(words, ANSWER, round);
  }
}

/**
 * Finds what to add to this thread's time for the other's.
 *
 * @returns in the unit of the times, with how far off it can be
 */
export function askClock(
  buffer: SharedArrayBuffer,
  now: () => number,
): { readonly offset: number; readonly error: number } {
  const words = new Int32Array(buffer);
  const time = new Float64Array(buffer, 4 * TIME, 1);
  let low = -Infinity;
  let high = Infinity;
  for (let round = 1; round <= ROUNDS; round++) {
    const asked = now();
    tell(words, QUESTION, round);
    waitFor(words, ANSWER, round);
    const received = now();
    low = Math.max(low, time[0]! - received);
    high = Math.min(high, time[0]! - asked);
  }
  return { offset: (low + high) / 2, error: (high - low) / 2 };
}
