// Intermediate numbers of the transcendental functions: a 128-bit significand
// with its top bit set and an exponent; and fixed point for their series. All
// results are truncated, with errors of a few units of 2^-126.

import {
  type FuncRef,
  type FunctionBuilder,
  type I32,
  i32,
  type I64,
  i64,
  type ModuleBuilder,
} from "../wasm/mod.ts";
import { BIAS, bit64 } from "./format.ts";
import type { Wide } from "./wide.ts";

/** A 128-bit integer, high word first. */
export interface Pair {
  /** bits 64 to 127 */
  readonly high: I64;
  /** bits 0 to 63 */
  readonly low: I64;
}

/** high:low / 2^127 * 2^(exp - 16383), with the top bit set. */
export interface WideFloat extends Pair {
  /** biased by 16383 */
  readonly exp: I32;
}

type PairResult = readonly ["i64", "i64"];

/** The functions for wide numbers. */
export interface WideFloats {
  /** (a, b): the high 128 bits of the product */
  readonly mulHigh: FuncRef<PairResult>;
  /** (a) not zero: shifted left until its top bit is set, and by how much */
  readonly normalize: FuncRef<readonly ["i64", "i64", "i32"]>;
  /** (n, d), top bits set: n / d with 127 fraction bits, in (1/2, 2) */
  readonly divide: FuncRef<PairResult>;
  /** (sum, t, coefficient, i32 subtract): coefficient +- sum * t / 2^128 */
  readonly step: FuncRef<PairResult>;
  /** 128-bit integers */
  readonly wide: Wide;
}

const PAIR = ["i64", "i64"] as const;

/** Defines the functions. */
export function defineWideFloats(m: ModuleBuilder, wide: Wide): WideFloats {
  const mulHigh = m.func("wide_mul_high", [...PAIR, ...PAIR], PAIR, (f) => {
    emitMulHigh(f, wide);
  });
  return {
    wide,
    mulHigh,
    normalize: m.func(
      "wide_normalize",
      PAIR,
      ["i64", "i64", "i32"],
      emitNormalize,
    ),
    divide: m.func("wide_divide", [...PAIR, ...PAIR], PAIR, emitDivide),
    step: m.func(
      "wide_step",
      [...PAIR, ...PAIR, ...PAIR, "i32"],
      PAIR,
      (f) => emitStep(f, mulHigh),
    ),
  };
}

function pairParam(f: FunctionBuilder, first: number): Pair {
  return { high: f.param(first, "i64"), low: f.param(first + 1, "i64") };
}

/** a + b modulo 2^128. */
export function addPair(f: FunctionBuilder, a: Pair, b: Pair): Pair {
  const low = f.let(a.low.add(b.low));
  const carry = bit64(low.ltU(b.low));
  return { high: f.let(a.high.add(b.high).add(carry)), low };
}

/** a - b modulo 2^128. */
export function subPair(f: FunctionBuilder, a: Pair, b: Pair): Pair {
  const borrow = bit64(a.low.ltU(b.low));
  return {
    high: f.let(a.high.sub(b.high).sub(borrow)),
    low: f.let(a.low.sub(b.low)),
  };
}

/** A choice between two kept pairs. */
export function choosePair(condition: I32, a: Pair, b: Pair): Pair {
  return {
    high: a.high.when(condition, b.high),
    low: a.low.when(condition, b.low),
  };
}

/** A kept pair. */
export function letPair(f: FunctionBuilder, p: Pair): Pair {
  return { high: f.let(p.high), low: f.let(p.low) };
}

/** A constant of 128 bits. */
export function pair(value: bigint): Pair {
  return { high: i64(value >> 64n), low: i64(value) };
}

function emitMulHigh(f: FunctionBuilder, wide: Wide): void {
  const a = pairParam(f, 0);
  const b = pairParam(f, 2);
  const [high, low] = f.call(wide.mul, a.high, b.high);
  const [cross1] = f.call(wide.mul, a.high, b.low);
  const [cross2] = f.call(wide.mul, a.low, b.high);
  const first = addPair(f, { high, low }, { high: i64(0), low: cross1 });
  const sum = addPair(f, first, { high: i64(0), low: cross2 });
  f.return(sum.high, sum.low);
}

function emitNormalize(f: FunctionBuilder): void {
  const { high, low } = pairParam(f, 0);
  f.if(high.eqz(), () => {
    const shift = f.let(low.clz());
    f.return(low.shl(shift), i64(0), shift.toI32().add(64));
  });
  const shift = f.let(high.clz());
  // Two shifts, since a single one by 64 - 0 would be a shift by none.
  const carried = low.shrU(1).shrU(i64(63).sub(shift));
  f.return(high.shl(shift).or(carried), low.shl(shift), shift.toI32());
}

