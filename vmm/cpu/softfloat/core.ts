// Addition, multiplication, division and square root of unpacked numbers that
// are not NaNs (Intel SDM vol. 1, 4.8.3): sign (0, 1), exponent biased by 16383
// and unbounded, significand with its integer bit on top, or zero.

import {
  type FuncRef,
  type FunctionBuilder,
  type I32,
  i32,
  type I64,
  i64,
  type ModuleBuilder,
} from "../wasm/mod.ts";
import {
  BIAS,
  bit64,
  DEFAULT_NAN,
  IE,
  INTEGER_BIT,
  RC_DOWN,
  SPECIAL,
  specRounding,
  ZE,
} from "./format.ts";
import { defineRounding, type Rounded, type Rounding } from "./round.ts";
import { defineWide, type Wide } from "./wide.ts";

/** Operations on unpacked numbers: (sign, exp, sig) each, then the spec. */
export interface Core extends Rounding {
  /** 128-bit integers */
  readonly wide: Wide;
  /** a + b */
  readonly add: FuncRef<Rounded>;
  /** a * b */
  readonly mul: FuncRef<Rounded>;
  /** a / b */
  readonly div: FuncRef<Rounded>;
  /** square root of a */
  readonly sqrt: FuncRef<Rounded>;
  /**
   * (sign, exp, sig, rounding control) rounded to an integer's magnitude, with
   * PE, C1, and IE where it does not fit in 64 bits
   */
  readonly toInteger: FuncRef<readonly ["i64", "i32"]>;
  /** (i64 signed integer, spec) to a rounded number */
  readonly fromInteger: FuncRef<Rounded>;
}

interface Operand {
  readonly sign: I32;
  readonly exp: I32;
  readonly sig: I64;
}

const UNARY = ["i32", "i32", "i64", "i32"] as const;
const BINARY = ["i32", "i32", "i64", "i32", "i32", "i64", "i32"] as const;
const RESULT: Rounded = ["i32", "i32", "i64", "i32"];

/** Defines the operations. */
export function defineCore(m: ModuleBuilder): Core {
  const wide = defineWide(m);
  const rounding = defineRounding(m, wide);
  const { round } = rounding;
  const sum = m.func("core_sum", BINARY, RESULT, (f) => {
    emitSum(f, wide, round);
  });
  return {
    ...rounding,
    wide,
    add: m.func("core_add", BINARY, RESULT, (f) => emitAdd(f, sum, round)),
    mul: m.func("core_mul", BINARY, RESULT, (f) => emitMul(f, wide, round)),
    div: m.func("core_div", BINARY, RESULT, (f) => emitDiv(f, wide, round)),
    sqrt: m.func("core_sqrt", UNARY, RESULT, (f) => emitSqrt(f, wide, round)),
    toInteger: m.func(
      "core_to_integer",
      UNARY,
      ["i64", "i32"],
      (f) => emitToInteger(f, wide, rounding.roundAt),
    ),
    fromInteger: m.func(
      "core_from_integer",
      ["i64", "i32"],
      RESULT,
      (f) => emitFromInteger(f, round),
    ),
  };
}

function operand(f: FunctionBuilder, first: number): Operand {
  return {
    sign: f.param(first, "i32"),
    exp: f.param(first + 1, "i32"),
    sig: f.param(first + 2, "i64"),
  };
}

function returnNumber(f: FunctionBuilder, n: Operand, flags = 0): void {
  f.return(n.sign, n.exp, n.sig, i32(flags));
}

function returnZero(f: FunctionBuilder, sign: I32): void {
  f.return(sign, i32(0), i64(0), i32(0));
}

function returnInfinity(f: FunctionBuilder, sign: I32, flags = 0): void {
  f.return(sign, i32(SPECIAL), i64(INTEGER_BIT), i32(flags));
}

/** Returns the default NaN with IE. */
export function returnInvalid(f: FunctionBuilder): void {
  f.return(i32(1), i32(SPECIAL), i64(DEFAULT_NAN), i32(IE));
}

