/**
 * IEEE arithmetic as x86 does it, with its exceptions, as WebAssembly functions:
 * SSE's binary32 and binary64, the x87's extended format and its transcendental
 * functions.
 *
 * @module
 */

import type { ModuleBuilder } from "../wasm/mod.ts";
import { defineCore } from "./core.ts";
import { defineSse, type SseFormat } from "./sse.ts";
import { defineWideFloats } from "./wide_float.ts";
import { defineX87Arithmetic, type X87Arithmetic } from "./x87_arith.ts";
import { defineX87Atan, type X87Atan } from "./x87_atan.ts";
import { defineX87Convert, type X87Convert } from "./x87_convert.ts";
import { defineX87Log, type X87Log } from "./x87_log.ts";
import { defineOperands } from "./x87_operand.ts";
import type { Wide } from "./wide.ts";
import { defineX87Remainder, type X87Remainder } from "./x87_remainder.ts";
import { defineX87Trig, type X87Trig } from "./x87_trig.ts";

export * from "./format.ts";
export { type Wide } from "./wide.ts";
export * from "./x87_fast.ts";
export * from "./x87_fast_moves.ts";
export { type SseFormat, type SseResult } from "./sse.ts";
export { type X87Arithmetic } from "./x87_arith.ts";
export { type X87Atan } from "./x87_atan.ts";
export {
  constantSignificand,
  X87_CONSTANTS,
  type X87Constant,
} from "./x87_constant.ts";
export { type Stored, type X87Convert } from "./x87_convert.ts";
export { type X87Log } from "./x87_log.ts";
export { WAS_DENORMAL, type X87Result } from "./x87_operand.ts";
export { type X87Remainder } from "./x87_remainder.ts";
export { type SinCosResult, type X87Trig } from "./x87_trig.ts";

/** The x87's operations. */
export interface X87
  extends X87Arithmetic, X87Remainder, X87Convert, X87Trig, X87Log, X87Atan {}

/** The functions of a module that has software floating point. */
export interface SoftFloat {
  /** SSE on binary32 */
  readonly f32: SseFormat;
  /** SSE on binary64 */
  readonly f64: SseFormat;
  /** the x87 */
  readonly x87: X87;
  /** 128-bit integers */
  readonly wide: Wide;
}

/** Defines all functions in a module. */
export function defineSoftFloat(m: ModuleBuilder): SoftFloat {
  const core = defineCore(m);
  const w = defineWideFloats(m, core.wide);
  const b = { m, core, operands: defineOperands(m), w };
  return {
    ...defineSse(m, core),
    wide: core.wide,
    x87: {
      ...defineX87Arithmetic(b),
      ...defineX87Remainder(b),
      ...defineX87Convert(b),
      ...defineX87Trig(b),
      ...defineX87Log(b),
      ...defineX87Atan(b),
    },
  };
}
