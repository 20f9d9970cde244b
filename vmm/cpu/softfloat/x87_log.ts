// F2XM1, FYL2X and FYL2XP1 (Intel SDM vol. 1, 8.3.9; vol. 2 for special
// operands). Logarithms come from the series of atanh((m - 1) / (m + 1)).

import {
  type FuncRef,
  type FunctionBuilder,
  type I32,
  i32,
  type I64,
  i64,
} from "../wasm/mod.ts";
import {
  BIAS,
  INTEGER_BIT,
  joinFlags,
  PE,
  RC_NEAREST,
  x87FullSpec,
  ZE,
} from "./format.ts";
import { coefficients, factorial, ln2, log2e, sqrtFixed } from "./series.ts";
import {
  addPair,
  choosePair,
  divWide,
  fixed,
  letPair,
  mulWide,
  normalized,
  pair,
  series,
  squareFraction,
  subPair,
  wideConstant,
  type WideFloat,
  type WideFloats,
} from "./wide_float.ts";
import { BINARY, RESULT, UNARY } from "./x87_arith.ts";
import {
  checkOne,
  checkTwo,
  finish,
  isInfinite,
  isZero,
  type Operand,
  operand,
  returnDefaultNaN,
  returnInfinity,
  returnZero,
  type X87Result,
} from "./x87_operand.ts";
import type { TrigBuilder } from "./x87_trig.ts";

/** Exponentials and logarithms. */
export interface X87Log {
  /** (a, cw): F2XM1 */
  readonly exp2m1: FuncRef<X87Result>;
  /** (x, y, cw): FYL2X, with x in ST0 and y in ST1 */
  readonly yl2x: FuncRef<X87Result>;
  /** (x, y, cw): FYL2XP1, with x in ST0 and y in ST1 */
  readonly yl2xp1: FuncRef<X87Result>;
}

interface Log extends TrigBuilder {
  /** (exp, high, low) of |z|: log2((1 + z) / (1 - z)) */
  readonly atanh: FuncRef<readonly ["i32", "i64", "i64"]>;
}

const SQRT_TWO = sqrtFixed(2n, 63);
/** The greatest square of (m - 1) / (m + 1) with m from sqrt(1/2) to sqrt(2). */
const SQUARE_LIMIT = 0.0295;
/** FYL2XP1's range: 1 - sqrt(1/2) and sqrt(2) - 1, as significands of 2^-2. */
const P1_NEGATIVE = (1n << 65n) - sqrtFixed(2n, 64);
const P1_POSITIVE = sqrtFixed(2n, 65) - (1n << 65n);
/** The weight of the top bit of a logarithm in fixed point. */
const LOG_TOP = BIAS + 15;

/** Defines the functions. */
export function defineX87Log(b: TrigBuilder): X87Log {
  const { m, w } = b;
  const params = ["i32", "i64", "i64"] as const;
  const t: Log = {
    ...b,
    atanh: m.func("log_atanh", params, params, (f) => emitAtanh(f, w)),
  };
  const yl2x = m.func("x87_yl2x", BINARY, RESULT, (f) => emitYl2x(f, t));
  return {
    exp2m1: m.func("x87_exp2m1", UNARY, RESULT, (f) => emitExp2m1(f, t)),
    yl2x,
    yl2xp1: m.func("x87_yl2xp1", BINARY, RESULT, (f) => {
      emitYl2xp1(f, t, yl2x);
    }),
  };
}

function emitExp2m1(f: FunctionBuilder, b: TrigBuilder): void {
  const { w } = b;
  const a = operand(f, b.operands, 0);
  checkOne(f, b.operands, a);
  f.if(isZero(a), () => returnZero(f, a.sign));
  f.if(isInfinite(a), () => {
    f.if(a.sign, () => f.return(i64(INTEGER_BIT), i32(0x8000 | BIAS), i32(0)));
    returnInfinity(f, a.sign);
  });
  // -1 gives -1/2; beyond is architecturally undefined, and nothing happens.
  f.if(a.exp.geS(BIAS), () => {
    const minusOne = a.rawSe.eq(0x8000 | BIAS).and(a.sig.eq(INTEGER_BIT));
    f.return(a.sig, a.rawSe.sub(minusOne), i32(PE));
  });
  const spec = f.let(x87FullSpec(f.param(2, "i32")));
  const x = { exp: a.exp, high: a.sig, low: i64(0) };
  const power = mulWide(f, w, x, wideConstant(ln2));
  const terms = coefficients((k) => factorial(k + 1), 0.6932);
  const t = fixed(f, w, power, BIAS - 1);
  const sum = series(f, w, t, terms, a.sign);
  const result = mulWide(f, w, power, normalized(f, w, sum, i32(BIAS)));
  roundProduct(f, b, a.sign, result, i64(1), a.denormal, spec);
}