function isInfinite(n: Operand): I32 {
  return n.exp.eq(SPECIAL);
}

function isZero(n: Operand): I32 {
  return n.sig.eqz();
}

function emitAdd(
  f: FunctionBuilder,
  sum: FuncRef<Rounded>,
  round: FuncRef<Rounded>,
): void {
  const a = operand(f, 0);
  const b = operand(f, 3);
  const spec = f.param(6, "i32");
  f.if(isInfinite(a), () => {
    f.if(isInfinite(b).and(a.sign.ne(b.sign)), () => returnInvalid(f));
    returnNumber(f, a);
  });
  f.if(isInfinite(b), () => returnNumber(f, b));
  f.if(isZero(b), () => {
    f.if(isZero(a), () => {
      const down = specRounding(spec).eq(RC_DOWN);
      returnZero(f, a.sign.when(a.sign.eq(b.sign), down));
    });
    f.returnCall(round, a.sign, a.exp, a.sig, i64(0), spec);
  });
  f.if(
    isZero(a),
    () => f.returnCall(round, b.sign, b.exp, b.sig, i64(0), spec),
  );
  const swap = a.exp.ltS(b.exp).or(
    a.exp.eq(b.exp).and(a.sig.ltU(b.sig)),
  );
  const [x, y] = [[a.sign, a.exp, a.sig], [b.sign, b.exp, b.sig]];
  f.if(swap, () => f.returnCall(sum, ...y, ...x, spec));
  f.returnCall(sum, ...x, ...y, spec);
}

/** The sum of finite numbers that are not zero, the first not the smaller. */
function emitSum(
  f: FunctionBuilder,
  wide: Wide,
  round: FuncRef<Rounded>,
): void {
  const a = operand(f, 0);
  const b = operand(f, 3);
  const spec = f.param(6, "i32");
  const distance = a.exp.sub(b.exp);
  const [high, low] = f.call(wide.shiftRight, b.sig, i64(0), distance);
  f.if(a.sign.eq(b.sign), () => {
    const total = f.let(a.sig.add(high));
    f.if(
      total.geU(a.sig),
      () => f.returnCall(round, a.sign, a.exp, total, low, spec),
    );
    const lost = low.and(1).or(low.shrU(1)).or(total.shl(63));
    const halved = total.shrU(1).or(INTEGER_BIT);
    f.returnCall(round, a.sign, a.exp.add(1), halved, lost, spec);
  });
  const h = f.var("i64", a.sig.sub(high).sub(bit64(low.ne(0))));
  const l = f.var("i64", i64(0).sub(low));
  const exp = f.var("i32", a.exp);
  f.if(h.get().eqz(), () => {
    f.if(
      l.get().eqz(),
      () => returnZero(f, specRounding(spec).eq(RC_DOWN)),
    );
    f.set(h, l.get());
    f.set(l, i64(0));
    f.set(exp, exp.get().sub(64));
  });
  const shift = f.let(h.get().clz());
  // Two shifts, since a single one by 64 - 0 would be a shift by none.
  const carried = l.get().shrU(1).shrU(i64(63).sub(shift));
  f.returnCall(
    round,
    a.sign,
    exp.get().sub(shift.toI32()),
    h.get().shl(shift).or(carried),
    l.get().shl(shift),
    spec,
  );
}

function emitMul(
  f: FunctionBuilder,
  wide: Wide,
  round: FuncRef<Rounded>,
): void {
  const a = operand(f, 0);
  const b = operand(f, 3);
  const sign = f.let(a.sign.xor(b.sign));
  f.if(isInfinite(a).or(isInfinite(b)), () => {
    f.if(isZero(a).or(isZero(b)), () => returnInvalid(f));
    returnInfinity(f, sign);
  });
  f.if(isZero(a).or(isZero(b)), () => returnZero(f, sign));
  const [high, low] = f.call(wide.mul, a.sig, b.sig);
  const exp = f.let(a.exp.add(b.exp).sub(BIAS - 1));
  const spec = f.param(6, "i32");
  f.if(
    high.ltS(0),
    () => f.returnCall(round, sign, exp, high, low, spec),
  );
  const shifted = high.shl(1).or(low.shrU(63));
  f.returnCall(round, sign, exp.sub(1), shifted, low.shl(1), spec);
}

