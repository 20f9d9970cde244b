// The parts of pages that hold code, as memory 0 has them.

import { assertEquals } from "@std/assert";
import { CodeGrains, type PageRange } from "./code_grains.ts";
import {
  CODE_GRAINS,
  createStateMemory,
  GRAIN_BITS,
  GRAIN_BYTES,
  GRAINS_BITS,
  GRAINS_PAGE,
  GRAINS_STRIDE,
} from "./state.ts";

const PAGE = 7;
const AT = CODE_GRAINS + PAGE * GRAINS_STRIDE;

class Noted {
  readonly #buffer = createStateMemory().buffer;
  readonly grains = new CodeGrains(new Int32Array(this.#buffer));

  get page(): number {
    return new DataView(this.#buffer).getInt32(AT + GRAINS_PAGE, true) - 1;
  }

  /** The parts that hold code. */
  get parts(): number[] {
    const bytes = new Uint8Array(this.#buffer, AT, GRAIN_BYTES);
    return Array.from({ length: 8 * GRAIN_BYTES }, (_, n) => n)
      .filter((n) => (bytes[n >> 3]! >> (n & 7) & 1) !== 0);
  }
}

function partsOf({ from, to }: PageRange): number[] {
  const bytes = Array.from({ length: to - from }, (_, n) => from + n);
  return [...new Set(bytes.map((at) => at >> GRAIN_BITS))];
}

Deno.test("each part that a range touches has its bit", () => {
  const ends = [0, 1, 7, 8, 9, 63, 64, 65, 255, 256, 257, 4088, 4095, 4096];
  for (const from of ends) {
    for (const to of ends.filter((end) => end > from)) {
      const noted = new Noted();
      noted.grains.begin(PAGE);
      noted.grains.add(PAGE, { from, to });
      assertEquals(noted.parts, partsOf({ from, to }), `${from} to ${to}`);
    }
  }
});

Deno.test("a page is noted whole or not at all", () => {
  const noted = new Noted();
  const { grains } = noted;
  const other = PAGE + (1 << GRAINS_BITS);
  grains.add(PAGE, { from: 0, to: 1 });
  assertEquals([noted.page, noted.parts], [-1, []]);
  grains.begin(PAGE);
  grains.add(PAGE, { from: 8, to: 9 });
  grains.add(PAGE, { from: 4095, to: 4096 });
  assertEquals([noted.page, noted.parts], [PAGE, [1, 511]]);
  // Whose place it is too is not noted, until it takes the place.
  grains.add(other, { from: 0, to: 1 });
  assertEquals([noted.page, noted.parts], [PAGE, [1, 511]]);
  grains.begin(other);
  grains.add(other, { from: 0, to: 1 });
  grains.add(PAGE, { from: 16, to: 17 });
  assertEquals([noted.page, noted.parts], [other, [0]]);
});
