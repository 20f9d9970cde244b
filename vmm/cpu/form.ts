// A form: one encoding of one instruction, with the definition of its meaning. It has the
// name of iced-x86's `Code`, but knows nothing of iced-x86, which emitting does not need.

import type { Emitter } from "./emitter.ts";
import { type Operand, operandsOf } from "./operands.ts";
import type { Axis } from "./shape.ts";

/** What a form needs besides its definition. */
export interface FormOptions {
  /** axes of the shape that the definition looks at */
  readonly axes?: readonly Axis[];
  /** it ends its block: nothing after it is decoded along with it */
  readonly ends?: boolean;
  /** registers and state that must be usable: checked when a block is decoded */
  readonly unit?: Unit;
  /**
   * the accesses to its memory operand, for segment checks: default read. With
   * `none` and `offset` the address is without its segment; `offset` puts the
   * segment's slot into field 2, for a definition that applies it itself. `ignored`
   * is for what does nothing: no operand of it is looked at
   */
  readonly access?: "read" | "write" | "update" | "none" | "offset" | "ignored";
}

/**
 * What an instruction executes on; it decides #UD and #NM by CR0 and CR4.
 * `integer` none; `x87` CR0.EM or TS: #NM; `wait` CR0.MP and TS: #NM;
 * `mmx` CR0.EM: #UD, TS: #NM; `sse` CR0.EM or not CR4.OSFXSR: #UD, TS: #NM;
 * `fxsr` CR0.EM or TS: #NM.
 */
export type Unit = "integer" | "x87" | "wait" | "mmx" | "sse" | "fxsr";

/** What a handler is made from: an instruction form or a step of the engine. */
export interface Definition {
  /** names it among all definitions */
  readonly name: string;
  /** its operands, in iced-x86's order */
  readonly operands: readonly Operand[];
  /** axes of the shape that it looks at */
  readonly axes: readonly Axis[];
  /** whether every path of it chooses how to go on */
  readonly ends: boolean;
  /** emits its meaning */
  readonly define: (x: Emitter) => void;
}

/** One instruction form. */
export interface Form extends Definition, Required<FormOptions> {}

/** Makes a form from the name of its `Code`. */
export function form(
  name: string,
  define: (x: Emitter) => void,
  options: FormOptions = {},
): Form {
  return {
    name,
    operands: operandsOf(name),
    define,
    axes: options.axes ?? [],
    ends: options.ends ?? false,
    unit: options.unit ?? "integer",
    access: options.access ?? "read",
  };
}

/** Makes forms of instructions that do nothing, as `steps.NOTHING` does. */
export function nothing(names: readonly string[]): Form[] {
  return names.map((name) => form(name, () => {}, { access: "ignored" }));
}

/** Makes forms that share a definition. */
export function forms(
  names: readonly string[],
  define: (x: Emitter) => void,
  options: FormOptions = {},
): Form[] {
  return names.map((name) => form(name, define, options));
}
