// The fuzzer's own pseudo-random numbers: xoshiro128** (Blackman and Vigna), seeded by splitmix32
// from a seed and a case number, so that any case can be made again without those before it.

function splitmix32(state: number): number {
  let mixed = state | 0;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
  return (mixed ^ (mixed >>> 15)) >>> 0;
}

function rotate(value: number, by: number): number {
  return (value << by) | (value >>> (32 - by));
}

/** A deterministic stream of 32-bit numbers. */
export class Prng {
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  /** The same pair of unsigned 32-bit numbers always gives the same stream. */
  constructor(seed: number, stream = 0) {
    const start = splitmix32(seed) ^
      splitmix32(Math.imul(stream, 0x9e3779b9) ^ 0x5bf03635);
    this.#a = splitmix32(start + 0x9e3779b9);
    this.#b = splitmix32(start + 0x3c6ef372);
    this.#c = splitmix32(start + 0xdaa66d2b);
    // The all-zero state would never leave itself.
    this.#d = splitmix32(start + 0x78dde6e4) | 1;
  }

  /** An unsigned 32-bit number. */
  u32(): number {
    const result = Math.imul(rotate(Math.imul(this.#b, 5), 7), 9) >>> 0;
    const shifted = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= shifted;
    this.#d = rotate(this.#d, 11);
    return result;
  }

  /** A number from 0 to `limit - 1`. */
  below(limit: number): number {
    return Math.floor(this.u32() * limit / 0x100000000);
  }

  /** A number from `low` to `high`, both included. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  /** True in `percent` of a hundred cases. */
  chance(percent: number): boolean {
    return this.u32() < percent * 42949672.96;
  }

  /** One of the items; throws if there are none. */
  pick<T>(items: ArrayLike<T>): T {
    if (items.length === 0) {
      throw new RangeError("Cannot pick from an empty list");
    }
    return items[this.below(items.length)]!;
  }
}
