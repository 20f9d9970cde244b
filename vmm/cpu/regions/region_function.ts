// The function of a region: registers and flags in locals, ways out that store them.
// Flags are put off: the expression that a flag word is set to is kept, and made only
// where something reads it, or may see it (a fault, an exit, a join of paths).

import type { CpuModule } from "../cpu_module.ts";
import {
  FixedStack,
  type StackMark,
  type StackPosition,
} from "../fixed_stack.ts";
import { zeroExtend } from "../flags.ts";
import { HANDLER_TYPE, REC_HANDLER } from "../record.ts";
import type { RuntimeName } from "../runtime/signatures.ts";
import type { ModeSize } from "../shape.ts";
import {
  countDown,
  ifKnown,
  isKnown,
  isSpent,
  jumpEntry,
} from "../runtime/run.ts";
import { STATUS } from "../runtime/traps.ts";
import { BUDGET, JUMP_RECORD, RIP, RIP_BASE } from "../state.ts";
import {
  type Expr,
  expr,
  type FuncRef,
  FunctionBuilder,
  type I32,
  i32,
  type I64,
  type Label,
  type Local,
  type Mark,
  type Stmt,
  unsignedBytes,
  type ValType,
  type Values,
  type Var,
} from "../wasm/mod.ts";
import { effectOf } from "./effects.ts";
import { LateNote } from "../late_note.ts";
import { KnownPages, type PagesMark } from "./pages.ts";
import { FLAG_WORDS, FlagStore, type RegionState } from "./region_state.ts";
import type { MapMark } from "./rewindable_map.ts";
import { StateInPlace } from "./state_in_place.ts";
import { isPure, localsOf, StateLocals, Unsupported } from "./state_locals.ts";

/** What is known at a place in the code. */
interface Known {
  readonly flags: MapMark;
  readonly origins: MapMark;
  readonly pages: PagesMark;
  readonly registers: MapMark;
  readonly stack: StackMark;
}

/** Thrown where flags are set on some paths of an instruction only. */
class ConditionalFlags extends Error {}

/** A region's function under construction. */
export class RegionFunction extends FunctionBuilder {
  /** The module as the region's definitions see it. */
  readonly cpu: CpuModule;
  /**
   * Whether a runtime function may have written guest memory for the instruction so far;
   * what the region itself writes holds no code.
   */
  hasWritten = false;
  readonly #state: RegionState;
  readonly #pages: KnownPages;
  readonly #stack: FixedStack;
  readonly #note: LateNote | undefined;
  readonly #module: CpuModule;
  readonly #isInPlace: boolean;
  #record!: Var<"i32">;
  #rip!: Var<"i64">;
  #status!: Var<"i32">;
  #owed!: Var<"i32">;
  #toRecord!: Label;
  #toThreaded!: Label;
  #toRip!: Label;
  #toStatus!: Label;
  #base = 0;
  #first = 0;
  #isDirect = false;
  #pinned: Local[] = [];

