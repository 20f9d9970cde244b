// 128-bit integer arithmetic on pairs of i64: products, quotients, square roots
// and shifts that keep a sticky bit (Knuth, TAOCP vol. 2, 4.3.1 for division).

import {
  type FuncRef,
  type FunctionBuilder,
  type I64,
  i64,
  type ModuleBuilder,
  type Var,
} from "../wasm/mod.ts";
import { bit64 } from "./format.ts";

/** Helpers that work on 128-bit integers, high word first. */
export interface Wide {
  /** (a, b) to the 128-bit product */
  readonly mul: FuncRef<readonly ["i64", "i64"]>;
  /** (high, low, divisor) to quotient, remainder; high < divisor >= 2^63 */
  readonly div: FuncRef<readonly ["i64", "i64"]>;
  /** (high, low) >= 2^126 to root and a fraction word for rounding */
  readonly sqrt: FuncRef<readonly ["i64", "i64"]>;
  /** (high, low, i32 count) shifted right, what is lost ORed into bit 0 */
  readonly shiftRight: FuncRef<readonly ["i64", "i64"]>;
}

const MASK32 = 0xffffffffn;

/** Defines the helpers. */
export function defineWide(m: ModuleBuilder): Wide {
  const mul = m.func("wide_mul", ["i64", "i64"], ["i64", "i64"], emitMul);
  const step = m.func(
    "wide_div_step",
    ["i64", "i64", "i64"],
    ["i64", "i64"],
    emitDivStep,
  );
  return {
    mul,
    div: m.func("wide_div", ["i64", "i64", "i64"], ["i64", "i64"], (f) => {
      const low = f.param(1, "i64");
      const d = f.param(2, "i64");
      const [q1, r1] = f.call(step, f.param(0, "i64"), low.shrU(32), d);
      const [q0, r0] = f.call(step, r1, low.and(MASK32), d);
      f.return(q1.shl(32).or(q0), r0);
    }),
    sqrt: m.func(
      "wide_sqrt",
      ["i64", "i64"],
      ["i64", "i64"],
      (f) => emitSqrt(f, mul),
    ),
    shiftRight: m.func(
      "wide_shift_right",
      ["i64", "i64", "i32"],
      ["i64", "i64"],
      emitShiftRight,
    ),
  };
}

/** The high half of the unsigned product of two kept numbers. */
export function unsignedHigh(f: FunctionBuilder, a: I64, b: I64): I64 {
  const a0 = f.let(a.and(MASK32));
  const a1 = f.let(a.shrU(32));
  const b0 = f.let(b.and(MASK32));
  const b1 = f.let(b.shrU(32));
  // Neither sum overflows: (2^32 - 1)^2 + 2^32 - 1 < 2^64.
  const mid = f.let(a1.mul(b0).add(a0.mul(b0).shrU(32)));
  const mid2 = f.let(a0.mul(b1).add(mid.and(MASK32)));
  return a1.mul(b1).add(mid.shrU(32)).add(mid2.shrU(32));
}

/** The high half of the signed product of two kept numbers. */
export function signedHigh(f: FunctionBuilder, a: I64, b: I64): I64 {
  // A negative factor counts 2^64 too much, times the other one.
  const tooMuch = b.and(a.shrS(63)).add(a.and(b.shrS(63)));
  return unsignedHigh(f, a, b).sub(tooMuch);
}

function emitMul(f: FunctionBuilder): void {
  const a = f.param(0, "i64");
  const b = f.param(1, "i64");
  const high = f.let(unsignedHigh(f, a, b));
  f.return(high, a.mul(b));
}

/** (96-bit numerator as 64 + 32 bits, divisor) to 32-bit digit, remainder. */
function emitDivStep(f: FunctionBuilder): void {
  const high = f.param(0, "i64");
  const next = f.param(1, "i64");
  const d = f.param(2, "i64");
  const d1 = f.let(d.shrU(32));
  const d0 = f.let(d.and(MASK32));
  const q = f.var("i64", high.divU(d1));
  const rest = f.var("i64", high.sub(q.get().mul(d1)));
  // The estimate is at most two too large.
  f.block((end) =>
    f.loop((again) => {
      const fits = q.get().leU(MASK32).and(
        q.get().mul(d0).leU(rest.get().shl(32).or(next)),
      );
      f.brIf(end, fits);
      f.set(q, q.get().sub(1));
      f.set(rest, rest.get().add(d1));
      f.brIf(again, rest.get().leU(MASK32));
    })
  );
  f.return(q.get(), high.shl(32).or(next).sub(q.get().mul(d)));
}

