// Typed expressions of 128-bit vectors (WebAssembly Core Specification 3.0, 5.4.8).

import { F32, F64, I32, i32, type I32Like, I64 } from "./scalar.ts";
import {
  SIMD_BINARY,
  SIMD_EXTRACT,
  SIMD_REPLACE,
  SIMD_SHIFT,
  SIMD_SPLAT,
  SIMD_TEST,
  SIMD_UNARY,
} from "./simd_ops.ts";
import { Expr } from "./value.ts";

function simd(opcode: number, ...immediates: readonly number[]): number[] {
  return opcode < 0x80
    ? [0xfd, opcode, ...immediates]
    : [0xfd, (opcode & 0x7f) | 0x80, opcode >> 7, ...immediates];
}

/** The name of a vector operation with one operand. */
export type SimdUnary = keyof typeof SIMD_UNARY;
/** The name of a vector operation with two operands. */
export type SimdBinary = keyof typeof SIMD_BINARY;
/** The name of a lane shift. */
export type SimdShift = keyof typeof SIMD_SHIFT;
/** The name of a vector test that gives an i32. */
export type SimdTest = keyof typeof SIMD_TEST;
/** The name of a lane extraction. */
export type SimdExtract = keyof typeof SIMD_EXTRACT;
/** A vector's division into lanes. */
export type SimdShape = keyof typeof SIMD_REPLACE;

/** A lane's value as its extraction gives it. */
export type LaneOf<N extends SimdExtract> = N extends `i64${string}` ? I64
  : N extends `f32${string}` ? F32
  : N extends `f64${string}` ? F64
  : I32;

/** A 128-bit vector. */
export class V128 extends Expr {
  override get type(): "v128" {
    return "v128";
  }

  /** An operation with this as its only operand. */
  unary(name: SimdUnary): V128 {
    return new V128(simd(SIMD_UNARY[name]), [this]);
  }
  /** An operation with this as its first operand. */
  binary(name: SimdBinary, other: V128): V128 {
    return new V128(simd(SIMD_BINARY[name]), [this, other]);
  }
  /** A lane shift by `count` modulo the lane's width. */
  shift(name: SimdShift, count: I32Like): V128 {
    return new V128(simd(SIMD_SHIFT[name]), [this, i32(count)]);
  }
  /** A test of this vector. */
  test(name: SimdTest): I32 {
    return new I32(simd(SIMD_TEST[name]), [this]);
  }
  /** The value of lane `index`. */
  lane<N extends SimdExtract>(name: N, index: number): LaneOf<N> {
    const bytes = simd(SIMD_EXTRACT[name], index);
    const make = name.startsWith("i64")
      ? I64
      : name.startsWith("f32")
      ? F32
      : name.startsWith("f64")
      ? F64
      : I32;
    return new make(bytes, [this]) as LaneOf<N>;
  }
  /** This vector with lane `index` replaced. */
  withLane(shape: SimdShape, index: number, value: Expr): V128 {
    return new V128(simd(SIMD_REPLACE[shape], index), [this, value]);
  }
  /** `i8x16.shuffle`: lanes 0-15 pick from this, 16-31 from `other`. */
  shuffle(other: V128, lanes: readonly number[]): V128 {
    if (lanes.length !== 16 || lanes.some((l) => !(l >= 0 && l < 32))) {
      throw new RangeError(
        `Cannot shuffle by lanes ${lanes}: expected 16 numbers from 0 to 31`,
      );
    }
    return new V128(simd(0x0d, ...lanes), [this, other]);
  }
  /** `v128.bitselect`: bits of this where `mask` is one, else of `other`. */
  bitselect(other: V128, mask: V128): V128 {
    return new V128(simd(0x52), [this, other, mask]);
  }
  /** `select`: `this` where `condition` is not zero, else `other` */
  when(condition: I32Like, other: V128): V128 {
    const c = i32(condition);
    if (c.value !== undefined) return c.value ? this : other;
    return new V128([0x1b], [this, other, c]);
  }
}

/** A vector whose lanes all hold `value`. */
export function splat(shape: SimdShape, value: Expr): V128 {
  return new V128(simd(SIMD_SPLAT[shape]), [value]);
}

/** A constant vector from its 16 bytes, the lowest lane first. */
export function v128(bytes: readonly number[]): V128 {
  if (bytes.length !== 16) {
    throw new RangeError(
      `Cannot make a v128 of ${bytes.length} bytes: expected 16`,
    );
  }
  return new V128(simd(0x0c, ...bytes.map((b) => b & 0xff)), [], true);
}

/** A constant vector of 64-bit lanes, the lowest first. */
export function v128i64(low: bigint, high: bigint): V128 {
  const view = new DataView(new ArrayBuffer(16));
  view.setBigUint64(0, BigInt.asUintN(64, low), true);
  view.setBigUint64(8, BigInt.asUintN(64, high), true);
  return v128([...new Uint8Array(view.buffer)]);
}
