// Which parts of a page hold code, for emitted code to ask before it writes: most writes
// to a page with code hit none of it. What is noted may be more than there is, never
// less; a page that is not noted, or not any more, is asked about in TypeScript.

import {
  CODE_GRAINS,
  GRAIN_BITS,
  GRAIN_BYTES,
  GRAINS_BITS,
  GRAINS_PAGE,
  GRAINS_STRIDE,
} from "./state.ts";

/** Words of a page's bits. */
const WORDS = GRAIN_BYTES / 4;

/** Bytes of a page, from before to. */
export interface PageRange {
  readonly from: number;
  readonly to: number;
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

  /** Notes that a page holds no code but what is added from now on. */
  begin(page: number): void {
    const at = this.#entry(page);
    this.#words.fill(0, at, at + WORDS);
    this.#words[at + (GRAINS_PAGE >> 2)] = page + 1;
  }

  /** There is code in bytes of a page: noted where the page is. */
  add(page: number, { from, to }: PageRange): void {
    const at = this.#entry(page);
    const words = this.#words;
    if (words[at + (GRAINS_PAGE >> 2)] !== page + 1) return;
    const last = to - 1 >> GRAIN_BITS;
    for (let n = from >> GRAIN_BITS; n <= last;) {
      const end = Math.min(last, n | 31);
      const word = at + (n >> 5);
      words[word] = words[word]! | (-1 >>> 31 - end + n) << (n & 31);
      n = end + 1;
    }
  }
}
