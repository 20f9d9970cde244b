// Packed integer arithmetic, logic, comparison and shifts of SSE2, SSSE3 and SSE4
// (Intel SDM vol. 1, 11.4.2, 12.6, 12.10; vol. 2). Most rows look at one lane at a
// time, so that MMX uses them on the low half of a vector.

import { type Form, form } from "../form.ts";
import {
  type I32,
  i32,
  type SimdBinary,
  type SimdShift,
  splat,
  type V128,
} from "../wasm/mod.ts";
import {
  type Binary,
  binary,
  counting,
  fill64,
  inPlace,
  lanes,
  low64,
  SSE,
  table,
  type Unary,
  unary,
  VectorEmitter,
  ZERO,
} from "../vector.ts";

function direct(name: SimdBinary): Binary {
  return (_v, a, b) => a.binary(name, b);
}

// --- Products --------------------------------------------------------------

type Sign = "s" | "u";

/** The high halves of 16-bit products. */
function multiplyHigh(sign: Sign): Binary {
  const high = [2, 6, 10, 14, 18, 22, 26, 30].flatMap((n) => [n, n + 1]);
  return (_v, a, b) => {
    const low4 = a.binary(`i32x4.extmul_low_i16x8_${sign}`, b);
    const high4 = a.binary(`i32x4.extmul_high_i16x8_${sign}`, b);
    return low4.shuffle(high4, high);
  };
}

/** 64-bit products of the even 32-bit lanes. */
function multiplyEven(sign: Sign): Binary {
  const even = [0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11];
  return (_v, a, b) =>
    a.shuffle(a, even)
      .binary(`i64x2.extmul_low_i32x4_${sign}`, b.shuffle(b, even));
}

// The one product that WebAssembly saturates wraps on x86: -1 times -1.
const multiplyRound: Binary = (_v, a, b) => {
  const least = lanes("i16x8", Array(8).fill(-0x8000));
  const both = a.binary("i16x8.eq", least)
    .binary("v128.and", b.binary("i16x8.eq", least));
  return a.binary("i16x8.q15mulr_sat_s", b).binary("v128.xor", both);
};

// Bytes of `a` are unsigned, those of `b` signed; no product overflows 16 bits.
const multiplyAddBytes: Binary = (v, a, b) => {
  const product = (half: "low" | "high") =>
    v.let(
      a.unary(`i16x8.extend_${half}_i8x16_u`)
        .binary("i16x8.mul", b.unary(`i16x8.extend_${half}_i8x16_s`)),
    );
  return pairs16("i16x8.add_sat_s")(v, product("low"), product("high"));
};

// --- Neighbours ------------------------------------------------------------

/** The even 16-bit lanes of both sources with the odd ones. */
function pairs16(name: SimdBinary): Binary {
  const even = counting(0).map((n) => 2 * n - (n & 1));
  return pairs(name, even, 2);
}

/** The even 32-bit lanes of both sources with the odd ones. */
function pairs32(name: SimdBinary): Binary {
  const even = counting(0).map((n) => 2 * n - (n & 3));
  return pairs(name, even, 4);
}

function pairs(name: SimdBinary, even: number[], bytes: number): Binary {
  const odd = even.map((n) => n + bytes);
  return (_v, a, b) => a.shuffle(b, even).binary(name, a.shuffle(b, odd));
}

/** Sums of absolute differences of eight bytes. */
const sumDifferences: Binary = (v, a, b) => {
  const difference = a.binary("i8x16.sub_sat_u", b)
    .binary("v128.or", b.binary("i8x16.sub_sat_u", a));
  const fours = v.let(
    difference.unary("i16x8.extadd_pairwise_i8x16_u")
      .unary("i32x4.extadd_pairwise_i16x8_u"),
  );
  return fours.binary("i64x2.add", fours.shift("i64x2.shr_u", 32))
    .binary("v128.and", fill64(0xffff_ffffn));
};

/** Eight sums of four absolute differences; the immediate selects the bytes. */
const sumDifferencesAt: Binary = (v, a, b) => {
  const at = v.let(splat("i8x16", v.imm.and(4)));
  const of = v.let(splat("i8x16", v.imm.and(3).shl(2)));
  const sums = [0, 1, 2, 3].map((k) => {
    const eight = (of: V128, index: V128) =>
      of.binary("i8x16.swizzle", index)
        .unary("i16x8.extend_low_i8x16_u");
    const first = at.binary("i8x16.add", lanes("i8x16", counting(k)));
    const second = of.binary("i8x16.add", lanes("i8x16", Array(16).fill(k)));
    return eight(a, first).binary("i16x8.sub", eight(b, second))
      .unary("i16x8.abs");
  });
  return sums.reduce((sum, one) => sum.binary("i16x8.add", one));
};

// --- Signs and choices -----------------------------------------------------

type IntegerShape = "i8x16" | "i16x8" | "i32x4";

