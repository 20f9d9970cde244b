// FPATAN: the angle of (ST0, ST1) in all four quadrants (Intel SDM vol. 2,
// "FPATAN"). The quotient is brought near a multiple of 1/8 first.

import {
  type FuncRef,
  type FunctionBuilder,
  type I32,
  i32,
  type I64,
  i64,
} from "../wasm/mod.ts";
import { BIAS, x87FullSpec } from "./format.ts";
import { atanEighths, coefficients, pi } from "./series.ts";
import {
  addPair,
  choosePair,
  divWide,
  fixed,
  letPair,
  mulWide,
  normalized,
  type Pair,
  pair,
  series,
  squareFraction,
  subPair,
  type WideFloat,
} from "./wide_float.ts";
import { BINARY, RESULT } from "./x87_arith.ts";
import {
  checkTwo,
  finish,
  isInfinite,
  isZero,
  type Operand,
  operand,
  returnZero,
  type X87Result,
} from "./x87_operand.ts";
import type { TrigBuilder } from "./x87_trig.ts";

/** The arc tangent. */
export interface X87Atan {
  /** (y, x, cw): FPATAN, with y in ST1 and x in ST0 */
  readonly atan: FuncRef<X87Result>;
}

/** Angles in fixed point count units of 2^-ANGLE_BITS; pi needs two bits more. */
const ANGLE_BITS = 125;
const ANGLE_TOP = BIAS + 127 - ANGLE_BITS;
const PI = pi(ANGLE_BITS);
/** The square of 1/16 and a little more. */
const SQUARE_LIMIT = 0.0040;
/** Quotients from 1/16 on have operands whose exponents differ by at most 4. */
const NEAR = 4;

interface Atan extends TrigBuilder {
  /** (exp, high, low): atan of a number up to 1/16 */
  readonly small: FuncRef<readonly ["i32", "i64", "i64"]>;
  /** (i32 n) to atan(n / 8) in fixed point */
  readonly table: FuncRef<readonly ["i64", "i64"]>;
  /** (sign, base, i32 subtract, angle, DE, spec): base -+ angle, rounded */
  readonly turn: FuncRef<X87Result>;
}

/** Defines the function. */
export function defineX87Atan(b: TrigBuilder): X87Atan {
  const { m } = b;
  const wide = ["i32", "i64", "i64"] as const;
  const t: Atan = {
    ...b,
    small: m.func("atan_small", wide, wide, (f) => emitSmall(f, b)),
    table: m.func("atan_table", ["i32"], ["i64", "i64"], emitTable),
    turn: m.func(
      "atan_turn",
      ["i32", "i64", "i64", "i32", "i64", "i64", "i32", "i32"],
      RESULT,
      (f) => emitTurn(f, b),
    ),
  };
  return { atan: m.func("x87_atan", BINARY, RESULT, (f) => emitAtan(f, t)) };
}

function emitSmall(f: FunctionBuilder, { w }: TrigBuilder): void {
  const z = {
    exp: f.param(0, "i32"),
    high: f.param(1, "i64"),
    low: f.param(2, "i64"),
  };
  const terms = coefficients((k) => BigInt(2 * k + 1), SQUARE_LIMIT);
  const sum = series(f, w, squareFraction(f, w, z), terms, i32(1));
  // Below 1, where directed rounding must see it.
  const top = f.let(sum.high.ltS(0));
  const below = letPair(
    f,
    choosePair(top, pair((1n << 127n) - 1n), sum),
  );
  const factor = normalized(f, w, below, i32(BIAS));
  const result = mulWide(f, w, z, factor);
  f.return(result.exp, result.high, result.low);
}

function emitTable(f: FunctionBuilder): void {
  const cases = Array.from({ length: 9 }, (_, n) => () => {
    const angle = pair(n === 0 ? 0n : atanEighths(n, ANGLE_BITS));
    f.return(angle.high, angle.low);
  });
  f.switch(f.param(0, "i32"), cases);
}

function emitTurn(f: FunctionBuilder, b: TrigBuilder): void {
  const base = { high: f.param(1, "i64"), low: f.param(2, "i64") };
  const angle = { high: f.param(4, "i64"), low: f.param(5, "i64") };
  const sum = letPair(
    f,
    choosePair(
      f.param(3, "i32"),
      subPair(f, base, angle),
      addPair(f, base, angle),
    ),
  );
  const n = normalized(f, b.w, sum, i32(ANGLE_TOP));
  roundAngle(f, b, f.param(0, "i32"), n, f.param(6, "i32"), f.param(7, "i32"));
}

function roundAngle(
  f: FunctionBuilder,
  b: TrigBuilder,
  sign: I32,
  n: WideFloat,
  denormal: I32,
  spec: I32,
): void {
  const result = f.call(
    b.core.round,
    ...[sign, n.exp, n.high, n.low.or(1), spec],
  );
  finish(f, result, denormal, spec);
}

