// AES's byte substitution and carry-less products (Intel SDM vol. 2, AESENC, AESDEC,
// PCLMULQDQ; FIPS 197, 5.1.1). The S-box is sixteen vectors that the upper half of a
// byte chooses among, so no table in memory is needed.

import type { CpuModule } from "../cpu_module.ts";
import { i64, type V128, v128 } from "../wasm/mod.ts";

/** Signatures of the functions defined here. */
export const SSE_CRYPTO_SIGNATURES = {
  /** SubBytes of a vector. */
  aesSubstitute: { params: ["v128"], results: ["v128"] },
  /** InvSubBytes of a vector. */
  aesInverseSubstitute: { params: ["v128"], results: ["v128"] },
  /** The carry-less product of two polynomials: low, high. */
  carrylessMultiply: { params: ["i64", "i64"], results: ["i64", "i64"] },
} as const;

/** The product in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1. */
function multiply(a: number, b: number): number {
  let product = 0;
  for (let n = 0; n < 8; n++) {
    if (b >> n & 1) product ^= a << n;
  }
  for (let n = 14; n >= 8; n--) {
    if (product >> n & 1) product ^= 0x11b << (n - 8);
  }
  return product;
}

function inverse(a: number): number {
  for (let b = 1; b < 256; b++) if (multiply(a, b) === 1) return b;
  return 0;
}

function substitute(a: number): number {
  const b = inverse(a);
  const rotate = (n: number) => (b << n | b >> (8 - n)) & 0xff;
  return b ^ rotate(1) ^ rotate(2) ^ rotate(3) ^ rotate(4) ^ 0x63;
}

function boxes(): { forward: number[]; backward: number[] } {
  const forward = Array.from({ length: 256 }, (_, a) => substitute(a));
  const backward: number[] = Array(256).fill(0);
  forward.forEach((value, a) => backward[value] = a);
  return { forward, backward };
}

/** Each byte of a vector through a table; a swizzle beyond 15 gives zero. */
function lookUp(table: readonly number[], bytes: V128): V128 {
  const repeated = (value: number) => v128(Array(16).fill(value));
  const parts = Array.from({ length: 16 }, (_, row) => {
    const index = bytes.binary("i8x16.sub", repeated(16 * row));
    return v128(table.slice(16 * row, 16 * row + 16))
      .binary("i8x16.swizzle", index);
  });
  return parts.reduce((all, part) => all.binary("v128.or", part));
}

/** Defines the functions of `SSE_CRYPTO_SIGNATURES`. */
export function defineSseCrypto(cpu: CpuModule): void {
  const { forward, backward } = boxes();
  cpu.define(
    "aesSubstitute",
    (f) => f.return(lookUp(forward, f.param(0, "v128"))),
  );
  cpu.define(
    "aesInverseSubstitute",
    (f) => f.return(lookUp(backward, f.param(0, "v128"))),
  );
  defineProduct(cpu);
}

function defineProduct(cpu: CpuModule): void {
  cpu.define("carrylessMultiply", (f) => {
    const a = f.param(0, "i64");
    const low = f.var("i64");
    const high = f.var("i64");
    const rest = f.var("i64", f.param(1, "i64"));
    f.block((end) =>
      f.loop((again) => {
        f.brIf(end, rest.get().eqz());
        const n = f.let(rest.get().ctz());
        f.set(rest, rest.get().and(rest.get().sub(1)));
        f.set(low, low.get().xor(a.shl(n)));
        // Two shifts: one by 64 would be a shift by none.
        const above = a.shrU(1).shrU(i64(63).sub(n));
        f.set(high, high.get().xor(above));
        f.br(again);
      })
    );
    f.return(low.get(), high.get());
  });
}
