// The x87's conversions and comparisons where nothing is special, as `x87_fast.ts` has
// its arithmetic: what gives no result here goes on and is done in full.

import {
  type FunctionBuilder,
  type I32,
  i32,
  type I64,
  i64,
} from "../wasm/mod.ts";
import {
  BIAS,
  type Format,
  INTEGER_BIT,
  minExponent,
  SPECIAL,
} from "./format.ts";
import { isNormal, type Packed, roundNearest } from "./x87_fast.ts";

const SIGN = 0x8000;

function greatestField(format: Format): number {
  return (1 << format.exponentBits) - 1;
}

/** Widens a normal number of a format. */
export function fastWiden(
  f: FunctionBuilder,
  format: Format,
  bits: I64,
  done: (sig: I64, se: I32) => void,
): void {
  const fractionBits = format.precision - 1;
  const field = f.let(
    bits.shrU(fractionBits).toI32().and(greatestField(format)),
  );
  f.if(field.sub(1).ltU(greatestField(format) - 1), () => {
    const sign = bits.shrU(fractionBits + format.exponentBits - 15).toI32();
    done(
      f.let(bits.shl(63 - fractionBits).or(INTEGER_BIT)),
      f.let(sign.and(SIGN).or(field.add(minExponent(format) - 1))),
    );
  });
}

/** An integer that is not zero. */
export function fastInteger(
  f: FunctionBuilder,
  value: I64,
  done: (sig: I64, se: I32) => void,
): void {
  f.if(value.ne(0), () => {
    const sign = f.let(value.shrS(63));
    const magnitude = f.let(value.xor(sign).sub(sign));
    const shift = f.let(magnitude.clz());
    const exp = i32(BIAS + 63).sub(shift.toI32());
    done(f.let(magnitude.shl(shift)), f.let(sign.toI32().and(SIGN).or(exp)));
  });
}

/** Rounds to the nearest number of a narrower format, which is normal in it. */
export function fastNarrow(
  f: FunctionBuilder,
  format: Format,
  { sig, se }: Packed,
  done: (bits: I64, flags: I32) => void,
): void {
  const fractionBits = format.precision - 1;
  const unit = i64(1n << BigInt(64 - format.precision));
  const rounded = roundNearest(f, { high: sig, low: i64(0) }, unit);
  const field = f.let(
    se.and(SPECIAL).sub(minExponent(format) - 1).add(rounded.carry),
  );
  f.if(field.sub(1).ltU(greatestField(format) - 1), () => {
    const sign = se.shrU(15).and(1).shl(format.exponentBits);
    const bits = sign.or(field).toI64U().shl(fractionBits)
      .or(rounded.sig.shl(1).shrU(64 - fractionBits));
    done(f.let(bits), f.let(rounded.flags));
  });
}

/**
 * Compares numbers that are normal or zero: gives 0 for greater, 1 for less, 0x40 for
 * equal.
 */
export function fastCompare(
  f: FunctionBuilder,
  a: Packed,
  b: Packed,
  done: (relation: I32) => void,
): void {
  const isPlain = (n: Packed) =>
    isNormal(n).or(n.sig.eqz().and(n.se.and(SPECIAL).eqz()));
  f.if(isPlain(a).and(isPlain(b)), () => {
    const [ea, eb] = [f.let(a.se.and(SPECIAL)), f.let(b.se.and(SPECIAL))];
    const below = f.let(ea.ltU(eb).or(ea.eq(eb).and(a.sig.ltU(b.sig))));
    const sign = f.let(a.se.shrU(15).and(1));
    const differ = f.let(a.se.xor(b.se).and(SIGN));
    const less = sign.when(differ, below.xor(sign));
    const same = ea.eq(eb).and(a.sig.eq(b.sig)).and(differ.eqz());
    const isEqual = same.or(a.sig.or(b.sig).eqz());
    done(f.let(i32(0x40).when(isEqual, less)));
  });
}
