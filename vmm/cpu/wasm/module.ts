// A WebAssembly module under construction (WebAssembly Core Specification 3.0,
// 5.5 "Modules"): interned types, imports, functions, tags, a table and what it is filled with.

import { VAL_TYPE_CODE, type ValType } from "./expr.ts";
import { FunctionBuilder, type HintAt } from "./func.ts";
import { type AddressType, Memory } from "./memory.ts";
import { Writer } from "./writer.ts";

/** A function's parameters and results. */
export interface FuncType<R extends readonly ValType[] = readonly ValType[]> {
  /** value types of the parameters */
  readonly params: readonly ValType[];
  /** value types of the results */
  readonly results: R;
}

/** A function that can be called from inside the module. */
export interface FuncRef<R extends readonly ValType[] = readonly ValType[]> {
  /** its index in the module */
  readonly index: number;
  /** its name, for exports and messages */
  readonly name: string;
  /** its parameters and results */
  readonly type: FuncType<R>;
}

/** An exception tag. */
export interface TagRef<P extends readonly ValType[] = readonly ValType[]> {
  /** its index in the module */
  readonly index: number;
  /** value types of what an exception carries */
  readonly params: P;
}

/** The limits of an imported memory, in pages of 64 KiB. */
export interface MemoryLimits {
  /** pages that it has at least */
  readonly min: number;
  /** pages that it may grow to */
  readonly max: number;
  /** whether it is a shared memory */
  readonly shared: boolean;
}

interface Defined {
  readonly ref: FuncRef;
  body?: Body;
}

interface Import {
  readonly module: string;
  readonly name: string;
  readonly kind: number;
  readonly encode: (out: Writer) => void;
}

interface Table {
  readonly name: string;
  readonly min: number;
  readonly fill: FuncRef;
}

/** Where a function's body is among all that are encoded. */
interface Body {
  readonly from: number;
  readonly to: number;
  readonly hints: readonly HintAt[];
}

// Every byte is a character of its own.
const LATIN = new TextDecoder("latin1");

/** Builds the binary of one module. */
export class ModuleBuilder {
  readonly #types = new Map<number, number>();
  readonly #typeBytes = new Writer(64);
  readonly #imports: Import[] = [];
  readonly #functions: Defined[] = [];
  readonly #bodies = new Writer(1 << 12);
  readonly #once = new Map<string, FuncRef>();
  readonly #exports: FuncRef[] = [];
  readonly #elements: { offset: number; functions: FuncRef[] }[] = [];
  #table: Table | undefined;
  #tableType = 0;
  readonly #kept: { name: string; text: string }[] = [];
  #importedFunctions = 0;
  #memories = 0;
  #tags = 0;

  /** The index of a function type, which is added where it is new. */
  typeIndex(type: FuncType): number {
    const key = typeKey(type);
    const known = this.#types.get(key);
    if (known !== undefined) return known;
    const index = this.#types.size;
    this.#types.set(key, index);
    this.#typeBytes.byte(0x60);
    for (const list of [type.params, type.results]) {
      this.#typeBytes.u(list.length);
      for (const value of list) this.#typeBytes.byte(VAL_TYPE_CODE[value]);
    }
    return index;
  }

