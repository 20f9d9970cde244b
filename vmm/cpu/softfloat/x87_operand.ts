// What every x87 operation does with its operands: unpacking, unsupported
// formats, NaN operands, packing (Intel SDM vol. 1, 4.8.3.5 and 8.2).

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
  DE,
  DEFAULT_NAN,
  IE,
  isNaN,
  isSignalling,
  joinFlags,
  QUIET_BIT,
  SPECIAL,
} from "./format.ts";

/** Significand, sign and exponent, flags. */
export type X87Result = readonly ["i64", "i32", "i32"];
/** The results of `X87Result` as expressions. */
export type X87Values = readonly [I64, I32, I32];

/**
 * Marks an operand that was a denormal before it was widened to the extended
 * format: ORed into its sign-and-exponent word, it makes operations raise DE.
 */
export const WAS_DENORMAL = 0x10000;

/** The exponent of an unpacked zero: below any denormal's. */
const ZERO_EXPONENT = -0x4000;

/** An unpacked operand. */
export interface Operand {
  /** 0 or 1 */
  readonly sign: I32;
  /** biased by 16383; SPECIAL for infinities and NaNs */
  readonly exp: I32;
  /** normalized, or zero */
  readonly sig: I64;
  /** DE or 0 */
  readonly denormal: I32;
  /** the operand's own significand */
  readonly rawSig: I64;
  /** the operand's own sign and exponent */
  readonly rawSe: I32;
}

/** The functions that operands go through. */
export interface Operands {
  /** (significand, sign and exponent) to sign, exponent, significand, DE */
  readonly unpack: FuncRef<readonly ["i32", "i32", "i64", "i32"]>;
  /** (significand, sign and exponent) of a NaN or unsupported operand */
  readonly nan1: FuncRef<X87Result>;
  /** two operands, at least one a NaN or unsupported */
  readonly nan2: FuncRef<X87Result>;
}

/** Defines the functions. */
export function defineOperands(m: ModuleBuilder): Operands {
  const one = ["i64", "i32"] as const;
  const result: X87Result = ["i64", "i32", "i32"];
  return {
    unpack: m.func(
      "x87_unpack",
      one,
      ["i32", "i32", "i64", "i32"],
      emitUnpack,
    ),
    nan1: m.func("x87_nan1", one, result, emitNaN1),
    nan2: m.func("x87_nan2", [...one, ...one], result, emitNaN2),
  };
}

function emitUnpack(f: FunctionBuilder): void {
  const sig = f.param(0, "i64");
  const se = f.param(1, "i32");
  const sign = se.shrU(15).and(1);
  const exp = f.let(se.and(SPECIAL));
  const was = f.let(i32(DE).when(se.and(WAS_DENORMAL), 0));
  f.if(exp, () => f.return(sign, exp, sig, was));
  f.if(
    sig.eqz(),
    () => f.return(sign, i32(ZERO_EXPONENT), sig, was),
  );
  const shift = f.let(sig.clz());
  f.return(sign, i32(1).sub(shift.toI32()), sig.shl(shift), i32(DE));
}

/** An operand with a significand but no integer bit at a nonzero exponent. */
function isUnsupported(sig: I64, se: I32): I32 {
  return se.and(SPECIAL).ne(0).and(sig.geS(0));
}

/** Whether an operand is a NaN. */
export function isRawNaN(sig: I64, se: I32): I32 {
  return isNaN(se.and(SPECIAL), sig);
}

/** Returns the default NaN with IE. */
export function returnDefaultNaN(f: FunctionBuilder): void {
  f.return(i64(DEFAULT_NAN), i32(0xffff), i32(IE));
}

function emitNaN1(f: FunctionBuilder): void {
  const sig = f.param(0, "i64");
  const se = f.param(1, "i32");
  f.if(isUnsupported(sig, se), () => returnDefaultNaN(f));
  f.return(sig.or(QUIET_BIT), se.and(0xffff), isSignalling(sig));
}