/** Long division, a bit at a time. */
function emitDivide(f: FunctionBuilder): void {
  const d = pairParam(f, 2);
  const high = f.var("i64", f.param(0, "i64"));
  const low = f.var("i64", f.param(1, "i64"));
  const qHigh = f.var("i64");
  const qLow = f.var("i64");
  const over = f.var("i32");
  const count = f.var("i32", i32(128));
  f.loop((again) => {
    f.set(qHigh, qHigh.get().shl(1).or(qLow.get().shrU(63)));
    f.set(qLow, qLow.get().shl(1));
    const fits = high.get().gtU(d.high).or(
      high.get().eq(d.high).and(low.get().geU(d.low)),
    );
    f.if(over.get().or(fits), () => {
      const borrow = bit64(low.get().ltU(d.low));
      f.set(high, high.get().sub(d.high).sub(borrow));
      f.set(low, low.get().sub(d.low));
      f.set(qLow, qLow.get().or(1));
    });
    f.set(over, high.get().ltS(0));
    f.set(high, high.get().shl(1).or(low.get().shrU(63)));
    f.set(low, low.get().shl(1));
    f.set(count, count.get().sub(1));
    f.brIf(again, count.get());
  });
  f.return(qHigh.get(), qLow.get());
}

function emitStep(f: FunctionBuilder, mulHigh: FuncRef<PairResult>): void {
  const sum = pairParam(f, 0);
  const t = pairParam(f, 2);
  const coefficient = pairParam(f, 4);
  const [high, low] = f.call(mulHigh, sum.high, sum.low, t.high, t.low);
  f.if(f.param(6, "i32"), () => {
    const difference = subPair(f, coefficient, { high, low });
    f.return(difference.high, difference.low);
  });
  const total = addPair(f, coefficient, { high, low });
  f.return(total.high, total.low);
}

/**
 * The series of `terms` (127 fraction bits) in t (128 fraction bits), by Horner's
 * rule; every second sign is negative where `subtract` is not zero.
 */
export function series(
  f: FunctionBuilder,
  w: WideFloats,
  t: Pair,
  terms: readonly bigint[],
  subtract: I32,
): Pair {
  const last = pair(terms.at(-1)!);
  const high = f.var("i64", last.high);
  const low = f.var("i64", last.low);
  for (const term of terms.slice(0, -1).toReversed()) {
    const c = pair(term);
    f.scope(() => {
      const sum = [high.get(), low.get(), t.high, t.low];
      const [h, l] = f.call(w.step, ...sum, c.high, c.low, subtract);
      f.set(high, h);
      f.set(low, l);
    });
  }
  return letPair(f, { high: high.get(), low: low.get() });
}

/** The product of two wide numbers. */
export function mulWide(
  f: FunctionBuilder,
  w: WideFloats,
  a: WideFloat,
  b: WideFloat,
): WideFloat {
  const [h, l] = f.call(w.mulHigh, a.high, a.low, b.high, b.low);
  return normalized(f, w, { high: h, low: l }, a.exp.add(b.exp).sub(BIAS - 1));
}

/** The quotient of two wide numbers. */
export function divWide(
  f: FunctionBuilder,
  w: WideFloats,
  a: WideFloat,
  b: WideFloat,
): WideFloat {
  const [h, l] = f.call(w.divide, a.high, a.low, b.high, b.low);
  return normalized(f, w, { high: h, low: l }, a.exp.sub(b.exp).add(BIAS));
}

/** A pair whose top bit weighs 2^(exp - 16383) as a wide number. */
export function normalized(
  f: FunctionBuilder,
  w: WideFloats,
  p: Pair,
  exp: I32,
): WideFloat {
  const [high, low, shift] = f.call(w.normalize, p.high, p.low);
  return { high, low, exp: f.let(exp.sub(shift)) };
}

/** A wide number as a pair whose top bit weighs 2^(top - 16383). */
export function fixed(
  f: FunctionBuilder,
  w: WideFloats,
  n: WideFloat,
  top: number,
): Pair {
  const distance = i32(top).sub(n.exp);
  const [high, low] = f.call(w.wide.shiftRight, n.high, n.low, distance);
  return { high, low };
}

/** The square of a wide number below 1, with 128 fraction bits. */
export function squareFraction(
  f: FunctionBuilder,
  w: WideFloats,
  n: WideFloat,
): Pair {
  const p = fixed(f, w, n, BIAS - 1);
  const [high, low] = f.call(w.mulHigh, p.high, p.low, p.high, p.low);
  return { high, low };
}

/** A positive constant as a wide number: `value` / 2^`bits`. */
export function wideConstant(
  value: (bits: number) => bigint,
): WideFloat {
  const integerBits = value(0) === 0n ? 0 : value(64).toString(2).length - 64;
  return wideConstantAt(value(128 - integerBits), integerBits);
}

function wideConstantAt(value: bigint, integerBits: number): WideFloat {
  if (value >> 127n !== 1n) {
    throw new RangeError(`Cannot normalize a constant of ${integerBits} bits`);
  }
  return { ...pair(value), exp: i32(BIAS - 1 + integerBits) };
}
