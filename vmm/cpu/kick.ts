// Calling a processor from another thread: it comes back to its engine at the end of
// its block. What it shall look at then must be posted before.

import { KICK } from "./state.ts";

/** The word by which other threads call one processor. */
export class Kick {
  readonly #word: Int32Array;

  /** @param state the processor's memory 0, see `createStateMemory` */
  constructor(state: WebAssembly.Memory) {
    this.#word = new Int32Array(state.buffer, KICK, 1);
  }

  /** Calls it; a processor that does not run finds what was posted by itself. */
  kick(): void {
    Atomics.store(this.#word, 0, -1);
  }
}
