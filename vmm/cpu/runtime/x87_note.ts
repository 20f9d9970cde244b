// What FNSTENV tells of the x87's last instruction (Intel SDM vol. 1, 8.1.8): stored by
// handlers, and by compiled code where it leaves.

import type { CpuModule } from "../cpu_module.ts";
import { MODE } from "../mode.ts";
import {
  CS,
  FPU_FCS,
  FPU_FDP,
  FPU_FDS,
  FPU_FIP,
  FPU_FOP,
  MODE_KEY,
  SEG_BASE,
  SEG_SELECTOR,
} from "../state.ts";
import { type FunctionBuilder, type I32, type I64, i64 } from "../wasm/mod.ts";

/** Signatures of the functions defined here. */
export const X87_NOTE_SIGNATURES = {
  /**
   * Opcode, RIP; where the instruction or one before it had an operand in memory, the
   * slot of its segment and its address, else 0.
   */
  x87Note: { params: ["i32", "i64", "i32", "i64"], results: [] },
} as const;

/** Stores what is to be told of an instruction. */
export function storeNote(
  { state }: CpuModule,
  f: FunctionBuilder,
  opcode: I32,
  rip: I64,
): void {
  f.do(state.store32(0, opcode, FPU_FOP));
  f.do(state.store64(0, rip, FPU_FIP));
  f.do(state.store32(0, state.load32(0, CS + SEG_SELECTOR), FPU_FCS));
}

/** Stores what is to be told of its operand: the slot of its segment, its address. */
export function storeDataNote(
  { state }: CpuModule,
  f: FunctionBuilder,
  slot: I32,
  address: I64,
): void {
  const is64Bit = state.load32(0, MODE_KEY).and(MODE.CODE).eq(2);
  const base = i64(0).when(is64Bit, state.load64(slot, SEG_BASE));
  f.do(state.store64(0, address.sub(base), FPU_FDP));
  f.do(state.store32(0, state.load32(slot, SEG_SELECTOR), FPU_FDS));
}

/** Defines the functions of `X87_NOTE_SIGNATURES`. */
export function defineX87Note(cpu: CpuModule): void {
  cpu.define("x87Note", (f) => {
    const slot = f.param(2, "i32");
    storeNote(cpu, f, f.param(0, "i32"), f.param(1, "i64"));
    f.if(slot, () => storeDataNote(cpu, f, slot, f.param(3, "i64")));
  });
}
