// Entering emitted code, and what catches the traps that leave it: an exception is
// delivered at once where that needs nothing of TypeScript, and the guest runs on.

import type { CpuModule } from "../cpu_module.ts";
import { MODE } from "../mode.ts";
import { HANDLER_TYPE, REC_HANDLER } from "../record.ts";
import {
  BUDGET,
  DELIVERED_ERROR,
  DELIVERED_VECTOR,
  EXCEPTION_EXITS,
  MODE_KEY,
  RIP,
  TRAP_ERROR,
  TRAP_VECTOR,
} from "../state.ts";
import { type FunctionBuilder, type I32, i32 } from "../wasm/mod.ts";
import { EVENT } from "./events.ts";
import { isSpent } from "./run.ts";
import { STATUS, TRAP, VECTOR } from "./traps.ts";

/** Signatures of the functions defined here. */
export const ENTRY_SIGNATURES = {
  /** Runs from a record until something wants TypeScript: `STATUS`. */
  enter: { params: ["i32"], results: ["i32"] },
  /** Runs from RIP, as `enter`. */
  resume: { params: [], results: ["i32"] },
  /**
   * Acts on a trap: its kind. Answers what to leave with, or 0 where the guest goes
   * on at RIP. Where delivering an exception raised another one, both are in memory 0.
   */
  settleTrap: { params: ["i32"], results: ["i32"] },
} as const;

/** Instructions that an exception counts for, lest one that always faults never ends. */
const COST = 1;

// Leaves with what `body` answers; a trap may lead to more of the guest's code.
function guarded(cpu: CpuModule, f: FunctionBuilder, body: () => I32): void {
  f.try(() => f.return(body()), cpu.trap, (kind) => {
    const [status] = f.call(cpu.fn.settleTrap, kind);
    f.if(status, () => f.return(status));
    f.returnCall(cpu.fn.resume);
  });
}

// Whether TypeScript has to see an exception: it exits for some, and breakpoints and
// single steps are its own.
function isForHost(cpu: CpuModule, vector: I32): I32 {
  const { state } = cpu;
  return state.load32(0, EXCEPTION_EXITS).shrU(vector).and(1)
    .or(state.load32(0, MODE_KEY).and(MODE.STEP))
    .or(vector.eq(VECTOR.DB)).or(vector.eq(VECTOR.BP));
}

function defineSettle(cpu: CpuModule): void {
  const { state, fn } = cpu;
  cpu.define("settleTrap", (f) => {
    const kind = f.param(0, "i32");
    f.if(kind.ne(TRAP.FAULT), () => f.return(kind));
    const vector = f.let(state.load32(0, TRAP_VECTOR));
    f.if(isForHost(cpu, vector), () => f.return(kind));
    const error = f.let(state.load32(0, TRAP_ERROR));
    const [status] = f.call(
      fn.deliverEvent,
      vector,
      error,
      i32(EVENT.EXCEPTION),
    );
    f.if(status, () => {
      const first = vector.add(1).when(status.eq(STATUS.FAULT), 0);
      f.do(state.store32(0, first, DELIVERED_VECTOR));
      f.do(state.store32(0, error, DELIVERED_ERROR));
      f.return(status);
    });
    const left = f.let(state.load32(0, BUDGET).sub(COST));
    f.do(state.store32(0, left, BUDGET));
    f.return(i32(STATUS.EVENTS).when(isSpent(cpu, left), 0));
  });
}

/** Defines the functions of `ENTRY_SIGNATURES`. */
export function defineEntry(cpu: CpuModule): void {
  const { state, fn } = cpu;
  defineSettle(cpu);
  cpu.define("enter", (f) =>
    guarded(cpu, f, () => {
      const record = f.param(0, "i32");
      const handler = state.load32(record, REC_HANDLER);
      return f.callIndirect(HANDLER_TYPE, handler, record)[0];
    }));
  cpu.define("resume", (f) =>
    guarded(cpu, f, () => {
      const rip = f.let(state.load64(0, RIP));
      return f.call(fn.dispatch, rip)[0];
    }));
}
