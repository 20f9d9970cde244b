// The x87's arithmetic on extended numbers: FADD to FSQRT, FCOM, FRNDINT, FSCALE
// and FXTRACT (Intel SDM vol. 1, 8.3; vol. 2 for the tables of special operands).

import {
  type FuncRef,
  type FunctionBuilder,
  type I32,
  i32,
  i64,
  type ModuleBuilder,
} from "../wasm/mod.ts";
import type { Core } from "./core.ts";
import {
  BIAS,
  BIAS_ADJUST,
  C1,
  IE,
  INTEGER_BIT,
  isSignalling,
  joinFlags,
  OE,
  PE,
  RC_ZERO,
  SPECIAL,
  specRounding,
  UE,
  x87FullSpec,
  x87Spec,
  ZE,
} from "./format.ts";
import type { Rounded } from "./round.ts";
import {
  checkOne,
  checkTwo,
  finish,
  isBad,
  isInfinite,
  isRawNaN,
  isZero,
  type Operand,
  operand,
  type Operands,
  packSe,
  returnDefaultNaN,
  returnInfinity,
  returnZero,
  type X87Result,
} from "./x87_operand.ts";

/** Numbers are (significand i64, sign and exponent i32); cw is the control word. */
export interface X87Arithmetic {
  /** (a, b, cw): a + b */
  readonly add: FuncRef<X87Result>;
  /** (a, b, cw): a - b */
  readonly sub: FuncRef<X87Result>;
  /** (a, b, cw): a * b */
  readonly mul: FuncRef<X87Result>;
  /** (a, b, cw): a / b */
  readonly div: FuncRef<X87Result>;
  /** (a, cw): square root */
  readonly sqrt: FuncRef<X87Result>;
  /**
   * (a, b) as FCOM: IE for any NaN. Gives EFLAGS bits, flags: 0 greater, 1 (CF)
   * less, 0x40 (ZF) equal, 0x45 unordered; shifted left by 8 they are C0, C2, C3
   */
  readonly compareSignalling: FuncRef<readonly ["i32", "i32"]>;
  /** (a, b) as FUCOM: IE for a signalling NaN or an unsupported operand only */
  readonly compareQuiet: FuncRef<readonly ["i32", "i32"]>;
  /** (a, cw): rounded to an integral value */
  readonly roundIntegral: FuncRef<X87Result>;
  /** (a, b, cw): a * 2^trunc(b) */
  readonly scale: FuncRef<X87Result>;
  /** (a, cw) to significand and exponent: two numbers, then flags */
  readonly extract: FuncRef<readonly ["i64", "i32", "i64", "i32", "i32"]>;
}

/** What the definitions share. */
export interface X87Builder {
  /** where functions go */
  readonly m: ModuleBuilder;
  /** arithmetic on unpacked numbers */
  readonly core: Core;
  /** unpacking and NaNs */
  readonly operands: Operands;
}

/** Parameters of an operation with one operand. */
export const UNARY = ["i64", "i32", "i32"] as const;
/** Parameters of an operation with two operands. */
export const BINARY = ["i64", "i32", "i64", "i32", "i32"] as const;
/** Results of an operation. */
export const RESULT: X87Result = ["i64", "i32", "i32"];

/** Defines the operations. */
export function defineX87Arithmetic(b: X87Builder): X87Arithmetic {
  const { core, m } = b;
  return {
    add: defineBinary(b, "add", core.add, false),
    sub: defineBinary(b, "sub", core.add, true),
    mul: defineBinary(b, "mul", core.mul, false),
    div: defineBinary(b, "div", core.div, false),
    sqrt: m.func("x87_sqrt", UNARY, RESULT, (f) => {
      const a = operand(f, b.operands, 0);
      checkOne(f, b.operands, a);
      const spec = f.let(x87Spec(f.param(2, "i32")));
      const result = f.call(core.sqrt, a.sign, a.exp, a.sig, spec);
      finish(f, result, a.denormal, spec);
    }),
    compareSignalling: defineCompare(b, "signalling", true),
    compareQuiet: defineCompare(b, "quiet", false),
    roundIntegral: m.func("x87_round_integral", UNARY, RESULT, (f) => {
      emitRoundIntegral(f, b);
    }),
    scale: m.func("x87_scale", BINARY, RESULT, (f) => emitScale(f, b)),
    extract: m.func(
      "x87_extract",
      UNARY,
      ["i64", "i32", "i64", "i32", "i32"],
      (f) => emitExtract(f, b),
    ),
  };
}

function defineBinary(
  b: X87Builder,
  name: string,
  op: FuncRef<Rounded>,
  negate: boolean,
): FuncRef<X87Result> {
  return b.m.func(`x87_${name}`, BINARY, RESULT, (f) => {
    const x = operand(f, b.operands, 0);
    const y = operand(f, b.operands, 2);
    checkTwo(f, b.operands, x, y);
    const spec = f.let(x87Spec(f.param(4, "i32")));
    const ySign = negate ? y.sign.xor(1) : y.sign;
    const result = f.call(
      op,
      ...[x.sign, x.exp, x.sig, ySign, y.exp, y.sig, spec],
    );
    finish(f, result, x.denormal.or(y.denormal), spec);
  });
}