  #import(entry: Import): void {
    if (this.#functions.length > 0) {
      throw new Error(
        `Cannot import "${entry.name}": imports come before functions`,
      );
    }
    this.#imports.push(entry);
  }

  /** Imports a function. */
  importFunction<const R extends readonly ValType[]>(
    module: string,
    name: string,
    params: readonly ValType[],
    results: R,
  ): FuncRef<R> {
    const type = { params, results };
    const typeIndex = this.typeIndex(type);
    this.#import({ module, name, kind: 0, encode: (out) => out.u(typeIndex) });
    return { index: this.#importedFunctions++, name, type };
  }

  /** Imports a memory. */
  importMemory<A extends AddressType>(
    module: string,
    name: string,
    addressType: A,
    limits: MemoryLimits,
  ): Memory<A> {
    const flags = 1 | (limits.shared ? 2 : 0) | (addressType === "i64" ? 4 : 0);
    this.#import({
      module,
      name,
      kind: 2,
      encode: (out) => {
        out.byte(flags);
        out.u(limits.min);
        out.u(limits.max);
      },
    });
    return new Memory(this.#memories++, addressType);
  }

  /** Imports the table of functions of one type, which is table 0. */
  importTable(module: string, name: string, type: FuncType, min: number): void {
    this.#tableType = this.typeIndex(type);
    this.#import({
      module,
      name,
      kind: 1,
      encode: (out) => this.#putTableType(out, min),
    });
  }

  /** Defines table 0, of functions of one type, filled with `fill`; exports it. */
  exportTable(name: string, min: number, fill: FuncRef): void {
    this.#tableType = this.typeIndex(fill.type);
    this.#table = { name, min, fill };
  }

  // A table type: references, never null, to functions of one type.
  #putTableType(out: Writer, min: number): void {
    this.#putReferenceType(out);
    out.byte(0);
    out.u(min);
  }

  #putReferenceType(out: Writer): void {
    out.byte(0x64);
    out.s32(this.#tableType);
  }

  /** Imports an exception tag. */
  importTag<const P extends readonly ValType[]>(
    module: string,
    name: string,
    params: P,
  ): TagRef<P> {
    const typeIndex = this.typeIndex({ params, results: [] });
    this.#import({
      module,
      name,
      kind: 4,
      encode: (out) => {
        out.byte(0);
        out.u(typeIndex);
      },
    });
    return { index: this.#tags++, params };
  }

  /** Announces a function, so that others can call it before its body. */
  declare<const R extends readonly ValType[]>(
    name: string,
    params: readonly ValType[],
    results: R,
  ): FuncRef<R> {
    const type = { params, results };
    this.typeIndex(type);
    const index = this.#importedFunctions + this.#functions.length;
    const ref = { index, name, type };
    this.#functions.push({ ref });
    return ref;
  }

  /** Gives an announced function its body. */
  define(ref: FuncRef, build: (f: FunctionBuilder) => void): void {
    const entry = this.#functions[ref.index - this.#importedFunctions];
    if (entry?.ref !== ref || entry.body !== undefined) {
      throw new Error(`Cannot define "${ref.name}": not an open declaration`);
    }
    const body = new FunctionBuilder(this, ref.type);
    build(body);
    entry.body = this.#encodeBody(body);
  }

  #encodeBody(body: FunctionBuilder): Body {
    const from = this.#bodies.length;
    const hints = body.encode(this.#bodies);
    return { from, to: this.#bodies.length, hints };
  }

  /** Adds a function whose body was built apart, with this module. */
  add(name: string, body: FunctionBuilder): FuncRef {
    const { params, results } = body.type;
    const ref = this.declare(name, params, results);
    const entry = this.#functions[ref.index - this.#importedFunctions]!;
    entry.body = this.#encodeBody(body);
    return ref;
  }

  /** As `add`; where a function of the same code was added so, that is answered. */
  addOnce(name: string, body: FunctionBuilder): FuncRef {
    const ref = this.add(name, body);
    const { from, to } = this.#functions.at(-1)!.body!;
    const code = LATIN.decode(this.#bodies.bytes.subarray(from, to));
    const key = `${this.typeIndex(ref.type)} ${code}`;
    const known = this.#once.get(key);
    if (known === undefined) {
      this.#once.set(key, ref);
      return ref;
    }
    this.#functions.pop();
    this.#bodies.cut(from);
    return known;
  }

  /** Announces and defines a function. */
  func<const R extends readonly ValType[]>(
    name: string,
    params: readonly ValType[],
    results: R,
    build: (f: FunctionBuilder) => void,
  ): FuncRef<R> {
    const ref = this.declare(name, params, results);
    this.define(ref, build);
    return ref;
  }

  /** Exports a function under its name. */
  export(ref: FuncRef): void {
    this.#exports.push(ref);
  }

  /** Puts functions into table 0 from `offset` on. */
  elements(offset: number, functions: readonly FuncRef[]): void {
    this.#elements.push({ offset, functions: [...functions] });
  }

  /** Keeps a text in the module: a custom section, which changes nothing. */
  keep(name: string, text: string): void {
    this.#kept.push({ name, text });
  }

  /** The module's binary. */
  encode(): Uint8Array<ArrayBuffer> {
    const out = new Writer(1 << 16);
    out.append([0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
    section(out, 1, this.#types.size, (s) => s.copy(this.#typeBytes.bytes));
    section(out, 2, this.#imports.length, (s) => {
      for (const entry of this.#imports) {
        s.name(entry.module);
        s.name(entry.name);
        s.byte(entry.kind);
        entry.encode(s);
      }
    });
    section(out, 3, this.#functions.length, (s) => {
      for (const { ref } of this.#functions) s.u(this.typeIndex(ref.type));
    });
    const tables = this.#table === undefined ? [] : [this.#table];
    section(out, 4, tables.length, (s) => {
      for (const { min, fill } of tables) {
        s.append([0x40, 0x00]);
        this.#putTableType(s, min);
        putReference(s, fill);
      }
    });
    section(out, 7, this.#exports.length + tables.length, (s) => {
      for (const ref of this.#exports) putExport(s, ref.name, 0, ref.index);
      for (const { name } of tables) putExport(s, name, 1, 0);
    });
    section(out, 9, this.#elements.length, (s) => {
      for (const { offset, functions } of this.#elements) {
        s.append([0x06, 0x00, 0x41]);
        s.s32(offset);
        s.byte(0x0b);
        this.#putReferenceType(s);
        s.u(functions.length);
        for (const ref of functions) putReference(s, ref);
      }
    });
    hintSection(out, this.#functions);
    const size = this.#bodies.length + 5 * this.#functions.length + 8;
    section(out, 10, this.#functions.length, (s) => this.#putBodies(s), size);
    for (const { name, text } of this.#kept) {
      customSection(out, name, (s) => s.copy(new TextEncoder().encode(text)));
    }
    return out.bytes.slice();
  }

  #putBodies(out: Writer): void {
    const { bytes } = this.#bodies;
    for (const { ref, body } of this.#functions) {
      if (body === undefined) {
        throw new Error(`Function "${ref.name}" is declared but not defined`);
      }
      out.u(body.to - body.from);
      out.copy(bytes.subarray(body.from, body.to));
    }
  }
}

function putExport(out: Writer, name: string, kind: number, index: number) {
  out.name(name);
  out.byte(kind);
  out.u(index);
}

// The constant expression that refers to a function.
function putReference(out: Writer, ref: FuncRef): void {
  out.byte(0xd2);
  out.u(ref.index);
  out.byte(0x0b);
}

// A number that tells types of a few values apart: its digits, and one between.
function typeKey({ params, results }: FuncType): number {
  let key = 1;
  for (const value of params) key = key * 8 + TYPE_DIGIT[value];
  key *= 8;
  for (const value of results) key = key * 8 + TYPE_DIGIT[value];
  if (key > Number.MAX_SAFE_INTEGER) throw new RangeError("Too many values");
  return key;
}

const TYPE_DIGIT: Readonly<Record<ValType, number>> = {
  i32: 1,
  i64: 2,
  f32: 3,
  f64: 4,
  v128: 5,
};

// The custom section of branch hints, which comes before the code.
function hintSection(
  out: Writer,
  functions: readonly Defined[],
): void {
  const hinted = functions.filter(({ body }) => (body?.hints.length ?? 0) > 0);
  if (hinted.length === 0) return;
  customSection(out, "metadata.code.branch_hint", (content) => {
    content.u(hinted.length);
    for (const { ref, body } of hinted) {
      content.u(ref.index);
      content.u(body!.hints.length);
      for (const [at, hint] of body!.hints) {
        content.u(at);
        content.append([1, hint]);
      }
    }
  });
}

function customSection(
  out: Writer,
  name: string,
  write: (content: Writer) => void,
): void {
  const content = new Writer(1 << 14);
  content.name(name);
  write(content);
  out.byte(0);
  out.u(content.length);
  out.copy(content.bytes);
}

function section(
  out: Writer,
  id: number,
  count: number,
  write: (out: Writer) => void,
  size = 1024,
): void {
  if (count === 0) return;
  const body = new Writer(size);
  body.u(count);
  write(body);
  out.byte(id);
  out.u(body.length);
  out.copy(body.bytes);
}
