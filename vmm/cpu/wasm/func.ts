// The body of one function: locals and structured control (WebAssembly Core
// Specification 3.0, 5.4.1 to 5.4.5). Statements are encoded as they come.

import {
  type Expr,
  expr,
  type ExprOf,
  i32,
  type I32Like,
  VAL_TYPE_CODE,
  type ValType,
} from "./expr.ts";
import type { FuncRef, FuncType, ModuleBuilder, TagRef } from "./module.ts";
import type { Stmt } from "./memory.ts";
import { Writer } from "./writer.ts";

const EMPTY_BLOCK = 0x40;

/** The expressions for a list of value types. */
export type Values<T extends readonly ValType[]> = {
  [K in keyof T]: ExprOf[T[K]];
};

/** Where a branch goes: the end of a block, or the start of a loop. */
export class Label {
  /** @param depth how many blocks enclosed the statement when it was opened */
  constructor(readonly depth: number) {}
}

/** A local that may be assigned again. */
export class Var<T extends ValType> {
  constructor(readonly index: number, readonly type: T) {}
  /** Its present value: use it before the next assignment, or bind it. */
  get(): ExprOf[T] {
    return localGet(this.type, this.index, false);
  }
}

const MOST_KNOWN_LOCALS = 1 << 12;
const NO_KIDS: readonly Expr[] = [];

type ByType<T> = Record<ValType, T[]>;

function noLocals<T>(): ByType<T> {
  return { i32: [], i64: [], f32: [], f64: [], v128: [] };
}

// Instructions and values of locals, by index: there are many alike.
const LOCAL_SETS: (readonly number[])[] = [];
const VARIABLES: ByType<Expr> = noLocals();
const KEPT: ByType<Expr> = noLocals();

function localBytes(opcode: number, index: number): readonly number[] {
  return index < 0x80
    ? [opcode, index]
    : [opcode, (index & 0x7f) | 0x80, index >> 7];
}

/** The condition of a branch mostly does not hold: see `Hint`. */
export const RARELY = 0;
/** The condition of a branch mostly holds. */
export const MOSTLY = 1;
/**
 * Whether the condition of a branch holds (WebAssembly's branch hinting): the engine
 * keeps what is rare out of the way, its spills of registers above all.
 */
export type Hint = typeof RARELY | typeof MOSTLY;

/** Where in a body a branch with a hint is. */
export type HintAt = readonly [number, Hint];

/** The bytes that assign a local. */
export function localSet(index: number): readonly number[] {
  return LOCAL_SETS[index] ??= localBytes(0x21, index);
}

function localGet<T extends ValType>(
  type: T,
  index: number,
  isKept: boolean,
): ExprOf[T] {
  const make = () => expr(type, localBytes(0x20, index), NO_KIDS, isKept);
  if (index >= MOST_KNOWN_LOCALS) return make();
  const known = (isKept ? KEPT : VARIABLES)[type];
  return (known[index] ??= make() as Expr) as Expr as ExprOf[T];
}

/** A local of a type. */
export type Local = readonly [ValType, number];

/** A place in a body to go back to: see `FunctionBuilder.mark`. */
export interface Mark {
  readonly length: number;
  readonly depth: number;
  readonly scope: Local[] | undefined;
}

// Buffers of bodies that are encoded, for the next: there are thousands of bodies.
const SPARE: Writer[] = [];
const MOST_SPARE = 4;

function spareWriter(): Writer {
  return SPARE.pop() ?? new Writer(1024);
}

function spare(writer: Writer | undefined): void {
  if (writer === undefined || SPARE.length === MOST_SPARE) return;
  writer.cut(0);
  SPARE.push(writer);
}

/** Builds one function body. */
export class FunctionBuilder {
  #out = spareWriter();
  #front: Writer | undefined;
  readonly #locals: ValType[] = [];
  readonly #reserved = new Set<number>();
  #free: ByType<number> = noLocals();
  #scope: Local[] | undefined;
  #depth = 0;
  #hints: HintAt[] = [];
  #frontHints: readonly HintAt[] = [];
  #trappedAt = -1;

  /**
   * @param module the module it belongs to, which interns its types
   * @param type its parameters and results
   */
  constructor(readonly module: ModuleBuilder, readonly type: FuncType) {}

  /** The parameter at `index`. */
  param<T extends ValType>(index: number, type: T): ExprOf[T] {
    if (this.type.params[index] !== type) {
      throw new TypeError(
        `Parameter ${index} is ${this.type.params[index]}, not ${type}`,
      );
    }
    return localGet(type, index, true);
  }

  /** The parameter at `index` as a local that may be assigned. */
  paramVar<T extends ValType>(index: number, type: T): Var<T> {
    this.param(index, type);
    return new Var(index, type);
  }

