// DPPS and DPPD, and the approximations RCPPS and RSQRTPS (Intel SDM vol. 2). The
// latter are rounded to 12 bits, where processors have tables of their own.

import type { CpuModule } from "../cpu_module.ts";
import {
  f32,
  type FunctionBuilder,
  type I32,
  i32,
  i64,
  splat,
  type V128,
} from "../wasm/mod.ts";
import { sseBinary } from "./sse.ts";
import {
  F32_LANES,
  F64_LANES,
  forLanes,
  type LaneFormat,
  RESULT,
  SOURCES,
} from "./sse_lanes.ts";

/** Signatures of the functions defined here. */
export const SSE_PRODUCT_SIGNATURES = {
  /** DPPS or DPPD: 0 for DPPS, 1 for DPPD, imm8, a, b, site. */
  sseDot: {
    params: ["i32", "i32", "v128", "v128", "i32"],
    results: ["v128"],
  },
  /** RCPPS (0) or RSQRTPS (1) of the low lanes: which, lanes, a. */
  sseApproximate: { params: ["i32", "i32", "v128"], results: ["v128"] },
} as const;

/** Defines the functions of `SSE_PRODUCT_SIGNATURES`. */
export function defineSseProducts(cpu: CpuModule): void {
  defineDot(cpu);
  defineApproximate(cpu);
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
    f.do(state.storeV128(SOURCES, f.param(2, "v128")));
    f.do(state.storeV128(RESULT, f.param(2, "v128")));
    const mask = f.let(i32(1).shl(f.param(1, "i32")).sub(1));
    forLanes(f, mask, 4, (at) => {
      const [bits] = f.call(one, f.param(0, "i32"), state.load32(at, SOURCES));
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