  /**
   * @param module the module that the function goes into
   * @param isInPlace whether registers stay in memory 0
   */
  constructor(module: CpuModule, isInPlace: boolean) {
    super(module.m, HANDLER_TYPE);
    this.#module = module;
    this.#isInPlace = isInPlace;
    const isStraight = () => this.depth === this.#base && !this.#isDirect;
    const leave = () => this.toThreaded(this.#first);
    this.#state = isInPlace
      ? new StateInPlace()
      : new StateLocals(this, isStraight);
    if (!isInPlace) this.#note = new LateNote(this, module.fn);
    this.#pages = new KnownPages(this, module, leave, {
      origins: this.#state.origins,
      canLearn: isStraight,
      refills: !isInPlace,
    });
    this.#stack = new FixedStack(this, this.#state, leave);
    this.#state.onStack = () => this.#stack.forget();
    const spend = (count: I32) => this.#spend(count);
    this.cpu = module.seenThrough(
      this.#state,
      spend,
      this.#pages,
      this.#stack,
      this.#note,
    );
  }

  /** Builds the whole function: its ways in and out around `body`. */
  build(body: () => void): void {
    this.#record = this.reserve("i32");
    this.#rip = this.reserve("i64");
    this.#status = this.reserve("i32");
    this.#owed = this.reserve("i32");
    this.block((status) => {
      this.#toStatus = status;
      this.block((rip) => {
        this.#toRip = rip;
        this.block((threaded) => {
          this.#toThreaded = threaded;
          this.block((record) => {
            this.#toRecord = record;
            this.#catching(body);
          });
          this.#payOrLeave();
        });
        this.#goToRecord();
      });
      this.#payOrLeave();
      this.#leave();
      this.#goToRip();
    });
    this.#pay(this.#owed.get());
    this.#leave();
    super.return(this.#status.get());
  }

  // A fault leaves through here, unless registers are in their places anyway.
  #catching(body: () => void): void {
    if (this.#isInPlace) return body();
    this.try(body, this.#module.trap, (kind) => {
      this.set(this.#status, kind);
      this.br(this.#toStatus);
    });
  }

  /** Makes what comes before the body: `first`, then registers become locals. */
  begin(first: () => void): void {
    this.prologue(() => {
      first();
      this.#state.enter();
      this.#note?.enter();
      // V8 begins with zeros, but a loop may come back with more.
      this.set(this.#owed, i32(0));
    });
  }

  /**
   * Counts an entry in the record that the region begins with, and leaves for it to be
   * grown again where that was the last.
   */
  countEntry(record: number, site: number): void {
    const { state } = this.#module;
    const rip = () => state.load64(0, RIP_BASE).add(site);
    const leave = (status: I32) => super.return(status);
    countDown(this.#module, this, i32(record), rip, leave);
  }

  // Stores what is kept in locals.
  #leave(): void {
    this.#note?.leave();
    this.#state.leave();
  }

  #goToRecord(): void {
    const { state } = this.#module;
    this.#pay(this.#owed.get());
    this.#leave();
    const record = this.#record.get();
    const handler = state.load32(record, REC_HANDLER);
    super.returnCallIndirect(HANDLER_TYPE, handler, record);
  }

  // As `dispatch`, whose module is another one: a call from here costs as much again.
  #goToRip(): void {
    const { state, fn } = this.#module;
    const rip = this.let(this.#rip.get());
    const entry = this.let(jumpEntry(rip));
    ifKnown(this.#module, this, { rip, entry }, (record) => {
      const handler = state.load32(record, REC_HANDLER);
      super.returnCallIndirect(HANDLER_TYPE, handler, record);
    });
    super.returnCall(fn.dispatch, rip);
  }

  // --- The budget ----------------------------------------------------------

  // Takes executed instructions from the budget; answers what is left.
  #pay(count: I32): I32 {
    const { state } = this.#module;
    const left = this.let(state.load32(0, BUDGET).sub(count));
    super.do(state.store32(0, left, BUDGET));
    return left;
  }

  // On the way out to where `#rip` says: leaves for events where nothing is left.
  #payOrLeave(): void {
    const { state } = this.#module;
    const left = this.#pay(this.#owed.get());
    this.set(this.#owed, i32(0));
    this.rarely(isSpent(this.#module, left), () => {
      super.do(state.store64(0, this.#rip.get(), RIP));
      this.set(this.#status, i32(STATUS.EVENTS));
      this.br(this.#toStatus);
    });
  }

  /** Instructions of the path to here that the budget does not know of yet. */
  owed = 0;

  /** What the code supposes of the x87's register stack here. */
  get stackPosition(): StackPosition | undefined {
    return this.#stack.position;
  }

  /**
   * Begins a block: what it leaves undone pays for the blocks before it.
   *
   * @param anew where paths join, so that nothing is known: how the x87's register stack
   *   probably is there
   */
  beginBlock(anew: { stack: StackPosition | undefined } | undefined): void {
    if (anew !== undefined) {
      this.#pages.forget();
      this.#stack.begin(anew.stack);
      this.#state.beginBlock();
    }
    this.set(this.#owed, i32(this.owed));
  }

  /** Pays before paths join: all have paid there. */
  settleBudget(): void {
    if (this.owed > 0) this.#pay(i32(this.owed));
    this.owed = 0;
  }

  /**
   * Pays before a loop begins again at `rip`, or leaves for events.
   *
   * @param spent what is done where it leaves
   */
  settleLoop(rip: () => I64, spent: () => void): void {
    const left = this.#pay(i32(this.owed));
    this.owed = 0;
    this.rarely(isSpent(this.#module, left), () => {
      spent();
      this.set(this.#owed, i32(0));
      super.do(this.#module.state.store64(0, rip(), RIP));
      this.set(this.#status, i32(STATUS.EVENTS));
      this.br(this.#toStatus);
    });
  }

  // --- Instructions --------------------------------------------------------

  /**
   * Emits one instruction. Where its flags depend on a path inside it, they are
   * made before it, and again without putting anything off.
   *
   * @param first its first record
   * @throws {Unsupported} where it cannot be part of a region; nothing is emitted
   */
  instruction(first: number, emit: (end: Label) => void): void {
    this.#first = first;
    const mark = this.mark();
    const known = this.#mark();
    try {
      this.#attempt(emit, false);
    } catch (error) {
      this.#takeBack(mark, known);
      if (!(error instanceof ConditionalFlags)) throw error;
      try {
        this.settleFlags();
        this.#attempt(emit, true);
      } catch (again) {
        this.#takeBack(mark, known);
        throw again;
      }
    }
  }

  #mark(): Known {
    return {
      flags: this.#state.pending.mark(),
      origins: this.#state.origins.mark(),
      pages: this.#pages.mark(),
      registers: this.#state.mark(),
      stack: this.#stack.mark(),
    };
  }

  #goBack({ flags, origins, pages, registers, stack }: Known): void {
    this.#state.pending.rewind(flags);
    this.#state.origins.rewind(origins);
    this.#stack.rewind(stack);
    this.#pages.rewind(pages);
    this.#state.rewind(registers);
  }

  #takeBack(mark: Mark, known: Known): void {
    this.rewind(mark);
    this.#goBack(known);
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
    if (made.length === 0 && this.#pinned.length === 0) return;
    if (this.#state.pending.size === 0) {
      this.release(this.#pinned);
      this.release(made);
      this.#pinned = [];
      return;
    }
    const needed = new Set<number>();
    for (const value of this.#state.pending.values()) {
      localsOf(value, needed);
      if (value.smaller !== undefined) localsOf(value.smaller, needed);
    }
    const all = [...this.#pinned, ...made];
    this.#pinned = all.filter(([, index]) => needed.has(index));
    this.release(all.filter(([, index]) => !needed.has(index)));
  }

  // What is known before a loop may not be when it begins again.
  override loop(body: (again: Label) => void): void {
    this.#pages.forget();
    super.loop(body);
  }

  /** Runs `body` for a path that does not come back to what is emitted after it. */
  path(body: () => void): void {
    const pinned = this.#pinned;
    const base = this.#base;
    const isDirect = this.#isDirect;
    const { hasWritten, owed } = this;
    const known = this.#mark();
    this.#pinned = [...pinned];
    this.aside(body);
    this.#goBack(known);
    this.hasWritten = hasWritten;
    this.owed = owed;
    this.#pinned = pinned;
    this.#base = base;
    this.#isDirect = isDirect;
  }

  /** The instruction goes on at its end from inside it. */
  leaveInstruction(end: Label): void {
    if (this.depth > this.#base && !this.#isDirect) {
      throw new ConditionalFlags();
    }
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

  override orCall<E extends Expr>(value: E, name: string, ...args: Expr[]): E {
    // What has no parts may be a flag word of another instruction as well.
    const isShared = value.kids.length === 0;
    if (this.#isDirect || isShared || !isPure(value)) return value;
    const { index } = this.#module.fn[name as RuntimeName];
    const call = [0x10, ...unsignedBytes(index)];
    value.smaller = expr("i64", call, args);
    return value;
  }

  override share<E extends Expr>(value: E): E {
    return !this.#isDirect && isPure(value, 5) ? value : this.let(value);
  }

  /** Makes the flags that were put off, for whoever may see them on a rare path. */
  showFlags(): void {
    this.#makeFlags((value) => value.smaller ?? value);
  }

  /** Makes them where they may often be wanted: a call costs more than all else. */
  joinFlags(): void {
    this.#makeFlags((value) => value);
  }

  #makeFlags(form: (value: I64) => Expr): void {
    for (const word of FLAG_WORDS) {
      const value = this.#state.pending.get(word);
      if (value === undefined) continue;
      super.do(this.#state.assign(word, form(value)));
    }
  }

  /** Makes the flags that were put off for good. */
  settleFlags(): void {
    this.joinFlags();
    this.#state.pending.clear();
  }

  /** The flags are in their locals: paths join here that made them. */
  forgetFlags(): void {
    this.#state.pending.clear();
  }

  // --- Pages ---------------------------------------------------------------

  /** RIP of what lies so many bytes after the page that executes. */
  ripAt(offset: number, code: ModeSize): I64 {
    const sum = this.#state.load64(0, RIP_BASE).add(offset);
    return this.let(code === 64 ? sum : zeroExtend(sum, 32));
  }

  /**
   * Whether a RIP leads to a record, by the jump cache: translations that it goes by
   * hold as long as its key does. Where it does not know, `dispatch` makes it know.
   */
  leadsTo(rip: I64, record: number): I32 {
    const { state } = this.#module;
    const entry = this.let(jumpEntry(rip));
    const leads = state.load32(entry, JUMP_RECORD).eq(record);
    return isKnown(this.#module, rip, entry).and(leads);
  }

  /** Execution goes on so many pages further: whoever leaves must find it so. */
  movePage(pages: number, code: ModeSize): void {
    if (pages === 0) return;
    const base = this.ripAt(pages * 4096, code);
    const set = this.#state.setBase(base);
    if (set !== undefined) super.do(set);
    super.do(this.#module.state.store64(0, base, RIP_BASE));
  }

  // --- Ways out ------------------------------------------------------------

  /**
   * Goes on at a record, whose RIP is `rip`, after `count` more instructions.
   *
   * @param isRare whether that hardly ever happens
   */
  toRecord(record: I32, rip: I64, count: number, isRare: boolean): void {
    if (isRare) this.showFlags();
    else this.joinFlags();
    this.set(this.#record, record);
    this.set(this.#rip, rip);
    if (count > 0) this.set(this.#owed, i32(this.owed + count));
    this.br(this.#toRecord);
  }

  /** Goes on in threaded code inside a block, which pays for all of it. */
  toThreaded(record: number): void {
    this.showFlags();
    this.set(this.#record, i32(record));
    this.br(this.#toThreaded);
  }

  // In a definition that ends: the way out pays for its block.
  #spend(count: I32): void {
    this.set(this.#owed, i32(this.owed + (count.value ?? 0)));
  }

  override return(...values: Expr[]): void {
    this.showFlags();
    this.set(this.#status, values[0] as ReturnType<typeof i32>);
    this.br(this.#toStatus);
  }

  override returnCall(callee: FuncRef, ...values: Expr[]): void {
    if (callee.name !== "dispatch") throw new Unsupported(callee.name);
    this.joinFlags();
    this.set(this.#rip, values[0] as I64);
    this.br(this.#toRip);
  }

  override returnCallIndirect(): void {
    throw new Unsupported("A jump to a record");
  }

  override call<R extends readonly ValType[]>(
    callee: FuncRef<R>,
    ...values: Expr[]
  ): Values<R> {
    const effect = effectOf(callee.name);
    if (effect === undefined) throw new Unsupported(callee.name);
    if (effect !== "pure") this.showFlags();
    if (effect !== "pure" && effect !== "faults") this.#pages.forget();
    if (effect === "writes") this.hasWritten = true;
    const results = super.call(callee, ...values);
    if (effect !== "pure" && callee.name.startsWith("x87")) {
      this.#stack.called(callee.name, values);
      if (callee.name === "x87Init") this.#note?.clear();
    }
    if (effect === "privilege") this.#state.renewTlb();
    return results;
  }
}