/** `a` negated where `b` is negative, zero where it is zero. */
function sign(shape: IntegerShape): Binary {
  return (v, a, b) => {
    const negative = v.let(b.binary(`${shape}.lt_s`, ZERO));
    return a.binary("v128.xor", negative).binary(`${shape}.sub`, negative)
      .binary("v128.and", b.binary(`${shape}.ne`, ZERO));
  };
}

/** The least 16-bit lane with its index above it. */
const minimumPosition: Unary = (v, a) => {
  const tagged = (half: "low" | "high", first: number) =>
    a.unary(`i32x4.extend_${half}_i16x8_u`).shift("i32x4.shl", 16)
      .binary("v128.or", lanes("i32x4", [0, 1, 2, 3].map((n) => n + first)));
  const four = v.let(
    tagged("low", 0).binary("i32x4.min_u", tagged("high", 4)),
  );
  const rotate = (value: V128, by: number) =>
    value.shuffle(value, counting(by).map((n) => n & 15));
  const two = v.let(four.binary("i32x4.min_u", rotate(four, 8)));
  const one = two.binary("i32x4.min_u", rotate(two, 4));
  const best = v.let(one.lane("i32x4.extract_lane", 0));
  return ZERO.withLane("i32x4", 0, best.rotl(16));
};

// --- Rows ------------------------------------------------------------------

/** Operations that look at one lane of up to 64 bits at a time. */
export const LANEWISE: Readonly<Record<string, Binary>> = {
  Pand: direct("v128.and"),
  Por: direct("v128.or"),
  Pxor: direct("v128.xor"),
  Pandn: (_v, a, b) => b.binary("v128.andnot", a),
  Paddb: direct("i8x16.add"),
  Paddw: direct("i16x8.add"),
  Paddd: direct("i32x4.add"),
  Paddq: direct("i64x2.add"),
  Psubb: direct("i8x16.sub"),
  Psubw: direct("i16x8.sub"),
  Psubd: direct("i32x4.sub"),
  Psubq: direct("i64x2.sub"),
  Paddsb: direct("i8x16.add_sat_s"),
  Paddsw: direct("i16x8.add_sat_s"),
  Paddusb: direct("i8x16.add_sat_u"),
  Paddusw: direct("i16x8.add_sat_u"),
  Psubsb: direct("i8x16.sub_sat_s"),
  Psubsw: direct("i16x8.sub_sat_s"),
  Psubusb: direct("i8x16.sub_sat_u"),
  Psubusw: direct("i16x8.sub_sat_u"),
  Pcmpeqb: direct("i8x16.eq"),
  Pcmpeqw: direct("i16x8.eq"),
  Pcmpeqd: direct("i32x4.eq"),
  Pcmpgtb: direct("i8x16.gt_s"),
  Pcmpgtw: direct("i16x8.gt_s"),
  Pcmpgtd: direct("i32x4.gt_s"),
  Pminub: direct("i8x16.min_u"),
  Pmaxub: direct("i8x16.max_u"),
  Pminsw: direct("i16x8.min_s"),
  Pmaxsw: direct("i16x8.max_s"),
  Pavgb: direct("i8x16.avgr_u"),
  Pavgw: direct("i16x8.avgr_u"),
  Pmullw: direct("i16x8.mul"),
  Pmulhw: multiplyHigh("s"),
  Pmulhuw: multiplyHigh("u"),
  Pmuludq: multiplyEven("u"),
  Pmaddwd: direct("i32x4.dot_i16x8_s"),
  Psadbw: sumDifferences,
};

/** As `LANEWISE`, of SSSE3. */
export const LANEWISE_SSSE3: Readonly<Record<string, Binary>> = {
  Psignb: sign("i8x16"),
  Psignw: sign("i16x8"),
  Psignd: sign("i32x4"),
  Pmulhrsw: multiplyRound,
  Pmaddubsw: multiplyAddBytes,
};

/** Absolute values, of SSSE3. */
export const ABSOLUTE: Readonly<Record<string, Unary>> = {
  Pabsb: (_v, a) => a.unary("i8x16.abs"),
  Pabsw: (_v, a) => a.unary("i16x8.abs"),
  Pabsd: (_v, a) => a.unary("i32x4.abs"),
};

/** Sums of neighbours, of SSSE3. */
export const HORIZONTAL: Readonly<Record<string, Binary>> = {
  Phaddw: pairs16("i16x8.add"),
  Phaddd: pairs32("i32x4.add"),
  Phaddsw: pairs16("i16x8.add_sat_s"),
  Phsubw: pairs16("i16x8.sub"),
  Phsubd: pairs32("i32x4.sub"),
  Phsubsw: pairs16("i16x8.sub_sat_s"),
};

const SSE4: Readonly<Record<string, Binary>> = {
  Pcmpeqq: direct("i64x2.eq"),
  Pcmpgtq: direct("i64x2.gt_s"),
  Pminsb: direct("i8x16.min_s"),
  Pminsd: direct("i32x4.min_s"),
  Pminuw: direct("i16x8.min_u"),
  Pminud: direct("i32x4.min_u"),
  Pmaxsb: direct("i8x16.max_s"),
  Pmaxsd: direct("i32x4.max_s"),
  Pmaxuw: direct("i16x8.max_u"),
  Pmaxud: direct("i32x4.max_u"),
  Pmulld: direct("i32x4.mul"),
  Pmuldq: multiplyEven("s"),
};