function emitAtan(f: FunctionBuilder, t: Atan): void {
  const y = operand(f, t.operands, 0);
  const x = operand(f, t.operands, 2);
  checkTwo(f, t.operands, y, x);
  const spec = f.let(x87FullSpec(f.param(4, "i32")));
  const denormal = f.let(y.denormal.or(x.denormal));
  emitAxes(f, t, y, x, denormal, spec);
  const swapped = f.let(
    y.exp.gtS(x.exp).or(y.exp.eq(x.exp).and(y.sig.gtU(x.sig))),
  );
  const u = {
    exp: f.let(x.exp.when(swapped, y.exp)),
    sig: f.let(x.sig.when(swapped, y.sig)),
  };
  const v = {
    exp: f.let(y.exp.when(swapped, x.exp)),
    sig: f.let(y.sig.when(swapped, x.sig)),
  };
  const distance = f.let(v.exp.sub(u.exp));
  const eighths = f.let(nearestEighth(f, u.sig, v.sig, distance));
  // The quadrant's angle that the arc tangent is added to or taken from.
  const halfPi = pair(PI >> 1n);
  const base = letPair(
    f,
    choosePair(swapped, halfPi, choosePair(x.sign, pair(PI), pair(0n))),
  );
  const subtract = f.let(swapped.xor(x.sign));
  f.if(eighths.eqz(), () => {
    const a = { exp: u.exp, high: u.sig, low: i64(0) };
    const b = { exp: v.exp, high: v.sig, low: i64(0) };
    const angle = small(f, t, divWide(f, t.w, a, b));
    f.if(
      swapped.or(x.sign).eqz(),
      () => roundAngle(f, t, y.sign, angle, denormal, spec),
    );
    returnTurn(f, t, y.sign, base, subtract, angle, denormal, spec);
  });
  const rest = restOfEighths(f, t, u.sig, v.sig, distance, eighths);
  const [high, low] = f.call(t.table, eighths);
  const total = letPair(
    f,
    choosePair(
      rest.negative,
      subPair(f, { high, low }, rest.angle),
      addPair(f, { high, low }, rest.angle),
    ),
  );
  f.returnCall(
    t.turn,
    ...[y.sign, base.high, base.low, subtract, total.high, total.low],
    denormal,
    spec,
  );
}

function small(f: FunctionBuilder, t: Atan, z: WideFloat): WideFloat {
  const [exp, high, low] = f.call(t.small, z.exp, z.high, z.low);
  return { exp, high, low };
}

function returnTurn(
  f: FunctionBuilder,
  t: Atan,
  sign: I32,
  base: Pair,
  subtract: I32,
  angle: WideFloat,
  denormal: I32,
  spec: I32,
): void {
  const part = fixed(f, t.w, angle, ANGLE_TOP);
  f.returnCall(
    t.turn,
    ...[sign, base.high, base.low, subtract, part.high, part.low],
    denormal,
    spec,
  );
}

/** Operands on an axis or at infinity: multiples of a quarter of pi. */
function emitAxes(
  f: FunctionBuilder,
  t: Atan,
  y: Operand,
  x: Operand,
  denormal: I32,
  spec: I32,
): void {
  const turn = (quarters: number) => {
    const base = pair((PI * BigInt(quarters)) >> 2n);
    const none = [i32(0), i64(0), i64(0), denormal, spec];
    f.returnCall(t.turn, y.sign, base.high, base.low, ...none);
  };
  f.if(isInfinite(y), () => {
    f.if(isInfinite(x), () => {
      f.if(x.sign, () => turn(3));
      turn(1);
    });
    turn(2);
  });
  f.if(isZero(y).or(isInfinite(x)), () => {
    f.if(x.sign, () => turn(4));
    returnZero(f, y.sign, denormal);
  });
  f.if(isZero(x), () => turn(2));
}

/** round(8 * u / v), near enough; 0 where the quotient is far below. */
function nearestEighth(
  f: FunctionBuilder,
  u: I64,
  v: I64,
  distance: I32,
): I32 {
  const eighths = f.let(u.toF64U().mul(8).div(v.toF64U()));
  return f.ifValue(
    distance.gtS(NEAR),
    "i32",
    () => i32(0),
    () => {
      const scaled = eighths.div(i64(1).shl(distance.toI64U()).toF64U());
      return scaled.add(0.5).floor().toI32SatS();
    },
  );
}

/** atan((8u - nv) / (8v + nu)) in fixed point and its sign. */
function restOfEighths(
  f: FunctionBuilder,
  t: Atan,
  u: I64,
  v: I64,
  distance: I32,
  n: I32,
): { negative: I32; angle: Pair } {
  // With 56 bits below, neither eight times one nor their sum overflows.
  const wideN = f.let(n.toI64U());
  const shift = f.let(i64(56).sub(distance.toI64U()));
  const [u1, u0] = f.call(t.w.wide.mul, u, i64(1).shl(shift));
  const [v1, v0] = f.call(t.w.wide.mul, v, i64(1n << 56n));
  const times = (p: Pair, k: I64): Pair => {
    const [high, low] = f.call(t.w.wide.mul, p.low, k);
    return { high: f.let(high.add(p.high.mul(k))), low };
  };
  const uPair = { high: u1, low: u0 };
  const vPair = { high: v1, low: v0 };
  const difference = subPair(f, times(uPair, i64(8)), times(vPair, wideN));
  const sum = addPair(f, times(vPair, i64(8)), times(uPair, wideN));
  const negative = f.let(difference.high.ltS(0));
  const minus = subPair(f, pair(0n), difference);
  const magnitude = letPair(f, choosePair(negative, minus, difference));
  const exp = f.var("i32");
  const high = f.var("i64");
  const low = f.var("i64");
  f.if(magnitude.high.or(magnitude.low).ne(0), () => {
    const top = i32(BIAS);
    const numerator = normalized(f, t.w, magnitude, top);
    const denominator = normalized(f, t.w, sum, top);
    const angle = small(f, t, divWide(f, t.w, numerator, denominator));
    f.set(exp, angle.exp);
    f.set(high, angle.high);
    f.set(low, angle.low);
  });
  const z = { exp: exp.get(), high: high.get(), low: low.get() };
  return { negative, angle: fixed(f, t.w, z, ANGLE_TOP) };
}
