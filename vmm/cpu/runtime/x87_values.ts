// What the x87's instructions have in common: numbers as expressions, choices among
// operations, operands from memory.

import type { CpuModule } from "../cpu_module.ts";
import {
  type FuncRef,
  type FunctionBuilder,
  type I32,
  i32,
  type I64,
} from "../wasm/mod.ts";
import { C0, C1, C2, C3, type Wide, type X87 } from "../softfloat/mod.ts";
import type { Value } from "./x87_stack.ts";

/** What memory can hold. */
export const X87_MEMORY = [
  "f32",
  "f64",
  "int16",
  "int32",
  "int64",
  "f80",
  "bcd",
  "trunc16",
  "trunc32",
  "trunc64",
] as const;

/** What the functions are made with. */
export interface Builder {
  /** the module */
  readonly cpu: CpuModule;
  /** the arithmetic */
  readonly x87: X87;
  /** 128-bit integers */
  readonly wide: Wide;
}

/** All condition codes. */
export const CODES = C0 | C1 | C2 | C3;
/** The significand of 1. */
export const ONE_SIG = 1n << 63n;
/** Sign and exponent of 1. */
export const ONE_SE = 0x3fff;

/** A number. */
export interface Number {
  /** significand */
  readonly sig: I64;
  /** sign and exponent */
  readonly se: I32;
}

/** A function's results as a number with its flags. */
export function values(
  [sig, se, flags]: readonly [I64, I32, I32],
): Value {
  return { sig, se, flags };
}

/** Runs the case that `index` selects and gives its number. */
export function choose(
  f: FunctionBuilder,
  index: I32,
  cases: readonly (() => Value)[],
): Value {
  const sig = f.var("i64");
  const se = f.var("i32");
  const flags = f.var("i32");
  const put = (value: Value) => {
    f.set(sig, value.sig);
    f.set(se, value.se);
    f.set(flags, value.flags);
  };
  f.switch(index, cases.map((compute) => () => put(compute())));
  return {
    sig: f.let(sig.get()),
    se: f.let(se.get()),
    flags: f.let(flags.get()),
  };
}

/** An operand from memory as it is: neither quieted nor flagged. */
export function widen(
  f: FunctionBuilder,
  { x87 }: Builder,
  kind: I32,
  bits: I64,
): Number {
  const signed = (shift: number) => bits.shl(shift).shrS(shift);
  const load = (fn: FuncRef<readonly ["i64", "i32"]>, value: I64) => () => {
    const [sig, se] = f.call(fn, value);
    return { sig, se, flags: i32(0) };
  };
  return choose(f, kind, [
    load(x87.widenF32, bits),
    load(x87.widenF64, bits),
    load(x87.loadInt, signed(48)),
    load(x87.loadInt, signed(32)),
  ]);
}
