// Has V8 compile a module's functions in this thread. V8 compiles a function when it is
// first called, and threads that make a module of the same bytes share its code; so
// every function is called here once, on memories of its own, with no budget: it
// leaves at its first branch, or at the first runtime function that it calls.

import { IMPORT_MODULE } from "../cpu_module.ts";
import { HANDLER_TYPE } from "../record.ts";
import { BUDGET, STATE_PAGES } from "../state.ts";
import { createMemory64, createTag, FunctionTable } from "../wasm/mod.ts";
import { RAM_MAX_PAGES } from "../cpu_module.ts";
import type { BatchPlan } from "./plan.ts";

type Region = (record: number) => number;

// One for all: to make an error takes as long as to compile a small function.
const LEFT = new Error("A rehearsal calls nothing");

function leave(): never {
  throw LEFT;
}

/** Memories for functions to be called on. */
export class Rehearsal {
  readonly #state = new WebAssembly.Memory({
    initial: STATE_PAGES,
    maximum: STATE_PAGES,
    shared: true,
  });
  readonly #ram = createMemory64(1, RAM_MAX_PAGES);
  readonly #tag = createTag(["i32"]);
  readonly #table = new FunctionTable(HANDLER_TYPE, 0);
  readonly #budget = new Int32Array(this.#state.buffer, BUDGET, 1);
  // Kept until the next one, so that its code is there when the other thread asks.
  #instance: WebAssembly.Instance | undefined;

  /** Compiles all functions of a module. */
  run(bytes: Uint8Array<ArrayBuffer>, { regions, first }: BatchPlan): void {
    const module = new WebAssembly.Module(bytes);
    const missing = first + regions.length - this.#table.size;
    if (missing > 0) this.#table.grow(missing);
    const { table } = this.#table;
    const imports: WebAssembly.ModuleImports = {
      state: this.#state,
      ram: this.#ram,
      table,
      trap: this.#tag as unknown as WebAssembly.ImportValue,
    };
    for (const { kind, name } of WebAssembly.Module.imports(module)) {
      if (kind === "function") imports[name] = leave;
    }
    this.#instance = new WebAssembly.Instance(module, {
      [IMPORT_MODULE]: imports,
    });
    for (let n = 0; n < regions.length; n++) {
      this.#call(table.get(first + n) as Region);
    }
    // Nothing but `#instance` is to keep the functions.
    this.#table.unset(first, regions.length);
  }

  #call(region: Region): void {
    this.#budget[0] = -1;
    try {
      region(0);
    } catch {
      // A trap or an import that it called: it was compiled before.
    }
  }
}
