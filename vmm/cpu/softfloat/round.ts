// Rounding, the one place that decides results and flags of every format: the
// exact value as (sign, exponent, 64-bit significand, low word) is rounded to a
// spec word's precision and range (Intel SDM vol. 1, 4.8.4, 4.9.1.4 to 4.9.1.6).

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
  BIAS_ADJUST,
  C1,
  INTEGER_BIT,
  OE,
  PE,
  RC_DOWN,
  RC_NEAREST,
  RC_UP,
  SPEC_FTZ,
  SPECIAL,
  specMinExponent,
  specPrecision,
  specRounding,
  UE,
} from "./format.ts";
import type { Wide } from "./wide.ts";

/** A finished number: sign, exponent, significand, flags. */
export type Rounded = readonly ["i32", "i32", "i64", "i32"];

/** The functions that round. */
export interface Rounding {
  /**
   * (sign, high, low, precision, rounding control) to the significand without
   * its carry, PE and C1, and the carry out of the integer bit (0 or 1).
   */
  readonly roundAt: FuncRef<readonly ["i64", "i32", "i32"]>;
  /** (sign, exponent, high with its integer bit set, low, spec) */
  readonly round: FuncRef<Rounded>;
}

/** Defines the rounding functions. */
export function defineRounding(m: ModuleBuilder, wide: Wide): Rounding {
  const roundAt = m.func(
    "round_at",
    ["i32", "i64", "i64", "i32", "i32"],
    ["i64", "i32", "i32"],
    emitRoundAt,
  );
  const params = ["i32", "i32", "i64", "i64", "i32"] as const;
  const results: Rounded = ["i32", "i32", "i64", "i32"];
  const tiny = m.func(
    "round_tiny",
    params,
    results,
    (f) => emitTiny(f, wide, roundAt),
  );
  const overflow = m.func(
    "round_overflow",
    [
      "i32",
      "i32",
      "i64",
      "i32",
      "i32",
    ],
    results,
    emitOverflow,
  );
  const round = m.func("round", params, results, (f) => {
    const sign = f.param(0, "i32");
    const exp = f.param(1, "i32");
    const high = f.param(2, "i64");
    const low = f.param(3, "i64");
    const spec = f.param(4, "i32");
    const emin = f.let(specMinExponent(spec));
    f.if(
      exp.ltS(emin),
      () => f.returnCall(tiny, sign, exp, high, low, spec),
    );
    const [sig, flags, carry] = roundBySpec(f, roundAt, sign, high, low, spec);
    const e = f.let(exp.add(carry));
    f.if(
      e.gtS(i32(SPECIAL).sub(emin)),
      () => f.returnCall(overflow, sign, e, sig, flags, spec),
    );
    f.return(sign, e, sig, flags);
  });
  return { roundAt, round };
}

function roundBySpec(
  f: FunctionBuilder,
  roundAt: Rounding["roundAt"],
  sign: I32,
  high: I64,
  low: I64,
  spec: I32,
): readonly [I64, I32, I32] {
  const precision = specPrecision(spec);
  return f.call(roundAt, sign, high, low, precision, specRounding(spec));
}

function emitRoundAt(f: FunctionBuilder): void {
  const sign = f.param(0, "i32");
  const high = f.param(1, "i64");
  const low = f.param(2, "i64");
  const precision = f.let(f.param(3, "i32").toI64U());
  const rc = f.param(4, "i32");
  const unit = f.let(i64(1).shl(i64(64).sub(precision)));
  // What is dropped, its most significant bit on top; below 64 bits of
  // precision the low word can only be sticky.
  const lost = f.let(
    low.when(
      unit.eq(1),
      high.shl(precision).or(low.ne(0).toI64U()),
    ),
  );
  f.if(lost.eqz(), () => f.return(high, i32(0), i32(0)));
  const odd = high.and(unit).ne(0);
  const nearest = lost.ltS(0).and(lost.shl(1).ne(0).or(odd));
  const directed = rc.eq(i32(RC_UP).sub(sign));
  const up = f.let(nearest.when(rc.eq(RC_NEAREST), directed));
  const kept = f.let(high.and(i64(0).sub(unit)));
  f.if(up.eqz(), () => f.return(kept, i32(PE), i32(0)));
  const sum = f.let(kept.add(unit));
  const carry = f.let(sum.eqz());
  f.return(sum.or(carry.toI64U().shl(63)), i32(PE | C1), carry);
}

/** The exponent is below the least normal one. */
function emitTiny(
  f: FunctionBuilder,
  wide: Wide,
  roundAt: Rounding["roundAt"],
): void {
  const sign = f.param(0, "i32");
  const exp = f.param(1, "i32");
  const high = f.param(2, "i64");
  const low = f.param(3, "i64");
  const spec = f.param(4, "i32");
  const emin = f.let(specMinExponent(spec));
  const [sig, flags, carry] = roundBySpec(f, roundAt, sign, high, low, spec);
  // Tininess is detected after rounding, as if the exponent were unbounded.
  const e = f.let(exp.add(carry));
  const tiny = f.let(e.ltS(emin));
  f.if(tiny.eqz(), () => f.return(sign, e, sig, flags));
  f.if(
    spec.and(UE).eqz(),
    () => f.return(sign, e.add(BIAS_ADJUST), sig, flags.or(UE)),
  );
  f.if(
    spec.and(SPEC_FTZ),
    () => f.return(sign, i32(0), i64(0), i32(UE | PE)),
  );
  const [h, l] = f.call(wide.shiftRight, high, low, emin.sub(exp));
  const [denormal, lost] = roundBySpec(f, roundAt, sign, h, l, spec);
  const underflow = i32(UE).when(lost.and(PE), 0);
  f.return(sign, emin, denormal, lost.or(underflow));
}

/** (sign, exponent, rounded significand, flags, spec) above the range. */
function emitOverflow(f: FunctionBuilder): void {
  const sign = f.param(0, "i32");
  const exp = f.param(1, "i32");
  const sig = f.param(2, "i64");
  const flags = f.param(3, "i32");
  const spec = f.param(4, "i32");
  f.if(
    spec.and(OE).eqz(),
    () => f.return(sign, exp.sub(BIAS_ADJUST), sig, flags.or(OE)),
  );
  const rc = f.let(specRounding(spec));
  const awayRc = i32(RC_DOWN).when(sign, RC_UP);
  f.if(
    rc.eqz().or(rc.eq(awayRc)),
    () => f.return(sign, i32(SPECIAL), i64(INTEGER_BIT), i32(OE | PE | C1)),
  );
  const greatest = i64(-1).shl(i64(64).sub(specPrecision(spec).toI64U()));
  f.return(
    sign,
    i32(SPECIAL).sub(specMinExponent(spec)),
    greatest,
    i32(OE | PE),
  );
}
