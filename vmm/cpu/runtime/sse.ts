// The slow paths of SSE floating point: whatever could raise an exception or give a
// NaN, lane by lane in software (Intel SDM vol. 1, 11.5; AMD APM vol. 1, 4.8). They
// give a result and exception flags; `sseExceptions` then decides what becomes of it.

import type { CpuModule } from "../cpu_module.ts";
import {
  f32,
  type FuncRef,
  type FunctionBuilder,
  type I32,
  i32,
  type I64,
  i64,
  splat,
  type V128,
} from "../wasm/mod.ts";
import { CR4, MXCSR, SCRATCH } from "../state.ts";
import {
  DE,
  IE,
  type SoftFloat,
  type SseFormat,
  ZE,
} from "../softfloat/mod.ts";
import { NO_ERROR_CODE, raise, VECTOR } from "./traps.ts";

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
  /** DPPS or DPPD: 0 for DPPS, 1 for DPPD, imm8, a, b, site. */
  sseDot: {
    params: ["i32", "i32", "v128", "v128", "i32"],
    results: ["v128"],
  },
  /** RCPPS (0) or RSQRTPS (1) of the low lanes: which, lanes, a. */
  sseApproximate: { params: ["i32", "i32", "v128"], results: ["v128"] },
} as const;

/** Operations of `sseF32Binary` and `sseF64Binary`. */
export const SSE_BINARY = ["add", "sub", "mul", "div", "min", "max"] as const;

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

/** Operations of `sseOrder`. */
export const SSE_ORDER = ["comiss", "comisd", "ucomiss", "ucomisd"] as const;

// Vectors lie in SCRATCH to have their lanes numbered at run time; nothing here
// accesses memory or calls TypeScript, which also use it.
const A = SCRATCH;
const B = SCRATCH + 16;
const RESULT = SCRATCH + 32;

function mxcsr(cpu: CpuModule): I32 {
  return cpu.state.load32(0, MXCSR);
}

/** Defines the functions of `SSE_SIGNATURES`. */
export function defineSse(cpu: CpuModule, soft: SoftFloat): void {
  defineExceptions(cpu);
  for (const format of ["f32", "f64"] as const) {
    const lanes = format === "f32" ? F32_LANES : F64_LANES;
    defineBinary(cpu, lanes, soft[format]);
    defineRound(cpu, lanes, soft[format]);
    defineCompare(cpu, lanes, soft[format]);
  }
  defineUnary(cpu, soft);
  defineOrder(cpu, soft);
  defineDot(cpu);
  defineApproximate(cpu);
}

interface LaneFormat {
  readonly prefix: "sseF32" | "sseF64";
  readonly bytes: 4 | 8;
}

const F32_LANES: LaneFormat = { prefix: "sseF32", bytes: 4 };
const F64_LANES: LaneFormat = { prefix: "sseF64", bytes: 8 };

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

/** Runs `body` for each lane whose bit is set, with the lane's byte offset. */
function forLanes(
  f: FunctionBuilder,
  mask: I32,
  bytes: number,
  body: (at: I32) => void,
): void {
  const rest = f.var("i32", mask);
  f.block((end) =>
    f.loop((again) => {
      f.brIf(end, rest.get().eqz());
      const lane = f.let(rest.get().ctz());
      f.set(rest, rest.get().and(rest.get().sub(1)));
      body(f.let(lane.mul(bytes)));
      f.br(again);
    })
  );
}

