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

/** What the runtime module keeps: a line for each handler, in the table's order. */
const HANDLERS = "handlers";

let runtimeModule: WebAssembly.Module | undefined;

/** The runtime with the common handlers in it; each thread builds it once. */
export function getRuntimeModule(): WebAssembly.Module {
  runtimeModule ??= new WebAssembly.Module(runtimeBytes());
  return runtimeModule;
}

/** Takes the runtime module that was built elsewhere. */
export function adoptRuntimeModule(built: WebAssembly.Module): void {
  runtimeModule ??= built;
}

/** Table indices of the runtime module's handlers. */
export function handlersOf(runtime: WebAssembly.Module): Map<string, number> {
  const [section] = WebAssembly.Module.customSections(runtime, HANDLERS);
  const keys = new TextDecoder().decode(section).split("\n");
  return new Map(keys.map((key, index) => [key, index]));
}

/** Builds the runtime module. */
export function runtimeBytes(): Uint8Array<ArrayBuffer> {
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
  cpu.m.keep(HANDLERS, [...handlers.keys()].join("\n"));
  return cpu.m.encode();
}

/** A handler that is wanted in the table. */
export interface WantedHandler {
  /** what it does */
  readonly definition: Definition;
  /** in which shape */
  readonly shape: Shape;
}

const batches = new Map<string, WebAssembly.Module>();

/** Builds a module whose handlers go into the table from `first` on. */
export function buildHandlers(
  wanted: readonly WantedHandler[],
  first: number,
): WebAssembly.Module {
  const key = `${first}|` +
    wanted.map((w) => handlerKey(w.definition, w.shape)).join();
  const known = batches.get(key);
  if (known !== undefined) return known;
  const cpu = new CpuModule("code");
  const bodies = wanted.map((w) => emitHandler(cpu, w.definition, w.shape));
  // The functions come after all that their bodies import.
  const functions = bodies.map((body) => cpu.m.add("handler", body));
  cpu.m.elements(first, functions);
  const module = new WebAssembly.Module(cpu.m.encode());
  batches.set(key, module);
  return module;
}
