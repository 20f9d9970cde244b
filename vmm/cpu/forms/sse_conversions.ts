// SSE conversions between integers, binary32 and binary64 (Intel SDM vol. 1, 10.4.4,
// 11.4.1.6, 11.4.4.1; vol. 2, CVTxx2xx). What is out of range or a NaN is slow and
// gives the integer indefinite.

import { type Form, form } from "../form.ts";
import {
  type F64 as F64Expr,
  i32,
  type I64,
  splat,
  type V128,
} from "../wasm/mod.ts";
import { type SseUnary, sseUnary } from "../runtime/sse.ts";
import {
  checkPending,
  type Define,
  enterMmx,
  fill32,
  fill64,
  low64,
  lowVector,
  SSE,
  writeMmx,
  ZERO,
} from "../vector.ts";
import {
  allTrue,
  F32,
  F64,
  FloatEmitter,
  type FloatFormat,
  isOrdinary,
  mergeLow,
  type Slow,
} from "./sse_float.ts";

function slow(
  v: FloatEmitter,
  name: SseUnary,
  count: number,
  source: V128,
): Slow {
  return v.call("sseUnary", sseUnary(name), i32(count), source);
}

/** A conversion: its source's lanes count from the lowest, so do the result's. */
type Convert = (v: FloatEmitter, source: V128) => V128;

// --- Vectors ---------------------------------------------------------------

const TWO_31_F32 = fill32(0x4f00_0000);
const TWO_31_F64 = fill64(0x41e0n << 48n);
const GREATEST_F32 = fill64(0x47ef_ffff_e000_0000n);
const LEAST_F32 = fill64(0x3810n << 48n);

/** Singles to 32-bit integers. */
function singlesToInts(truncate: boolean, count: 2 | 4): Convert {
  return (v, a) => {
    const inRange = a.unary("f32x4.abs").binary("f32x4.lt", TWO_31_F32);
    const rounded = truncate ? a : a.unary("f32x4.nearest");
    return v.unless(
      v.isUsual().and(allTrue(F32, inRange)),
      rounded.unary("i32x4.trunc_sat_f32x4_s"),
      () => slow(v, truncate ? "f32TruncInt32" : "f32ToInt32", count, a),
    );
  };
}

/** Two doubles to 32-bit integers with zeros above. */
function doublesToInts(truncate: boolean): Convert {
  return (v, a) => {
    // Rounding can reach 2^31 from below.
    const rounded = truncate ? a : v.let(a.unary("f64x2.nearest"));
    const inRange = rounded.unary("f64x2.abs").binary("f64x2.lt", TWO_31_F64);
    return v.unless(
      v.isUsual().and(allTrue(F64, inRange)),
      rounded.unary("i32x4.trunc_sat_f64x2_s_zero"),
      () => slow(v, truncate ? "f64TruncInt32" : "f64ToInt32", 2, a),
    );
  };
}

function intsToSingles(count: 2 | 4): Convert {
  return (v, a) =>
    v.unless(
      v.isUsual(),
      a.unary("f32x4.convert_i32x4_s"),
      () => slow(v, "int32ToF32", count, a),
    );
}

const intsToDoubles: Convert = (_v, a) => a.unary("f64x2.convert_low_i32x4_s");

/** Exact but for NaNs; a denormal is reported. */
function singlesToDoubles(count: 1 | 2): Convert {
  return (v, a) =>
    v.unless(
      allTrue(F32, isOrdinary(F32, a)),
      a.unary("f64x2.promote_low_f32x4"),
      () => slow(v, "f32ToF64", count, a),
    );
}

/** Doubles to singles with zeros above. */
function doublesToSingles(count: 1 | 2): Convert {
  return (v, a) => {
    const magnitude = a.unary("f64x2.abs");
    const isNormal = magnitude.binary("f64x2.gt", LEAST_F32)
      .binary("v128.and", magnitude.binary("f64x2.le", GREATEST_F32));
    const clean = isNormal.binary("v128.or", a.binary("f64x2.eq", ZERO));
    return v.unless(
      v.isUsual().and(allTrue(F64, clean)),
      a.unary("f32x4.demote_f64x2_zero"),
      () => slow(v, "f64ToF32", count, a),
    );
  };
}

/** Sources of 128 bits, or of 64 in both halves of a vector. */
function vector(convert: Convert, sourceBits: 64 | 128): Define {
  return (x) => {
    const v = new FloatEmitter(x);
    const source = sourceBits === 64 ? v.readSplat(1, 64) : v.read(1)[0]!;
    const result = v.let(convert(v, source));
    v.settle();
    v.write(0, [result]);
  };
}

/** Between scalars: the result replaces the lowest lane of the destination. */
function scalar(from: FloatFormat, to: FloatFormat, convert: Convert): Define {
  return (x) => {
    const v = new FloatEmitter(x);
    const result = v.let(convert(v, v.readSplat(1, from.bits)));
    v.settle();
    v.writeOne(0, mergeLow(to, v.readLow(0), result));
  };
}

// --- MMX registers ---------------------------------------------------------

// Sources from memory leave the x87 state alone (on AMD's processors, in both
// conversions). It changes even where the conversion then raises an exception.
function fromMmx(to: FloatFormat): Define {
  return (x) => {
    if (!x.isMemory(1)) checkPending(x);
    const v = new FloatEmitter(x);
    const source = v.readSplat(1, 64);
    if (!x.isMemory(1)) enterMmx(x);
    const convert = to === F32 ? intsToSingles(2) : intsToDoubles;
    const result = v.let(convert(v, source));
    v.settle();
    if (to === F64) v.writeOne(0, result);
    else {
      v.writeOne(0, v.readLow(0).withLane("i64x2", 0, low64(result)));
    }
  };
}

