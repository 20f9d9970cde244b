// One time for all threads. Each thread's performance.now() counts from a start of its
// own, which differs by a constant: it is found by questions and answers through shared
// memory. Every answer bounds the difference from both sides (what was answered lies
// between question and receipt), so that no order of events that threads can see
// contradicts it; Linux's test for time stamps that go backwards is such an order.

const QUESTION = 0;
const ANSWER = 1;
const TIME = 2;
const WORDS = 16;

/** Questions that are asked at least: the first are answered by slow code. */
const LEAST_ROUNDS = 400;
/**
 * How far off is good enough, in nanoseconds: the middle between such bounds was within
 * 20 ns of the truth, and guests need 200 ns to see each other's time stamps.
 */
const GOOD_NS = 600;
/** How long to go on where the host is too busy for two threads to meet. */
const LONGEST_MS = 3000;
/** A question that ends them. */
const DONE = -1;
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

// Waits until a word is not what it was, and answers what it is.
function waitForChange(words: Int32Array, at: number, was: number): number {
  for (let n = 0; n < SPINS; n++) {
    const value = Atomics.load(words, at);
    if (value !== was) return value;
  }
  const until = performance.now() + PATIENCE_MS;
  while (performance.now() < until) {
    Atomics.wait(words, at, was, 1);
    const value = Atomics.load(words, at);
    if (value !== was) return value;
  }
  throw new ClockSyncError("Cannot agree on the time: a thread is missing");
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
  for (let last = 0; last !== DONE;) {
    last = waitForChange(words, QUESTION, last);
    time[0] = now();
    tell(words, ANSWER, last);
  }
}

/**
 * Finds what to add to this thread's time for the other's.
 *
 * @param now nanoseconds
 * @returns nanoseconds, with how far off they can be
 */
export function askClock(
  buffer: SharedArrayBuffer,
  now: () => number,
): { readonly offset: number; readonly error: number } {
  const words = new Int32Array(buffer);
  const time = new Float64Array(buffer, 4 * TIME, 1);
  let low = -Infinity;
  let high = Infinity;
  const ask = (question: number) => {
    const before = Atomics.load(words, ANSWER);
    const asked = now();
    tell(words, QUESTION, question);
    waitForChange(words, ANSWER, before);
    const received = now();
    low = Math.max(low, time[0]! - received);
    high = Math.min(high, time[0]! - asked);
  };
  ask(1);
  const until = performance.now() + LONGEST_MS;
  for (let round = 2; performance.now() < until; round++) {
    ask(round);
    if (round >= LEAST_ROUNDS && high - low < 2 * GOOD_NS) break;
  }
  ask(DONE);
  return { offset: (low + high) / 2, error: (high - low) / 2 };
}
