// Typed WebAssembly expressions (WebAssembly Core Specification 3.0, 5.4).
// An expression is an immutable tree: its operands, then the bytes of its own
// instruction. Trees have no side effects and fold constants where that is free;
// what has an effect is a statement of `FunctionBuilder`.

import { F32, F64, I32, I64 } from "./scalar.ts";
import type { Expr, ValType } from "./value.ts";
import { V128 } from "./vector.ts";

export * from "./scalar.ts";
export * from "./value.ts";
export * from "./vector.ts";

/** The expression class of each value type. */
export interface ExprOf {
  /** 32-bit integer */
  i32: I32;
  /** 64-bit integer */
  i64: I64;
  /** single precision */
  f32: F32;
  /** double precision */
  f64: F64;
  /** vector */
  v128: V128;
}

/** Makes an expression of a type that is known by name only. */
export function expr<T extends ValType>(
  type: T,
  bytes: readonly number[],
  kids: readonly Expr[] = [],
  stable = false,
): ExprOf[T] {
  switch (type) {
    case "i32":
      return new I32(bytes, kids, stable) as ExprOf[T];
    case "i64":
      return new I64(bytes, kids, stable) as ExprOf[T];
    case "f32":
      return new F32(bytes, kids, stable) as ExprOf[T];
    case "f64":
      return new F64(bytes, kids, stable) as ExprOf[T];
    default:
      return new V128(bytes, kids, stable) as ExprOf[T];
  }
}
