// The x87's arithmetic where nothing is special: normal operands, a normal result,
// rounding to the nearest. It gives what `x87_arith.ts` gives, in a few branches; where
// that is not so it emits no result and the code goes on, to be done in full.

import { type FunctionBuilder, type I32, type I64, i64 } from "../wasm/mod.ts";
import { BIAS, C1, INTEGER_BIT, PE, SPECIAL } from "./format.ts";
import { unsignedHigh, type Wide } from "./wide.ts";
import { WAS_DENORMAL } from "./x87_operand.ts";

/** A number: significand, sign and exponent. */
export interface Packed {
  readonly sig: I64;
  readonly se: I32;
}

/** Two numbers to compute with, and what is done with the result; ends the path. */
export interface FastOperation {
  readonly f: FunctionBuilder;
  readonly a: Packed;
  readonly b: Packed;
  /** the control word */
  readonly cw: I32;
  /** takes the result and its flags, PE and C1 */
  readonly done: (sig: I64, se: I32, flags: I32) => void;
}

/** A magnitude to be rounded. */
interface Exact {
  /** at its place in the word */
  readonly sign: I32;
  readonly exp: I32;
  /** with its integer bit set */
  readonly high: I64;
  readonly low: I64;
}

const SIGN = 0x8000;
const PE_BIT = Math.log2(PE);
const C1_BIT = Math.log2(C1);

/** Whether a number is neither zero, denormal, infinite, a NaN nor unsupported. */
export function isNormal({ sig, se }: Packed): I32 {
  const exp = se.and(SPECIAL | WAS_DENORMAL);
  return sig.ltS(0).and(exp.sub(1).ltU(SPECIAL - 1));
}

/** Whether a control word says to round to the nearest. */
export function isNearest(cw: I32): I32 {
  return cw.and(0xc00).eqz();
}

/** Runs `body` where numbers are normal and a condition on the control word holds. */
export function whereNormal(
  f: FunctionBuilder,
  condition: I32,
  numbers: readonly Packed[],
  body: () => void,
): void {
  // A branch for each is less than one for all: it takes a comparison as it is.
  const inside = numbers.reduceRight(
    (inner, n) => () => whereIsNormal(f, n, inner),
    body,
  );
  f.if(condition, inside);
}

function whereIsNormal(
  f: FunctionBuilder,
  { sig, se }: Packed,
  body: () => void,
): void {
  const exp = se.and(SPECIAL | WAS_DENORMAL);
  f.if(
    sig.ltS(0),
    () => f.if(exp.sub(1).ltU(SPECIAL - 1), body),
  );
}

/** The unit in the last place of a significand by the precision control. */
function unitOf(cw: I32): I64 {
  const control = cw.and(0x300);
  // The reserved setting acts as full precision.
  const narrow = i64(1n << 11n).when(control.eq(0x200), 1);
  return i64(1n << 40n).when(control.eqz(), narrow);
}

/** Rounds to the nearest multiple of `unit`, a power of two. */
export function roundNearest(
  f: FunctionBuilder,
  { high, low }: Pick<Exact, "high" | "low">,
  unit: I64,
): { sig: I64; carry: I32; flags: I32 } {
  // What is dropped, as a fraction of the unit: its half is the top bit. Below 64
  // bits of precision the low word can only be sticky.
  const place = f.let(unit.clz().add(1));
  const dropped = high.shl(place).or(low.ne(0).toI64U());
  const lost = f.let(low.when(unit.eq(1), dropped));
  const isOdd = high.and(unit).ne(0).toI64U();
  const up = f.let(lost.gtU(i64(INTEGER_BIT).sub(isOdd)));
  const sum = f.let(high.and(i64(0).sub(unit)).add(unit.when(up, 0)));
  const carry = f.let(sum.eqz());
  return {
    sig: sum.or(carry.toI64U().shl(63)),
    carry,
    flags: lost.ne(0).shl(PE_BIT).or(up.shl(C1_BIT)),
  };
}

function round(op: FastOperation, exact: Exact): void {
  const { f, cw } = op;
  const isFull = cw.and(0x300).eq(0x300);
  f.if(isFull, () => roundTo(op, exact, i64(1)));
  roundTo(op, exact, f.let(unitOf(cw)));
}

