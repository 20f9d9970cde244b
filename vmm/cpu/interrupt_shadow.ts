// The interrupt shadow: after STI, MOV SS and POP SS nothing is delivered before
// the next instruction is done (Intel SDM vol. 3, 6.8.3). Memory 0 names that
// instruction by its RIP, so that a shadow ends wherever RIP goes elsewhere.

import { RIP, SHADOW_KIND, SHADOW_RIP } from "./state.ts";
import type { StateWords } from "./state_words.ts";

/** Shadow of MOV SS and POP SS, which holds back debug exceptions as well. */
const MOV_SS = 2;

/** The interrupt shadow of one processor. */
export class InterruptShadow {
  readonly #words: StateWords;

  constructor(words: StateWords) {
    this.#words = words;
  }

  /** Whether the instruction at RIP is in the shadow. */
  get isActive(): boolean {
    return this.#words.word(SHADOW_KIND) !== 0 && this.#isHere;
  }

  /** Whether the shadow at RIP is that of MOV SS or POP SS. */
  get isOfStack(): boolean {
    return this.#words.word(SHADOW_KIND) === MOV_SS && this.#isHere;
  }

  get #isHere(): boolean {
    return this.#words.quad(SHADOW_RIP) === this.#words.quad(RIP);
  }

  /** Puts the instruction at RIP in a shadow like STI's, or in none. */
  set(on: boolean): void {
    this.#words.setWord(SHADOW_KIND, on ? 1 : 0);
    this.#words.setQuad(SHADOW_RIP, this.#words.quad(RIP));
  }

  /** Ends the shadow. */
  end(): void {
    this.#words.setWord(SHADOW_KIND, 0);
  }

  /** Ends it since the one instruction that it covers begins: its kind, 0 for none. */
  enter(): number {
    if (!this.isActive) return 0;
    const kind = this.#words.word(SHADOW_KIND);
    this.end();
    return kind;
  }

  /** Undoes `enter` for an instruction that is still to come. */
  restore(kind: number): void {
    if (this.#isHere) this.#words.setWord(SHADOW_KIND, kind);
  }
}
