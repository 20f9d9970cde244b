// Small runtime functions: instruction fetch for the decoder.

import type { CpuModule } from "../cpu_module.ts";
import { i32 } from "../wasm/mod.ts";
import { RIP, RIP_BASE, TLB_BASE } from "../state.ts";
import { scratch, setScratch } from "./traps.ts";
import { ACCESS_FETCH, ACCESS_PROBE } from "./walk.ts";

/** Signatures of the functions defined here. */
export const MISC_SIGNATURES = {
  /**
   * Translates the linear address in SCRATCH for fetching and leaves the offset
   * in memory 1 there; a fault is one of the instruction at RIP. Answers 0, or
   * the status of the trap.
   */
  fetch: { params: [], results: ["i32"] },
  /** As `fetch`, without a trace: leaves a number below zero where a fault waits. */
  probeFetch: { params: [], results: [] },
} as const;

/** Defines the functions of `MISC_SIGNATURES`. */
export function defineMisc(cpu: CpuModule): void {
  cpu.define("fetch", (f) => {
    f.try(
      () => {
        const { state } = cpu;
        f.do(state.store64(0, state.load64(0, RIP), RIP_BASE));
        const [offset] = f.call(
          cpu.fn.translate,
          f.let(scratch(cpu, 0)),
          i32(ACCESS_FETCH),
          state.load32(0, TLB_BASE),
          i32(0),
        );
        setScratch(cpu, f, 0, offset);
        f.return(i32(0));
      },
      cpu.trap,
      (kind) => f.return(kind),
    );
  });
  cpu.define("probeFetch", (f) => {
    const [offset] = f.call(
      cpu.fn.translate,
      f.let(scratch(cpu, 0)),
      i32(ACCESS_FETCH | ACCESS_PROBE),
      cpu.state.load32(0, TLB_BASE),
      i32(0),
    );
    setScratch(cpu, f, 0, offset);
  });
}
