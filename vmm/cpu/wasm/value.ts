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

/**
 * An expression of some value type. As many are made as bytes are emitted, so that no
 * more is done for one than to set its fields: they are declared, since a definition
 * would set them first, and what would be private methods are functions, since an object
 * is marked as having those. That took a quarter of the time to emit.
 */
export abstract class Expr {
  /** The expression's value type. */
  abstract readonly type: ValType;
  /** The instruction's own bytes, opcode and immediates. */
  declare readonly bytes: readonly number[];
  /** Its operands, emitted first. */
  declare readonly kids: readonly Expr[];
  /** True for a constant or a local that is never assigned again. */
  declare readonly stable: boolean;
  /** For a local that keeps a value: what that is. */
  declare from: Expr | undefined;
  /** A call that gives the same, for code that is rather small than fast. */
  declare smaller: Expr | undefined;
  /** What its maker notes about it, for itself: not of one without operands. */
  declare note: unknown;

  /**
   * @param bytes the instruction's own bytes, opcode and immediates
   * @param kids its operands, emitted first
   * @param stable whether evaluating it twice costs and changes nothing
   */
  constructor(
    bytes: readonly number[],
    kids: readonly Expr[],
    stable = false,
  ) {
    this.bytes = bytes;
    this.kids = kids;
    this.stable = stable;
    this.from = undefined;
    this.smaller = undefined;
    this.note = undefined;
  }

  /** Appends the code that leaves this value on the operand stack. */
  emit(out: Writer): void {
    const { kids } = this;
    for (let n = 0; n < kids.length; n++) kids[n]!.emit(out);
    out.append(this.bytes);
  }
}
