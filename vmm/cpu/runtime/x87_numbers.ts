// The x87's operations on numbers alone: no register stack, no status, so that compiled
// code that knows where its numbers are calls these and keeps the rest to itself.

import type { CpuModule } from "../cpu_module.ts";
import {
  C1,
  F32_FORMAT,
  F64_FORMAT,
  fastCompare,
  fastInteger,
  fastNarrow,
  type FastOperation,
  fastProduct,
  fastQuotient,
  fastSum,
  fastWiden,
  type Format,
  PE,
  type SoftFloat,
  type Stored,
  whereNormal,
  type Wide,
  type X87Result,
} from "../softfloat/mod.ts";
import { FPU_CW } from "../state.ts";
import {
  type FuncRef,
  type FunctionBuilder,
  type I32,
  i32,
  type I64,
} from "../wasm/mod.ts";

/**
 * Set where more is to be done than to set C1 and make PE sticky: an exception is not
 * masked, or another one.
 */
export const UNUSUAL = 1 << 31;
/** Where the flags are in a result that has a number's sign and exponent below them. */
export const FLAGS_SHIFT = 16;

const BINARY = {
  params: ["i64", "i32", "i64", "i32"],
  results: ["i64", "i32"],
} as const;
const WIDEN = { params: ["i64"], results: ["i64", "i32"] } as const;
const NARROW = { params: ["i64", "i32"], results: ["i64", "i32"] } as const;

/** Signatures of the functions defined here. */
export const X87_NUMBER_SIGNATURES = {
  /** a, b: a + b; flags from `FLAGS_SHIFT` of the second result on, or `UNUSUAL`. */
  x87Sum: BINARY,
  /** a - b, likewise. */
  x87Difference: BINARY,
  /** a * b, likewise. */
  x87Product: BINARY,
  /** a / b, likewise. */
  x87Quotient: BINARY,
  /** The number that memory holds, marked `WAS_DENORMAL` where it is. */
  x87FromF32: WIDEN,
  /** Likewise. */
  x87FromF64: WIDEN,
  /** Likewise, of a sign-extended integer. */
  x87FromInteger: WIDEN,
  /** a: what it is in memory; flags, or `UNUSUAL`. */
  x87ToF32: NARROW,
  /** Likewise. */
  x87ToF64: NARROW,
  x87ToInt16: NARROW,
  x87ToInt32: NARROW,
  x87ToInt64: NARROW,
  x87TruncateToInt16: NARROW,
  x87TruncateToInt32: NARROW,
  x87TruncateToInt64: NARROW,
  /** a, b: their relation as in RFLAGS, flags from bit 16 on; quiet. */
  x87Relation: { params: ["i64", "i32", "i64", "i32"], results: ["i32"] },
} as const;

type NarrowName = {
  [K in keyof typeof X87_NUMBER_SIGNATURES]:
    (typeof X87_NUMBER_SIGNATURES)[K] extends typeof NARROW ? K : never;
}[keyof typeof X87_NUMBER_SIGNATURES];

function operand(f: FunctionBuilder, n: number): { sig: I64; se: I32 } {
  return { sig: f.param(n, "i64"), se: f.param(n + 1, "i32") };
}

// Whether an inexact result is nothing but that, and rounded to the nearest.
function isUsual(cw: I32): I32 {
  return cw.and(0xc00 | PE).eq(PE);
}

// Flags as results have them.
function orUnusual(flags: I32, cw: I32): I32 {
  const others = cw.and(PE).xor(~C1);
  return flags.or(i32(UNUSUAL).when(flags.and(others), 0));
}

function defineBinary(
  cpu: CpuModule,
  name: "x87Sum" | "x87Difference" | "x87Product" | "x87Quotient",
  quickly: (op: FastOperation) => void,
  fully: FuncRef<X87Result>,
): void {
  cpu.define(name, (f) => {
    const [a, b] = [operand(f, 0), operand(f, 2)];
    const cw = f.let(cpu.state.load32(0, FPU_CW));
    const done = (sig: I64, se: I32, flags: I32) =>
      f.return(sig, se.or(flags.shl(FLAGS_SHIFT)));
    whereNormal(f, isUsual(cw), [a, b], () => quickly({ f, a, b, cw, done }));
    const [sig, se, flags] = f.call(fully, a.sig, a.se, b.sig, b.se, cw);
    const unusual = orUnusual(flags, cw).and(UNUSUAL);
    f.return(sig, se.or(flags.shl(FLAGS_SHIFT)).or(unusual));
  });
}

