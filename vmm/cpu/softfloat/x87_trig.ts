// FSIN, FCOS, FSINCOS and FPTAN. The argument is reduced by the 66-bit pi that
// the processor has inside (Intel SDM vol. 1, 8.3.8), exactly; then Taylor series.

import {
  type FuncRef,
  type FunctionBuilder,
  type I32,
  i32,
  i64,
} from "../wasm/mod.ts";
import { BIAS, C2, INTEGER_BIT, joinFlags, PE, x87FullSpec } from "./format.ts";
import {
  COEFFICIENT_BITS,
  coefficients,
  factorial,
  piTruncated,
} from "./series.ts";
import {
  divWide,
  letPair,
  mulWide,
  normalized,
  type Pair,
  pair,
  series,
  squareFraction,
  subPair,
  type WideFloat,
  type WideFloats,
} from "./wide_float.ts";
import { RESULT, UNARY, type X87Builder } from "./x87_arith.ts";
import {
  checkOne,
  isBad,
  isInfinite,
  isZero,
  type Operand,
  operand,
  packSe,
  returnDefaultNaN,
  returnZero,
  type X87Result,
  type X87Values,
} from "./x87_operand.ts";

/** The results of FSINCOS: sine, cosine, flags. */
export type SinCosResult = readonly ["i64", "i32", "i64", "i32", "i32"];

/** With C2 in the flags the operand is out of range and comes back unchanged. */
export interface X87Trig {
  /** (a, cw): FSIN */
  readonly sin: FuncRef<X87Result>;
  /** (a, cw): FCOS */
  readonly cos: FuncRef<X87Result>;
  /** (a, cw): FSINCOS, the sine first */
  readonly sincos: FuncRef<SinCosResult>;
  /** (a, cw): FPTAN without the 1.0 that it pushes */
  readonly tan: FuncRef<X87Result>;
}

/** Fraction bits of the reduced argument: half of a pi of 66 bits. */
const REDUCED_BITS = 65;
const HALF_PI = piTruncated(64);
const RANGE_EXPONENT = BIAS + 63;
const ONE = 1n << BigInt(COEFFICIENT_BITS);
/** The square of a quarter of pi, rounded up. */
const SQUARE_LIMIT = 0.617;

/** What the functions below need. */
export interface TrigBuilder extends X87Builder {
  /** 128-bit intermediate numbers */
  readonly w: WideFloats;
}

interface Trig extends TrigBuilder {
  /** (exp, sig) to quadrant, negative, exponent and significand of the rest */
  readonly reduce: FuncRef<readonly ["i32", "i32", "i32", "i64", "i64"]>;
  /** (exp, high, low) to sine: exponent, significand */
  readonly sine: FuncRef<readonly ["i32", "i64", "i64"]>;
  /** (exp, high, low) to cosine: exponent, significand */
  readonly cosine: FuncRef<readonly ["i32", "i64", "i64"]>;
}

/** Defines the functions. */
export function defineX87Trig(b: TrigBuilder): X87Trig {
  const { m, w } = b;
  const params = ["i32", "i64", "i64"] as const;
  const t: Trig = {
    ...b,
    reduce: m.func(
      "trig_reduce",
      ["i32", "i64"],
      ["i32", "i32", "i32", "i64", "i64"],
      (f) => emitReduce(f, w),
    ),
    sine: m.func("trig_sine", params, params, (f) => emitSine(f, w)),
    cosine: m.func("trig_cosine", params, params, (f) => emitCosine(f, w)),
  };
  return {
    sin: m.func("x87_sin", UNARY, RESULT, (f) => emitSin(f, t)),
    cos: m.func("x87_cos", UNARY, RESULT, (f) => emitCos(f, t)),
    sincos: m.func(
      "x87_sincos",
      UNARY,
      ["i64", "i32", "i64", "i32", "i32"],
      (f) => emitSinCos(f, t),
    ),
    tan: m.func("x87_tan", UNARY, RESULT, (f) => emitTan(f, t)),
  };
}

