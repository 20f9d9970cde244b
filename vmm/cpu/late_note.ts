// What FNSTENV is to tell of the x87's last instruction, in a region: most of it is told
// anew by the next instruction, so it is kept in locals and stored where the region is
// left. No instruction of a region reads it or changes the segments that it goes by.

import type { RuntimeFunctions } from "./cpu_module.ts";
import {
  type FunctionBuilder,
  type I32,
  i32,
  type I64,
  type Var,
} from "./wasm/mod.ts";

/** No instruction was noted. */
const NONE = -1;

interface Note {
  readonly opcode: Var<"i32">;
  readonly rip: Var<"i64">;
  readonly slot: Var<"i32">;
  readonly address: Var<"i64">;
}

/** The last instruction of the x87 in a region. */
export class LateNote {
  readonly #f: FunctionBuilder;
  readonly #fn: RuntimeFunctions;
  #note: Note | undefined;

  /**
   * @param f the region's function
   * @param fn the runtime
   */
  constructor(f: FunctionBuilder, fn: RuntimeFunctions) {
    this.#f = f;
    this.#fn = fn;
  }

  #locals(): Note {
    return this.#note ??= {
      opcode: this.#f.reserve("i32"),
      rip: this.#f.reserve("i64"),
      slot: this.#f.reserve("i32"),
      address: this.#f.reserve("i64"),
    };
  }

  /** Notes an instruction by its opcode. */
  set(opcode: I32, rip: I64): void {
    const note = this.#locals();
    this.#f.set(note.opcode, opcode);
    this.#f.set(note.rip, rip);
  }

  /** Notes an operand in memory by its segment's slot. */
  setData(slot: I32, address: I64): void {
    const note = this.#locals();
    this.#f.set(note.slot, slot);
    this.#f.set(note.address, address);
  }

  /** What was noted does not count any more. */
  clear(): void {
    if (this.#note === undefined) return;
    this.#f.set(this.#note.opcode, i32(NONE));
    this.#f.set(this.#note.slot, i32(0));
  }

  /** The region begins. */
  enter(): void {
    this.clear();
  }

  /** The region is left. */
  leave(): void {
    if (this.#note === undefined) return;
    const { opcode, rip, slot, address } = this.#note;
    const values = [opcode.get(), rip.get(), slot.get(), address.get()];
    this.#f.if(
      opcode.get().ne(NONE),
      () => this.#f.call(this.#fn.x87Note, ...values),
    );
  }
}
