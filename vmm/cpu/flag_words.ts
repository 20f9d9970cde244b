// RFLAGS as a whole, from and to the lazy words of memory 0 (see `flags.ts`), for
// TypeScript.

import { ARITHMETIC, FLAG } from "./flags.ts";
import { FLAG_CARRY, FLAG_RESULT, SYSTEM_FLAGS } from "./state.ts";

function parity(byte: number): number {
  let ones = 0;
  for (let bits = byte; bits !== 0; bits &= bits - 1) ones++;
  return (ones & 1) ^ 1;
}

/** RFLAGS. */
export function readFlags(state: DataView): bigint {
  const result = state.getBigInt64(FLAG_RESULT, true);
  const carry = state.getBigUint64(FLAG_CARRY, true);
  const bit = (n: bigint) => Number(carry >> n & 1n);
  const cf = bit(63n);
  const of = cf ^ bit(62n);
  const af = bit(3n);
  const pf = parity(Number(result & 0xffn)) ^ bit(2n);
  const sf = Number(result < 0n) ^ bit(1n);
  const zf = Number(result === 0n);
  const arithmetic = cf * FLAG.CF | pf * FLAG.PF | af * FLAG.AF |
    zf * FLAG.ZF | sf * FLAG.SF | of * FLAG.OF;
  return state.getBigUint64(SYSTEM_FLAGS, true) | BigInt(arithmetic) | 2n;
}

/** Sets RFLAGS; reserved bits are cleared and bit 1 set. */
export function writeFlags(state: DataView, flags: bigint): void {
  const low = Number(flags & 0x3f_ffffn);
  const on = (flag: number) => (low & flag) !== 0 ? 1n : 0n;
  const zf = on(FLAG.ZF);
  const cf = on(FLAG.CF);
  state.setBigUint64(FLAG_RESULT, zf ^ 1n, true);
  const carry = cf << 63n | (cf ^ on(FLAG.OF)) << 62n | on(FLAG.AF) << 3n |
    (on(FLAG.PF) ^ zf) << 2n | on(FLAG.SF) << 1n;
  state.setBigUint64(FLAG_CARRY, carry, true);
  const reserved = 1 << 3 | 1 << 5 | 1 << 15;
  const system = low & ~ARITHMETIC & ~reserved | 2;
  state.setBigUint64(SYSTEM_FLAGS, BigInt(system), true);
}
