// Leaving an instruction undone: exceptions and exits are thrown with the trap
// tag and unwind to the runtime's `enter`.

import type { CpuModule } from "../cpu_module.ts";
import { type FunctionBuilder, type I32, i32, type I64 } from "../wasm/mod.ts";
import {
  CR2,
  RIP,
  RIP_BASE,
  SCRATCH,
  TRAP_ERROR,
  TRAP_VECTOR,
} from "../state.ts";
import { SITE_OFFSET, SITE_STACK } from "../record.ts";

/** What a handler, `enter` or `resume` returns. */
export const STATUS = {
  /** RIP holds the next instruction, whose block is not known here. */
  MISS: 0,
  /** As MISS; TRAP_DATA slot 0 is the record whose link wants to be set. */
  LINK: 1,
  /** RIP holds the next instruction; look for events and at the mode first. */
  EVENTS: 2,
  /** The record was dropped; RIP holds its instruction. */
  STALE: 3,
  /** As STALE, for a block whose second page is another one now: decode it anew. */
  MOVED: 4,
  /** A block has run often: TRAP_DATA slot 0 is its first record, which is next. */
  HOT: 5,
  /** A fault: TRAP_VECTOR and TRAP_ERROR; RIP holds its instruction. */
  FAULT: 16,
  /** An exit is recorded; RIP holds its instruction. */
  EXIT: 17,
  /** Shutdown: a fault while a double fault was delivered. */
  SHUTDOWN: 18,
} as const;

/** The kinds of a trap: statuses from `STATUS.FAULT` on. */
export const TRAP = {
  FAULT: STATUS.FAULT,
  EXIT: STATUS.EXIT,
  SHUTDOWN: STATUS.SHUTDOWN,
} as const;

/** Exception vectors (Intel SDM vol. 3, 6.3.1). */
export const VECTOR = {
  DE: 0,
  DB: 1,
  NMI: 2,
  BP: 3,
  OF: 4,
  BR: 5,
  UD: 6,
  NM: 7,
  DF: 8,
  TS: 10,
  NP: 11,
  SS: 12,
  GP: 13,
  PF: 14,
  MF: 16,
  AC: 17,
  MC: 18,
  XM: 19,
} as const;

/** The error code argument of an exception that pushes none. */
export const NO_ERROR_CODE = -1;

/** Signatures of the functions defined here. */
export const TRAP_SIGNATURES = {
  /** Raises an exception: site, vector, error code or `NO_ERROR_CODE`. */
  raise: { params: ["i32", "i32", "i32"], results: [] },
  /** Raises #PF: site, linear address, error code. */
  pageFault: { params: ["i32", "i64", "i32"], results: [] },
  /** Raises #GP(0), or #SS(0) where the site says so: site. */
  badAddress: { params: ["i32"], results: [] },
  /** Leaves the instruction for an exit that the host recorded: site. */
  leave: { params: ["i32"], results: [] },
} as const;

/** Sets RIP to the instruction at `site`. */
export function setRipToSite(cpu: CpuModule, f: FunctionBuilder, site: I32) {
  f.do(
    cpu.state.store64(
      0,
      cpu.state.load64(0, RIP_BASE).add(site.and(SITE_OFFSET).toI64U()),
      RIP,
    ),
  );
}

/** Slot `n` of the words exchanged with TypeScript. */
export function scratch(cpu: CpuModule, n: number): I64 {
  return cpu.state.load64(0, SCRATCH + 8 * n);
}

/** Stores slot `n` of the words exchanged with TypeScript. */
export function setScratch(
  cpu: CpuModule,
  f: FunctionBuilder,
  n: number,
  value: I64,
): void {
  f.do(cpu.state.store64(0, value, SCRATCH + 8 * n));
}

/** Raises an exception from a runtime function and ends the path. */
export function raise(
  cpu: CpuModule,
  f: FunctionBuilder,
  site: I32,
  vector: I32,
  error: I32,
): void {
  f.call(cpu.fn.raise, site, vector, error);
  f.unreachable();
}

/** Defines the functions of `TRAP_SIGNATURES`. */
export function defineTraps(cpu: CpuModule): void {
  const { state } = cpu;
  cpu.define("raise", (f) => {
    setRipToSite(cpu, f, f.param(0, "i32"));
    f.do(state.store32(0, f.param(1, "i32"), TRAP_VECTOR));
    f.do(state.store32(0, f.param(2, "i32"), TRAP_ERROR));
    f.throw(cpu.trap, i32(TRAP.FAULT));
  });
  cpu.define("pageFault", (f) => {
    f.do(state.store64(0, f.param(1, "i64"), CR2));
    f.returnCall(
      cpu.fn.raise,
      f.param(0, "i32"),
      i32(VECTOR.PF),
      f.param(2, "i32"),
    );
  });
  cpu.define("badAddress", (f) => {
    const site = f.param(0, "i32");
    const vector = i32(VECTOR.SS).when(site.and(SITE_STACK), VECTOR.GP);
    f.returnCall(cpu.fn.raise, site, vector, i32(0));
  });
  cpu.define("leave", (f) => {
    setRipToSite(cpu, f, f.param(0, "i32"));
    f.throw(cpu.trap, i32(TRAP.EXIT));
  });
}
