// Handlers: a definition emitted in a shape, with its operands read from a record.
// Those that guests use most are built together with the runtime, in one module, and
// some of them for two records in a row; the rest are built when a block first needs them.

import { CpuModule } from "./cpu_module.ts";
import { type Continuation, Emitter, ThreadedContinuation } from "./emitter.ts";
import { RecordFields } from "./fields.ts";
import type { Definition } from "./form.ts";
import { FirstContinuation, FusedFunction } from "./fusion.ts";
import { type FusedPair, fusedPairs, pairKey } from "./fused_pairs.ts";
import { HANDLER_TYPE, RECORD_STRIDE } from "./record.ts";
import { PLAIN, reduceShape, type Shape, shapeKey } from "./shape.ts";
import { type FuncRef, FunctionBuilder } from "./wasm/mod.ts";
import { COMMON_DEFINITIONS } from "./forms/mod.ts";
import { defineRuntime } from "./runtime/mod.ts";

/** Identifies a handler: its definition and what it depends on of the shape. */
export function handlerKey(definition: Definition, shape: Shape): string {
  return `${definition.name}|${shapeKey(reduceShape(shape, definition.axes))}`;
}

// Emits what the record at an offset from the handler's does.
function emitRecord(
  cpu: CpuModule,
  f: FunctionBuilder,
  { definition, shape }: WantedHandler,
  offset: number,
  continuation: Continuation,
): Emitter {
  const x = new Emitter(
    cpu,
    f,
    new RecordFields(cpu.state, f.param(0, "i32"), offset),
    reduceShape(shape, definition.axes),
    definition.operands,
    continuation,
  );
  definition.define(x);
  return x;
}

/** Emits a handler. */
function emitHandler(cpu: CpuModule, wanted: WantedHandler): FunctionBuilder {
  const f = new FunctionBuilder(cpu.m, HANDLER_TYPE);
  const next = f.param(0, "i32").add(RECORD_STRIDE);
  const goesOn = new ThreadedContinuation(cpu, f, next);
  const x = emitRecord(cpu, f, wanted, 0, goesOn);
  if (!wanted.definition.ends) x.next();
  return f;
}

/** Emits the handler that does what two in a row do. */
function emitFused(
  cpu: CpuModule,
  [first, second]: FusedPair,
): FunctionBuilder {
  const f = new FusedFunction(cpu);
  const record = f.param(0, "i32");
  const then = record.add(RECORD_STRIDE);
  emitRecord(cpu, f, first, 0, new FirstContinuation(cpu, f, then));
  f.enterSecond(then);
  const next = record.add(2 * RECORD_STRIDE);
  const goesOn = new ThreadedContinuation(cpu, f, next);
  const x = emitRecord(cpu, f, second, RECORD_STRIDE, goesOn);
  if (!second.definition.ends) x.next();
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

/** What the table begins with. */
export interface RuntimeTable {
  /** indices of the common handlers, by `handlerKey` */
  readonly handlers: ReadonlyMap<string, number>;
  /** those of fused handlers, by `pairKey` */
  readonly fused: ReadonlyMap<number, number>;
}

/** What the runtime module keeps: its table's `RuntimeTable`, as JSON. */
const TABLE = "table";

let runtimeModule: WebAssembly.Module | undefined;
let runtimeTable: RuntimeTable | undefined;

/** The runtime with the common handlers in it; each thread builds it once. */
export function getRuntimeModule(): WebAssembly.Module {
  runtimeModule ??= new WebAssembly.Module(runtimeBytes());
  return runtimeModule;
}

/** Takes the runtime module that was built elsewhere. */
export function adoptRuntimeModule(built: WebAssembly.Module): void {
  runtimeModule ??= built;
}

/**
 * What the table begins with. Many instructions do the same by their records: short
 * and long branches, both encodings of a move. They share a handler where both end
 * their block or neither does, which is told by what a handler was made from.
 */
class TableEntries {
  readonly functions: FuncRef[] = [];
  readonly #indices = new Map<number, number>();

  /** The index of a function. */
  add(ref: FuncRef, ends: boolean): number {
    const key = 2 * ref.index + Number(ends);
    const known = this.#indices.get(key);
    if (known !== undefined) return known;
    const index = this.functions.push(ref) - 1;
    this.#indices.set(key, index);
    return index;
  }
}

/** What the runtime module puts into the table; each thread reads it once. */
export function getRuntimeTable(): RuntimeTable {
  runtimeTable ??= tableOf(getRuntimeModule());
  return runtimeTable;
}

function tableOf(runtime: WebAssembly.Module): RuntimeTable {
  const [section] = WebAssembly.Module.customSections(runtime, TABLE);
  const { handlers, fused } = JSON.parse(new TextDecoder().decode(section));
  return { handlers: new Map(handlers), fused: new Map(fused) };
}

function addCommon(cpu: CpuModule, entries: TableEntries): Map<string, number> {
  const handlers = new Map<string, number>();
  for (const definition of COMMON_DEFINITIONS) {
    for (const shape of commonShapes(definition)) {
      const key = handlerKey(definition, shape);
      if (handlers.has(key)) continue;
      const body = emitHandler(cpu, { definition, shape });
      const ref = cpu.m.addOnce(key, body);
      handlers.set(key, entries.add(ref, definition.ends));
    }
  }
  return handlers;
}

function addFused(
  cpu: CpuModule,
  entries: TableEntries,
  handlers: ReadonlyMap<string, number>,
): Map<number, number> {
  const indexOf = ({ definition, shape }: WantedHandler) =>
    handlers.get(handlerKey(definition, shape))!;
  const fused = new Map<number, number>();
  for (const pair of fusedPairs()) {
    const ref = cpu.m.addOnce("fused", emitFused(cpu, pair));
    const key = pairKey(indexOf(pair[0]), indexOf(pair[1]))!;
    fused.set(key, entries.add(ref, false));
  }
  return fused;
}

/** Builds the runtime module. */
export function runtimeBytes(): Uint8Array<ArrayBuffer> {
  const cpu = new CpuModule("runtime");
  defineRuntime(cpu);
  const entries = new TableEntries();
  const handlers = addCommon(cpu, entries);
  const fused = addFused(cpu, entries, handlers);
  cpu.m.elements(0, entries.functions);
  const table = { handlers: [...handlers], fused: [...fused] };
  cpu.m.keep(TABLE, JSON.stringify(table));
  return cpu.m.encode();
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
  const bodies = placed.map((one) => emitHandler(cpu, one));
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