function emitReduce(f: FunctionBuilder, w: WideFloats): void {
  const exp = f.param(0, "i32");
  const sig = f.param(1, "i64");
  // Below 1/2 there is nothing to do: a quarter of pi is above.
  f.if(
    exp.ltS(BIAS - 1),
    () => f.return(i32(0), i32(0), exp, sig, i64(0)),
  );
  // sig counts units of 2^-65 once it is doubled exp - (BIAS - 2) times.
  const high = f.var("i64");
  const low = f.var("i64", sig);
  const quotient = f.var("i32");
  const count = f.var("i32", exp.sub(BIAS - 2));
  const d = pair(HALF_PI);
  f.loop((again) => {
    f.set(high, high.get().shl(1).or(low.get().shrU(63)));
    f.set(low, low.get().shl(1));
    f.set(quotient, quotient.get().shl(1));
    f.if(reaches({ high: high.get(), low: low.get() }, d), () => {
      const rest = subPair(f, { high: high.get(), low: low.get() }, d);
      f.set(high, rest.high);
      f.set(low, rest.low);
      f.set(quotient, quotient.get().or(1));
    });
    f.set(count, count.get().sub(1));
    f.brIf(again, count.get());
  });
  const rest = letPair(f, { high: high.get(), low: low.get() });
  const other = subPair(f, d, rest);
  const nearer = f.let(reaches(rest, other));
  const top = i32(BIAS + 127 - REDUCED_BITS);
  const chosen = {
    high: other.high.when(nearer, rest.high),
    low: other.low.when(nearer, rest.low),
  };
  const r = normalized(f, w, chosen, top);
  f.return(quotient.get().add(nearer), nearer, r.exp, r.high, r.low);
}

/** a >= b */
function reaches(a: Pair, b: Pair): I32 {
  return a.high.gtU(b.high).or(a.high.eq(b.high).and(a.low.geU(b.low)));
}

function wideParam(f: FunctionBuilder): WideFloat {
  return {
    exp: f.param(0, "i32"),
    high: f.param(1, "i64"),
    low: f.param(2, "i64"),
  };
}

function emitSine(f: FunctionBuilder, w: WideFloats): void {
  const r = wideParam(f);
  const terms = coefficients((k) => factorial(2 * k + 1), SQUARE_LIMIT);
  const square = squareFraction(f, w, r);
  const sum = belowOne(f, series(f, w, square, terms, i32(1)));
  const factor = normalized(f, w, sum, i32(BIAS));
  const product = mulWide(f, w, r, factor);
  f.return(product.exp, product.high, product.low);
}

function emitCosine(f: FunctionBuilder, w: WideFloats): void {
  const terms = coefficients((k) => factorial(2 * k), SQUARE_LIMIT);
  const square = squareFraction(f, w, wideParam(f));
  const sum = belowOne(f, series(f, w, square, terms, i32(1)));
  const n = normalized(f, w, sum, i32(BIAS));
  f.return(n.exp, n.high, n.low);
}

/** Keeps a sum below 1, where directed rounding must see it. */
function belowOne(f: FunctionBuilder, sum: Pair): Pair {
  const below = pair(ONE - 1n);
  const negative = f.let(sum.high.ltS(0));
  return letPair(f, {
    high: below.high.when(negative, sum.high),
    low: below.low.when(negative, sum.low),
  });
}

interface Reduced {
  readonly quadrant: I32;
  readonly negative: I32;
  readonly r: WideFloat;
}

function reduced(f: FunctionBuilder, t: Trig, a: Operand): Reduced {
  const [quadrant, negative, exp, high, low] = f.call(t.reduce, a.exp, a.sig);
  return { quadrant, negative, r: { exp, high, low } };
}

/** The sine or the cosine of a reduced argument, by quadrant. */
function circular(
  f: FunctionBuilder,
  t: Trig,
  { quadrant, negative, r }: Reduced,
): { sign: I32; value: WideFloat } {
  const exp = f.var("i32");
  const high = f.var("i64");
  const low = f.var("i64");
  const take = (fn: Trig["sine"]) => {
    const [e, h, l] = f.call(fn, r.exp, r.high, r.low);
    f.set(exp, e);
    f.set(high, h);
    f.set(low, l);
  };
  const odd = quadrant.and(1);
  f.if(odd, () => take(t.cosine), () => take(t.sine));
  const flipped = i32(0).when(odd, negative);
  return {
    sign: f.let(quadrant.shrU(1).and(1).xor(flipped)),
    value: {
      exp: f.let(exp.get()),
      ...letPair(f, { high: high.get(), low: low.get() }),
    },
  };
}

