// Handlers: a definition emitted in a shape, with its operands read from a record.
// Those that guests use most are built together with the runtime, in one module,
// since a tail call inside a module is several times cheaper than across modules;
// the rest are built when a block first needs them.

import { CpuModule } from "./cpu_module.ts";
import { Emitter, ThreadedContinuation } from "./emitter.ts";
import { RecordFields } from "./fields.ts";
import type { Definition } from "./form.ts";
import { HANDLER_TYPE } from "./record.ts";
import { PLAIN, reduceShape, type Shape, shapeKey } from "./shape.ts";
import { type FuncRef, FunctionBuilder } from "./wasm/mod.ts";
import { COMMON_DEFINITIONS } from "./forms/mod.ts";
import { defineRuntime } from "./runtime/mod.ts";

/** Identifies a handler: its definition and what it depends on of the shape. */
export function handlerKey(definition: Definition, shape: Shape): string {
  return `${definition.name}|${shapeKey(reduceShape(shape, definition.axes))}`;
}

/** Emits the handler of a definition in a shape. */
function emitHandler(
  cpu: CpuModule,
  definition: Definition,
  shape: Shape,
): FunctionBuilder {
  const f = new FunctionBuilder(cpu.m, HANDLER_TYPE);
  const record = f.param(0, "i32");
  const x = new Emitter(
    cpu,
    f,
    new RecordFields(cpu.state, record),
    reduceShape(shape, definition.axes),
    definition.operands,
    new ThreadedContinuation(cpu, f, record),
  );
  definition.define(x);
  if (!definition.ends) x.next();
  return f;
}

// What kernels lock; with memory XCHG always is.
const LOCKED = /^(Add|And|Bt[crs]|Cmpxchg|Dec|Inc|Or|Sub|Xadd|Xor)_rm(32|64)/;
const XCHG = /^Xchg_/;

/** The shapes of 64-bit code that a definition's handlers are built for at once. */
export function commonShapes(definition: Definition): Shape[] {
  const { name, operands, axes } = definition;
  const takesMemory = operands.some((o) =>
    o.kind === "memory" || o.kind === "either"
  );
  const takesRegister = !operands.some((o) => o.kind === "memory");
  const shapes: Shape[] = takesRegister ? [PLAIN] : [];
  if (takesMemory) {
    const inMemory = { ...PLAIN, lock: XCHG.test(name) };
    shapes.push({ ...inMemory, memory: "base" }, { ...inMemory, memory: "ea" });
  }
  if (LOCKED.test(name)) shapes.push({ ...PLAIN, memory: "base", lock: true });
  if (axes.includes("rep")) shapes.push({ ...PLAIN, rep: "repe" });
  return shapes;
}

/** The runtime module with the common handlers in it. */
export interface RuntimeModule {
  /** the compiled module, which any thread may instantiate */
  readonly module: WebAssembly.Module;
  /** table indices of its handlers */
  readonly handlers: ReadonlyMap<string, number>;
}

let runtimeModule: RuntimeModule | undefined;

/** Builds the runtime module, once in each thread. */
export function getRuntimeModule(): RuntimeModule {
  runtimeModule ??= buildRuntimeModule();
  return runtimeModule;
}

/** Takes the runtime module that another thread has built. */
export function adoptRuntimeModule(built: RuntimeModule): void {
  runtimeModule ??= built;
}

function buildRuntimeModule(): RuntimeModule {
  const cpu = new CpuModule("runtime");
  defineRuntime(cpu);
  const handlers = new Map<string, number>();
  const functions: FuncRef[] = [];
  for (const definition of COMMON_DEFINITIONS) {
    for (const shape of commonShapes(definition)) {
      const key = handlerKey(definition, shape);
      if (handlers.has(key)) continue;
      handlers.set(key, functions.length);
      functions.push(cpu.m.add(key, emitHandler(cpu, definition, shape)));
    }
  }
  cpu.m.elements(0, functions);
  return { module: new WebAssembly.Module(cpu.m.encode()), handlers };
}

/** A handler that is wanted in the table. */
export interface WantedHandler {
  /** what it does */
  readonly definition: Definition;
  /** in which shape */
  readonly shape: Shape;
}

/** A handler that is wanted at an index of the table. */
interface PlacedHandler extends WantedHandler {
  readonly index: number;
}

const modules = new Map<string, WebAssembly.Module>();

function buildHandlers(placed: readonly PlacedHandler[]): WebAssembly.Module {
  const cpu = new CpuModule("code");
  const bodies = placed.map((p) => emitHandler(cpu, p.definition, p.shape));
  // The functions come after all that their bodies import.
  const functions = bodies.map((body) => cpu.m.add("handler", body));
  placed.forEach(({ index }, n) => cpu.m.elements(index, [functions[n]!]));
  return new WebAssembly.Module(cpu.m.encode());
}

/** Handlers that come alone until there are so many are built together then. */
const GATHERED = 32;

/**
 * The handlers that blocks want besides the common ones. Each is built at once, which
 * makes a module of it; but code that goes from module to module takes twice as long, so
 * whenever they have doubled, all are built again in one.
 */
export class LateHandlers {
  readonly #all: PlacedHandler[] = [];
  #fresh: PlacedHandler[] = [];
  #gatherAt = GATHERED;

  /** Wants a handler at an index of the table. */
  add(index: number, { definition, shape }: WantedHandler): void {
    const placed = { index, definition, shape };
    this.#all.push(placed);
    this.#fresh.push(placed);
  }

  /** A module that puts what is wanted into the table; undefined: nothing is. */
  build(): WebAssembly.Module | undefined {
    const fresh = this.#fresh;
    if (fresh.length === 0) return undefined;
    this.#fresh = [];
    if (this.#all.length >= this.#gatherAt) {
      this.#gatherAt = 2 * this.#all.length;
      return buildHandlers(this.#all);
    }
    const key = fresh.map((p) =>
      `${p.index}|${handlerKey(p.definition, p.shape)}`
    ).join();
    const module = modules.get(key) ?? buildHandlers(fresh);
    modules.set(key, module);
    return module;
  }
}
