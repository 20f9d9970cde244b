// Vectors with their lanes numbered at run time, for the slow paths of SSE: the state
// and the loops that `sse.ts` and its siblings share.

import type { CpuModule } from "../cpu_module.ts";
import {
  type FunctionBuilder,
  type I32,
  type I64,
  type V128,
} from "../wasm/mod.ts";
import { MXCSR, SCRATCH } from "../state.ts";

// Vectors lie in SCRATCH to have their lanes numbered at run time; nothing here
// accesses memory or calls TypeScript, which also use it.
/** Up to two sources. */
export const SOURCES = SCRATCH;
/** The result. */
export const RESULT = SCRATCH + 32;

/** MXCSR. */
export function mxcsr(cpu: CpuModule): I32 {
  return cpu.state.load32(0, MXCSR);
}

/** How lanes lie in a vector, and whose functions are meant. */
export interface LaneFormat {
  /** its name in the software floating point */
  readonly format: "f32" | "f64";
  /** begins the names of its runtime functions */
  readonly prefix: "sseF32" | "sseF64";
  /** bytes of a lane */
  readonly bytes: 4 | 8;
}

/** binary32. */
export const F32_LANES: LaneFormat = {
  format: "f32",
  prefix: "sseF32",
  bytes: 4,
};
/** binary64. */
export const F64_LANES: LaneFormat = {
  format: "f64",
  prefix: "sseF64",
  bytes: 8,
};

/** Both formats. */
export const LANE_FORMATS: readonly LaneFormat[] = [F32_LANES, F64_LANES];

/** Runs `body` for each lane whose bit is set, with the lane's byte offset. */
export function forLanes(
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
export function laneLoop(
  cpu: CpuModule,
  f: FunctionBuilder,
  lanes: LaneFormat,
  mask: I32,
  sources: readonly V128[],
  compute: (...lanes: I64[]) => readonly [I64, I32],
): void {
  const { state } = cpu;
  sources.forEach((source, n) =>
    f.do(state.storeV128(SOURCES + 16 * n, source))
  );
  f.do(state.storeV128(RESULT, sources[0]!));
  const flags = f.var("i32");
  forLanes(f, mask, lanes.bytes, (at) => {
    const inputs = sources.map((_, n) =>
      f.let(state.load(lanes.bytes, at, SOURCES + 16 * n))
    );
    const [bits, found] = compute(...inputs);
    f.do(state.store(lanes.bytes, at, bits, RESULT));
    f.set(flags, flags.get().or(found));
  });
  f.return(state.loadV128(RESULT), flags.get());
}
