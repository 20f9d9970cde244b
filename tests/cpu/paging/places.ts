// Where accesses go: to data, or where one of the window's pages ends, mostly in two
// neighbours of the program's choice.

import type { Prng } from "../fuzz/prng.ts";
import { type Bytes, HARMLESS } from "./code.ts";
import { DATA, EDGE, PAGES } from "./layout.ts";

/** Where accesses go. */
export interface Place {
  /** the window's page */
  readonly page: number;
  /** what the base is in the end, from the page's start */
  readonly base: number;
  readonly isEdge: boolean;
}

/** Chooses places, and what is written there. */
export class Places {
  readonly #random: Prng;
  readonly #pages: readonly number[];
  readonly #isWide: boolean;
  /** Two neighbours that most accesses go to. */
  readonly #favourites: readonly number[];

  /**
   * @param pages linear addresses of the window's pages
   * @param isWide whether it is for 64-bit mode
   */
  constructor(random: Prng, pages: readonly number[], isWide: boolean) {
    this.#random = random;
    this.#pages = pages;
    this.#isWide = isWide;
    const first = random.below(PAGES - 1) + random.pick([0, PAGES]);
    this.#favourites = pages.slice(first, first + 2);
  }

  /** One of the window's pages. */
  page(): number {
    const isFavourite = this.#random.chance(60);
    return this.#random.pick(isFavourite ? this.#favourites : this.#pages);
  }

  /** Where accesses from a base go. */
  place(): Place {
    const isEdge = this.#random.chance(60);
    const base = isEdge
      ? 4096 - this.#random.below(EDGE + 1)
      : this.#random.between(DATA.START, DATA.END);
    return { page: this.page(), base, isEdge };
  }

  /** The prefix of a 64-bit operand, or of none. */
  wide(): Bytes {
    return this.#isWide && this.#random.chance(40) ? [0x48] : [];
  }

  /** MOV to ECX of harmless instructions. */
  harmless(wide: Bytes): Bytes {
    const bytes = Array.from(
      { length: 4 + 4 * wide.length },
      () => this.#random.pick(HARMLESS),
    );
    return [...wide, 0xb9, ...bytes];
  }
}
