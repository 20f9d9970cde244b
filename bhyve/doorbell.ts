// How the main thread sleeps until another thread has news for it, without messages:
// one atomic load for the other thread while nobody sleeps.

// A promise of Atomics.waitAsync does not keep an event loop alive; a timer does. Before
// 2.8, Deno's loop also sleeps on when another thread settles the promise (seen with 2.4
// to 2.7.1), unless a timer wakes it.
const KEEP_ALIVE_MS = isOlderThan(Deno.version.deno, [2, 8]) ? 10 : 1 << 30;

function isOlderThan(version: string, than: readonly number[]): boolean {
  const parts = version.split(".").map(Number);
  const at = than.findIndex((part, n) => parts[n] !== part);
  return at >= 0 && parts[at]! < than[at]!;
}

const SIGNAL = 0;
const SLEEPING = 1;

/** Shared words that a doorbell takes. */
export const DOORBELL_WORDS = 2;

/** One side's view of a doorbell; only the main thread sleeps on it. */
export class Doorbell {
  readonly #words: Int32Array;

  /** @param words shared words, `DOORBELL_WORDS` of them, zero at first */
  constructor(words: Int32Array) {
    this.#words = words;
  }

  /** Wakes the sleeper, after what it sleeps for was stored. */
  ring(): void {
    if (Atomics.load(this.#words, SLEEPING) === 0) return;
    Atomics.store(this.#words, SLEEPING, 0);
    Atomics.add(this.#words, SIGNAL, 1);
    Atomics.notify(this.#words, SIGNAL);
  }

  /** Sleeps until a condition holds, which is looked at after each ring. */
  async until(holds: () => boolean): Promise<void> {
    while (!holds()) {
      const mark = Atomics.load(this.#words, SIGNAL);
      Atomics.store(this.#words, SLEEPING, 1);
      // what was stored before this thread counted as asleep came without a ring
      if (holds()) return;
      await sleep(this.#words, mark);
    }
  }
}

async function sleep(words: Int32Array, mark: number): Promise<void> {
  const { async: isAsync, value } = Atomics.waitAsync(words, SIGNAL, mark);
  if (!isAsync) return;
  const timer = setInterval(() => {}, KEEP_ALIVE_MS);
  await value;
  clearInterval(timer);
}