/**
 * Square root from a double-precision estimate, one Newton step whose
 * correction (below 2^13) is computed in double precision too, and one exact
 * correction. The fraction word is below, at or above half as the root is.
 */
function emitSqrt(
  f: FunctionBuilder,
  mul: FuncRef<readonly ["i64", "i64"]>,
): void {
  const high = f.param(0, "i64");
  const low = f.param(1, "i64");
  const half = high.toF64U().sqrt().mul(2 ** 31).toI64SatS();
  const guess = f.let(half.shl(1));
  const error = residue(f, mul, high, low, guess);
  const errorFloat = error.high.toF64S().mul(2 ** 64).add(error.low.toF64U());
  const delta = errorFloat.div(guess.toF64U().mul(2)).floor().toI64SatS();
  const root = f.var("i64", guess.add(delta));
  const rest = residue(f, mul, high, low, root.get());
  const restHigh = f.var("i64", rest.high);
  const restLow = f.var("i64", rest.low);
  f.if(restHigh.get().ltS(0), () => {
    f.set(root, root.get().sub(1));
    addOdd(f, restHigh, restLow, root.get());
  }, () => {
    const twice = f.let(root.get().shl(1));
    const carry = f.let(root.get().shrU(63));
    const over = restHigh.get().gtU(carry).or(
      restHigh.get().eq(carry).and(restLow.get().gtU(twice)),
    );
    f.if(over, () => {
      const odd = f.let(twice.or(1));
      const borrow = f.let(bit64(restLow.get().ltU(odd)));
      f.set(restLow, restLow.get().sub(odd));
      f.set(restHigh, restHigh.get().sub(carry).sub(borrow));
      f.set(root, root.get().add(1));
    });
  });
  // (s + 1/2)^2 = s^2 + s + 1/4: above half exactly where the rest exceeds s.
  const above = restHigh.get().ne(0).or(restLow.get().gtU(root.get()));
  const inexact = bit64(restHigh.get().or(restLow.get()).ne(0));
  f.return(root.get(), bit64(above).shl(63).or(inexact));
}

/** (high, low) - root^2, modulo 2^128. */
function residue(
  f: FunctionBuilder,
  mul: FuncRef<readonly ["i64", "i64"]>,
  high: I64,
  low: I64,
  root: I64,
): { high: I64; low: I64 } {
  const [squareHigh, squareLow] = f.call(mul, root, root);
  const borrow = bit64(low.ltU(squareLow));
  return {
    high: f.let(high.sub(squareHigh).sub(borrow)),
    low: f.let(low.sub(squareLow)),
  };
}

/** (high, low) += 2 * root + 1. */
function addOdd(
  f: FunctionBuilder,
  high: Var<"i64">,
  low: Var<"i64">,
  root: I64,
): void {
  const odd = f.let(root.shl(1).or(1));
  const sum = f.let(low.get().add(odd));
  const carry = bit64(sum.ltU(odd));
  f.set(high, f.let(high.get().add(root.shrU(63)).add(carry)));
  f.set(low, sum);
}

function emitShiftRight(f: FunctionBuilder): void {
  const high = f.param(0, "i64");
  const low = f.param(1, "i64");
  const count = f.param(2, "i32");
  f.if(count.eqz(), () => f.return(high, low));
  const n = f.let(count.toI64U());
  f.if(count.ltU(64), () => {
    const back = f.let(i64(64).sub(n));
    const sticky = bit64(low.shl(back).ne(0));
    f.return(high.shrU(n), high.shl(back).or(low.shrU(n)).or(sticky));
  });
  f.if(count.ltU(128), () => {
    // Two shifts: a single one by 64 would be a shift by none.
    const lost = high.shl(1).shl(i64(127).sub(n)).or(low);
    f.return(i64(0), high.shrU(n).or(bit64(lost.ne(0))));
  });
  f.return(i64(0), bit64(high.or(low).ne(0)));
}
