// Values worth trying: integers and floating-point numbers biased to where instructions differ.
// All writers fill little-endian bytes in place; none allocates or uses a bigint.

import type { Prng } from "./prng.ts";

/** What the bytes of an operand are made to look like. */
export type Flavour = "int" | "f32" | "f64" | "f80";

const EDGES_8 = [0, 1, 2, 0x7f, 0x80, 0x81, 0xfe, 0xff, 0x0f, 0x10, 0x99, 0x9a];
const EDGES_16 = [
  0,
  1,
  2,
  0x7f,
  0x80,
  0xff,
  0x100,
  0x7fff,
  0x8000,
  0x8001,
  0xfffe,
  0xffff,
];
const EDGES_32 = [
  ...[0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x10000],
  ...[0x7fffffff, 0x80000000, 0x80000001, 0xfffffffe, 0xffffffff],
];
/** Shift counts, bit numbers and string lengths around the sizes of registers. */
const COUNTS = [
  0,
  1,
  2,
  3,
  4,
  7,
  8,
  9,
  15,
  16,
  17,
  18,
  24,
  31,
  32,
  33,
  47,
  48,
  63,
  64,
  65,
];

/** A shift count, a bit number or a small count. */
export function smallCount(rng: Prng): number {
  return rng.chance(80) ? rng.pick(COUNTS) : rng.below(256);
}

/** An 8-bit value. */
export function int8(rng: Prng): number {
  return rng.chance(50) ? rng.pick(EDGES_8) : rng.below(256);
}

/** A 16-bit value. */
export function int16(rng: Prng): number {
  return rng.chance(50) ? rng.pick(EDGES_16) : rng.below(0x10000);
}

/** An unsigned 32-bit value. */
export function int32(rng: Prng): number {
  const kind = rng.below(8);
  if (kind < 3) return rng.pick(EDGES_32);
  if (kind === 3) return (1 << rng.below(32)) >>> 0;
  if (kind === 4) return (int16(rng) | int16(rng) << 16) >>> 0;
  return rng.u32();
}

/** Fills two words with a 64-bit value, low half first. */
export function int64(rng: Prng, words: Uint32Array, at: number): void {
  const kind = rng.below(8);
  const low = int32(rng);
  words[at] = low;
  if (kind < 2) words[at + 1] = low & 0x80000000 ? 0xffffffff : 0;
  else if (kind === 2) words[at + 1] = 0;
  else if (kind === 3) writePower(rng, words, at);
  else words[at + 1] = int32(rng);
}

/** A power of two, or one less or one more than it. */
function writePower(rng: Prng, words: Uint32Array, at: number): void {
  const bit = rng.below(64);
  words[at] = bit < 32 ? 1 << bit : 0;
  words[at + 1] = bit < 32 ? 0 : 1 << (bit - 32);
  const off = rng.below(3) - 1;
  if (off === 0) return;
  const low = words[at]!;
  words[at] = low + off;
  if (off < 0 && low === 0) words[at + 1]!--;
}

const F32_EDGES = [
  ...[
    0x00000000,
    0x80000000,
    0x3f800000,
    0xbf800000,
    0x3f000000,
    0x40000000,
    0x40400000,
  ],
  ...[
    0x00000001,
    0x807fffff,
    0x00400000,
    0x00800000,
    0x80800000,
    0x7f7fffff,
    0xff7fffff,
  ],
  ...[
    0x7f800000,
    0xff800000,
    0x7fc00000,
    0xffc00000,
    0x7fc12345,
    0x7f800001,
    0xffa54321,
  ],
  // Halves and the neighbours of 2^31, 2^32, 2^63 and 2^24: where conversions round or overflow.
  ...[
    0x3fc00000,
    0x40200000,
    0xbf000000,
    0xc0200000,
    0x3effffff,
    0x3f7fffff,
    0x4b000001,
  ],
  ...[
    0x4effffff,
    0x4f000000,
    0xcf000000,
    0xcf000001,
    0x4f800000,
    0x5f000000,
    0xdf000000,
  ],
];

/** The bits of a 32-bit floating-point number. */
export function float32(rng: Prng): number {
  const kind = rng.below(10);
  if (kind < 4) return rng.pick(F32_EDGES) >>> 0;
  if (kind === 4) return rng.u32();
  const sign = rng.u32() & 0x80000000;
  if (kind === 5) return (sign | (rng.u32() & 0x007fffff)) >>> 0;
  // Close exponents, and now and then a short mantissa, so that sums cancel and quotients are exact.
  const exponent = 0x7f + rng.between(-12, 12);
  const mantissa = rng.u32() & (kind === 6 ? 0x00780000 : 0x007fffff);
  return (sign | exponent << 23 | mantissa) >>> 0;
}