function toMmx(from: FloatFormat, truncate: boolean): Define {
  return (x) => {
    checkPending(x);
    const v = new FloatEmitter(x);
    const source = from === F32 ? v.readSplat(1, 64) : v.read(1)[0]!;
    enterMmx(x);
    const convert = from === F32
      ? singlesToInts(truncate, 2)
      : doublesToInts(truncate);
    const result = v.let(low64(convert(v, source)));
    v.settle();
    writeMmx(x, 0, result);
  };
}

// --- General registers -----------------------------------------------------

type IntBits = 32 | 64;

function scalarToInt(
  from: FloatFormat,
  bits: IntBits,
  truncate: boolean,
): Define {
  const operation: SseUnary = `f${from.bits}${
    truncate ? "Trunc" : "To"
  }Int${bits}`;
  return (x) => {
    const v = new FloatEmitter(x);
    const source = x.read(1, from.bits);
    const value = v.let(asDouble(from, source));
    // Rounding can reach the limit from below.
    const rounded = truncate ? value : v.let(value.nearest());
    const integer = v.let(rounded.toI64SatS());
    // What is an integer already raises nothing in any mode.
    const isExact = integer.toF64S().eq(value);
    const isFast = v.isUsual().or(isExact)
      .and(rounded.abs().lt(2 ** (bits - 1)));
    const result = v.f.var("i64", integer);
    v.f.if(isFast.eqz(), () => {
      const [found, flags] = slow(v, operation, 1, lowVector(source));
      v.f.set(result, low64(found));
      v.note(flags);
    });
    v.settle();
    x.write(0, v.let(result.get()), bits);
  };
}

function asDouble(from: FloatFormat, bits: I64): F64Expr {
  return from === F32 ? bits.toI32().asF32().toF64() : bits.asF64();
}

function intToScalar(to: FloatFormat, bits: IntBits): Define {
  // Integers that fit in the significand raise nothing in any mode.
  const spare = to === F32 ? 64 - 24 : 64 - 53;
  return (x) => {
    const v = new FloatEmitter(x);
    const read = x.read(1, bits);
    const source = v.let(bits === 32 ? read.extend32S() : read);
    const fast = to === F32
      ? splat("f32x4", source.toF32S())
      : splat("f64x2", source.toF64S());
    const operation = to === F32 ? "int64ToF32" : "int64ToF64";
    const isExact = source.shl(spare).shrS(spare).eq(source);
    const isFast = to === F64 && bits === 32 ? i32(1) : v.isUsual().or(isExact);
    const result = v.unless(
      isFast,
      fast,
      () => slow(v, operation, 1, lowVector(source)),
    );
    v.settle();
    v.writeOne(0, mergeLow(to, v.readLow(0), result));
  };
}

function generalForms(): Form[] {
  return [F32, F64].flatMap((format) =>
    ([32, 64] as const).flatMap((bits) => {
      const scalarName = `s${format.letter}`;
      const toInt = `2si_r${bits}_xmmm${format.bits}`;
      return [
        form(`Cvt${scalarName}${toInt}`, scalarToInt(format, bits, false), SSE),
        form(`Cvtt${scalarName}${toInt}`, scalarToInt(format, bits, true), SSE),
        form(
          `Cvtsi2${scalarName}_xmm_rm${bits}`,
          intToScalar(format, bits),
          SSE,
        ),
      ];
    })
  );
}

// --- Rows ------------------------------------------------------------------

const VECTORS: Readonly<Record<string, readonly [Convert, 64 | 128]>> = {
  Cvtdq2ps_xmm_xmmm128: [intsToSingles(4), 128],
  Cvtdq2pd_xmm_xmmm64: [intsToDoubles, 64],
  Cvtps2dq_xmm_xmmm128: [singlesToInts(false, 4), 128],
  Cvttps2dq_xmm_xmmm128: [singlesToInts(true, 4), 128],
  Cvtpd2dq_xmm_xmmm128: [doublesToInts(false), 128],
  Cvttpd2dq_xmm_xmmm128: [doublesToInts(true), 128],
  Cvtps2pd_xmm_xmmm64: [singlesToDoubles(2), 64],
  Cvtpd2ps_xmm_xmmm128: [doublesToSingles(2), 128],
};

/** SSE2's forms. */
export const SSE_COMMON_CONVERSION_FORMS: readonly Form[] = [
  ...Object.entries(VECTORS).map(([name, [convert, bits]]) =>
    form(name, vector(convert, bits), SSE)
  ),
  form(
    "Cvtss2sd_xmm_xmmm32",
    scalar(F32, F64, singlesToDoubles(1)),
    SSE,
  ),
  form(
    "Cvtsd2ss_xmm_xmmm64",
    scalar(F64, F32, doublesToSingles(1)),
    SSE,
  ),
  ...generalForms(),
];

/** The forms with MMX registers. */
export const SSE_CONVERSION_FORMS: readonly Form[] = [
  form("Cvtpi2ps_xmm_mmm64", fromMmx(F32), SSE),
  form("Cvtpi2pd_xmm_mmm64", fromMmx(F64), SSE),
  form("Cvtps2pi_mm_xmmm64", toMmx(F32, false), SSE),
  form("Cvttps2pi_mm_xmmm64", toMmx(F32, true), SSE),
  form("Cvtpd2pi_mm_xmmm128", toMmx(F64, false), SSE),
  form("Cvttpd2pi_mm_xmmm128", toMmx(F64, true), SSE),
];
