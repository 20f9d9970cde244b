// Whether sums and products of vectors are exact: what their rounding lost is zero
// (Knuth, TAOCP vol. 2, 4.2.2; Dekker, "A Floating-Point Technique for Extending the
// Available Precision"). Code whose results are all exact, such as that of languages
// whose integers are floating-point numbers, never sets PE and would never be fast.

import type { CpuModule } from "../cpu_module.ts";
import {
  type FunctionBuilder,
  type SimdBinary,
  type V128,
} from "../wasm/mod.ts";
import { fill32, fill64, ZERO } from "../vector.ts";
import { LANE_FORMATS, type LaneFormat } from "./sse_lanes.ts";

const PARAMETERS = ["v128", "v128", "v128"] as const;

/** Signatures of the functions defined here. */
export const SSE_EXACT_SIGNATURES = {
  /** Whether a + b = c, exactly and in all lanes. NaNs and infinities are not. */
  sseF32IsSum: { params: PARAMETERS, results: ["i32"] },
  /** As `sseF32IsSum`, for binary64. */
  sseF64IsSum: { params: PARAMETERS, results: ["i32"] },
  /** Whether a * b = c, exactly and in all lanes. May miss very large and small ones. */
  sseF32IsProduct: { params: PARAMETERS, results: ["i32"] },
  /** As `sseF32IsProduct`, for binary64. */
  sseF64IsProduct: { params: PARAMETERS, results: ["i32"] },
} as const;

/** The numbers of a format that the checks need, in all lanes. */
interface Limits {
  /** 2^n + 1, which splits a significand into halves */
  readonly splitter: V128;
  /** factors above it could overflow when they are split */
  readonly greatest: V128;
  /** products below it could lose part of their error */
  readonly least: V128;
}

function exponent(format: "f32" | "f64", exp: number): V128 {
  return format === "f32"
    ? fill32((exp + 127) << 23)
    : fill64(BigInt(exp + 1023) << 52n);
}

const LIMITS: Readonly<Record<"f32" | "f64", Limits>> = {
  f32: {
    splitter: fill32(0x4580_0800), // 2^12 + 1
    greatest: exponent("f32", 110),
    least: exponent("f32", -90),
  },
  f64: {
    splitter: fill64(0x41a0_0000_0200_0000n), // 2^27 + 1
    greatest: exponent("f64", 990),
    least: exponent("f64", -950),
  },
};

/** Emits arithmetic on lanes of a format. */
class Lanes {
  readonly #shape: "f32x4" | "f64x2";

  constructor(readonly f: FunctionBuilder, format: "f32" | "f64") {
    this.#shape = format === "f32" ? "f32x4" : "f64x2";
  }

  op(name: string, a: V128, b: V128): V128 {
    return this.f.let(a.binary(`${this.#shape}.${name}` as SimdBinary, b));
  }
  abs(a: V128): V128 {
    return this.f.let(a.unary(`${this.#shape}.abs`));
  }

  /** The halves of significands. */
  split(a: V128, splitter: V128): readonly [V128, V128] {
    const c = this.op("mul", a, splitter);
    const high = this.op("sub", c, this.op("sub", c, a));
    return [high, this.op("sub", a, high)];
  }

  /** Answers whether all lanes of masks are ones. */
  answer(...masks: V128[]): void {
    const all = masks.reduce((a, b) => a.binary("v128.and", b));
    this.f.return(all.test("i32x4.all_true"));
  }
}

function parameters(f: FunctionBuilder): readonly [V128, V128, V128] {
  return [f.param(0, "v128"), f.param(1, "v128"), f.param(2, "v128")];
}

function defineSum(cpu: CpuModule, { format, prefix }: LaneFormat): void {
  cpu.define(`${prefix}IsSum`, (f) => {
    const x = new Lanes(f, format);
    const [a, b, sum] = parameters(f);
    const second = x.op("sub", sum, a);
    const first = x.op("sub", sum, second);
    const lostFirst = x.op("sub", a, first);
    const lost = x.op("add", lostFirst, x.op("sub", b, second));
    x.answer(x.op("eq", lost, ZERO));
  });
}

function defineProduct(cpu: CpuModule, { format, prefix }: LaneFormat): void {
  const { splitter, greatest, least } = LIMITS[format];
  cpu.define(`${prefix}IsProduct`, (f) => {
    const x = new Lanes(f, format);
    const [a, b, wanted] = parameters(f);
    const product = x.op("mul", a, b);
    const [aHigh, aLow] = x.split(a, splitter);
    const [bHigh, bLow] = x.split(b, splitter);
    const high = x.op("sub", x.op("mul", aHigh, bHigh), product);
    const mixed = x.op("add", high, x.op("mul", aHigh, bLow));
    const rest = x.op("add", mixed, x.op("mul", aLow, bHigh));
    const lost = x.op("add", rest, x.op("mul", aLow, bLow));
    const isZero = x.op("eq", a, ZERO)
      .binary("v128.or", x.op("eq", b, ZERO));
    const isLarge = x.op("ge", x.abs(product), least);
    x.answer(
      x.op("le", x.abs(a), greatest),
      x.op("le", x.abs(b), greatest),
      isLarge.binary("v128.or", isZero),
      x.op("eq", product, wanted),
      x.op("eq", lost, ZERO),
    );
  });
}

/** Defines the functions of `SSE_EXACT_SIGNATURES`. */
export function defineSseExact(cpu: CpuModule): void {
  for (const lanes of LANE_FORMATS) {
    defineSum(cpu, lanes);
    defineProduct(cpu, lanes);
  }
}
