// The slow paths of SSE comparisons: NaNs and denormal operands (Intel SDM vol. 2,
// CMPPD, COMISD, UCOMISD).

import type { CpuModule } from "../cpu_module.ts";
import { type FuncRef, i32, i64 } from "../wasm/mod.ts";
import type { SoftFloat, SseFormat } from "../softfloat/mod.ts";
import { LANE_FORMATS, type LaneFormat, laneLoop, mxcsr } from "./sse_lanes.ts";

/** Signatures of the functions defined here. */
export const SSE_COMPARE_SIGNATURES = {
  /** CMPPx of the lanes in the mask: predicate (0 to 31), mask, a, b. */
  sseF32Compare: {
    params: ["i32", "i32", "v128", "v128"],
    results: ["v128", "i32"],
  },
  /** As `sseF32Compare`, for binary64. */
  sseF64Compare: {
    params: ["i32", "i32", "v128", "v128"],
    results: ["v128", "i32"],
  },
  /** Operation of `SSE_ORDER`, a, b: flags as in RFLAGS, exception flags. */
  sseOrder: { params: ["i32", "i64", "i64"], results: ["i32", "i32"] },
} as const;

/** Operations of `sseOrder`. */
export const SSE_ORDER = ["comiss", "comisd", "ucomiss", "ucomisd"] as const;

/** Defines the functions of `SSE_COMPARE_SIGNATURES`. */
export function defineSseCompare(cpu: CpuModule, soft: SoftFloat): void {
  for (const lanes of LANE_FORMATS) {
    defineCompare(cpu, lanes, soft[lanes.format]);
  }
  defineOrder(cpu, soft);
}

// What each predicate of VCMPPx is true for, from 0 to 31: bit 0 greater, 1 less,
// 2 equal, 3 unordered (SDM vol. 2, CMPPD). Those from 16 on repeat the first with
// the other treatment of quiet NaNs.
const GREATER = 1, LESS = 2, EQUAL = 4, UNORDERED = 8;
const PREDICATES = [
  EQUAL,
  LESS,
  LESS | EQUAL,
  UNORDERED,
  GREATER | LESS | UNORDERED,
  GREATER | EQUAL | UNORDERED,
  GREATER | UNORDERED,
  GREATER | LESS | EQUAL,
  EQUAL | UNORDERED,
  LESS | UNORDERED,
  LESS | EQUAL | UNORDERED,
  0,
  GREATER | LESS,
  GREATER | EQUAL,
  GREATER,
  GREATER | LESS | EQUAL | UNORDERED,
];
/** The predicates below 16 for which any NaN is an invalid operation. */
const SIGNALLING = [1, 2, 5, 6, 9, 10, 13, 14];

function packPredicates(): bigint {
  return PREDICATES.reduce((all, p, n) => all | BigInt(p) << BigInt(4 * n), 0n);
}

function packSignalling(): number {
  const low = SIGNALLING.reduce((all, n) => all | 1 << n, 0);
  return low | ~low << 16;
}

function defineCompare(
  cpu: CpuModule,
  lanes: LaneFormat,
  soft: SseFormat,
): void {
  const outcome = defineOutcome(cpu, lanes, soft);
  cpu.define(`${lanes.prefix}Compare`, (f) => {
    const predicate = f.param(0, "i32");
    const field = predicate.and(15).shl(2).toI64U();
    const accepts = f.let(i64(packPredicates()).shrU(field).toI32());
    const signals = f.let(i32(packSignalling()).shrU(predicate).and(1));
    const sources = [f.param(2, "v128"), f.param(3, "v128")];
    laneLoop(cpu, f, lanes, f.param(1, "i32"), sources, (a, b) => {
      const [order, flags] = f.call(outcome, a!, b!, signals);
      const isTrue = accepts.shrU(order).and(1).toI64U();
      return [i64(0).sub(isTrue), flags];
    });
  });
}

/** (a, b, signalling) to 0 greater, 1 less, 2 equal, 3 unordered, and flags. */
function defineOutcome(
  cpu: CpuModule,
  lanes: LaneFormat,
  soft: SseFormat,
): FuncRef<readonly ["i32", "i32"]> {
  const name = `${lanes.prefix}Outcome`;
  return cpu.m.func(name, ["i64", "i64", "i32"], ["i32", "i32"], (f) => {
    const order = f.var("i32");
    const flags = f.var("i32");
    const run = (compare: FuncRef<readonly ["i32", "i32"]>) => () => {
      const a = f.param(0, "i64");
      const b = f.param(1, "i64");
      const [value, found] = f.call(compare, a, b, mxcsr(cpu));
      // CF and ZF: less, equal; both where unordered.
      f.set(order, value.and(1).or(value.shrU(5).and(2)));
      f.set(flags, found);
    };
    f.if(
      f.param(2, "i32"),
      run(soft.compareSignalling),
      run(soft.compareQuiet),
    );
    f.return(order.get(), flags.get());
  });
}

function defineOrder(cpu: CpuModule, soft: SoftFloat): void {
  const functions = [
    soft.f32.compareSignalling,
    soft.f64.compareSignalling,
    soft.f32.compareQuiet,
    soft.f64.compareQuiet,
  ];
  cpu.define("sseOrder", (f) => {
    const a = f.param(1, "i64");
    const b = f.param(2, "i64");
    f.switch(
      f.param(0, "i32"),
      functions.map((compare) => () => f.returnCall(compare, a, b, mxcsr(cpu))),
    );
    f.unreachable();
  });
}