function defineArithmetic(cpu: CpuModule, { x87, wide }: SoftFloat): void {
  defineBinary(cpu, "x87Sum", (op) => fastSum(op, false), x87.add);
  defineBinary(cpu, "x87Difference", (op) => fastSum(op, true), x87.sub);
  defineBinary(cpu, "x87Product", fastProduct, x87.mul);
  const divide = (wide: Wide) => (op: FastOperation) => fastQuotient(op, wide);
  defineBinary(cpu, "x87Quotient", divide(wide), x87.div);
}

function defineWidening(
  cpu: CpuModule,
  name: "x87FromF32" | "x87FromF64" | "x87FromInteger",
  quickly: (
    f: FunctionBuilder,
    bits: I64,
    done: (sig: I64, se: I32) => void,
  ) => void,
  fully: FuncRef<readonly ["i64", "i32"]>,
): void {
  cpu.define(name, (f) => {
    const bits = f.param(0, "i64");
    quickly(f, bits, (sig, se) => f.return(sig, se));
    f.return(...f.call(fully, bits));
  });
}

function defineNarrowing(
  cpu: CpuModule,
  name: NarrowName,
  fully: FuncRef<Stored>,
  format?: Format,
): void {
  cpu.define(name, (f) => {
    const number = operand(f, 0);
    const cw = f.let(cpu.state.load32(0, FPU_CW));
    if (format !== undefined) {
      const done = (bits: I64, flags: I32) => f.return(bits, flags);
      const quickly = () => fastNarrow(f, format, number, done);
      whereNormal(f, isUsual(cw), [number], quickly);
    }
    const [bits, flags] = f.call(fully, number.sig, number.se, cw);
    f.return(bits, orUnusual(flags, cw));
  });
}

function defineConversions(cpu: CpuModule, { x87 }: SoftFloat): void {
  for (
    const [name, format, fully] of [
      ["x87FromF32", F32_FORMAT, x87.widenF32],
      ["x87FromF64", F64_FORMAT, x87.widenF64],
    ] as const
  ) {
    const quickly: Parameters<typeof defineWidening>[2] = (f, bits, done) =>
      fastWiden(f, format, bits, done);
    defineWidening(cpu, name, quickly, fully);
  }
  defineWidening(cpu, "x87FromInteger", fastInteger, x87.loadInt);
  defineNarrowing(cpu, "x87ToF32", x87.storeF32, F32_FORMAT);
  defineNarrowing(cpu, "x87ToF64", x87.storeF64, F64_FORMAT);
  defineNarrowing(cpu, "x87ToInt16", x87.storeInt16);
  defineNarrowing(cpu, "x87ToInt32", x87.storeInt32);
  defineNarrowing(cpu, "x87ToInt64", x87.storeInt64);
  defineNarrowing(cpu, "x87TruncateToInt16", x87.truncInt16);
  defineNarrowing(cpu, "x87TruncateToInt32", x87.truncInt32);
  defineNarrowing(cpu, "x87TruncateToInt64", x87.truncInt64);
}

/** Defines the functions of `X87_NUMBER_SIGNATURES`. */
export function defineX87Numbers(cpu: CpuModule, soft: SoftFloat): void {
  defineArithmetic(cpu, soft);
  defineConversions(cpu, soft);
  cpu.define("x87Relation", (f) => {
    const [a, b] = [operand(f, 0), operand(f, 2)];
    fastCompare(f, a, b, (relation) => f.return(relation));
    const [relation, flags] = f.call(
      soft.x87.compareQuiet,
      ...[a.sig, a.se, b.sig, b.se],
    );
    f.return(relation.or(flags.shl(16)));
  });
}