const F64_EDGES: readonly (readonly [high: number, low: number])[] = [
  ...[[0, 0], [0x80000000, 0], [0x3ff00000, 0], [0xbff00000, 0]] as const,
  ...[[0x3fe00000, 0], [0x40000000, 0], [0x40080000, 0], [
    0xbfe00000,
    0,
  ]] as const,
  ...[[0, 1], [0x800fffff, 0xffffffff], [0x00100000, 0], [
    0x80100000,
    0,
  ]] as const,
  ...[[0x7fefffff, 0xffffffff], [0xffefffff, 0xffffffff], [
    0x7ff00000,
    0,
  ]] as const,
  ...[[0xfff00000, 0], [0x7ff80000, 0], [0xfff80000, 0], [
    0x7ff81234,
    0x56789abc,
  ]] as const,
  ...[[0x7ff00000, 1], [0xfff45678, 0x9abcdef0], [0x3ff80000, 0], [
    0x40040000,
    0,
  ]] as const,
  // 2^31 with its neighbours, 2^32, 2^63, 2^64, and what overflows or underflows a float32.
  ...[[0x41dfffff, 0xffc00000], [0x41dfffff, 0xffe00000], [
    0x41e00000,
    0,
  ]] as const,
  ...[[0xc1e00000, 0], [0xc1e00000, 0x00200000], [
    0xc1e00000,
    0x00100000,
  ]] as const,
  ...[[0x41f00000, 0], [0x43dfffff, 0xffffffff], [0x43e00000, 0], [
    0xc3e00000,
    0,
  ]] as const,
  ...[[0x43f00000, 0], [0x47efffff, 0xf0000000], [0x47f00000, 0], [
    0x380fffff,
    0xffffffff,
  ]] as const,
  ...[[0x36a00000, 0], [0x36900000, 1], [0x3fe00000, 1], [
    0x3fdfffff,
    0xffffffff,
  ]] as const,
];

/** Writes a 64-bit floating-point number. */
export function writeFloat64(rng: Prng, view: DataView, at: number): void {
  const kind = rng.below(10);
  let [high, low] = rng.pick(F64_EDGES);
  if (kind >= 4) low = kind === 6 ? 0 : rng.u32();
  if (kind === 4) high = rng.u32();
  if (kind === 5) high = rng.u32() & 0x800fffff;
  if (kind >= 6) {
    const exponent = 0x3ff +
      (kind === 9 ? rng.between(-150, 150) : rng.between(-12, 12));
    high = (rng.u32() & 0x80000000) | exponent << 20 |
      rng.u32() & (kind === 6 ? 0xf0000 : 0xfffff);
  }
  view.setUint32(at, low, true);
  view.setUint32(at + 4, high, true);
}

// Sign and exponent, then the significand's halves. Unnormal, pseudo-infinity, pseudo-NaN and
// pseudo-denormal are the encodings an 8087 knew and a 387 does not.
const F80_EDGES:
  readonly (readonly [exponent: number, high: number, low: number])[] = [
    ...[[0, 0, 0], [0x8000, 0, 0], [0x3fff, 0x80000000, 0], [
      0xbfff,
      0x80000000,
      0,
    ]] as const,
    ...[[0x3ffe, 0x80000000, 0], [0x4000, 0x80000000, 0], [
      0x4000,
      0xc0000000,
      0,
    ]] as const,
    ...[[0, 0, 1], [0x8000, 0x7fffffff, 0xffffffff], [
      1,
      0x80000000,
      0,
    ]] as const,
    ...[[0x7ffe, 0xffffffff, 0xffffffff], [
      0xfffe,
      0xffffffff,
      0xffffffff,
    ]] as const,
    ...[[0x7fff, 0x80000000, 0], [0xffff, 0x80000000, 0], [
      0xffff,
      0xc0000000,
      0,
    ]] as const,
    ...[[0x7fff, 0xc0001234, 5], [0x7fff, 0x80000000, 1], [
      0xffff,
      0xa0000000,
      7,
    ]] as const,
    ...[[0x401e, 0x80000000, 0], [0xc01e, 0x80000000, 0], [
      0x401d,
      0xffffffff,
      0,
    ]] as const,
    ...[[0x403e, 0x80000000, 0], [0xc03e, 0x80000000, 0], [
      0x403d,
      0xffffffff,
      0xffffffff,
    ]] as const,
    ...[[0x403a, 0xde0b6b3a, 0x763ffff0], [
      0x403a,
      0xde0b6b3a,
      0x76400000,
    ]] as const,
    ...[[0x400e, 0x80000000, 0], [0x43fe, 0xffffffff, 0xfffff800], [
      0x407e,
      0xffffff00,
      0,
    ]] as const,
    ...[[0x3c00, 0x80000000, 0], [0x3bcc, 0x80000000, 0], [
      0x3f80,
      0x80000000,
      1,
    ]] as const,
  ];