function emitDiv(
  f: FunctionBuilder,
  wide: Wide,
  round: FuncRef<Rounded>,
): void {
  const a = operand(f, 0);
  const b = operand(f, 3);
  const sign = f.let(a.sign.xor(b.sign));
  f.if(isInfinite(a), () => {
    f.if(isInfinite(b), () => returnInvalid(f));
    returnInfinity(f, sign);
  });
  f.if(isInfinite(b), () => returnZero(f, sign));
  f.if(isZero(b), () => {
    f.if(isZero(a), () => returnInvalid(f));
    returnInfinity(f, sign, ZE);
  });
  f.if(isZero(a), () => returnZero(f, sign));
  // The numerator is halved where that is needed to keep the quotient below 1.
  const over = f.let(a.sig.geU(b.sig));
  const high = a.sig.shrU(over.toI64U());
  const low = a.sig.shl(63).when(over, i64(0));
  const [q, rest] = f.call(wide.div, high, low, b.sig);
  const exp = a.exp.sub(b.exp).add(BIAS - 1).add(over);
  const twice = f.let(rest.shl(1));
  const half = f.let(rest.ltS(0).or(twice.geU(b.sig)));
  const exact = twice.eq(b.sig.when(half, 0));
  const lost = bit64(half).shl(63).or(bit64(exact.eqz()));
  f.returnCall(round, sign, exp, q, lost, f.param(6, "i32"));
}

function emitSqrt(
  f: FunctionBuilder,
  wide: Wide,
  round: FuncRef<Rounded>,
): void {
  const a = operand(f, 0);
  f.if(isZero(a), () => returnNumber(f, a));
  f.if(a.sign, () => returnInvalid(f));
  f.if(isInfinite(a), () => returnNumber(f, a));
  // The radicand's binary exponent must be odd: 2^1 * [1/2, 2) as 128 bits.
  const even = f.let(a.exp.add(1).and(1));
  const high = a.sig.shrU(i64(1).sub(even.toI64U()));
  const low = i64(0).when(even, a.sig.shl(63));
  const [root, lost] = f.call(wide.sqrt, high, low);
  const exp = a.exp.sub(BIAS).shrS(1).add(BIAS);
  f.returnCall(round, i32(0), exp, root, lost, f.param(3, "i32"));
}

function emitToInteger(
  f: FunctionBuilder,
  wide: Wide,
  roundAt: Rounding["roundAt"],
): void {
  const a = operand(f, 0);
  f.if(isZero(a), () => f.return(i64(0), i32(0)));
  const shift = f.let(i32(BIAS + 63).sub(a.exp));
  f.if(shift.ltS(0), () => f.return(i64(0), i32(IE)));
  const [high, low] = f.call(wide.shiftRight, a.sig, i64(0), shift);
  const rc = f.param(3, "i32");
  const [sig, flags, carry] = f.call(roundAt, a.sign, high, low, i32(64), rc);
  f.return(sig, i32(IE).when(carry, flags));
}

function emitFromInteger(f: FunctionBuilder, round: FuncRef<Rounded>): void {
  const value = f.param(0, "i64");
  const sign = f.let(value.ltS(0));
  f.if(value.eqz(), () => returnZero(f, i32(0)));
  const magnitude = f.let(i64(0).sub(value).when(sign, value));
  const shift = f.let(magnitude.clz());
  const exp = i32(BIAS + 63).sub(shift.toI32());
  const sig = magnitude.shl(shift);
  f.returnCall(round, sign, exp, sig, i64(0), f.param(1, "i32"));
}