function roundProduct(
  f: FunctionBuilder,
  b: TrigBuilder,
  sign: I32,
  n: WideFloat,
  sticky: I64,
  denormal: I32,
  spec: I32,
): void {
  const result = f.call(
    b.core.round,
    ...[sign, n.exp, n.high, n.low.or(sticky), spec],
  );
  finish(f, result, denormal, spec);
}

function emitAtanh(f: FunctionBuilder, w: WideFloats): void {
  const z = {
    exp: f.param(0, "i32"),
    high: f.param(1, "i64"),
    low: f.param(2, "i64"),
  };
  const terms = coefficients((k) => BigInt(2 * k + 1), SQUARE_LIMIT);
  const square = squareFraction(f, w, z);
  const sum = series(f, w, square, terms, i32(0));
  const arc = mulWide(f, w, z, normalized(f, w, sum, i32(BIAS)));
  const scale = wideConstant((bits) => log2e(bits));
  const log = mulWide(f, w, arc, scale);
  f.return(log.exp.add(1), log.high, log.low);
}

function atanh(f: FunctionBuilder, t: Log, z: WideFloat): WideFloat {
  const [exp, high, low] = f.call(t.atanh, z.exp, z.high, z.low);
  return { exp, high, low };
}

/** Infinite and zero operands of FYL2X. */
function emitYl2xSpecial(
  f: FunctionBuilder,
  x: Operand,
  y: Operand,
  denormal: I32,
): void {
  f.if(isZero(x), () => {
    f.if(isZero(y), () => returnDefaultNaN(f));
    const flags = i32(0).when(isInfinite(y), ZE);
    returnInfinity(f, y.sign.xor(1), flags);
  });
  f.if(x.sign, () => returnDefaultNaN(f));
  const one = f.let(x.exp.eq(BIAS).and(x.sig.eq(INTEGER_BIT)));
  const below = f.let(x.exp.ltS(BIAS));
  f.if(isInfinite(x), () => {
    f.if(isZero(y), () => returnDefaultNaN(f));
    returnInfinity(f, y.sign, denormal);
  });
  f.if(isInfinite(y), () => {
    f.if(one, () => returnDefaultNaN(f));
    returnInfinity(f, y.sign.xor(below), denormal);
  });
  f.if(
    one.or(isZero(y)),
    () => returnZero(f, y.sign.xor(below), denormal),
  );
}

function emitYl2x(f: FunctionBuilder, t: Log): void {
  const { w } = t;
  const x = operand(f, t.operands, 0);
  const y = operand(f, t.operands, 2);
  checkTwo(f, t.operands, x, y);
  const denormal = f.let(x.denormal.or(y.denormal));
  emitYl2xSpecial(f, x, y, denormal);
  const spec = f.let(x87FullSpec(f.param(4, "i32")));
  // x = m * 2^k with m between sqrt(1/2) and sqrt(2).
  const halved = f.let(x.sig.gtU(i64(SQRT_TWO)));
  const k = f.let(x.exp.sub(BIAS).add(halved));
  const whole = f.let(i32(0).sub(k).when(k.ltS(0), k).toI64U());
  const kSign = f.let(k.ltS(0));
  const yWide = { exp: y.exp, high: y.sig, low: i64(0) };
  f.if(x.sig.eq(INTEGER_BIT), () => {
    const power = { high: whole.shl(48), low: i64(0) };
    const log = normalized(f, w, power, i32(LOG_TOP));
    const product = mulWide(f, w, log, yWide);
    const [sign, e, sig, flags] = f.call(
      t.core.round,
      ...[kSign.xor(y.sign), product.exp, product.high, product.low, spec],
    );
    // Silicon reports PE even where the logarithm is a whole number.
    finish(f, [sign, e, sig, flags.or(PE)], denormal, spec);
  });
  const log = logOfMantissa(f, t, x.sig, halved);
  const exp = f.var("i32", log.exp);
  const high = f.var("i64", log.high);
  const low = f.var("i64", log.low);
  const sign = f.var("i32", halved);
  f.if(k, () => {
    const part = fixed(f, w, log, LOG_TOP);
    const power = { high: whole.shl(48), low: i64(0) };
    const same = f.let(kSign.eq(halved));
    const sum = letPair(
      f,
      choosePair(same, addPair(f, power, part), subPair(f, power, part)),
    );
    const n = normalized(f, w, sum, i32(LOG_TOP));
    f.set(exp, n.exp);
    f.set(high, n.high);
    f.set(low, n.low);
    f.set(sign, kSign);
  });
  const total = {
    exp: f.let(exp.get()),
    ...letPair(f, { high: high.get(), low: low.get() }),
  };
  const product = mulWide(f, w, total, yWide);
  const resultSign = f.let(sign.get().xor(y.sign));
  roundProduct(f, t, resultSign, product, i64(1), denormal, spec);
}

