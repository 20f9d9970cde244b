// How threads find each other: whether a vCPU runs guest code, and the word that its
// thread sleeps on. A call reaches it in both states: one that runs comes back at the
// end of its block, one that sleeps wakes.

import { Kick } from "../vmm/cpu/kick.ts";

const RUNNING = 0;
const WAKE = 1;
/** Words of one vCPU's gate. */
export const GATE_WORDS = 2;

/** One vCPU's gate, as any thread sees it. */
export class VcpuGate {
  readonly #words: Int32Array;
  readonly #kick: Kick;

  /**
   * @param words `GATE_WORDS` of shared memory, zero at first
   * @param state the vCPU's memory 0
   */
  constructor(words: Int32Array, state: WebAssembly.Memory) {
    this.#words = words;
    this.#kick = new Kick(state);
  }

  /** Whether it runs guest code, or is about to. */
  get isRunning(): boolean {
    return Atomics.load(this.#words, RUNNING) !== 0;
  }

  /** Calls it: what it shall look at was stored before. */
  kick(): void {
    this.#kick.kick();
    Atomics.add(this.#words, WAKE, 1);
    Atomics.notify(this.#words, WAKE);
  }

  // --- Its own thread ------------------------------------------------------

  /** Says that it runs from now on, or no more. */
  setRunning(isRunning: boolean): void {
    Atomics.store(this.#words, RUNNING, isRunning ? 1 : 0);
  }

  /** What `wait` compares with: taken before looking whether there is work. */
  get mark(): number {
    return Atomics.load(this.#words, WAKE);
  }

  /** Sleeps until it is called after `mark`, or for a time. */
  wait(mark: number, milliseconds: number): void {
    Atomics.wait(this.#words, WAKE, mark, milliseconds);
  }
}