  /** How many blocks are open. */
  get depth(): number {
    return this.#depth;
  }

  #newLocal(type: ValType): number {
    const index = this.#free[type].pop() ?? this.#addLocal(type);
    this.#scope?.push([type, index]);
    return index;
  }

  #addLocal(type: ValType): number {
    return this.type.params.length + this.#locals.push(type) - 1;
  }

  /** A local for the whole function, whose value `prologue` has to set. */
  reserve<T extends ValType>(type: T): Var<T> {
    const index = this.#addLocal(type);
    this.#reserved.add(index);
    return new Var(index, type);
  }

  /** Makes code that runs before all there is so far. */
  prologue(build: () => void): void {
    const rest = this.#out;
    const hints = this.#hints;
    this.#out = spareWriter();
    this.#hints = [];
    build();
    this.#front = this.#out;
    this.#frontHints = this.#hints;
    this.#out = rest;
    this.#hints = hints;
  }

  /** Where the body ends now. */
  mark(): Mark {
    return {
      length: this.#out.length,
      depth: this.#depth,
      scope: this.#scope?.slice(),
    };
  }

  /** Takes back what was appended since a mark was made. */
  rewind(mark: Mark): void {
    this.#out.cut(mark.length);
    while ((this.#hints.at(-1)?.[0] ?? -1) >= mark.length) this.#hints.pop();
    this.#depth = mark.depth;
    this.#scope = mark.scope?.slice();
  }

  /**
   * Evaluates now and keeps the value; the result may be used any number of
   * times. Constants and kept values are returned as they are.
   */
  let<E extends Expr>(value: E): E {
    if (value.stable) return value;
    const index = this.#newLocal(value.type);
    value.emit(this.#out);
    this.#out.append(localSet(index));
    // An object of its own, since it knows what it was made from.
    const get = localGet(value.type, index, true) as Expr;
    const kept: Expr = expr(value.type, get.bytes, NO_KIDS, true);
    kept.from = value;
    return kept as E;
  }

  /**
   * A value that is used a few times, near here: as `let`, unless the function is
   * one that rather evaluates it again, or never.
   */
  share<E extends Expr>(value: E): E {
    return this.let(value);
  }

  /**
   * `value`, which a function of this name gives as well, for arguments that are kept:
   * a function that wants to be small may call it.
   */
  orCall<E extends Expr>(value: E, _name: string, ..._args: Expr[]): E {
    return value;
  }

  /** A new mutable local, zero unless it is given a value. */
  var<T extends ValType>(type: T, value?: ExprOf[T]): Var<T> {
    const variable = new Var(this.#newLocal(type), type);
    // A recycled local is not zero, so a variable is always assigned.
    this.set(variable, value ?? zero(type));
    return variable;
  }

  /** Assigns a variable. */
  set<T extends ValType>(variable: Var<T>, value: ExprOf[T]): void {
    (value as Expr).emit(this.#out);
    this.#out.append(localSet(variable.index));
  }

  /** Runs `body`, then lets later locals reuse those that it made. */
  scope(body: () => void): void {
    this.release(this.collect(body));
  }

  /** Runs `body`; answers the locals that it made, for `release`. */
  collect(body: () => void): readonly Local[] {
    const outer = this.#scope;
    this.#scope = [];
    body();
    const made = this.#scope;
    this.#scope = outer;
    return made;
  }

  /** Lets later locals reuse these. */
  release(locals: readonly Local[]): void {
    for (const [type, index] of locals) this.#free[type].push(index);
  }

  /**
   * Runs `body`, whose code never reaches what comes after it: locals are as free
   * afterwards as they were before.
   */
  aside(body: () => void): void {
    const free = this.#free;
    const scope = this.#scope;
    const first = this.#locals.length;
    this.#free = {
      i32: free.i32.slice(),
      i64: free.i64.slice(),
      f32: free.f32.slice(),
      f64: free.f64.slice(),
      v128: free.v128.slice(),
    };
    this.#scope = [];
    body();
    this.#free = free;
    this.#scope = scope;
    const made = this.#locals.slice(first).map((type, n) =>
      [type, this.type.params.length + first + n] as const
    );
    this.release(made.filter(([, index]) => !this.#reserved.has(index)));
  }

  /** Appends a statement: a store, a fill, a fence. */
  do(statement: Stmt): void {
    statement.emit(this.#out);
  }

  /** Evaluates an expression for its effect (an atomic) and drops the value. */
  drop(value: Expr): void {
    value.emit(this.#out);
    this.#out.byte(0x1a);
  }

  #nested(opcode: number, body: (label: Label) => void): void {
    this.#out.byte(opcode);
    this.#out.byte(EMPTY_BLOCK);
    const label = new Label(this.#depth++);
    body(label);
    this.#depth--;
    this.#out.byte(0x0b);
  }

  /** A block; branching to its label leaves it. */
  block(body: (end: Label) => void): void {
    this.#nested(0x02, body);
  }

  /** A loop; branching to its label starts it again; it ends by falling out. */
  loop(body: (again: Label) => void): void {
    this.#nested(0x03, body);
  }

  /**
   * Conditional statements. A constant condition leaves only one arm. What ends in
   * `unreachable` is rare without being called so.
   */
  if(
    condition: I32Like,
    then: () => void,
    otherwise?: () => void,
    hint?: Hint,
  ): void {
    const c = i32(condition);
    if (c.value !== undefined) {
      if (c.value !== 0) then();
      else otherwise?.();
      return;
    }
    c.emit(this.#out);
    const at = this.#out.length;
    const place = this.#hints.push([at, hint ?? MOSTLY]) - 1;
    this.#nested(0x04, () => {
      then();
      const isRare = this.#out.length === this.#trappedAt;
      if (isRare) this.#hints[place] = [at, RARELY];
      else if (hint === undefined) this.#hints.splice(place, 1);
      if (otherwise !== undefined) {
        this.#out.byte(0x05);
        otherwise();
      }
    });
  }

  /** What is done where a condition holds, which is rare. */
  rarely(condition: I32Like, body: () => void): void {
    this.if(condition, body, undefined, RARELY);
  }

  /** A value that depends on a condition; only the arm taken is evaluated. */
  ifValue<T extends ValType>(
    condition: I32Like,
    type: T,
    then: () => ExprOf[T],
    otherwise: () => ExprOf[T],
    hint?: Hint,
  ): ExprOf[T] {
    const c = i32(condition);
    if (c.value !== undefined) {
      return this.let(
        (c.value !== 0 ? then() : otherwise()) as Expr,
      ) as ExprOf[T];
    }
    const index = this.#newLocal(type);
    const result = new Var(index, type);
    this.if(
      c,
      () => this.set(result, then()),
      () => this.set(result, otherwise()),
      hint,
    );
    return localGet(type, index, true);
  }

  /** Branches to a label. */
  br(label: Label): void {
    this.#out.byte(0x0c);
    this.#out.u(this.#depth - 1 - label.depth);
  }

  /** Branches to a label where `condition` is not zero. */
  brIf(label: Label, condition: I32Like, hint?: Hint): void {
    i32(condition).emit(this.#out);
    if (hint !== undefined) this.#hints.push([this.#out.length, hint]);
    this.#out.byte(0x0d);
    this.#out.u(this.#depth - 1 - label.depth);
  }

  /** Branches to `labels[index]`, or to `otherwise` beyond them. */
  brTable(labels: readonly Label[], otherwise: Label, index: I32Like): void {
    i32(index).emit(this.#out);
    this.#out.byte(0x0e);
    this.#out.u(labels.length);
    for (const label of [...labels, otherwise]) {
      this.#out.u(this.#depth - 1 - label.depth);
    }
  }

  /** Runs `cases[index]`, or `otherwise` beyond them. */
  switch(
    index: I32Like,
    cases: readonly (() => void)[],
    otherwise: () => void = () => this.unreachable(),
  ): void {
    this.block((end) => {
      // Blocks nest: the default outermost, then the cases in order inwards;
      const nest = (remaining: number, labels: Label[]) => {
        if (remaining < 0) {
          this.brTable(labels.slice(1), labels[0]!, index);
          return;
        }
        this.block((label) => nest(remaining - 1, [...labels, label]));
        const arm = remaining === cases.length
          ? otherwise
          : cases[cases.length - 1 - remaining]!;
        arm();
        this.br(end);
      };
      nest(cases.length, []);
    });
  }

  /** Returns from the function. */
  return(...values: Expr[]): void {
    for (const value of values) value.emit(this.#out);
    this.#out.byte(0x0f);
  }

  /** Traps. */
  unreachable(): void {
    this.#out.byte(0x00);
    this.#trappedAt = this.#out.length;
  }

  #arguments(callee: FuncType, values: readonly Expr[]): void {
    if (!matches(values, callee.params)) {
      throw new TypeError(
        `Cannot call a function of (${callee.params}) with (${
          values.map((v) => v.type)
        })`,
      );
    }
    for (const value of values) value.emit(this.#out);
  }

  #results<R extends readonly ValType[]>(types: R): Values<R> {
    const locals = types.map((type) => this.#newLocal(type));
    for (const local of locals.toReversed()) {
      this.#out.append(localSet(local));
    }
    return types.map((type, i) =>
      localGet(type, locals[i]!, true)
    ) as unknown as Values<R>;
  }

  /** Calls a function; its results are kept values. */
  call<R extends readonly ValType[]>(
    callee: FuncRef<R>,
    ...values: Expr[]
  ): Values<R> {
    this.#arguments(callee.type, values);
    this.#out.byte(0x10);
    this.#out.u(callee.index);
    return this.#results(callee.type.results as R);
  }

  /** Calls the function at `index` of table 0. */
  callIndirect<R extends readonly ValType[]>(
    type: FuncType & { readonly results: R },
    index: I32Like,
    ...values: Expr[]
  ): Values<R> {
    this.#arguments(type, values);
    i32(index).emit(this.#out);
    this.#out.byte(0x11);
    this.#out.u(this.module.typeIndex(type));
    this.#out.byte(0);
    return this.#results(type.results);
  }

  /** Replaces this call by a call of `callee`. */
  returnCall(callee: FuncRef, ...values: Expr[]): void {
    this.#arguments(callee.type, values);
    this.#out.byte(0x12);
    this.#out.u(callee.index);
  }

  /** Replaces this call by a call of the function at `index` of table 0. */
  returnCallIndirect(
    type: FuncType,
    index: I32Like,
    ...values: Expr[]
  ): void {
    this.#arguments(type, values);
    i32(index).emit(this.#out);
    this.#out.byte(0x13);
    this.#out.u(this.module.typeIndex(type));
    this.#out.byte(0);
  }

  /** Throws an exception. */
  throw(tag: TagRef, ...values: Expr[]): void {
    this.#arguments({ params: tag.params, results: [] }, values);
    this.#out.byte(0x08);
    this.#out.u(tag.index);
  }

  /**
   * Runs `body`; where it throws `tag`, runs `handler` with the exception's
   * values. A tail call inside `body` leaves the protection behind.
   */
  try<P extends readonly ValType[]>(
    body: () => void,
    tag: TagRef<P>,
    handler: (...values: Values<P>) => void,
  ): void {
    this.block((done) => {
      // A block whose results are the exception's values.
      this.#out.byte(0x02);
      this.#out.u(this.module.typeIndex({ params: [], results: tag.params }));
      this.#depth++;
      this.#out.append([0x1f, EMPTY_BLOCK, 1, 0]);
      this.#out.u(tag.index);
      this.#out.u(0); // Counted from outside the try_table.
      this.#depth++;
      body();
      this.#depth--;
      this.#out.byte(0x0b);
      this.br(done);
      this.#depth--;
      this.#out.byte(0x0b);
      handler(...this.#results(tag.params) as Values<P>);
    });
  }

  /** Bytes of the body so far. */
  get length(): number {
    return this.#out.length + (this.#front?.length ?? 0);
  }

  /**
   * The function's entry in the code section, without its length. Answers where in it
   * branches are that have hints. The body is used up by it.
   */
  encode(out: Writer): readonly HintAt[] {
    const start = out.length;
    const groups: [number, ValType][] = [];
    for (const type of this.#locals) {
      const last = groups.at(-1);
      if (last?.[1] === type) last[0]++;
      else groups.push([1, type]);
    }
    out.u(groups.length);
    for (const [count, type] of groups) {
      out.u(count);
      out.byte(VAL_TYPE_CODE[type]);
    }
    const front = out.length - start;
    if (this.#front !== undefined) out.copy(this.#front.bytes);
    const body = out.length - start;
    out.copy(this.#out.bytes);
    spare(this.#front);
    spare(this.#out);
    // Every path returns or tail-calls explicitly where there are results.
    if (this.type.results.length > 0) out.byte(0x00);
    out.byte(0x0b);
    const moved = (by: number) => ([at, hint]: HintAt): HintAt => [
      at + by,
      hint,
    ];
    return [
      ...this.#frontHints.map(moved(front)),
      ...this.#hints.map(moved(body)),
    ];
  }
}

function matches(values: readonly Expr[], types: readonly ValType[]): boolean {
  if (values.length !== types.length) return false;
  for (let n = 0; n < types.length; n++) {
    if (values[n]!.type !== types[n]) return false;
  }
  return true;
}

function zero<T extends ValType>(type: T): ExprOf[T] {
  switch (type) {
    case "i32":
      return expr(type, [0x41, 0], [], true);
    case "i64":
      return expr(type, [0x42, 0], [], true);
    case "f32":
      return expr(type, [0x43, 0, 0, 0, 0], [], true);
    case "f64":
      return expr(type, [0x44, 0, 0, 0, 0, 0, 0, 0, 0], [], true);
    default:
      return expr(type, [0xfd, 0x0c, ...new Uint8Array(16)], [], true);
  }
}
