// Products of 128 bits and their division by 64 bits, for MUL, IMUL, DIV and IDIV
// (Intel SDM vol. 2, DIV and IDIV for what raises #DE).

import type { CpuModule } from "../cpu_module.ts";
import { defineWide, signedHigh, type Wide } from "../softfloat/wide.ts";
import { type FunctionBuilder, i32, type I64, i64 } from "../wasm/mod.ts";
import { NO_ERROR_CODE, raise, VECTOR } from "./traps.ts";

/** Signatures of the functions defined here. */
export const WIDE_SIGNATURES = {
  /** 1 where the signed product of two numbers needs more than 64 bits, else 0. */
  productExceeds: { params: ["i64", "i64"], results: ["i64"] },
  /** Unsigned high, low by divisor, site: quotient, remainder; or #DE. */
  divide: {
    params: ["i64", "i64", "i64", "i32"],
    results: ["i64", "i64"],
  },
  /** Signed high, low by divisor, site: quotient, remainder; or #DE. */
  divideSigned: {
    params: ["i64", "i64", "i64", "i32"],
    results: ["i64", "i64"],
  },
} as const;

function divideError(cpu: CpuModule, f: FunctionBuilder): void {
  const site = f.param(3, "i32");
  raise(cpu, f, site, i32(VECTOR.DE), i32(NO_ERROR_CODE));
}

// The bits of a number without its sign: it lies within two to that power.
function magnitude(value: I64): I64 {
  return i64(64).sub(value.xor(value.shrS(63)).clz());
}

// Most products are far from the limit, which the lengths of their factors tell.
function defineProduct(cpu: CpuModule): void {
  cpu.define("productExceeds", (f) => {
    const a = f.param(0, "i64");
    const b = f.param(1, "i64");
    const bits = f.let(magnitude(a).add(magnitude(b)));
    f.if(bits.leU(62), () => f.return(i64(0)));
    f.if(bits.geU(66), () => f.return(i64(1)));
    f.return(signedHigh(f, a, b).ne(a.mul(b).shrS(63)).toI64U());
  });
}

function defineDivide(cpu: CpuModule, wide: Wide): void {
  cpu.define("divide", (f) => {
    const high = f.param(0, "i64");
    const low = f.param(1, "i64");
    const divisor = f.param(2, "i64");
    f.if(high.geU(divisor), () => divideError(cpu, f));
    f.if(
      high.eqz(),
      () => f.return(low.divU(divisor), low.remU(divisor)),
    );
    const shift = f.let(divisor.clz());
    const back = i64(63).sub(shift);
    const [quotient, remainder] = f.call(
      wide.div,
      high.shl(shift).or(low.shrU(1).shrU(back)),
      low.shl(shift),
      divisor.shl(shift),
    );
    f.return(quotient, remainder.shrU(shift));
  });
}

function negatedIf(value: I64, mask: I64): I64 {
  return value.xor(mask).sub(mask);
}

function defineDivideSigned(cpu: CpuModule): void {
  cpu.define("divideSigned", (f) => {
    const high = f.param(0, "i64");
    const low = f.param(1, "i64");
    const divisor = f.param(2, "i64");
    const site = f.param(3, "i32");
    // A dividend of 64 bits, by far the most frequent.
    const isNarrow = high.eq(low.shrS(63)).and(divisor.add(1).gtU(1));
    f.if(isNarrow, () => f.return(low.divS(divisor), low.remS(divisor)));
    const sign = f.let(high.shrS(63));
    const divisorSign = f.let(divisor.shrS(63));
    const lowSize = f.let(negatedIf(low, sign));
    const borrow = lowSize.eqz().toI64U().and(sign);
    const [quotient, remainder] = f.call(
      cpu.fn.divide,
      high.xor(sign).add(borrow),
      lowSize,
      negatedIf(divisor, divisorSign),
      site,
    );
    const quotientSign = f.let(sign.xor(divisorSign));
    const signed = f.let(negatedIf(quotient, quotientSign));
    // Zero has the sign of neither: only a quotient that turned over is too large.
    const isWrong = signed.xor(quotientSign).ltS(0).and(quotient.ne(0));
    f.if(isWrong, () => divideError(cpu, f));
    f.return(signed, negatedIf(remainder, sign));
  });
}

/** Defines the functions of `WIDE_SIGNATURES`. */
export function defineWideArithmetic(cpu: CpuModule): void {
  const wide = defineWide(cpu.m);
  defineProduct(cpu);
  defineDivide(cpu, wide);
  defineDivideSigned(cpu);
}
