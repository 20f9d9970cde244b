// What every module of emitted code shares: the memories, the table of
// handlers, the trap tag, and the runtime functions by name. One module defines
// the runtime; all others import it.

import {
  type FuncRef,
  type FunctionBuilder,
  type I32,
  Memory,
  ModuleBuilder,
  type TagRef,
  type ValType,
} from "./wasm/mod.ts";
import { commonMemorySize } from "./shared_code.ts";
import type { FixedStack } from "./fixed_stack.ts";
import type { LateNote } from "./late_note.ts";
import type { DirectMemory } from "./page_access.ts";
import { HANDLER_TYPE } from "./record.ts";
import { STATE_PAGES } from "./state.ts";
import { HOST_SIGNATURES, type HostName } from "./runtime/host.ts";
import { RUNTIME_SIGNATURES, type RuntimeName } from "./runtime/signatures.ts";

/** Name of the module that emitted code imports from. */
export const IMPORT_MODULE = "cpu";
/** Most pages that memory 1 may have: 16 GiB, V8's limit. */
export const RAM_MAX_PAGES = 16 * 1024 * 16;
const COMMON_MAX_PAGES = commonMemorySize(RAM_MAX_PAGES * 65536);

/** Stands for a memory that a module does not import. */
const NO_MEMORY = new Memory(-1, "i32");

/** A runtime function's parameters and results. */
export interface Signature {
  /** value types of the parameters */
  readonly params: readonly ValType[];
  /** value types of the results */
  readonly results: readonly ValType[];
}

/** References to the runtime functions, typed by their signatures. */
export type RuntimeFunctions = {
  readonly [K in RuntimeName]: FuncRef<
    (typeof RUNTIME_SIGNATURES)[K]["results"]
  >;
};

/** References to the functions that TypeScript provides. */
export type HostFunctions = {
  readonly [K in HostName]: FuncRef<(typeof HOST_SIGNATURES)[K]["results"]>;
};

/**
 * The runtime's functions, each imported when it is first used: a module has two
 * hundred of them to choose from and needs ten.
 */
class LazyFunctions {
  readonly #m: ModuleBuilder;
  readonly #known = new Map<string, FuncRef>();

  constructor(m: ModuleBuilder) {
    this.#m = m;
  }

  static {
    for (const name of Object.keys(RUNTIME_SIGNATURES) as RuntimeName[]) {
      const get = function (this: LazyFunctions) {
        return this.#known.get(name) ?? this.#import(name);
      };
      Object.defineProperty(this.prototype, name, { get });
    }
  }

  #import(name: RuntimeName): FuncRef {
    const { params, results } = RUNTIME_SIGNATURES[name];
    const ref = this.#m.importFunction(IMPORT_MODULE, name, params, results);
    this.#known.set(name, ref);
    return ref;
  }
}

function importHost(m: ModuleBuilder): Record<string, FuncRef> {
  return mapValues(
    HOST_SIGNATURES,
    (name, s) => m.importFunction(IMPORT_MODULE, name, s.params, s.results),
  );
}

function declareRuntime(m: ModuleBuilder): Record<string, FuncRef> {
  return mapValues(RUNTIME_SIGNATURES, (name, { params, results }) => {
    const ref = m.declare(name, params, results);
    m.export(ref);
    return ref;
  });
}

function mapValues<T>(
  table: Readonly<Record<string, Signature>>,
  make: (name: string, signature: Signature) => T,
): Record<string, T> {
  const made = Object.entries(table).map(([name, s]) => [name, make(name, s)]);
  return Object.fromEntries(made);
}

/** A module of emitted code under construction. */
export class CpuModule {
  /** The module itself. */
  readonly m: ModuleBuilder = new ModuleBuilder();
  /** Memory 0: the state of `state.ts`. */
  readonly state: Memory<"i32">;
  /** Memory 1: guest RAM. */
  readonly ram: Memory<"i64">;
  /** Memory 2: see `createCommonMemory`; only the runtime may use it. */
  readonly common: Memory<"i32">;
  /** Thrown with a `TRAP` kind to leave an instruction undone. */
  readonly trap: TagRef<readonly ["i32"]>;
  /** The runtime functions. */
  readonly fn: RuntimeFunctions;
  /** The functions that TypeScript provides; only the runtime may call them. */
  readonly host: HostFunctions;

  /**
   * @param kind whether this module defines the runtime, or has code that imports what
   * it uses of it, which must be before the module has functions
   */
  constructor(readonly kind: "runtime" | "code") {
    const m = this.m;
    this.state = m.importMemory(IMPORT_MODULE, "state", "i32", {
      min: STATE_PAGES,
      max: STATE_PAGES,
      shared: true,
    });
    this.ram = m.importMemory(IMPORT_MODULE, "ram", "i64", {
      min: 1,
      max: RAM_MAX_PAGES,
      shared: true,
    });
    this.common = kind === "runtime"
      ? m.importMemory(IMPORT_MODULE, "common", "i32", {
        min: 1,
        max: COMMON_MAX_PAGES,
        shared: true,
      })
      : NO_MEMORY;
    m.importTable(IMPORT_MODULE, "table", HANDLER_TYPE, 1);
    this.trap = m.importTag(IMPORT_MODULE, "trap", ["i32"]);
    const isRuntime = kind === "runtime";
    this.host = (isRuntime ? importHost(m) : {}) as HostFunctions;
    const fn = isRuntime ? declareRuntime(m) : new LazyFunctions(m);
    this.fn = fn as unknown as RuntimeFunctions;
  }

  /** How code spends the budget where it does so in a way of its own. */
  readonly spend: ((count: I32) => void) | undefined;

  /** Guest memory, where the code gets at RAM only and leaves for all else. */
  readonly direct: DirectMemory | undefined;

  /** The x87's register stack, where the code supposes how it is. */
  readonly stack: FixedStack | undefined;

  /** The x87's last instruction, where the code tells of it when it leaves. */
  readonly note: LateNote | undefined;

  /** The same module for code that sees memory 0 and the budget in a way of its own. */
  seenThrough(
    state: Memory<"i32">,
    spend: (count: I32) => void,
    direct: DirectMemory | undefined,
    stack: FixedStack | undefined,
    note: LateNote | undefined,
  ): CpuModule {
    const seen = Object.create(CpuModule.prototype) as CpuModule;
    return Object.assign(seen, this, { state, spend, direct, stack, note });
  }

  /** Gives a runtime function its body. */
  define(name: RuntimeName, build: (f: FunctionBuilder) => void): void {
    this.m.define(this.fn[name], build);
  }
}
