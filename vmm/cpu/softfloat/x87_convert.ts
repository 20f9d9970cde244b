// Conversions between the x87's extended format and what memory holds: binary32,
// binary64, integers, packed decimals (Intel SDM vol. 1, 4.2.2, 4.8, 8.1, 8.5).

import {
  type FuncRef,
  type FunctionBuilder,
  type I32,
  i32,
  type I64,
  i64,
} from "../wasm/mod.ts";
import {
  C1,
  DE,
  F32_FORMAT,
  F64_FORMAT,
  type Format,
  IE,
  INTEGER_BIT,
  isSignalling,
  minExponent,
  OE,
  PE,
  QUIET_BIT,
  RC_ZERO,
  SPECIAL,
  specRounding,
  UE,
  x87FullSpec,
  x87StoreSpec,
} from "./format.ts";
import { UNARY, type X87Builder } from "./x87_arith.ts";
import {
  isBad,
  isInfinite,
  isRawNaN,
  isZero,
  operand,
  packSe,
  WAS_DENORMAL,
  type X87Result,
} from "./x87_operand.ts";

/** A stored value and its flags. */
export type Stored = readonly ["i64", "i32"];

/** Numbers are (significand i64, sign and exponent i32); cw is the control word. */
export interface X87Convert {
  /** (bits) as FLD m32: quieted, with IE or DE */
  readonly loadF32: FuncRef<X87Result>;
  /** (bits) as FLD m64: quieted, with IE or DE */
  readonly loadF64: FuncRef<X87Result>;
  /**
   * (bits) as an operand of arithmetic: neither quieted nor flagged, but the
   * second result has WAS_DENORMAL for a denormal, so that the operation raises DE
   */
  readonly widenF32: FuncRef<readonly ["i64", "i32"]>;
  /** (bits) as an operand of arithmetic, see `widenF32` */
  readonly widenF64: FuncRef<readonly ["i64", "i32"]>;
  /** (a, cw) to binary32 bits */
  readonly storeF32: FuncRef<Stored>;
  /** (a, cw) to binary64 bits */
  readonly storeF64: FuncRef<Stored>;
  /** (signed 64-bit integer), exact; narrower ones are sign-extended first */
  readonly loadInt: FuncRef<readonly ["i64", "i32"]>;
  /** (a, cw) to a 16-bit integer, zero-extended; the indefinite with IE */
  readonly storeInt16: FuncRef<Stored>;
  /** (a, cw) to a 32-bit integer, zero-extended; the indefinite with IE */
  readonly storeInt32: FuncRef<Stored>;
  /** (a, cw) to a 64-bit integer; the indefinite with IE */
  readonly storeInt64: FuncRef<Stored>;
  /** (a, cw) as FISTTP to a 16-bit integer, zero-extended */
  readonly truncInt16: FuncRef<Stored>;
  /** (a, cw) as FISTTP to a 32-bit integer, zero-extended */
  readonly truncInt32: FuncRef<Stored>;
  /** (a, cw) as FISTTP to a 64-bit integer */
  readonly truncInt64: FuncRef<Stored>;
  /** (low 8 bytes, high 2 bytes) of a packed decimal, exact */
  readonly loadBcd: FuncRef<readonly ["i64", "i32"]>;
  /** (a, cw) to a packed decimal: low 8 bytes, high 2 bytes, flags */
  readonly storeBcd: FuncRef<X87Result>;
}

