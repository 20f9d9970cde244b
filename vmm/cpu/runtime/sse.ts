// The slow paths of SSE floating point: whatever could raise an exception or give a
// NaN, lane by lane in software (Intel SDM vol. 1, 11.5; AMD APM vol. 1, 4.8). They
// give a result and exception flags; `sseExceptions` then decides what becomes of it.

import type { CpuModule } from "../cpu_module.ts";
import {
  type FunctionBuilder,
  type I32,
  i32,
  type I64,
  i64,
  splat,
} from "../wasm/mod.ts";
import { CR4, MXCSR } from "../state.ts";
import {
  DE,
  IE,
  type SoftFloat,
  type SseFormat,
  ZE,
} from "../softfloat/mod.ts";
import { NO_ERROR_CODE, raise, VECTOR } from "./traps.ts";
import {
  LANE_FORMATS,
  type LaneFormat,
  laneLoop,
  mxcsr,
  RESULT,
  SOURCES,
} from "./sse_lanes.ts";

/** Signatures of the functions defined here. */
export const SSE_SIGNATURES = {
  /**
   * Makes exception flags sticky, and raises #XM (or #UD) where one is not masked:
   * flags of all lanes, site. Comes before anything is written.
   */
  sseExceptions: { params: ["i32", "i32"], results: [] },
  /**
   * An operation of `SSE_BINARY` on the lanes whose mask bit is set; the others are
   * those of `a`: operation, mask, a, b. Gives flags too.
   */
  sseF32Binary: {
    params: ["i32", "i32", "v128", "v128"],
    results: ["v128", "i32"],
  },
  /** As `sseF32Binary`, for binary64. */
  sseF64Binary: {
    params: ["i32", "i32", "v128", "v128"],
    results: ["v128", "i32"],
  },
  /**
   * An operation of `SSE_UNARY` on the low lanes, packed into the low part of the
   * result, zeros above: operation, lanes, a.
   */
  sseUnary: { params: ["i32", "i32", "v128"], results: ["v128", "i32"] },
  /** ROUNDPx of the lanes in the mask: imm8, mask, a. */
  sseF32Round: { params: ["i32", "i32", "v128"], results: ["v128", "i32"] },
  /** As `sseF32Round`, for binary64. */
  sseF64Round: { params: ["i32", "i32", "v128"], results: ["v128", "i32"] },
} as const;

/** Operations of `sseF32Binary` and `sseF64Binary`. */
const SSE_BINARY = ["add", "sub", "mul", "div", "min", "max"] as const;

interface Conversion {
  /** the format whose function it is */
  readonly format: "f32" | "f64";
  readonly name:
    | "sqrt"
    | "convert"
    | "toInt32"
    | "toInt64"
    | "truncInt32"
    | "truncInt64"
    | "fromInt";
  /** bytes of a source lane */
  readonly from: 4 | 8;
  /** bytes of a result lane */
  readonly to: 4 | 8;
}

function conversion(
  format: Conversion["format"],
  name: Conversion["name"],
  from: 4 | 8,
  to: 4 | 8,
): Conversion {
  return { format, name, from, to };
}

const CONVERSIONS = {
  sqrtF32: conversion("f32", "sqrt", 4, 4),
  sqrtF64: conversion("f64", "sqrt", 8, 8),
  f32ToF64: conversion("f32", "convert", 4, 8),
  f64ToF32: conversion("f64", "convert", 8, 4),
  f32ToInt32: conversion("f32", "toInt32", 4, 4),
  f32ToInt64: conversion("f32", "toInt64", 4, 8),
  f32TruncInt32: conversion("f32", "truncInt32", 4, 4),
  f32TruncInt64: conversion("f32", "truncInt64", 4, 8),
  f64ToInt32: conversion("f64", "toInt32", 8, 4),
  f64ToInt64: conversion("f64", "toInt64", 8, 8),
  f64TruncInt32: conversion("f64", "truncInt32", 8, 4),
  f64TruncInt64: conversion("f64", "truncInt64", 8, 8),
  int32ToF32: conversion("f32", "fromInt", 4, 4),
  int64ToF32: conversion("f32", "fromInt", 8, 4),
  int64ToF64: conversion("f64", "fromInt", 8, 8),
} as const;

/** The name of an operation of `sseUnary`. */
export type SseUnary = keyof typeof CONVERSIONS;

const UNARY_NAMES = Object.keys(CONVERSIONS) as SseUnary[];

/** The number of an operation of `sseUnary`. */
export function sseUnary(name: SseUnary): I32 {
  return i32(UNARY_NAMES.indexOf(name));
}

