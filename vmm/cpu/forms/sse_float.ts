// What SSE floating-point forms share: formats, the emitter that gathers exception
// flags, and the fast path. WebAssembly's arithmetic rounds to nearest and keeps no
// flags; its result is taken where no flag could arise that is not set yet (Intel SDM
// vol. 1, 10.2.3, 11.5). A NaN's bits are not defined there: NaNs are always slow.

import type { Emitter } from "../emitter.ts";
import {
  type I32,
  i32,
  type SimdBinary,
  type V128,
  type Var,
} from "../wasm/mod.ts";
import { fill32, fill64, LEGACY, VectorEmitter, ZERO } from "../vector.ts";

/** A floating-point format in vectors. */
export interface FloatFormat {
  /** mnemonic letter of packed and scalar forms: PS and SS, PD and SD */
  readonly letter: "s" | "d";
  readonly bits: 32 | 64;
  readonly shape: "f32x4" | "f64x2";
  readonly integers: "i32x4" | "i64x2";
  /** a mask bit for each lane */
  readonly all: number;
  /** least normal number in each lane */
  readonly least: V128;
  /** infinity in each lane */
  readonly infinity: V128;
  /** the sign bit in each lane */
  readonly sign: V128;
}

/** binary32. */
export const F32: FloatFormat = {
  letter: "s",
  bits: 32,
  shape: "f32x4",
  integers: "i32x4",
  all: 15,
  least: fill32(0x0080_0000),
  infinity: fill32(0x7f80_0000),
  sign: fill32(0x8000_0000),
};

/** binary64. */
export const F64: FloatFormat = {
  letter: "d",
  bits: 64,
  shape: "f64x2",
  integers: "i64x2",
  all: 3,
  least: fill64(1n << 52n),
  infinity: fill64(0x7ffn << 52n),
  sign: fill64(1n << 63n),
};

/** Both formats. */
export const FORMATS: readonly FloatFormat[] = [F32, F64];

/** A vector operation of a format by its name without the shape. */
export function op(format: FloatFormat, name: string): SimdBinary {
  return `${format.shape}.${name}` as SimdBinary;
}

/** MXCSR: all exceptions masked. */
const MASKED = 0x1f80;
const PE = 0x20;
/** MXCSR: rounding control. FTZ and DAZ do not matter where nothing is denormal. */
const ROUNDING = 0x6000;

/** A slow path's result and exception flags. */
export type Slow = readonly [V128, I32];

/** Emits a floating-point instruction: gathers the exceptions of its parts. */
export class FloatEmitter extends VectorEmitter {
  readonly #flags: Var<"i32">;

  constructor(x: Emitter, encoding = LEGACY) {
    super(x, encoding);
    this.#flags = this.f.var("i32");
  }

  /** Adds to the exceptions that were found. */
  note(flags: I32): void {
    this.f.set(this.#flags, this.#flags.get().or(flags));
  }

  /** Raises what was found, or makes it sticky. Nothing was written before. */
  settle(): void {
    const flags = this.#flags.get();
    this.f.rarely(flags, () => {
      this.call("sseExceptions", flags, this.x.site());
    });
  }

  /** All exceptions are masked, PE is set, and rounding is to nearest. */
  isUsual(): I32 {
    return this.mxcsr().and(MASKED | PE | ROUNDING).eq(MASKED | PE);
  }

  /** As `isUsual`, but PE need not be set: for what is exact. */
  isUsualIfExact(): I32 {
    return this.mxcsr().and(MASKED | ROUNDING).eq(MASKED);
  }

  /** `fast`, or what `slow` gives where the condition does not hold. */
  unless(isFast: I32, fast: V128, slow: () => Slow): V128 {
    const result = this.f.var("v128", fast);
    this.f.rarely(isFast.eqz(), () => {
      const [value, flags] = slow();
      this.f.set(result, value);
      this.note(flags);
    });
    return this.let(result.get());
  }
}

/** Ones where a lane is a normal number, an infinity or zero. */
export function isOrdinary(format: FloatFormat, a: V128): V128 {
  return a.unary(`${format.shape}.abs`).binary(op(format, "ge"), format.least)
    .binary("v128.or", a.binary(op(format, "eq"), ZERO));
}

/** Whether all lanes of masks are ones. */
export function allTrue(format: FloatFormat, mask: V128): I32 {
  return mask.test(`${format.integers}.all_true`);
}

/** The mask of lanes for slow paths. */
export function laneMask(format: FloatFormat, isScalar: boolean): I32 {
  return i32(isScalar ? 1 : format.all);
}

/** An operation on the lanes of sources; scalar sources are in all lanes. */
export type FloatOp = (
  v: FloatEmitter,
  format: FloatFormat,
  isScalar: boolean,
  ...sources: V128[]
) => V128;

/** `a` with the lowest lane of `result`. */
export function mergeLow(
  format: FloatFormat,
  a: V128,
  result: V128,
): V128 {
  const bytes = format.bits / 8;
  return a.shuffle(
    result,
    Array.from({ length: 16 }, (_, n) => n < bytes ? n + 16 : n),
  );
}

/** A packed form with two sources. */
export function packedBinary(
  format: FloatFormat,
  operation: FloatOp,
  encoding = LEGACY,
): (x: Emitter) => void {
  return (x) => {
    const v = new FloatEmitter(x, encoding);
    const b = v.read(encoding.first + 1);
    const a = v.read(encoding.first);
    const results = a.map((group, g) =>
      v.let(operation(v, format, false, group, b[g]!))
    );
    v.settle();
    v.write(0, results);
  };
}

/** A packed form with one source. */
export function packedUnary(
  format: FloatFormat,
  operation: FloatOp,
  encoding = LEGACY,
): (x: Emitter) => void {
  return (x) => {
    const v = new FloatEmitter(x, encoding);
    const results = v.read(1).map((group) =>
      v.let(operation(v, format, false, group))
    );
    v.settle();
    v.write(0, results);
  };
}

/** A scalar form with two sources, of which the second is a number. */
export function scalarBinary(
  format: FloatFormat,
  operation: FloatOp,
  encoding = LEGACY,
): (x: Emitter) => void {
  return (x) => {
    const v = new FloatEmitter(x, encoding);
    const b = v.readSplat(encoding.first + 1, format.bits);
    const a = v.readLow(encoding.first);
    const low = v.let(splatLow(format, a));
    const result = v.let(operation(v, format, true, low, b));
    v.settle();
    v.writeOne(0, mergeLow(format, a, result));
  };
}

/** A scalar form whose result replaces the lowest lane of the first source. */
export function scalarUnary(
  format: FloatFormat,
  operation: FloatOp,
  encoding = LEGACY,
): (x: Emitter) => void {
  return (x) => {
    const v = new FloatEmitter(x, encoding);
    const b = v.readSplat(encoding.first + 1, format.bits);
    const result = v.let(operation(v, format, true, b));
    v.settle();
    v.writeOne(0, mergeLow(format, v.readLow(encoding.first), result));
  };
}

/** The lowest lane in all lanes. */
function splatLow(format: FloatFormat, a: V128): V128 {
  const bytes = format.bits / 8;
  return a.shuffle(a, Array.from({ length: 16 }, (_, n) => n % bytes));
}
