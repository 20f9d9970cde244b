// Opcodes of the rarer instructions that programs for comparing the tiers have: those that
// are valid whatever registers they are given.

/** Bytes of code. */
export type Bytes = readonly number[];

/** Prefix, opcodes of 0F that have ModR/M, and whether an immediate byte follows. */
export const VECTORS: readonly (readonly [Bytes, string, boolean])[] = [
  [[], "10 11 12 14 15 16 28 29 2e 2f 51 52 53 54 55 56 57 58 59", false],
  [[], "5a 5b 5c 5d 5e 5f", false],
  [[], "c2 c6", true],
  [[0x66], "10 11 14 15 28 29 2e 2f 51 54 55 56 57 58 59 5a 5b 5c", false],
  [[0x66], "5d 5e 5f 60 61 62 63 64 65 66 67 68 69 6a 6b 6c 6d 6f", false],
  [[0x66], "74 75 76 7c 7d 7f d0 d1 d2 d3 d4 d5 d8 d9 da db dc dd", false],
  [[0x66], "de df e0 e1 e2 e3 e4 e5 e6 e8 e9 ea eb ec ed ee ef f1", false],
  [[0x66], "f2 f3 f4 f5 f6 f8 f9 fa fb fc fd fe", false],
  [[0x66], "70 c2 c6", true],
  [[0xf3], "10 11 12 16 51 52 53 58 59 5a 5b 5c 5d 5e 5f 6f 7e 7f e6", false],
  [[0xf3], "70 c2", true],
  [[0xf2], "10 11 12 51 58 59 5a 5c 5d 5e 5f 7c 7d d0 e6 f0", false],
  [[0xf2], "70 c2", true],
];
/** Those that have no form with two registers. */
export const MEMORY_ONLY: ReadonlySet<string> = new Set([" f2 f0"]);
/** MMX: opcodes of 0F. */
export const MMX: Bytes = hex(
  "60 61 62 63 67 6b 6f 74 d1 d4 d5 d8 db dd e4 eb ef f5 fc fe",
);
/** Opcode and ModR/M of the x87's instructions on registers. */
export const X87: readonly Bytes[] = [
  ...range(0xd8, 0xc0, 0xff),
  ...range(0xd9, 0xc0, 0xcf),
  ...pairs(0xd9, "d0 e0 e1 e4 e5 e8 e9 ea eb ec ed ee f1 f4 f5 f6 f7 f8"),
  ...pairs(0xd9, "fa fc fd fe"),
  ...range(0xda, 0xc0, 0xdf),
  ...pairs(0xda, "e9"),
  ...range(0xdb, 0xc0, 0xdf),
  ...pairs(0xdb, "e2 e3"),
  ...range(0xdb, 0xe8, 0xf7),
  ...range(0xdc, 0xc0, 0xff),
  ...range(0xdd, 0xc0, 0xc7),
  ...range(0xdd, 0xd0, 0xef),
  ...range(0xde, 0xc0, 0xcf),
  ...pairs(0xde, "d9"),
  ...range(0xde, 0xe0, 0xff),
  ...pairs(0xdf, "e0"),
  ...range(0xdf, 0xe8, 0xf7),
];
/** Opcode and the part of ModR/M that it has, with an operand in memory. */
export const X87_MEMORY: readonly (readonly [number, Bytes])[] = [
  [0xd8, [0, 1, 2, 3, 4, 5, 6, 7]],
  [0xd9, [0, 2, 3, 7]],
  [0xda, [0, 1, 2, 3, 4, 5, 6, 7]],
  [0xdb, [0, 1, 2, 3, 5, 7]],
  [0xdc, [0, 1, 2, 3, 4, 5, 6, 7]],
  [0xdd, [0, 1, 2, 3, 7]],
  [0xde, [0, 1, 2, 3, 4, 5, 6, 7]],
  [0xdf, [0, 1, 2, 3, 4, 5, 6, 7]],
];
/** Opcodes of 0F that read a register and write one, and their prefixes. */
export const BITS: readonly Bytes[] = [
  ...[[0x0f, 0xbc], [0x0f, 0xbd], [0xf3, 0x0f, 0xbc], [0xf3, 0x0f, 0xbd]],
  ...[[0xf3, 0x0f, 0xb8], [0x0f, 0xa3], [0x0f, 0xab], [0x0f, 0xb3]],
  ...[[0x0f, 0xbb], [0x0f, 0xa5], [0x0f, 0xad], [0x0f, 0xc1]],
  ...[[0x0f, 0xb1], [0x0f, 0xaf]],
];

/** Bytes that a text has, with spaces between them. */
export function hex(text: string): Bytes {
  return text.split(" ").map((digits) => parseInt(digits, 16));
}
function pairs(opcode: number, seconds: string): Bytes[] {
  return hex(seconds).map((second) => [opcode, second]);
}
function range(opcode: number, from: number, to: number): Bytes[] {
  return Array.from({ length: to - from + 1 }, (_, n) => [opcode, from + n]);
}
