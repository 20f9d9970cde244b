// What operations on constants give, by opcode (WebAssembly Core Specification 3.0,
// 4.3.2 "Integer Operations"): those that fold when code is emitted.

/** Operations on 32-bit integers; comparisons give 0 or 1. */
export const COMPUTE_I32: Readonly<
  Record<number, (a: number, b: number) => number>
> = {
  0x6a: (a, b) => a + b,
  0x6b: (a, b) => a - b,
  0x6c: Math.imul,
  0x71: (a, b) => a & b,
  0x72: (a, b) => a | b,
  0x73: (a, b) => a ^ b,
  0x74: (a, b) => a << b,
  0x75: (a, b) => a >> b,
  0x76: (a, b) => a >>> b,
  0x46: (a, b) => Number(a === b),
  0x47: (a, b) => Number(a !== b),
  0x48: (a, b) => Number(a < b),
  0x49: (a, b) => Number(a >>> 0 < b >>> 0),
  0x4a: (a, b) => Number(a > b),
  0x4b: (a, b) => Number(a >>> 0 > b >>> 0),
  0x4c: (a, b) => Number(a <= b),
  0x4d: (a, b) => Number(a >>> 0 <= b >>> 0),
  0x4e: (a, b) => Number(a >= b),
  0x4f: (a, b) => Number(a >>> 0 >= b >>> 0),
};

/** Operations on 64-bit integers. */
export const COMPUTE_I64: Readonly<
  Record<number, (a: bigint, b: bigint) => bigint>
> = {
  0x7c: (a, b) => a + b,
  0x7d: (a, b) => a - b,
  0x7e: (a, b) => a * b,
  0x83: (a, b) => a & b,
  0x84: (a, b) => a | b,
  0x85: (a, b) => a ^ b,
  0x86: (a, b) => a << (b & 63n),
  0x87: (a, b) => a >> (b & 63n),
  0x88: (a, b) => BigInt.asUintN(64, a) >> (b & 63n),
};

/** Comparisons of 64-bit integers. */
export const COMPARE_I64: Readonly<
  Record<number, (a: bigint, b: bigint) => boolean>
> = {
  0x51: (a, b) => a === b,
  0x52: (a, b) => a !== b,
  0x53: (a, b) => a < b,
  0x54: (a, b) => unsigned(a) < unsigned(b),
  0x55: (a, b) => a > b,
  0x56: (a, b) => unsigned(a) > unsigned(b),
  0x57: (a, b) => a <= b,
  0x58: (a, b) => unsigned(a) <= unsigned(b),
  0x59: (a, b) => a >= b,
  0x5a: (a, b) => unsigned(a) >= unsigned(b),
};

function unsigned(value: bigint): bigint {
  return BigInt.asUintN(64, value);
}
