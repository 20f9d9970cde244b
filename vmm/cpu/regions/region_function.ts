// The function of a region: registers and flags in locals, ways out that store them.
// Flags are put off: the expression that a flag word is set to is kept, and made only
// where something reads it, or may see it (a fault, an exit, a join of paths).

import type { CpuModule } from "../cpu_module.ts";
import { HANDLER_TYPE, REC_HANDLER } from "../record.ts";
import { FLAG_CARRY, FLAG_RESULT } from "../state.ts";
import {
  type Expr,
  type FuncRef,
  type FuncType,
  FunctionBuilder,
  i32,
  type I32Like,
  type I64,
  type Label,
  type Local,
  type Mark,
  type Stmt,
  type ValType,
  type Values,
  type Var,
} from "../wasm/mod.ts";
import { effectOf } from "./effects.ts";
import {
  FlagStore,
  type FlagWord,
  isPure,
  localsOf,
  StateLocals,
  Unsupported,
} from "./state_locals.ts";

const FLAG_WORDS: readonly FlagWord[] = [FLAG_RESULT, FLAG_CARRY];

/** Thrown where flags are set on some paths of an instruction only. */
class ConditionalFlags extends Error {}

/** A region's function under construction. */
export class RegionFunction extends FunctionBuilder {
  /** The module as the region's definitions see it. */
  readonly cpu: CpuModule;
  /** Whether the instruction so far may have written guest memory. */
  hasWritten = false;
  readonly #state: StateLocals;
  readonly #module: CpuModule;
  #record!: Var<"i32">;
  #rip!: Var<"i64">;
  #status!: Var<"i32">;
  #toRecord!: Label;
  #toRip!: Label;
  #toStatus!: Label;
  #base = 0;
  #isDirect = false;
  #pinned: Local[] = [];