function emitNaN2(f: FunctionBuilder): void {
  const [aSig, aSe] = [f.param(0, "i64"), f.param(1, "i32")];
  const [bSig, bSe] = [f.param(2, "i64"), f.param(3, "i32")];
  f.if(
    isUnsupported(aSig, aSe).or(isUnsupported(bSig, bSe)),
    () => returnDefaultNaN(f),
  );
  const aNaN = f.let(isRawNaN(aSig, aSe));
  const bNaN = f.let(isRawNaN(bSig, bSe));
  const aSignals = f.let(aNaN.and(isSignalling(aSig)));
  const bSignals = f.let(bNaN.and(isSignalling(bSig)));
  const aQuiet = f.let(aSig.or(QUIET_BIT));
  const bQuiet = f.let(bSig.or(QUIET_BIT));
  // The larger significand wins, then the positive sign; but a quiet NaN wins
  // over a signalling one.
  const larger = aQuiet.gtU(bQuiet).or(
    aQuiet.eq(bQuiet).and(aSe.and(0xffff).leU(bSe.and(0xffff))),
  );
  const both = aSignals.eqz().when(aSignals.xor(bSignals), larger);
  const first = f.let(both.when(aNaN.and(bNaN), aNaN));
  f.return(
    aQuiet.when(first, bQuiet),
    aSe.when(first, bSe).and(0xffff),
    aSignals.or(bSignals),
  );
}

/** Unpacks the operand in parameters `first` and `first + 1`. */
export function operand(
  f: FunctionBuilder,
  operands: Operands,
  first: number,
): Operand {
  const rawSig = f.param(first, "i64");
  const rawSe = f.param(first + 1, "i32");
  const [sign, exp, sig, denormal] = f.call(operands.unpack, rawSig, rawSe);
  return { sign, exp, sig, denormal, rawSig, rawSe };
}

/** Whether an unpacked operand is a NaN or unsupported. */
export function isBad(n: Operand): I32 {
  const unsupported = n.sig.geS(0).and(n.exp.gtS(0));
  return isNaN(n.exp, n.sig).or(unsupported);
}

/** Whether an operand is an infinity, once it is known not to be bad. */
export function isInfinite(n: Operand): I32 {
  return n.exp.eq(SPECIAL);
}

/** Whether an operand is a zero. */
export function isZero(n: Operand): I32 {
  return n.sig.eqz();
}

/** Returns early where a single operand is a NaN or unsupported. */
export function checkOne(
  f: FunctionBuilder,
  operands: Operands,
  n: Operand,
): void {
  f.if(isBad(n), () => f.returnCall(operands.nan1, n.rawSig, n.rawSe));
}

/** Returns early where either operand is a NaN or unsupported. */
export function checkTwo(
  f: FunctionBuilder,
  operands: Operands,
  a: Operand,
  b: Operand,
): void {
  f.if(
    isBad(a).or(isBad(b)),
    () => f.returnCall(operands.nan2, a.rawSig, a.rawSe, b.rawSig, b.rawSe),
  );
}

/** Packs a sign and an exponent; `sig` tells a denormal. */
export function packSe(sign: I32, exp: I32, sig: I64): I32 {
  return sign.shl(15).or(exp.and(SPECIAL).when(sig.ltS(0), 0));
}

/** Returns a rounded number. */
export function finish(
  f: FunctionBuilder,
  result: readonly [I32, I32, I64, I32],
  denormal: I32,
  spec: I32,
): void {
  const [sign, exp, sig, flags] = result;
  f.return(sig, packSe(sign, exp, sig), joinFlags(flags, denormal, spec));
}

/** Returns a signed infinity. */
export function returnInfinity(
  f: FunctionBuilder,
  sign: I32,
  flags: I32 = i32(0),
): void {
  f.return(i64(1n << 63n), sign.shl(15).or(SPECIAL), flags);
}

/** Returns a signed zero. */
export function returnZero(
  f: FunctionBuilder,
  sign: I32,
  flags: I32 = i32(0),
): void {
  f.return(i64(0), sign.shl(15), flags);
}
