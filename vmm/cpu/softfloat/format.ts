// The vocabulary of the software floating point: exception flags, formats and
// the "spec" word that parameterises rounding (Intel SDM vol. 1, 4.8, 8.1, 11.5).

import { type I32, i32, type I64 } from "../wasm/mod.ts";

/** Invalid operation. */
export const IE = 1;
/** Denormal operand. */
export const DE = 2;
/** Division by zero. */
export const ZE = 4;
/** Overflow. */
export const OE = 8;
/** Underflow. */
export const UE = 16;
/** Inexact result. */
export const PE = 32;
/** The x87's C0, at its place in the status word. */
export const C0 = 0x100;
/** The x87's C1, at its place in the status word: "rounded up". */
export const C1 = 0x200;
/** The x87's C2, at its place in the status word. */
export const C2 = 0x400;
/** The x87's C3, at its place in the status word. */
export const C3 = 0x4000;

/** MXCSR: denormals are zeros. */
export const DAZ = 0x40;

/** The exponent of infinities and NaNs, in every format once unpacked. */
export const SPECIAL = 0x7fff;
/** The exponent's bias, in every format once unpacked. */
export const BIAS = 16383;
/** The integer bit of an unpacked significand. */
export const INTEGER_BIT = 1n << 63n;
/** The bit that tells a quiet NaN from a signalling one. */
export const QUIET_BIT = 1n << 62n;
/** The significand of the default NaN, whose sign is negative. */
export const DEFAULT_NAN = INTEGER_BIT | QUIET_BIT;
/** What an unmasked x87 overflow or underflow adds to the exponent. */
export const BIAS_ADJUST = 24576;

// The spec word. Its low nine bits are MXCSR >> 7 as it stands: six exception
// masks in flag order, two rounding bits, FTZ. Above are the precision and the
// least normal exponent, from which the greatest follows: 0x7fff minus the least.
const RC_SHIFT = 6;
const PRECISION_SHIFT = 9;
const EMIN_SHIFT = 16;
/** The spec word's flush-to-zero bit. */
export const SPEC_FTZ = 0x100;
/** Rounding control: to the nearest, ties to even. */
export const RC_NEAREST = 0;
/** Rounding control: towards minus infinity. */
export const RC_DOWN = 1;
/** Rounding control: towards plus infinity. */
export const RC_UP = 2;
/** Rounding control: towards zero. */
export const RC_ZERO = 3;

/** A packed binary interchange format. */
export interface Format {
  /** name in function names */
  readonly name: "f32" | "f64";
  /** significand bits with the implicit one */
  readonly precision: number;
  /** exponent bits */
  readonly exponentBits: number;
}

/** binary32. */
export const F32_FORMAT: Format = {
  name: "f32",
  precision: 24,
  exponentBits: 8,
};
/** binary64. */
export const F64_FORMAT: Format = {
  name: "f64",
  precision: 53,
  exponentBits: 11,
};

/** The least normal exponent of a format, with the common bias. */
export function minExponent(format: Format): number {
  return BIAS + 2 - (1 << (format.exponentBits - 1));
}

/** The fixed bits of a spec word. */
function fixedSpec(precision: number, emin: number): number {
  return (precision << PRECISION_SHIFT) | (emin << EMIN_SHIFT);
}

/** The spec word of an SSE operation with its result in `format`. */
export function sseSpec(mxcsr: I32, format: Format): I32 {
  return mxcsr.shrU(7).and(0x1ff)
    .or(fixedSpec(format.precision, minExponent(format)));
}

function x87Modes(cw: I32): I32 {
  return cw.and(0x3f).or(cw.shrU(4).and(3 << RC_SHIFT));
}

/** The spec word of an x87 operation that obeys the precision control. */
export function x87Spec(cw: I32): I32 {
  const control = cw.and(0x300);
  // The reserved setting acts as full precision.
  const precision = i32(24).when(
    control.eqz(),
    i32(53).when(control.eq(0x200), 64),
  );
  return x87Modes(cw).or(precision.shl(PRECISION_SHIFT))
    .or(1 << EMIN_SHIFT);
}

/** The spec word of an x87 operation whose result has 64 bits at any setting. */
export function x87FullSpec(cw: I32): I32 {
  return x87Modes(cw).or(fixedSpec(64, 1));
}

/** The spec word of an x87 store that narrows to `format`. */
export function x87StoreSpec(cw: I32, format: Format): I32 {
  return x87Modes(cw).or(fixedSpec(format.precision, minExponent(format)));
}

/** The rounding control of a spec word. */
export function specRounding(spec: I32): I32 {
  return spec.shrU(RC_SHIFT).and(3);
}

/** The precision of a spec word. */
export function specPrecision(spec: I32): I32 {
  return spec.shrU(PRECISION_SHIFT).and(0x7f);
}

/** The least normal exponent of a spec word. */
export function specMinExponent(spec: I32): I32 {
  return spec.shrU(EMIN_SHIFT);
}

/** Whether an unpacked number is a NaN. */
export function isNaN(exp: I32, sig: I64): I32 {
  return exp.eq(SPECIAL).and(sig.shl(1).ne(0));
}

/** Whether a significand that belongs to a NaN makes it a signalling one. */
export function isSignalling(sig: I64): I32 {
  return sig.and(QUIET_BIT).eqz();
}

/** An i64 that is zero or one. */
export function bit64(condition: I32): I64 {
  return condition.toI64U();
}

/**
 * Joins what an operation found with its operands' denormal flag (0 or DE).
 * An invalid operation or a zero divide hides a denormal operand, and an
 * unmasked denormal operand hides what the result would have raised.
 */
export function joinFlags(flags: I32, denormal: I32, spec: I32): I32 {
  const unmasked = denormal.and(spec.xor(-1));
  return flags.when(
    flags.and(IE | ZE),
    denormal.when(unmasked, flags.or(denormal)),
  );
}