/** The logical operations under their floating-point names. */
const FLOAT_LOGIC: Readonly<Record<string, Binary>> = {
  Andps: direct("v128.and"),
  Andpd: direct("v128.and"),
  Andnps: (_v, a, b) => b.binary("v128.andnot", a),
  Andnpd: (_v, a, b) => b.binary("v128.andnot", a),
  Orps: direct("v128.or"),
  Orpd: direct("v128.or"),
  Xorps: direct("v128.xor"),
  Xorpd: direct("v128.xor"),
};

// --- Shifts ----------------------------------------------------------------

/** A shift of each lane by a count that is an unsigned 64-bit number. */
export type LaneShift = (a: V128, count: I32, beyond: I32) => V128;

function logical(name: SimdShift): LaneShift {
  return (a, count, beyond) => ZERO.when(beyond, a.shift(name, count));
}

function arithmetic(name: SimdShift, top: number): LaneShift {
  return (a, count, beyond) => a.shift(name, i32(top).when(beyond, count));
}

/** Lane shifts, with the lanes' bits. */
export const SHIFTS: Readonly<Record<string, readonly [LaneShift, number]>> = {
  Psllw: [logical("i16x8.shl"), 16],
  Pslld: [logical("i32x4.shl"), 32],
  Psllq: [logical("i64x2.shl"), 64],
  Psrlw: [logical("i16x8.shr_u"), 16],
  Psrld: [logical("i32x4.shr_u"), 32],
  Psrlq: [logical("i64x2.shr_u"), 64],
  Psraw: [arithmetic("i16x8.shr_s", 15), 16],
  Psrad: [arithmetic("i32x4.shr_s", 31), 32],
};

/** A shift by the low half of the second source. */
export function shiftByVector(
  [shift, bits]: readonly [LaneShift, number],
): Binary {
  return (v, a, b) => {
    const count = v.let(low64(b));
    return shift(a, count.toI32(), count.gtU(bits - 1));
  };
}

/** A shift by the immediate. */
export function shiftByImmediate(
  [shift, bits]: readonly [LaneShift, number],
): Unary {
  return (v, a) => shift(a, v.imm, v.imm.gtU(bits - 1));
}

// A swizzle gives zero for every index above 15.
const shiftBytesRight: Unary = (v, a) =>
  a.binary(
    "i8x16.swizzle",
    splat("i8x16", v.imm)
      .binary("i8x16.add_sat_u", lanes("i8x16", counting())),
  );

const shiftBytesLeft: Unary = (v, a) => {
  const count = i32(16).when(v.imm.gtU(16), v.imm);
  const index = lanes("i8x16", counting()).binary(
    "i8x16.sub",
    splat("i8x16", count),
  );
  return a.binary("i8x16.swizzle", index);
};

// --- Tests -----------------------------------------------------------------

/** ZF: no bit of `b` is in `a`; CF: every bit of `b` is in `a`. */
function test(v: VectorEmitter, a: V128, b: V128): void {
  const none = a.binary("v128.and", b).test("v128.any_true").eqz();
  const all = b.binary("v128.andnot", a).test("v128.any_true").eqz();
  v.x.flags.assign(v.let(all.or(none.shl(6)).toI64U()));
}

function ptest(): Form {
  return form("Ptest_xmm_xmmm128", (x) => {
    const v = new VectorEmitter(x);
    const b = v.read(1)[0]!;
    test(v, v.read(0)[0]!, b);
  }, SSE);
}

const BINARY = "xmm_xmmm128";

/** SSE2's forms. */
export const SSE_COMMON_INTEGER_FORMS: readonly Form[] = [
  ...table(LANEWISE, BINARY, binary),
  ...table(FLOAT_LOGIC, BINARY, binary),
  ...table(SHIFTS, BINARY, (row) => binary(shiftByVector(row))),
  ...table(SHIFTS, "xmm_imm8", (row) => inPlace(shiftByImmediate(row))),
  form("Psrldq_xmm_imm8", inPlace(shiftBytesRight), SSE),
  form("Pslldq_xmm_imm8", inPlace(shiftBytesLeft), SSE),
];

/** The forms of SSSE3 and SSE4. */
export const SSE_INTEGER_FORMS: readonly Form[] = [
  ...table(LANEWISE_SSSE3, BINARY, binary),
  ...table(HORIZONTAL, BINARY, binary),
  ...table(ABSOLUTE, BINARY, unary),
  ...table(SSE4, BINARY, binary),
  form("Phminposuw_xmm_xmmm128", unary(minimumPosition), SSE),
  form("Mpsadbw_xmm_xmmm128_imm8", binary(sumDifferencesAt), SSE),
  ptest(),
];