/** Stores sources, runs lanes that give bits and flags, and returns their vector. */
function laneLoop(
  cpu: CpuModule,
  f: FunctionBuilder,
  lanes: LaneFormat,
  mask: I32,
  sources: readonly V128[],
  compute: (...lanes: I64[]) => readonly [I64, I32],
): void {
  const { state } = cpu;
  sources.forEach((source, n) => f.do(state.storeV128(A + 16 * n, source)));
  f.do(state.storeV128(RESULT, sources[0]!));
  const flags = f.var("i32");
  forLanes(f, mask, lanes.bytes, (at) => {
    const inputs = sources.map((_, n) =>
      f.let(state.load(lanes.bytes, at, A + 16 * n))
    );
    const [bits, found] = compute(...inputs);
    f.do(state.store(lanes.bytes, at, bits, RESULT));
    f.set(flags, flags.get().or(found));
  });
  f.return(state.loadV128(RESULT), flags.get());
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
    f.do(state.storeV128(A, f.param(2, "v128")));
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
    ? state.load32S(source, A)
    : state.load(from, source, A);
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

// --- Comparisons -----------------------------------------------------------

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

// --- DPPS, DPPD ------------------------------------------------------------

// Each step's exceptions are raised before the next step: sums of products that
// raised one are never formed.
function defineDot(cpu: CpuModule): void {
  cpu.define("sseDot", (f) => {
    f.if(
      f.param(0, "i32"),
      () => f.return(emitDot(cpu, f, F64_LANES)),
      () => f.return(emitDot(cpu, f, F32_LANES)),
    );
    f.unreachable();
  });
}

function emitDot(
  cpu: CpuModule,
  f: FunctionBuilder,
  lanes: LaneFormat,
): V128 {
  const imm = f.param(1, "i32");
  const count = 16 / lanes.bytes;
  const all = (1 << count) - 1;
  const step = (name: "mul" | "add", mask: I32, a: V128, b: V128) => {
    const [value, flags] = f.call(
      cpu.fn[`${lanes.prefix}Binary`],
      sseBinary(name),
      mask,
      a,
      b,
    );
    f.if(flags, () => f.call(cpu.fn.sseExceptions, flags, f.param(4, "i32")));
    return value;
  };
  const used = f.let(imm.shrU(4).and(all));
  const products = step("mul", used, f.param(2, "v128"), f.param(3, "v128"));
  let sum = f.let(
    products.binary("v128.and", laneMask(f, used, lanes)),
  );
  for (let distance = lanes.bytes; distance < 16; distance *= 2) {
    const other = Array.from({ length: 16 }, (_, n) => n ^ distance);
    sum = step("add", i32(all), sum, f.let(sum.shuffle(sum, other)));
  }
  // Lane 0 has the operands in the order that decides which NaN is the result.
  const first = f.let(
    sum.shuffle(sum, Array.from({ length: 16 }, (_, n) => n % lanes.bytes)),
  );
  const wanted = laneMask(f, f.let(imm.and(all)), lanes);
  return first.binary("v128.and", wanted);
}

/** Ones in the lanes whose bit is set. */
function laneMask(f: FunctionBuilder, mask: I32, lanes: LaneFormat): V128 {
  const shape = lanes.bytes === 4 ? "i32x4" : "i64x2";
  let bits = splat(shape, lanes.bytes === 4 ? i32(0) : i64(0));
  for (let n = 0; n < 16 / lanes.bytes; n++) {
    const bit = mask.shrU(n).and(1);
    const ones = i32(0).sub(bit);
    bits = bits.withLane(shape, n, lanes.bytes === 4 ? ones : ones.toI64S());
  }
  return f.let(bits);
}

// --- RCPPS, RSQRTPS --------------------------------------------------------

const F32_INFINITY = 0x7f80_0000;
const F32_SIGN = 0x8000_0000 | 0;
const F32_QUIET = 0x0040_0000;
const F32_LEAST = 0x0080_0000;
const F32_DEFAULT_NAN = 0xffc0_0000 | 0;

function defineApproximate(cpu: CpuModule): void {
  const { state } = cpu;
  const one = cpu.m.func(
    "sse_approximate_lane",
    ["i32", "i32"],
    ["i32"],
    emitApproximate,
  );
  cpu.define("sseApproximate", (f) => {
    f.do(state.storeV128(A, f.param(2, "v128")));
    f.do(state.storeV128(RESULT, f.param(2, "v128")));
    const mask = f.let(i32(1).shl(f.param(1, "i32")).sub(1));
    forLanes(f, mask, 4, (at) => {
      const [bits] = f.call(one, f.param(0, "i32"), state.load32(at, A));
      f.do(state.store32(at, bits, RESULT));
    });
    f.return(state.loadV128(RESULT));
  });
}

/** (which, bits): no exceptions, denormals are zeros on both sides. */
function emitApproximate(f: FunctionBuilder): void {
  const isRoot = f.param(0, "i32");
  const bits = f.param(1, "i32");
  const sign = f.let(bits.and(F32_SIGN));
  const magnitude = f.let(bits.and(0x7fff_ffff));
  f.if(
    magnitude.gtU(F32_INFINITY),
    () => f.return(bits.or(F32_QUIET)),
  );
  f.if(
    magnitude.ltU(F32_LEAST),
    () => f.return(sign.or(F32_INFINITY)),
  );
  f.if(isRoot.and(sign.ne(0)), () => f.return(i32(F32_DEFAULT_NAN)));
  f.if(magnitude.eq(F32_INFINITY), () => f.return(sign));
  const value = f.let(magnitude.asF32());
  const root = f.let(value.sqrt());
  const inverse = root.when(isRoot, value);
  const quotient = f.let(f32(1).div(inverse).asI32());
  f.if(quotient.ltU(F32_LEAST), () => f.return(sign));
  // Twelve bits of fraction, rounded; a carry into the exponent is right.
  f.return(sign.or(quotient.add(0x400).and(~0x7ff)));
}
