// The parts of pages that hold code, as memory 0 has them.

import { assertEquals } from "@std/assert";
import { CodeGrains, Grains } from "./code_grains.ts";
import { createStateMemory } from "./engine.ts";
import {
  CODE_GRAINS,
  GRAINS_BITS,
  GRAINS_ENTRY,
  GRAINS_STRIDE,
} from "./state.ts";

function grainsOf(...ranges: [number, number][]): Grains {
  const grains = new Grains();
  for (const [from, to] of ranges) grains.add({ from, to });
  return grains;
}

function bitsOf({ low, high }: Grains): bigint {
  return BigInt(high >>> 0) << 32n | BigInt(low >>> 0);
}

Deno.test("each part of 64 bytes that a range touches has its bit", () => {
  const bits = (from: number, to: number) => bitsOf(grainsOf([from, to]));
  assertEquals(bits(0, 1), 1n);
  assertEquals(bits(63, 64), 1n);
  assertEquals(bits(63, 65), 3n);
  assertEquals(bits(31 * 64, 33 * 64), 3n << 31n);
  assertEquals(bits(4095, 4096), 1n << 63n);
  assertEquals(bits(0, 4096), (1n << 64n) - 1n);
  assertEquals(bitsOf(grainsOf([0, 1], [128, 192])), 5n);
});

Deno.test("a page is noted whole or not at all", () => {
  const { buffer } = createStateMemory();
  const words = new Int32Array(buffer);
  const grains = new CodeGrains(words);
  const other = 7 + (1 << GRAINS_BITS);
  const noted = () => {
    const at = (CODE_GRAINS + 7 * GRAINS_STRIDE) >> 2;
    const bits = at + (GRAINS_ENTRY.BITS >> 2);
    const [low, high] = [words[bits]!, words[bits + 1]!];
    return [words[at]! - 1, bitsOf(Object.assign(new Grains(), { low, high }))];
  };
  grains.add(7, { from: 0, to: 1 });
  assertEquals(noted(), [-1, 0n]);
  grains.set(7, grainsOf([64, 65]));
  grains.add(7, { from: 4095, to: 4096 });
  assertEquals(noted(), [7, 2n | 1n << 63n]);
  // Whose slot it is too is not noted, until it takes the slot.
  grains.add(other, { from: 0, to: 1 });
  assertEquals(noted(), [7, 2n | 1n << 63n]);
  grains.set(other, grainsOf([0, 1]));
  grains.add(7, { from: 128, to: 129 });
  assertEquals(noted(), [other, 1n]);
});
