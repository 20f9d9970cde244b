// Value types (WebAssembly Core Specification 3.0, 5.3) and what all expressions have.

import type { Writer } from "./writer.ts";

/** A value type by its name in the text format. */
export type ValType = "i32" | "i64" | "f32" | "f64" | "v128";

/** The byte that stands for a value type in the binary format. */
export const VAL_TYPE_CODE: Readonly<Record<ValType, number>> = {
  i32: 0x7f,
  i64: 0x7e,
  f32: 0x7d,
  f64: 0x7c,
  v128: 0x7b,
};

const OPCODES: readonly (readonly number[])[] = Array.from(
  { length: 256 },
  (_, opcode) => [opcode],
);

/** The bytes of an instruction without immediates. */
export function opcodeBytes(opcode: number): readonly number[] {
  return OPCODES[opcode]!;
}

/** An expression of some value type. */
export abstract class Expr {
  /** The expression's value type. */
  abstract readonly type: ValType;
  /** True for a constant or a local that is never assigned again. */
  readonly stable: boolean;
  /** For a local that keeps a value: what that is. */
  from: Expr | undefined;
  /** A call that gives the same, for code that is rather small than fast. */
  smaller: Expr | undefined;
  /** What its maker notes about it, for itself: not of one without operands. */
  note: unknown;

  /**
   * @param bytes the instruction's own bytes, opcode and immediates
   * @param kids its operands, emitted first
   * @param stable whether evaluating it twice costs and changes nothing
   */
  constructor(
    readonly bytes: readonly number[],
    readonly kids: readonly Expr[],
    stable = false,
  ) {
    this.stable = stable;
  }

  /** Appends the code that leaves this value on the operand stack. */
  emit(out: Writer): void {
    const { kids } = this;
    for (let n = 0; n < kids.length; n++) kids[n]!.emit(out);
    out.append(this.bytes);
  }
}
