// Bit manipulation that takes many steps: PDEP, PEXT and CRC32 (Intel SDM vol. 2).

import type { CpuModule } from "../cpu_module.ts";
import { carriesBelow, carriesOfDifference, carriesOfSum } from "../flags.ts";
import { type FunctionBuilder, type I64, i64 } from "../wasm/mod.ts";

/** Signatures of the functions defined here. */
export const BITS_SIGNATURES = {
  /** The carry word after `r = a ± b` of less than 64 bits: a, b, r, 63 - bits. */
  carriesBelow: { params: ["i64", "i64", "i64", "i64"], results: ["i64"] },
  /** The carry word after `r = a + b` of 64 bits: a, b, r. */
  carriesOfSum: { params: ["i64", "i64", "i64"], results: ["i64"] },
  /** The carry word after `r = a - b` of 64 bits: a, b, r. */
  carriesOfDifference: { params: ["i64", "i64", "i64"], results: ["i64"] },
  /** PDEP: source, mask. */
  depositBits: { params: ["i64", "i64"], results: ["i64"] },
  /** PEXT: source, mask. */
  extractBits: { params: ["i64", "i64"], results: ["i64"] },
  /** CRC-32C over 8 bits: remainder, zero-extended data. */
  crc8: { params: ["i64", "i64"], results: ["i64"] },
  /** CRC-32C over 16 bits. */
  crc16: { params: ["i64", "i64"], results: ["i64"] },
  /** CRC-32C over 32 bits. */
  crc32: { params: ["i64", "i64"], results: ["i64"] },
  /** CRC-32C over 64 bits. */
  crc64: { params: ["i64", "i64"], results: ["i64"] },
} as const;

// Goes over the bits of the mask from the lowest: `low` is each, `bit` its number's
// bit. Answers the OR of what `take` gives.
function overMask(
  f: FunctionBuilder,
  take: (source: I64, low: I64, bit: I64) => I64,
): void {
  const source = f.param(0, "i64");
  const mask = f.var("i64", f.param(1, "i64"));
  const bit = f.var("i64", i64(1));
  const result = f.var("i64");
  f.block((end) =>
    f.loop((again) => {
      f.brIf(end, mask.get().eqz());
      const low = f.let(mask.get().and(i64(0).sub(mask.get())));
      f.set(result, result.get().or(take(source, low, bit.get())));
      f.set(mask, mask.get().xor(low));
      f.set(bit, bit.get().shl(1));
      f.br(again);
    })
  );
  f.return(result.get());
}

/** The polynomial 0x11EDC6F41, bits reversed, without its leading one. */
const CRC_POLYNOMIAL = 0x82f63b78n;

// What a single set bit becomes when `steps` bits were shifted out.
function remainderOf(bit: number, steps: number): bigint {
  let value = 1n << BigInt(bit);
  for (let n = 0; n < steps; n++) {
    value = (value >> 1n) ^ (value & 1n ? CRC_POLYNOMIAL : 0n);
  }
  return value;
}

// The remainder is linear: the XOR of a constant for each bit that leaves, without
// a chain of dependent steps; the bits that stay move down.
function defineCrc(cpu: CpuModule, size: 8 | 16 | 32 | 64): void {
  cpu.define(`crc${size}`, (f) => {
    const mixed = f.let(f.param(0, "i64").xor(f.param(1, "i64")));
    const result = f.var("i64", size < 64 ? mixed.shrU(size) : i64(0));
    for (let bit = 0; bit < size; bit++) {
      const all = mixed.shl(63 - bit).shrS(63);
      const part = all.and(remainderOf(bit, size));
      f.set(result, result.get().xor(part));
    }
    f.return(result.get());
  });
}

/** Defines the functions of `BITS_SIGNATURES`. */
export function defineBits(cpu: CpuModule): void {
  const operands = (f: FunctionBuilder) =>
    [f.param(0, "i64"), f.param(1, "i64"), f.param(2, "i64")] as const;
  cpu.define("carriesBelow", (f) => {
    f.return(carriesBelow(f, ...operands(f), f.param(3, "i64")));
  });
  cpu.define("carriesOfSum", (f) => {
    f.return(carriesOfSum(f, ...operands(f)));
  });
  cpu.define("carriesOfDifference", (f) => {
    f.return(carriesOfDifference(f, ...operands(f)));
  });
  cpu.define("depositBits", (f) =>
    overMask(
      f,
      (source, low, bit) => low.when(source.and(bit).ne(0), 0),
    ));
  cpu.define("extractBits", (f) =>
    overMask(
      f,
      (source, low, bit) => bit.when(source.and(low).ne(0), 0),
    ));
  for (const size of [8, 16, 32, 64] as const) defineCrc(cpu, size);
}
