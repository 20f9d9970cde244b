// The time stamp. Reading the host's clock costs as much as hundreds of instructions, and
// guests look at it at every system call: where few instructions were executed since it
// was read, the time is reckoned from them. No processor of a machine is given a time
// before one that any was given.

import type { CpuModule } from "../cpu_module.ts";
import { LATEST_TIME } from "../shared_code.ts";
import {
  BUDGET,
  TIME_READ,
  TIME_UNTIL,
  TIME_WINDOW,
  TSC_OFFSET,
} from "../state.ts";
import { type FunctionBuilder, type I32, type I64 } from "../wasm/mod.ts";
import { scratch } from "./traps.ts";

/** Signatures of the functions defined here. */
export const TIME_SIGNATURES = {
  /** The guest's time stamp. */
  timeStamp: { params: [], results: ["i64"] },
} as const;

/** log2 of the instructions that take a nanosecond: more than any host executes. */
const PACE = 1;

// The host's time stamp, in nanoseconds.
function now(cpu: CpuModule, f: FunctionBuilder, window: I32): I64 {
  const { state } = cpu;
  const budget = f.let(state.load32(0, BUDGET));
  const until = f.let(state.load32(0, TIME_UNTIL));
  return f.ifValue(budget.geS(until), "i64", () => {
    const executed = until.add(window).sub(budget);
    return state.load64(0, TIME_READ).add(executed.toI64S().shrS(PACE));
  }, () => {
    f.call(cpu.host.readTsc);
    f.do(state.store64(0, scratch(cpu, 0), TIME_READ));
    f.do(state.store32(0, budget.sub(window), TIME_UNTIL));
    return scratch(cpu, 0);
  });
}

// A time after all that were given: what is reckoned lies behind the clock, so that the
// clock catches up with the steps made here.
function afterLatest(cpu: CpuModule, f: FunctionBuilder, time: I64): I64 {
  const { common } = cpu;
  const given = f.var("i64");
  f.loop((again) => {
    const latest = f.let(common.atomicLoad(8, 0, LATEST_TIME));
    const next = f.let(latest.add(1));
    f.set(given, time.when(time.gtS(latest), next));
    const found = common.atomicCmpxchg(8, 0, latest, given.get(), LATEST_TIME);
    f.brIf(again, found.ne(latest));
  });
  return f.let(given.get());
}

/** Defines the functions of `TIME_SIGNATURES`. */
export function defineTime(cpu: CpuModule): void {
  const { state } = cpu;
  cpu.define("timeStamp", (f) => {
    const offset = state.load64(0, TSC_OFFSET);
    const window = f.let(state.load32(0, TIME_WINDOW));
    f.if(window.eqz(), () => {
      f.call(cpu.host.readTsc);
      f.return(scratch(cpu, 0).add(offset));
    });
    const time = f.let(now(cpu, f, window));
    f.return(afterLatest(cpu, f, time).add(offset));
  });
}