/** The number of an operation of `sseF32Binary` and `sseF64Binary`. */
export function sseBinary(name: (typeof SSE_BINARY)[number]): I32 {
  return i32(SSE_BINARY.indexOf(name));
}

/** Defines the functions of `SSE_SIGNATURES`. */
export function defineSse(cpu: CpuModule, soft: SoftFloat): void {
  defineExceptions(cpu);
  defineUnary(cpu, soft);
  for (const lanes of LANE_FORMATS) {
    defineBinary(cpu, lanes, soft[lanes.format]);
    defineRound(cpu, lanes, soft[lanes.format]);
  }
}

const ALL_FLAGS = 0x3f;
const OSXMMEXCPT = 1 << 10;

function defineExceptions(cpu: CpuModule): void {
  const { state } = cpu;
  cpu.define("sseExceptions", (f) => {
    // The software's "rounded up" is the x87's alone.
    const found = f.let(f.param(0, "i32").and(ALL_FLAGS));
    const old = f.let(mxcsr(cpu));
    const unmasked = f.let(found.and(old.shrU(7).xor(-1)));
    // What is found before computing keeps the results' exceptions from arising.
    const before = unmasked.and(IE | DE | ZE);
    const flags = found.and(i32(IE | DE | ZE).when(before, -1));
    f.do(state.store32(0, old.or(flags), MXCSR));
    f.if(unmasked.eqz(), () => f.return());
    const enabled = state.load32(0, CR4).and(OSXMMEXCPT);
    const vector = i32(VECTOR.XM).when(enabled, VECTOR.UD);
    raise(cpu, f, f.param(1, "i32"), vector, i32(NO_ERROR_CODE));
  });
}

/** Calls one of several functions of the same type. */
function choose(
  f: FunctionBuilder,
  which: I32,
  calls: readonly (() => readonly [I64, I32])[],
): readonly [I64, I32] {
  const bits = f.var("i64");
  const flags = f.var("i32");
  f.switch(
    which,
    calls.map((call) => () => {
      const [value, found] = call();
      f.set(bits, value);
      f.set(flags, found);
    }),
  );
  return [f.let(bits.get()), f.let(flags.get())];
}

function defineBinary(
  cpu: CpuModule,
  lanes: LaneFormat,
  soft: SseFormat,
): void {
  cpu.define(`${lanes.prefix}Binary`, (f) => {
    const sources = [f.param(2, "v128"), f.param(3, "v128")];
    laneLoop(
      cpu,
      f,
      lanes,
      f.param(1, "i32"),
      sources,
      (a, b) =>
        choose(
          f,
          f.param(0, "i32"),
          SSE_BINARY.map((name) => () =>
            f.call(soft[name], a!, b!, mxcsr(cpu))
          ),
        ),
    );
  });
}

function defineUnary(cpu: CpuModule, soft: SoftFloat): void {
  const { state } = cpu;
  cpu.define("sseUnary", (f) => {
    const count = f.param(1, "i32");
    f.do(state.storeV128(SOURCES, f.param(2, "v128")));
    f.do(state.storeV128(RESULT, splat("i64x2", i64(0))));
    const lane = f.var("i32");
    const flags = f.var("i32");
    f.loop((again) => {
      f.switch(
        f.param(0, "i32"),
        UNARY_NAMES.map((name) => () =>
          f.set(
            flags,
            flags.get().or(convertLane(cpu, f, soft, name, f.let(lane.get()))),
          )
        ),
      );
      f.set(lane, lane.get().add(1));
      f.brIf(again, lane.get().ltU(count));
    });
    f.return(state.loadV128(RESULT), flags.get());
  });
}

/** Converts one lane and gives its flags. */
function convertLane(
  cpu: CpuModule,
  f: FunctionBuilder,
  soft: SoftFloat,
  operation: SseUnary,
  lane: I32,
): I32 {
  const { state } = cpu;
  const { format, name, from, to }: Conversion = CONVERSIONS[operation];
  const source = lane.mul(from);
  const input = name === "fromInt" && from === 4
    ? state.load32S(source, SOURCES)
    : state.load(from, source, SOURCES);
  const [bits, flags] = f.call(soft[format][name], input, mxcsr(cpu));
  f.do(state.store(to, lane.mul(to), bits, RESULT));
  return flags;
}

function defineRound(cpu: CpuModule, lanes: LaneFormat, soft: SseFormat) {
  cpu.define(`${lanes.prefix}Round`, (f) => {
    laneLoop(
      cpu,
      f,
      lanes,
      f.param(1, "i32"),
      [f.param(2, "v128")],
      (a) => f.call(soft.roundIntegral, a!, f.param(0, "i32"), mxcsr(cpu)),
    );
  });
}