/** Defines the conversions. */
export function defineX87Convert(b: X87Builder): X87Convert {
  const widenF32 = defineWiden(b, F32_FORMAT);
  const widenF64 = defineWiden(b, F64_FORMAT);
  const loadInt = b.m.func("x87_load_int", ["i64"], ["i64", "i32"], (f) => {
    const spec = x87FullSpec(i32(0x37f));
    const value = f.param(0, "i64");
    const [sign, exp, sig] = f.call(b.core.fromInteger, value, spec);
    f.return(sig, packSe(sign, exp, sig));
  });
  return {
    widenF32,
    widenF64,
    loadF32: defineLoad(b, F32_FORMAT, widenF32),
    loadF64: defineLoad(b, F64_FORMAT, widenF64),
    storeF32: defineStore(b, F32_FORMAT),
    storeF64: defineStore(b, F64_FORMAT),
    loadInt,
    storeInt16: defineStoreInt(b, 16, false),
    storeInt32: defineStoreInt(b, 32, false),
    storeInt64: defineStoreInt(b, 64, false),
    truncInt16: defineStoreInt(b, 16, true),
    truncInt32: defineStoreInt(b, 32, true),
    truncInt64: defineStoreInt(b, 64, true),
    loadBcd: defineLoadBcd(b, loadInt),
    storeBcd: defineStoreBcd(b),
  };
}

function defineWiden(
  b: X87Builder,
  format: Format,
): FuncRef<readonly ["i64", "i32"]> {
  const name = `x87_widen_${format.name}`;
  return b.m.func(name, ["i64"], ["i64", "i32"], (f) => {
    const bits = f.param(0, "i64");
    const fractionBits = format.precision - 1;
    const emax = (1 << format.exponentBits) - 1;
    const sign = f.let(
      bits.shrU(fractionBits + format.exponentBits).toI32().and(1).shl(15),
    );
    const field = f.let(bits.shrU(fractionBits).toI32().and(emax));
    const fraction = f.let(bits.shl(64 - fractionBits));
    const rebias = minExponent(format) - 1;
    f.if(field.eqz(), () => {
      f.if(fraction.eqz(), () => f.return(i64(0), sign));
      const shift = f.let(fraction.clz());
      const exp = i32(rebias).sub(shift.toI32());
      f.return(fraction.shl(shift), sign.or(exp).or(WAS_DENORMAL));
    });
    const exp = i32(SPECIAL).when(field.eq(emax), field.add(rebias));
    f.return(fraction.shrU(1).or(INTEGER_BIT), sign.or(exp));
  });
}

function defineLoad(
  b: X87Builder,
  format: Format,
  widen: FuncRef<readonly ["i64", "i32"]>,
): FuncRef<X87Result> {
  const name = `x87_load_${format.name}`;
  return b.m.func(name, ["i64"], ["i64", "i32", "i32"], (f) => {
    const [sig, se] = f.call(widen, f.param(0, "i64"));
    const nan = f.let(isRawNaN(sig, se));
    const quiet = sig.or(i64(QUIET_BIT).when(nan, 0));
    const denormal = i32(DE).when(se.and(WAS_DENORMAL), 0);
    const flags = nan.and(isSignalling(sig)).or(denormal);
    f.return(quiet, se.and(0xffff), flags);
  });
}

/** The packed bits of (sign, exponent, significand). */
function packBits(format: Format, sign: I32, exp: I32, sig: I64): I64 {
  const fractionBits = format.precision - 1;
  const emax = (1 << format.exponentBits) - 1;
  const field = i32(emax).when(
    exp.eq(SPECIAL),
    exp.sub(minExponent(format) - 1),
  ).when(sig.ltS(0), 0);
  return sign.shl(format.exponentBits).or(field).toI64U()
    .shl(fractionBits).or(sig.shl(1).shrU(64 - fractionBits));
}

function defineStore(b: X87Builder, format: Format): FuncRef<Stored> {
  const name = `x87_store_${format.name}`;
  return b.m.func(name, UNARY, ["i64", "i32"], (f) => {
    const a = operand(f, b.operands, 0);
    f.if(isBad(a), () => {
      const [sig, se, flags] = f.call(b.operands.nan1, a.rawSig, a.rawSe);
      f.return(packBits(format, se.shrU(15), i32(SPECIAL), sig), flags);
    });
    f.if(
      isInfinite(a).or(isZero(a)),
      () => f.return(packBits(format, a.sign, a.exp, a.sig), i32(0)),
    );
    const spec = f.let(x87StoreSpec(f.param(2, "i32"), format));
    const [sign, exp, sig, flags] = f.call(
      b.core.round,
      ...[a.sign, a.exp, a.sig, i64(0), spec],
    );
    // Where an unmasked exception keeps it from storing, nothing was rounded.
    const stopped = f.let(flags.and(OE | UE).and(spec.xor(-1)));
    f.return(
      packBits(format, sign, exp, sig),
      stopped.when(stopped, flags),
    );
  });
}