function less(x: Operand, y: Operand): I32 {
  const below = (p: Operand, q: Operand) =>
    p.exp.ltS(q.exp).or(p.exp.eq(q.exp).and(p.sig.ltU(q.sig)));
  const signed = below(y, x).when(x.sign, below(x, y));
  const bothZero = x.sig.or(y.sig).eqz();
  return signed.when(x.sign.eq(y.sign), x.sign).and(bothZero.eqz());
}

function defineCompare(
  b: X87Builder,
  name: string,
  quietIsInvalid: boolean,
): FuncRef<readonly ["i32", "i32"]> {
  const params = ["i64", "i32", "i64", "i32"] as const;
  return b.m.func(`x87_compare_${name}`, params, ["i32", "i32"], (f) => {
    const x = operand(f, b.operands, 0);
    const y = operand(f, b.operands, 2);
    f.if(isBad(x).or(isBad(y)), () => {
      const invalid = (n: Operand) =>
        isBad(n).and(
          isRawNaN(n.rawSig, n.rawSe).eqz()
            .or(n.sig.geS(0))
            .or(isSignalling(n.sig)),
        );
      const quiet = invalid(x).or(invalid(y));
      f.return(i32(0x45), quietIsInvalid ? i32(IE) : quiet);
    });
    const above = i32(0x40).when(less(y, x).eqz(), 0);
    f.return(
      i32(1).when(less(x, y), above),
      x.denormal.or(y.denormal),
    );
  });
}

function emitRoundIntegral(f: FunctionBuilder, b: X87Builder): void {
  const a = operand(f, b.operands, 0);
  checkOne(f, b.operands, a);
  f.if(
    isZero(a).or(a.exp.geS(BIAS + 63)),
    () => f.return(a.rawSig, a.rawSe.and(0xffff), a.denormal),
  );
  const spec = f.let(x87FullSpec(f.param(2, "i32")));
  const rc = specRounding(spec);
  const [value, lost] = f.call(b.core.toInteger, a.sign, a.exp, a.sig, rc);
  const flags = joinFlags(lost.and(PE | C1), a.denormal, spec);
  f.if(value.eqz(), () => returnZero(f, a.sign, flags));
  const shift = f.let(value.clz());
  const exp = i32(BIAS + 63).sub(shift.toI32());
  f.return(value.shl(shift), a.sign.shl(15).or(exp), flags);
}

/** Beyond this, a scale leaves any operand's range even when it is biased. */
const SCALE_LIMIT = 0x10000;

function emitScale(f: FunctionBuilder, b: X87Builder): void {
  const a = operand(f, b.operands, 0);
  const s = operand(f, b.operands, 2);
  checkTwo(f, b.operands, a, s);
  const spec = f.let(x87FullSpec(f.param(4, "i32")));
  const denormal = f.let(a.denormal.or(s.denormal));
  f.if(isInfinite(s), () => {
    f.if(s.sign, () => {
      f.if(isInfinite(a), () => returnDefaultNaN(f));
      returnZero(f, a.sign, denormal);
    });
    f.if(isZero(a), () => returnDefaultNaN(f));
    returnInfinity(f, a.sign, denormal);
  });
  f.if(
    isZero(a).or(isInfinite(a)),
    () => f.return(a.sig, a.rawSe.and(0xffff), denormal),
  );
  const [value] = f.call(
    b.core.toInteger,
    ...[i32(0), s.exp, s.sig, i32(RC_ZERO)],
  );
  const huge = s.exp.geS(BIAS + 16);
  const distance = f.let(i32(SCALE_LIMIT).when(huge, value.toI32()));
  const exp = f.let(a.exp.add(i32(0).sub(distance).when(s.sign, distance)));
  // What does not even fit with its exponent adjusted is an infinity or a zero.
  f.if(
    spec.and(OE).eqz().and(exp.sub(BIAS_ADJUST).geS(SPECIAL)),
    () =>
      returnInfinity(f, a.sign, joinFlags(i32(OE | PE | C1), denormal, spec)),
  );
  f.if(
    spec.and(UE).eqz().and(exp.add(BIAS_ADJUST).leS(0)),
    () => returnZero(f, a.sign, joinFlags(i32(UE | PE), denormal, spec)),
  );
  const result = f.call(
    b.core.round,
    ...[a.sign, exp, a.sig, i64(0), spec],
  );
  finish(f, result, denormal, spec);
}

function emitExtract(f: FunctionBuilder, b: X87Builder): void {
  const a = operand(f, b.operands, 0);
  f.if(isBad(a), () => {
    const [sig, se, flags] = f.call(b.operands.nan1, a.rawSig, a.rawSe);
    f.return(sig, se, sig, se, flags);
  });
  f.if(
    isInfinite(a),
    () => f.return(a.sig, a.rawSe, i64(INTEGER_BIT), i32(SPECIAL), i32(0)),
  );
  f.if(isZero(a), () => {
    const se = i32(0x8000 | SPECIAL);
    f.return(i64(0), a.rawSe, i64(INTEGER_BIT), se, i32(ZE));
  });
  const exponent = a.exp.sub(BIAS).toI64S();
  const spec = x87FullSpec(f.param(2, "i32"));
  const [sign, exp, sig] = f.call(b.core.fromInteger, exponent, spec);
  f.return(
    a.sig,
    a.sign.shl(15).or(BIAS),
    sig,
    packSe(sign, exp, sig),
    a.denormal,
  );
}