/** Rounds an inexact wide number. */
function roundWide(
  f: FunctionBuilder,
  b: X87Builder,
  sign: I32,
  n: WideFloat,
  denormal: I32,
  spec: I32,
): X87Values {
  const [s, exp, sig, flags] = f.call(
    b.core.round,
    ...[sign, n.exp, n.high, n.low.or(1), spec],
  );
  return [sig, packSe(s, exp, sig), f.let(joinFlags(flags, denormal, spec))];
}

/** Returns early where the operand is not a finite number in range. */
function checkRange(f: FunctionBuilder, b: X87Builder, a: Operand): void {
  checkOne(f, b.operands, a);
  f.if(isInfinite(a), () => returnDefaultNaN(f));
  f.if(
    a.exp.geS(RANGE_EXPONENT),
    () => f.return(a.rawSig, a.rawSe, i32(C2)),
  );
}

function emitSin(f: FunctionBuilder, t: Trig): void {
  const a = operand(f, t.operands, 0);
  checkRange(f, t, a);
  f.if(isZero(a), () => returnZero(f, a.sign));
  const spec = f.let(x87FullSpec(f.param(2, "i32")));
  const { sign, value } = circular(f, t, reduced(f, t, a));
  f.return(...roundWide(f, t, sign.xor(a.sign), value, a.denormal, spec));
}

function cosine(f: FunctionBuilder, t: Trig, r: Reduced) {
  return circular(f, t, { ...r, quadrant: f.let(r.quadrant.add(1)) });
}

function emitCos(f: FunctionBuilder, t: Trig): void {
  const a = operand(f, t.operands, 0);
  checkRange(f, t, a);
  f.if(isZero(a), () => f.return(i64(INTEGER_BIT), i32(BIAS), i32(0)));
  const spec = f.let(x87FullSpec(f.param(2, "i32")));
  const { sign, value } = cosine(f, t, reduced(f, t, a));
  f.return(...roundWide(f, t, sign, value, a.denormal, spec));
}

function emitSinCos(f: FunctionBuilder, t: Trig): void {
  const a = operand(f, t.operands, 0);
  f.if(isBad(a), () => {
    const [sig, se, flags] = f.call(t.operands.nan1, a.rawSig, a.rawSe);
    f.return(sig, se, sig, se, flags);
  });
  f.if(isInfinite(a), () => {
    const [sig, se, flags] = f.call(t.operands.nan1, i64(0), a.rawSe);
    f.return(sig, se, sig, se, flags);
  });
  f.if(a.exp.geS(RANGE_EXPONENT), () => {
    f.return(a.rawSig, a.rawSe, a.rawSig, a.rawSe, i32(C2));
  });
  f.if(isZero(a), () => {
    f.return(i64(0), a.rawSe, i64(INTEGER_BIT), i32(BIAS), i32(0));
  });
  const spec = f.let(x87FullSpec(f.param(2, "i32")));
  const r = reduced(f, t, a);
  const s = circular(f, t, r);
  const c = cosine(f, t, r);
  const sign = s.sign.xor(a.sign);
  const sine = roundWide(f, t, sign, s.value, a.denormal, spec);
  const cosineValue = roundWide(f, t, c.sign, c.value, a.denormal, spec);
  const flags = sine[2].or(cosineValue[2].and(PE | 2));
  f.return(sine[0], sine[1], cosineValue[0], cosineValue[1], flags);
}

function emitTan(f: FunctionBuilder, t: Trig): void {
  const a = operand(f, t.operands, 0);
  checkRange(f, t, a);
  f.if(isZero(a), () => returnZero(f, a.sign));
  const spec = f.let(x87FullSpec(f.param(2, "i32")));
  const r = reduced(f, t, a);
  const s = circular(f, t, r);
  const c = cosine(f, t, r);
  const value = divWide(f, t.w, s.value, c.value);
  const sign = s.sign.xor(c.sign).xor(a.sign);
  f.return(...roundWide(f, t, sign, value, a.denormal, spec));
}
