// Tables of functions of one type. TypeScript can make tables of functions of any type
// only: their callers check the type at each call.

import { type FuncType, ModuleBuilder } from "./module.ts";

// TypeScript's library does not know that new entries may be given a value.
interface GrowingTable extends WebAssembly.Table {
  grow(count: number, value?: unknown): number;
}

/** A growing table of functions of one type; entries that nobody set trap. */
export class FunctionTable {
  /** The table, as modules import it. */
  readonly table: WebAssembly.Table;
  readonly #unset: (...values: never[]) => unknown;

  /**
   * @param type of all its functions
   * @param size entries that it has at first
   */
  constructor(type: FuncType, size: number) {
    const m = new ModuleBuilder();
    const unset = m.func(
      "unset",
      type.params,
      type.results,
      (f) => f.unreachable(),
    );
    m.export(unset);
    m.exportTable("table", size, unset);
    const module = new WebAssembly.Module(m.encode());
    const { exports } = new WebAssembly.Instance(module);
    this.table = exports["table"] as WebAssembly.Table;
    this.#unset = exports["unset"] as () => unknown;
  }

  /** Entries that it has. */
  get size(): number {
    return this.table.length;
  }

  /** Takes the functions of some entries out. */
  unset(first: number, count: number): void {
    for (let n = 0; n < count; n++) this.table.set(first + n, this.#unset);
  }

  /** Adds entries. */
  grow(count: number): void {
    const table = this.table as GrowingTable;
    table.grow(count, this.#unset);
  }
}