function roundTo({ f, done }: FastOperation, exact: Exact, unit: I64): void {
  const { sig, carry, flags } = roundNearest(f, exact, unit);
  const exp = f.let(exact.exp.add(carry));
  const inRange = exp.sub(1).ltU(SPECIAL - 1);
  f.if(inRange, () => done(f.let(sig), exact.sign.or(exp), f.let(flags)));
}

function exponent({ se }: Packed): I32 {
  return se.and(SPECIAL);
}

/** a + b, or a - b. */
export function fastSum(op: FastOperation, negate: boolean): void {
  const { f, a } = op;
  const b = negate ? { sig: op.b.sig, se: f.let(op.b.se.xor(SIGN)) } : op.b;
  const [ea, eb] = [f.let(exponent(a)), f.let(exponent(b))];
  const isLess = f.let(ea.ltU(eb).or(ea.eq(eb).and(a.sig.ltU(b.sig))));
  const large = f.let(b.sig.when(isLess, a.sig));
  const small = f.let(a.sig.when(isLess, b.sig));
  const exp = f.let(eb.when(isLess, ea));
  const sign = f.let(b.se.when(isLess, a.se).and(SIGN));
  const distance = f.let(exp.add(exp).sub(ea).sub(eb));
  f.if(distance.ltU(64), () => {
    const by = f.let(distance.toI64U());
    const high = f.let(small.shrU(by));
    const low = f.let(small.shl(1).shl(i64(63).sub(by)));
    const bits = { sign, exp, large, high, low };
    f.if(
      a.se.xor(b.se).and(SIGN),
      () => difference(op, bits),
      () => sum(op, bits),
    );
  });
}

/** The larger number's significand, and the smaller one's at the same exponent. */
interface Aligned extends Exact {
  readonly large: I64;
}

function sum(op: FastOperation, { sign, exp, large, high, low }: Aligned) {
  const { f } = op;
  const total = f.let(large.add(high));
  const carry = f.let(total.ltU(large));
  const by = f.let(carry.toI64U());
  const out = total.shl(63).or(low.and(1)).when(carry, 0);
  round(op, {
    sign,
    exp: exp.add(carry),
    high: f.let(total.shrU(by).or(by.shl(63))),
    low: f.let(low.shrU(by).or(out)),
  });
}

function difference(
  op: FastOperation,
  { sign, exp, large, high, low }: Aligned,
) {
  const { f } = op;
  const rest = f.let(large.sub(high).sub(low.ne(0).toI64U()));
  const restLow = f.let(i64(0).sub(low));
  f.if(rest.ne(0), () => {
    const shift = f.let(rest.clz());
    const moved = restLow.shrU(1).shrU(i64(63).sub(shift));
    round(op, {
      sign,
      exp: exp.sub(shift.toI32()),
      high: f.let(rest.shl(shift).or(moved)),
      low: f.let(restLow.shl(shift)),
    });
  });
}

/** a * b. */
export function fastProduct(op: FastOperation): void {
  const { f, a, b } = op;
  const high = f.let(unsignedHigh(f, a.sig, b.sig));
  const low = f.let(a.sig.mul(b.sig));
  const shift = f.let(high.geS(0).toI64U());
  round(op, {
    sign: f.let(a.se.xor(b.se).and(SIGN)),
    exp: exponent(a).add(exponent(b)).sub(BIAS - 1).sub(shift.toI32()),
    high: f.let(high.shl(shift).or(low.shrU(63).and(shift))),
    low: f.let(low.shl(shift)),
  });
}

/** a / b. */
export function fastQuotient(op: FastOperation, wide: Wide): void {
  const { f, a, b } = op;
  // The numerator is halved where that is needed to keep the quotient below 1.
  const over = f.let(a.sig.geU(b.sig));
  const high = a.sig.shrU(over.toI64U());
  const low = a.sig.shl(63).when(over, i64(0));
  const [quotient, rest] = f.call(wide.div, high, low, b.sig);
  const twice = f.let(rest.shl(1));
  const half = f.let(rest.ltS(0).or(twice.geU(b.sig)));
  const isInexact = twice.ne(b.sig.when(half, 0));
  round(op, {
    sign: f.let(a.se.xor(b.se).and(SIGN)),
    exp: exponent(a).sub(exponent(b)).add(BIAS - 1).add(over),
    high: quotient,
    low: f.let(half.toI64U().shl(63).or(isInexact.toI64U())),
  });
}