const F80_INVALID:
  readonly (readonly [exponent: number, high: number, low: number])[] = [
    ...[[0x3fff, 0x40000000, 0], [0x7fff, 0, 0], [
      0x7fff,
      0x40000000,
      1,
    ]] as const,
    ...[[0, 0x80000000, 0], [0x8000, 0xffffffff, 0xffffffff], [0xffff, 0, 5], [
      0x4001,
      0,
      0,
    ]] as const,
  ];

/** Writes an 80-bit floating-point number: ten bytes. */
export function writeFloat80(rng: Prng, view: DataView, at: number): void {
  const kind = rng.below(20);
  let [exponent, high, low] = rng.pick(kind === 0 ? F80_INVALID : F80_EDGES);
  if (kind >= 8) {
    exponent = 0x3fff + rng.between(-14, 14) | (rng.u32() & 0x8000);
    high = (rng.u32() | 0x80000000) >>> 0;
    low = rng.u32();
  }
  // Short significands (exact results), integers, ones that a double or float holds, wide exponents.
  if (kind === 8 || kind === 9) [high, low] = [high & 0xff000000, 0];
  if (kind === 10) exponent = 0x3fff + rng.between(0, 64);
  if (kind === 11) low &= 0xfffff800;
  if (kind === 12) [high, low] = [high & 0xffffff00, 0];
  if (kind === 13) exponent = rng.u32() & 0xffff;
  if (kind === 14) {
    exponent = (rng.u32() & 0x8000) | rng.pick([0, 1, 2, 62, 0x7ffe, 0x7fc0]);
  }
  if (exponent === 0x8000 || exponent === 0) {
    high &= kind >= 8 ? 0x7fffffff : 0xffffffff;
  }
  view.setUint32(at, low, true);
  view.setUint32(at + 4, high, true);
  view.setUint16(at + 8, exponent, true);
}

/** Writes a packed decimal of 18 digits, for FBLD: ten bytes. */
export function writeDecimal(rng: Prng, view: DataView, at: number): void {
  const digits = rng.below(10);
  for (let byte = 0; byte < 9; byte++) {
    const filled = byte <= digits;
    view.setUint8(at + byte, filled ? rng.below(10) << 4 | rng.below(10) : 0);
  }
  view.setUint8(at + 9, rng.chance(50) ? 0x80 : 0);
}

/** Writes bytes, words or doublewords at the edges of their ranges: 32 bits. */
export function writePacked(rng: Prng, view: DataView, at: number): void {
  const kind = rng.below(4);
  if (kind === 0) {
    for (let byte = 0; byte < 4; byte++) view.setUint8(at + byte, int8(rng));
  } else if (kind === 1) {
    view.setUint16(at, int16(rng), true);
    view.setUint16(at + 2, int16(rng), true);
  } else view.setUint32(at, int32(rng), true);
}

/** Fills `size` bytes, a multiple of four, in the given flavour. */
export function writeFlavoured(
  rng: Prng,
  flavour: Flavour,
  view: DataView,
  at: number,
  size: number,
): void {
  const end = at + size;
  while (at < end) {
    const left = end - at;
    if (flavour === "f64" && left >= 8) {
      writeFloat64(rng, view, at);
      at += 8;
    } else if (flavour === "f80" && left >= 10) {
      writeFloat80(rng, view, at);
      at += 10;
    } else if (left >= 4) {
      if (flavour === "f32") view.setUint32(at, float32(rng), true);
      else writePacked(rng, view, at);
      at += 4;
    } else view.setUint8(at++, int8(rng));
  }
}
