// FPREM and FPREM1: exact partial remainders (Intel SDM vol. 2, "FPREM",
// "FPREM1"). The quotient's low bits come in C0, C3, C1; C2 tells that the
// reduction is not complete.

import {
  type FuncRef,
  type FunctionBuilder,
  type I32,
  i32,
  type I64,
  i64,
} from "../wasm/mod.ts";
import { C0, C1, C2, C3, x87FullSpec } from "./format.ts";
import { BINARY, RESULT, type X87Builder } from "./x87_arith.ts";
import {
  checkTwo,
  isInfinite,
  isZero,
  type Operand,
  operand,
  packSe,
  returnDefaultNaN,
  returnZero,
  type X87Result,
} from "./x87_operand.ts";

/** The two remainders, by how their quotient is rounded. */
export interface X87Remainder {
  /** (a, b, cw): FPREM, a quotient rounded towards zero */
  readonly remainder: FuncRef<X87Result>;
  /** (a, b, cw): FPREM1, a quotient rounded to the nearest */
  readonly remainderNearest: FuncRef<X87Result>;
}

/** Defines both. */
export function defineX87Remainder(b: X87Builder): X87Remainder {
  const reduce = b.m.func(
    "x87_reduce",
    ["i64", "i64", "i32"],
    ["i64", "i64"],
    emitReduce,
  );
  const one = (name: string, nearest: boolean) =>
    b.m.func(name, BINARY, RESULT, (f) => emitRemainder(f, b, reduce, nearest));
  return {
    remainder: one("x87_remainder", false),
    remainderNearest: one("x87_remainder_nearest", true),
  };
}

/** (a, b, n) with normalized a, b: a * 2^n mod b and the quotient mod 2^64. */
function emitReduce(f: FunctionBuilder): void {
  const d = f.param(1, "i64");
  const rest = f.var("i64", f.param(0, "i64"));
  const quotient = f.var("i64");
  const count = f.var("i32", f.param(2, "i32"));
  const carry = f.var("i32");
  f.loop((again) => {
    f.set(quotient, quotient.get().shl(1));
    f.if(carry.get().or(rest.get().geU(d)), () => {
      f.set(rest, rest.get().sub(d));
      f.set(quotient, quotient.get().or(1));
    });
    f.if(count.get(), () => {
      f.set(carry, rest.get().ltS(0));
      f.set(rest, rest.get().shl(1));
      f.set(count, count.get().sub(1));
      f.br(again);
    });
  });
  f.return(rest.get(), quotient.get());
}

function emitRemainder(
  f: FunctionBuilder,
  b: X87Builder,
  reduce: FuncRef<readonly ["i64", "i64"]>,
  nearest: boolean,
): void {
  const x = operand(f, b.operands, 0);
  const y = operand(f, b.operands, 2);
  checkTwo(f, b.operands, x, y);
  f.if(isInfinite(x).or(isZero(y)), () => returnDefaultNaN(f));
  const spec = f.let(x87FullSpec(f.param(4, "i32")));
  const denormal = f.let(x.denormal.or(y.denormal));
  // An unmasked denormal operand stops it before there is a quotient.
  f.if(
    denormal.and(spec.xor(-1)),
    () => f.return(x.rawSig, x.rawSe, denormal),
  );
  f.if(isZero(x), () => returnZero(f, x.sign, denormal));
  const distance = f.let(x.exp.sub(y.exp));
  const small = nearest ? distance.ltS(-1) : distance.ltS(0);
  f.if(isInfinite(y).or(small), () => {
    returnExact(f, b, x.sign, x.exp, x.sig, denormal, spec);
  });
  f.if(distance.geS(64), () => {
    // A multiple of 32 stays, so that the last step is below 64.
    const count = f.let(distance.and(0x1f).or(0x20));
    const [rest] = f.call(reduce, x.sig, y.sig, count);
    const exp = f.let(x.exp.sub(count));
    f.if(rest.eqz(), () => returnZero(f, x.sign, denormal.or(C2)));
    returnExact(f, b, x.sign, exp, rest, denormal.or(C2), spec);
  });
  emitLast(f, b, reduce, { x, y, distance, denormal, spec, nearest });
}

interface Last {
  readonly x: Operand;
  readonly y: Operand;
  readonly distance: I32;
  readonly denormal: I32;
  readonly spec: I32;
  readonly nearest: boolean;
}

/** The reduction that completes: distance is from -1 (nearest only) to 63. */
function emitLast(
  f: FunctionBuilder,
  b: X87Builder,
  reduce: FuncRef<readonly ["i64", "i64"]>,
  { x, y, distance, denormal, spec, nearest }: Last,
): void {
  const rest = f.var("i64", x.sig);
  const quotient = f.var("i64");
  const exp = f.var("i32", x.exp);
  f.if(distance.geS(0), () => {
    const [r, q] = f.call(reduce, x.sig, y.sig, distance);
    f.set(rest, r);
    f.set(quotient, q);
    f.set(exp, y.exp);
  });
  const sign = f.var("i32", x.sign);
  if (nearest) {
    const r = f.let(rest.get());
    // At distance -1 the rest is in half units of the divisor.
    const halved = f.let(distance.ltS(0));
    const twice = r.shl(1);
    const above = r.gtU(y.sig).when(
      halved,
      r.ltS(0).or(twice.gtU(y.sig)),
    );
    const tie = r.eq(y.sig).when(halved, r.geS(0).and(twice.eq(y.sig)))
      .and(quotient.get().toI32());
    f.if(above.or(tie), () => {
      f.set(quotient, quotient.get().add(1));
      f.set(sign, sign.get().xor(1));
      f.set(rest, y.sig.sub(r).add(y.sig.when(halved, 0)));
    });
  }
  const q = f.let(quotient.get().toI32());
  const bits = i32(C0).when(q.and(4), 0)
    .or(i32(C3).when(q.and(2), 0))
    .or(i32(C1).when(q.and(1), 0));
  const flags = f.let(bits.or(denormal));
  f.if(rest.get().eqz(), () => returnZero(f, x.sign, flags));
  returnExact(f, b, sign.get(), exp.get(), rest.get(), flags, spec);
}

/** Returns a nonzero exact result, which may be denormal. */
function returnExact(
  f: FunctionBuilder,
  b: X87Builder,
  sign: I32,
  exp: I32,
  rest: I64,
  flags: I32,
  spec: I32,
): void {
  const shift = f.let(rest.clz());
  const [s, e, sig, found] = f.call(
    b.core.round,
    ...[sign, exp.sub(shift.toI32()), rest.shl(shift), i64(0), spec],
  );
  f.return(sig, packSe(s, e, sig), flags.or(found));
}
