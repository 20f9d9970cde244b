// AES-NI and PCLMULQDQ (Intel SDM vol. 1, 12.13; vol. 2; FIPS 197). A vector is AES's
// state by columns: byte n is row n % 4 of column n / 4.

import { type Form, form } from "../form.ts";
import { type I32, splat, type V128 } from "../wasm/mod.ts";
import {
  type Binary,
  binary,
  counting,
  high64,
  lanes,
  low64,
  lowVector,
  SSE,
  table,
  type Unary,
  unary,
  type VectorEmitter,
  ZERO,
} from "../vector.ts";

function pick(vector: V128, from: (n: number) => number): V128 {
  return vector.shuffle(vector, counting().map(from));
}

/** Row r moves by r columns, forwards or backwards. */
function shiftRows(vector: V128, direction: 1 | -1): V128 {
  return pick(vector, (n) => (n + 4 * direction * (n & 3)) & 15);
}

/** Each column turned by a number of rows. */
function turn(vector: V128, rows: number): V128 {
  return pick(vector, (n) => (n & 12) | ((n + rows) & 3));
}

/** Each byte times x. */
function timesX(vector: V128): V128 {
  const reduction = vector.binary("i8x16.lt_s", ZERO)
    .binary("v128.and", lanes("i8x16", Array(16).fill(0x1b)));
  return vector.binary("i8x16.add", vector).binary("v128.xor", reduction);
}

function mixColumns(v: VectorEmitter, vector: V128): V128 {
  const next = v.let(turn(vector, 1));
  const both = v.let(vector.binary("v128.xor", next));
  return timesX(both).binary("v128.xor", next)
    .binary("v128.xor", turn(both, 2));
}

// The inverse is MixColumns after multiplying by 4 x^2 + 5.
function inverseMixColumns(v: VectorEmitter, vector: V128): V128 {
  const pairs = v.let(vector.binary("v128.xor", turn(vector, 2)));
  const doubled = v.let(timesX(pairs));
  const prepared = v.let(vector.binary("v128.xor", timesX(doubled)));
  return mixColumns(v, prepared);
}

function substitute(v: VectorEmitter, vector: V128): V128 {
  return v.call("aesSubstitute", v.let(vector))[0];
}

function inverseSubstitute(v: VectorEmitter, vector: V128): V128 {
  return v.call("aesInverseSubstitute", v.let(vector))[0];
}

const ROUNDS: Readonly<Record<string, Binary>> = {
  Aesenc: (v, state, key) =>
    mixColumns(v, substitute(v, shiftRows(state, 1)))
      .binary("v128.xor", key),
  Aesenclast: (v, state, key) =>
    substitute(v, shiftRows(state, 1)).binary("v128.xor", key),
  Aesdec: (v, state, key) =>
    inverseMixColumns(v, inverseSubstitute(v, shiftRows(state, -1)))
      .binary("v128.xor", key),
  Aesdeclast: (v, state, key) =>
    inverseSubstitute(v, shiftRows(state, -1)).binary("v128.xor", key),
};

/** The odd words substituted, in the upper of each pair also turned and xored. */
const assistKey: Unary = (v, a) => {
  const words = substitute(v, a);
  const place = (n: number) => {
    const word = n < 8 ? 4 : 12;
    return n & 4 ? word + ((n + 1) & 3) : word + (n & 3);
  };
  const upper = lanes("i32x4", [0, -1, 0, -1]);
  const constant = splat("i32x4", v.imm).binary("v128.and", upper);
  return pick(words, place).binary("v128.xor", constant);
};

const carryless: Binary = (v, a, b) => {
  const half = (of: V128, bit: I32) => v.let(high64(of).when(bit, low64(of)));
  const [low, high] = v.call(
    "carrylessMultiply",
    half(a, v.imm.and(1)),
    half(b, v.imm.and(16)),
  );
  return lowVector(low).withLane("i64x2", 1, high);
};

/** The forms of this group. */
export const SSE_CRYPTO_FORMS: readonly Form[] = [
  ...table(ROUNDS, "xmm_xmmm128", binary),
  form("Aesimc_xmm_xmmm128", unary(inverseMixColumns), SSE),
  form("Aeskeygenassist_xmm_xmmm128_imm8", unary(assistKey), SSE),
  form("Pclmulqdq_xmm_xmmm128_imm8", binary(carryless), SSE),
];