function defineStoreInt(
  b: X87Builder,
  bits: 16 | 32 | 64,
  truncate: boolean,
): FuncRef<Stored> {
  const name = `x87_${truncate ? "trunc" : "store"}_int${bits}`;
  const limit = 1n << BigInt(bits - 1);
  return b.m.func(name, UNARY, ["i64", "i32"], (f) => {
    const a = operand(f, b.operands, 0);
    const [value, flags] = integer(f, b, a, truncate);
    const tooLarge = value.gtU(i64(limit - 1n).add(a.sign.toI64U()));
    f.if(
      flags.and(IE).or(tooLarge).or(isBad(a)),
      () => f.return(i64(limit), i32(IE)),
    );
    const signed = i64(0).sub(value).when(a.sign, value);
    const mask = BigInt.asIntN(64, (limit << 1n) - 1n);
    f.return(signed.and(mask), flags.and(PE | C1));
  });
}

/** An operand rounded to an integer's magnitude, and what that raises. */
function integer(
  f: FunctionBuilder,
  b: X87Builder,
  a: ReturnType<typeof operand>,
  truncate: boolean,
): readonly [I64, I32] {
  const rc = truncate
    ? i32(RC_ZERO)
    : specRounding(x87FullSpec(f.param(2, "i32")));
  return f.call(b.core.toInteger, a.sign, a.exp, a.sig, rc);
}

const BCD_DIGITS = 18;

/** Digits that are not decimal, whose result is undefined, count by their value. */
function defineLoadBcd(
  b: X87Builder,
  loadInt: FuncRef<readonly ["i64", "i32"]>,
): FuncRef<readonly ["i64", "i32"]> {
  return b.m.func("x87_load_bcd", UNARY.slice(0, 2), ["i64", "i32"], (f) => {
    const high = f.param(1, "i32");
    const digits = f.var("i64", f.param(0, "i64"));
    const top = high.shrU(4).and(15).mul(10).add(high.and(15));
    const value = f.var("i64", top.toI64U());
    const count = f.var("i32", i32(BCD_DIGITS - 2));
    f.loop((again) => {
      f.set(value, value.get().mul(10).add(digits.get().shrU(60)));
      f.set(digits, digits.get().shl(4));
      f.set(count, count.get().sub(1));
      f.brIf(again, count.get());
    });
    const [sig, se] = f.call(loadInt, value.get());
    f.return(sig, se.or(high.and(0x8000)));
  });
}

function defineStoreBcd(b: X87Builder): FuncRef<X87Result> {
  const limit = 10n ** BigInt(BCD_DIGITS) - 1n;
  return b.m.func("x87_store_bcd", UNARY, ["i64", "i32", "i32"], (f) => {
    const a = operand(f, b.operands, 0);
    const [value, flags] = integer(f, b, a, false);
    f.if(
      flags.and(IE).or(value.gtU(limit)).or(isBad(a)),
      () => f.return(i64(0xc000n << 48n), i32(0xffff), i32(IE)),
    );
    const rest = f.var("i64", value);
    const low = f.var("i64");
    const count = f.var("i32", i32(BCD_DIGITS - 2));
    f.loop((again) => {
      const digit = rest.get().remU(10);
      f.set(low, low.get().shrU(4).or(digit.shl(60)));
      f.set(rest, rest.get().divU(10));
      f.set(count, count.get().sub(1));
      f.brIf(again, count.get());
    });
    const top = rest.get().toI32();
    const high = top.divU(10).shl(4).or(top.remU(10)).or(a.sign.shl(15));
    f.return(low.get(), high, flags.and(PE | C1));
  });
}
