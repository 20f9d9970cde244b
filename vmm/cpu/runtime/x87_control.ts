// The x87's state besides its numbers: control and status words, TOP, what FNSTENV
// tells of the last instruction, pending errors (Intel SDM vol. 1, 8.1).

import type { CpuModule } from "../cpu_module.ts";
import { i32 } from "../wasm/mod.ts";
import { C1 } from "../softfloat/mod.ts";
import {
  CR0,
  FPU_CW,
  FPU_FCS,
  FPU_FDP,
  FPU_FDS,
  FPU_FIP,
  FPU_FOP,
  FPU_SW,
  FPU_TAGS,
  FPU_TOP,
} from "../state.ts";
import { NO_ERROR_CODE, raise, VECTOR } from "./traps.ts";
import { CR0_NE } from "./walk.ts";
import { SUMMARY, X87Stack } from "./x87_stack.ts";
import { CODES } from "./x87_values.ts";

/** Signatures of the functions defined here. */
export const X87_CONTROL_SIGNATURES = {
  /** Raises #MF for a pending exception: site. */
  x87Pending: { params: ["i32"], results: [] },
  /**
   * Makes exceptions sticky: flags, mask of the condition codes that they replace.
   * Answers whether an unmasked IE, DE or ZE forbids the result.
   */
  x87Signal: { params: ["i32", "i32"], results: ["i32"] },
  /** Moves TOP: 1 or -1. */
  x87Turn: { params: ["i32"], results: [] },
  /** FNINIT. */
  x87Init: { params: [], results: [] },
  /** FNCLEX. */
  x87Clear: { params: [], results: [] },
  /** FLDCW: value. */
  x87SetControl: { params: ["i32"], results: [] },
  /** FNSTSW. */
  x87Status: { params: [], results: ["i32"] },
} as const;

function defineState(cpu: CpuModule): void {
  const { state } = cpu;
  cpu.define("x87Signal", (f) => {
    const flags = f.param(0, "i32");
    const codes = f.param(1, "i32");
    const unmasked = f.let(state.load32(0, FPU_CW).xor(-1).and(0x3f));
    const sw = f.let(
      state.load32(0, FPU_SW).and(codes.xor(-1))
        .or(flags.and(codes.or(0x7f))),
    );
    const summary = i32(SUMMARY).when(sw.and(unmasked), 0);
    f.do(state.store32(0, sw.or(summary), FPU_SW));
    f.return(flags.and(unmasked).and(7));
  });
  cpu.define("x87Init", (f) => {
    f.do(state.store32(0, 0x37f, FPU_CW));
    const zeroed = [FPU_SW, FPU_TOP, FPU_TAGS, FPU_FOP, FPU_FCS, FPU_FDS];
    for (const address of zeroed) f.do(state.store32(0, 0, address));
    f.do(state.store64(0, 0, FPU_FIP));
    f.do(state.store64(0, 0, FPU_FDP));
  });
  cpu.define("x87Clear", (f) => {
    f.do(state.store32(0, state.load32(0, FPU_SW).and(CODES), FPU_SW));
  });
  cpu.define("x87SetControl", (f) => {
    new X87Stack(cpu, f).setControl(f.param(0, "i32"));
  });
  cpu.define("x87Status", (f) => f.return(new X87Stack(cpu, f).status()));
  cpu.define("x87Turn", (f) => {
    const top = state.load32(0, FPU_TOP).add(f.param(0, "i32")).and(7);
    f.do(state.store32(0, top, FPU_TOP));
    f.do(state.store32(0, state.load32(0, FPU_SW).and(~C1), FPU_SW));
  });
}

function definePending(cpu: CpuModule): void {
  const { state } = cpu;
  cpu.define("x87Pending", (f) => {
    // Without CR0.NE the error goes to a pin, which has no interrupt behind it
    // here: as with IGNNE# asserted, the instruction goes on.
    f.if(
      state.load32(0, CR0).and(CR0_NE),
      () =>
        raise(cpu, f, f.param(0, "i32"), i32(VECTOR.MF), i32(NO_ERROR_CODE)),
    );
  });
}

/** Defines the functions of `X87_CONTROL_SIGNATURES`. */
export function defineX87Control(cpu: CpuModule): void {
  defineState(cpu);
  definePending(cpu);
}