  /** @param module the module that the function goes into */
  constructor(module: CpuModule) {
    super(module.m, HANDLER_TYPE);
    this.#module = module;
    this.#state = new StateLocals(this);
    this.cpu = module.seenThrough(this.#state);
  }

  /** Builds the whole function: its ways in and out around `body`. */
  build(body: () => void): void {
    const { fn, trap } = this.#module;
    this.#record = this.reserve("i32");
    this.#rip = this.reserve("i64");
    this.#status = this.reserve("i32");
    this.block((status) => {
      this.#toStatus = status;
      this.block((rip) => {
        this.#toRip = rip;
        this.block((record) => {
          this.#toRecord = record;
          this.try(body, trap, (kind) => {
            this.set(this.#status, kind);
            this.br(status);
          });
        });
        this.#state.leave();
        const record = this.#record.get();
        const handler = this.#module.state.load32(record, REC_HANDLER);
        super.returnCallIndirect(HANDLER_TYPE, handler, record);
      });
      this.#state.leave();
      super.returnCall(fn.dispatch, this.#rip.get());
    });
    this.#state.leave();
    super.return(this.#status.get());
    this.prologue(() => this.#state.enter());
  }

  // --- Instructions --------------------------------------------------------

  /**
   * Emits one instruction. Where its flags depend on a path inside it, they are
   * made before it, and again without putting anything off.
   *
   * @throws {Unsupported} where it cannot be part of a region; nothing is emitted
   */
  instruction(emit: (end: Label) => void): void {
    const mark = this.mark();
    const before = new Map(this.#state.pending);
    try {
      this.#attempt(emit, false);
    } catch (error) {
      this.#takeBack(mark, before);
      if (!(error instanceof ConditionalFlags)) throw error;
      try {
        this.settleFlags();
        this.#attempt(emit, true);
      } catch (again) {
        this.#takeBack(mark, before);
        throw again;
      }
    }
  }

  #takeBack(mark: Mark, pending: ReadonlyMap<FlagWord, I64>): void {
    this.rewind(mark);
    this.#setPending(pending);
  }

  #attempt(emit: (end: Label) => void, isDirect: boolean): void {
    const base = this.#base;
    const wasDirect = this.#isDirect;
    this.hasWritten = false;
    const made = this.collect(() =>
      this.block((end) => {
        this.#base = this.depth;
        this.#isDirect = isDirect;
        try {
          emit(end);
        } finally {
          this.#base = base;
          this.#isDirect = wasDirect;
        }
      })
    );
    this.#recycle(made);
  }

  // Lets go of the locals that no flag word is still to be made from.
  #recycle(made: readonly Local[]): void {
    if (this.#state.pending.size === 0) {
      this.release(this.#pinned);
      this.release(made);
      this.#pinned = [];
      return;
    }
    const needed = new Set<number>();
    for (const value of this.#state.pending.values()) localsOf(value, needed);
    const all = [...this.#pinned, ...made];
    this.#pinned = all.filter(([, index]) => needed.has(index));
    this.release(all.filter(([, index]) => !needed.has(index)));
  }

  /** Runs `body` for a path that does not come back to what is emitted after it. */
  path(body: () => void): void {
    const pending = new Map(this.#state.pending);
    const pinned = this.#pinned;
    const base = this.#base;
    const isDirect = this.#isDirect;
    const { hasWritten } = this;
    this.#pinned = [...pinned];
    this.aside(body);
    this.hasWritten = hasWritten;
    this.#pinned = pinned;
    this.#base = base;
    this.#isDirect = isDirect;
    this.#setPending(pending);
  }

  #setPending(pending: ReadonlyMap<FlagWord, I64>): void {
    this.#state.pending.clear();
    for (const [word, value] of pending) this.#state.pending.set(word, value);
  }

  /** The instruction goes on at its end from inside it. */
  leaveInstruction(end: Label): void {
    if (this.depth > this.#base && !this.#isDirect) throw new ConditionalFlags();
    this.br(end);
  }

  // --- Flags ---------------------------------------------------------------

  override do(statement: Stmt): void {
    if (!(statement instanceof FlagStore)) return super.do(statement);
    const { word, value } = statement;
    const { pending } = this.#state;
    const isNested = this.depth > this.#base;
    if (isNested && !this.#isDirect) throw new ConditionalFlags();
    if (!this.#isDirect && isPure(value)) {
      pending.set(word, value);
    } else {
      pending.delete(word);
      super.do(this.#state.assign(word, value));
    }
  }

  override share<E extends Expr>(value: E): E {
    return !this.#isDirect && isPure(value, 4) ? value : this.let(value);
  }

  /** Makes the flags that were put off, for whoever may see them here. */
  showFlags(): void {
    for (const word of FLAG_WORDS) {
      const value = this.#state.pending.get(word);
      if (value !== undefined) super.do(this.#state.assign(word, value));
    }
  }

  /** Makes the flags that were put off for good. */
  settleFlags(): void {
    this.showFlags();
    this.#state.pending.clear();
  }

  /** The flags are in their locals: paths join here that made them. */
  forgetFlags(): void {
    this.#state.pending.clear();
  }

  // --- Ways out ------------------------------------------------------------

  /** Goes on at a record. */
  toRecord(record: I32Like): void {
    this.showFlags();
    this.set(this.#record, i32(record));
    this.br(this.#toRecord);
  }

  override return(...values: Expr[]): void {
    this.showFlags();
    this.set(this.#status, values[0] as ReturnType<typeof i32>);
    this.br(this.#toStatus);
  }

  override returnCall(callee: FuncRef, ...values: Expr[]): void {
    if (callee.name !== "dispatch") throw new Unsupported(callee.name);
    this.showFlags();
    this.set(this.#rip, values[0] as I64);
    this.br(this.#toRip);
  }

  override returnCallIndirect(
    _type: FuncType,
    _index: I32Like,
    ...values: Expr[]
  ): void {
    this.toRecord(values[0] as ReturnType<typeof i32>);
  }

  override call<R extends readonly ValType[]>(
    callee: FuncRef<R>,
    ...values: Expr[]
  ): Values<R> {
    const effect = effectOf(callee.name);
    if (effect === undefined) throw new Unsupported(callee.name);
    if (effect !== "pure") this.showFlags();
    if (effect === "writes") this.hasWritten = true;
    const results = super.call(callee, ...values);
    if (effect === "privilege") this.#state.renewTlb();
    return results;
  }
}