/** |log2 m|, where m is sig / 2^63 or, if `halved`, sig / 2^64. */
function logOfMantissa(
  f: FunctionBuilder,
  t: Log,
  sig: I64,
  halved: I32,
): WideFloat {
  const difference = f.let(
    i64(0).sub(sig).when(halved, sig.sub(INTEGER_BIT)),
  );
  // In the same units the sum m + 1 is 2^64 and this much.
  const rest = f.let(sig.when(halved, sig.add(INTEGER_BIT)));
  const numerator = normalized(
    f,
    t.w,
    { high: difference, low: i64(0) },
    i32(BIAS - 1),
  );
  const denominator = {
    exp: i32(BIAS),
    high: f.let(rest.shrU(1).or(INTEGER_BIT)),
    low: f.let(rest.shl(63)),
  };
  return atanh(f, t, divWide(f, t.w, numerator, denominator));
}

function emitYl2xp1(
  f: FunctionBuilder,
  t: Log,
  yl2x: FuncRef<X87Result>,
): void {
  const { w } = t;
  const x = operand(f, t.operands, 0);
  const y = operand(f, t.operands, 2);
  checkTwo(f, t.operands, x, y);
  const spec = f.let(x87FullSpec(f.param(4, "i32")));
  const denormal = f.let(x.denormal.or(y.denormal));
  f.if(isZero(x), () => {
    f.if(isInfinite(y), () => returnDefaultNaN(f));
    returnZero(f, x.sign.xor(y.sign), denormal);
  });
  const sign = f.let(x.sign.xor(y.sign));
  f.if(isInfinite(x).eqz(), () => {
    f.if(isInfinite(y), () => returnInfinity(f, sign, denormal));
    f.if(isZero(y), () => returnZero(f, sign, denormal));
  });
  const limit = i64(P1_NEGATIVE).when(x.sign, i64(P1_POSITIVE));
  const far = x.exp.gtS(BIAS - 2).or(
    x.exp.eq(BIAS - 2).and(x.sig.gtU(limit)),
  );
  // Out of range, up to -1 nothing happens; else an ordinary sum is near enough.
  f.if(far, () => {
    const beyond = x.sign.and(x.exp.geS(BIAS)).and(isInfinite(x).eqz());
    f.if(beyond, () => {
      const flags = joinFlags(i32(PE), denormal, spec);
      f.return(x.rawSig, x.rawSe.and(0xffff), flags);
    });
    const modes = x87FullSpec(i32(0x33f | (RC_NEAREST << 10)));
    const one = [i32(0), i32(BIAS), i64(INTEGER_BIT)];
    const [s, exp, sig] = f.call(
      t.core.add,
      ...[x.sign, x.exp, x.sig, ...one, modes],
    );
    const se = s.shl(15).or(exp.when(sig.ne(0), 0));
    f.returnCall(yl2x, sig, se, y.rawSig, y.rawSe, f.param(4, "i32"));
  });
  // z = x / (2 + x), with the sum in units of 2^-126.
  const xWide = { exp: x.exp, high: x.sig, low: i64(0) };
  const part = fixed(f, w, xWide, BIAS + 1);
  const two = pair(1n << 127n);
  const sum = letPair(
    f,
    choosePair(x.sign, subPair(f, two, part), addPair(f, two, part)),
  );
  const denominator = normalized(f, w, sum, i32(BIAS + 1));
  const log = atanh(f, t, divWide(f, w, xWide, denominator));
  const yWide = { exp: y.exp, high: y.sig, low: i64(0) };
  const product = mulWide(f, w, log, yWide);
  roundProduct(f, t, sign, product, i64(1), denormal, spec);
}
