// The constants that FLDPI, FLDL2T, FLDL2E, FLDLG2 and FLDLN2 load, rounded by
// the rounding control from the processor's longer ones (Intel SDM vol. 1, 8.3.2).

import { type I64, i64 } from "../wasm/mod.ts";
import { ln2, log10of2, log2e, log2of10, pi } from "./series.ts";

/** A positive constant. */
export interface X87Constant {
  /** the significand rounded down */
  readonly down: bigint;
  /** whether it rounds up to the nearest */
  readonly nearestUp: boolean;
  /** the sign and exponent word */
  readonly se: number;
}

function constant(value: (bits: number) => bigint): X87Constant {
  const length = value(128).toString(2).length;
  const long = value(128 - (length - 128));
  return {
    down: long >> 64n,
    nearestUp: ((long >> 63n) & 1n) === 1n,
    se: 16383 + length - 129,
  };
}

/** The constants by the instruction that loads them. */
export const X87_CONSTANTS = {
  fldpi: constant(pi),
  fldl2t: constant(log2of10),
  fldl2e: constant(log2e),
  fldlg2: constant(log10of2),
  fldln2: constant(ln2),
} as const;

/** The constant's significand under the control word's rounding control. */
export function constantSignificand(c: X87Constant, rc: I64): I64 {
  const up = rc.eq(2);
  const add = c.nearestUp ? up.or(rc.eqz()) : up;
  return i64(c.down).add(add.toI64U());
}
