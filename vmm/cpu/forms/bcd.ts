// Decimal adjustments of the accumulator: DAA DAS AAA AAS AAM AAD (Intel SDM vol. 2).
// All are invalid in 64-bit mode.

import { type Emitter, REG } from "../emitter.ts";
import { type Form, form } from "../form.ts";
import { type I32, type I64, i64 } from "../wasm/mod.ts";
import { VECTOR } from "../runtime/traps.ts";

function digitExceeds9(al: I64): I32 {
  return al.and(15).gtU(9);
}

// Packed digits: corrects each of AL's by 6 where it is above 9 or carried.
function adjustPacked(x: Emitter, subtract: boolean): void {
  const al = x.gpr(REG.RAX, 8);
  const lowCarry = x.let(x.flags.af().or(digitExceeds9(al)));
  const highCarry = x.let(x.flags.cf().or(al.gtU(0x99)));
  const change = i64(6).when(lowCarry, 0).add(i64(0x60).when(highCarry, 0));
  const sum = x.let(subtract ? al.sub(change) : al.add(change));
  // DAS also carries where the first correction borrows.
  const borrow = lowCarry.and(al.ltU(6));
  const cf = x.let(subtract ? highCarry.or(borrow) : highCarry);
  x.setGpr(REG.RAX, sum, 8);
  x.flags.resultWith(8, sum, cf, 0, lowCarry);
}

// One digit in AL, its neighbour in AH.
function adjustUnpacked(x: Emitter, subtract: boolean): void {
  const ax = x.gpr(REG.RAX, 16);
  const carry = x.let(x.flags.af().or(digitExceeds9(ax)));
  const change = i64(0x106).when(carry, 0);
  const sum = subtract ? ax.sub(change) : ax.add(change);
  const adjusted = x.let(sum.and(0xff0f));
  x.setGpr(REG.RAX, adjusted, 16);
  x.flags.resultWith(8, adjusted, carry, 0, carry);
}

function divideDigits(x: Emitter): void {
  const base = x.imm(8);
  x.f.if(base.eqz(), () => x.raise(VECTOR.DE));
  const al = x.gpr(REG.RAX, 8);
  const low = x.let(al.remU(base));
  x.setGpr(REG.RAX, al.divU(base).shl(8).or(low), 16);
  x.flags.logic(8, low);
}

function multiplyDigits(x: Emitter): void {
  const ax = x.gpr(REG.RAX, 16);
  const sum = x.let(ax.shrU(8).mul(x.imm(8)).add(ax).and(0xff));
  x.setGpr(REG.RAX, sum, 16);
  x.flags.logic(8, sum);
}

/** The forms of this group. */
export const BCD_FORMS: readonly Form[] = [
  form("Daa", (x) => adjustPacked(x, false)),
  form("Das", (x) => adjustPacked(x, true)),
  form("Aaa", (x) => adjustUnpacked(x, false)),
  form("Aas", (x) => adjustUnpacked(x, true)),
  form("Aam_imm8", divideDigits),
  form("Aad_imm8", multiplyDigits),
];
