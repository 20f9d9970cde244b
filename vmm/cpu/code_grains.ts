// Which parts of a page hold code, for emitted code to ask before it writes: most writes
// to a page with code hit none of it. What is noted may be more than there is, never
// less; a page that is not noted, or not any more, is asked about in TypeScript.

import {
  CODE_GRAINS,
  GRAIN_BITS,
  GRAINS_BITS,
  GRAINS_ENTRY,
  GRAINS_STRIDE,
} from "./state.ts";

/** Bytes of a page, from before to. */
export interface PageRange {
  readonly from: number;
  readonly to: number;
}

/** The parts of one page: a bit for each, as two words. */
export class Grains {
  low = 0;
  high = 0;

  /** Adds the parts that bytes lie in. */
  add({ from, to }: PageRange): void {
    const last = to - 1 >> GRAIN_BITS;
    for (let n = from >> GRAIN_BITS; n <= last; n++) {
      if (n < 32) this.low |= 1 << n;
      else this.high |= 1 << n - 32;
    }
  }
}

/** What is noted in memory 0. */
export class CodeGrains {
  readonly #words: Int32Array;

  /** @param words memory 0 */
  constructor(words: Int32Array) {
    this.#words = words;
  }

  #entry(page: number): number {
    const index = page & (1 << GRAINS_BITS) - 1;
    return (CODE_GRAINS + index * GRAINS_STRIDE) >> 2;
  }

  /** Notes all parts of a page that hold code. */
  set(page: number, { low, high }: Grains): void {
    const at = this.#entry(page);
    const bits = at + (GRAINS_ENTRY.BITS >> 2);
    this.#words[at] = page + 1;
    this.#words[bits] = low;
    this.#words[bits + 1] = high;
  }

  /** There is code in more of a page: where it is noted, that is, too. */
  add(page: number, range: PageRange): void {
    const at = this.#entry(page);
    if (this.#words[at] !== page + 1) return;
    const bits = at + (GRAINS_ENTRY.BITS >> 2);
    const more = new Grains();
    more.add(range);
    this.#words[bits] = this.#words[bits]! | more.low;
    this.#words[bits + 1] = this.#words[bits + 1]! | more.high;
  }
}
