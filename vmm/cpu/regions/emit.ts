// A region as one function: the blocks' definitions, emitted with their operands as
// constants, and joined by WebAssembly's own loops and blocks. A node that a single
// branch leads to is emitted at that branch; where paths join, the node follows the
// block that they leave (Ramsey, "Beyond Relooper").

import type { CpuModule } from "../cpu_module.ts";
import {
  branchTarget,
  type Continuation,
  Emitter,
  jumpOut,
} from "../emitter.ts";
import type { StackPosition } from "../fixed_stack.ts";
import type { Definition } from "../form.ts";
import { ConstantFields, readFields } from "../fields.ts";
import type { WantedHandler } from "../handlers.ts";
import { REC_HANDLER, REC_LINK, SITE_OFFSET } from "../record.ts";
import { countMore } from "../runtime/run.ts";
import { reduceShape } from "../shape.ts";
import {
  CODE_DROPPED,
  CS,
  RECORD_STRIDE,
  RIP_BASE,
  SEG_LIMIT,
} from "../state.ts";
import * as steps from "../steps.ts";
import { i32, type I64, type Label, MOSTLY } from "../wasm/mod.ts";
import { isPageKnown, type Node } from "./graph.ts";
import { ENTRIES_OF_SLICE } from "./limits.ts";
import { RegionFunction } from "./region_function.ts";
import { Unsupported } from "./state_locals.ts";

const PAGE = 4096;

/** What comes before an instruction's own record. */
const EFFECTIVE_ADDRESSES: ReadonlySet<Definition> = new Set([
  steps.EA_FLAT,
  steps.EA_BASED,
  steps.EA_BASED_CHECKED,
  steps.EA_CHECKED,
]);

/** Thrown where a block was dropped meanwhile. */
export class Changed extends Error {}

/** What emission needs to know of the engine. */
export interface RecordSource {
  /** memory 0 */
  readonly state: DataView;
  /** what the handler at a table index was made from */
  handlerAt(index: number): WantedHandler | undefined;
}

/** How a region is emitted. */
export interface RegionKind {
  /** whether its entries are counted, so that it is grown again where there are many */
  readonly isCounted: boolean;
  /** whether registers stay in memory 0 */
  readonly isInPlace: boolean;
  /** whether no segment has a limit */
  readonly isFlat: boolean;
  /** how the x87's register stack was before its head */
  readonly stack: StackPosition;
}

/** Emits one region. */
class RegionEmitter {
  readonly #source: RecordSource;
  readonly #module: CpuModule;
  readonly #head: Node;
  readonly #kind: RegionKind;
  readonly #f: RegionFunction;
  readonly #labels = new Map<Node, Label>();
  // How the x87's register stack probably is where nodes begin.
  readonly #stacks = new Map<Node, StackPosition>();

  constructor(
    source: RecordSource,
    module: CpuModule,
    head: Node,
    kind: RegionKind,
  ) {
    this.#source = source;
    this.#module = module;
    this.#head = head;
    this.#kind = kind;
    this.#f = new RegionFunction(module, kind.isInPlace);
  }

  emit(): RegionFunction {
    const head = this.#head;
    this.#stacks.set(head, this.#kind.stack);
    this.#f.build(() => {
      if (!this.#kind.isFlat) this.#checkLimit();
      this.#tree(head, false);
    });
    this.#f.begin(() => {
      if (this.#kind.isCounted) {
        this.#f.countEntry(head.start, this.#offsetOf(head));
      }
    });
    return this.#f;
  }

  // Blocks of the head's page may be from a code segment with another limit. Other pages
  // are within it: the jump cache knows RIPs only with a page's length before the limit.
  #checkLimit(): void {
    const f = this.#f;
    const { state } = this.#module;
    const limit = state.load32(0, CS + SEG_LIMIT).toI64U();
    const last = state.load64(0, RIP_BASE).add(PAGE - 1);
    f.rarely(limit.ltS(last), () => {
      f.toThreaded(this.#head.start + RECORD_STRIDE);
    });
  }

  // The node and all that it dominates. Where it follows one branch alone, all that is
  // known there holds in it.
  #tree(node: Node, follows: boolean): void {
    const count = node.joins.length;
    if (!node.isLoop) return this.#within(node, count, follows);
    this.#f.settleFlags();
    this.#f.settleBudget();
    this.#f.loop((again) =>
      this.#labelled(node, again, () => this.#within(node, count, false))
    );
  }

  // A node that can be branched to while `body` is emitted.
  #labelled(node: Node, label: Label, body: () => void): void {
    this.#labels.set(node, label);
    try {
      body();
    } finally {
      this.#labels.delete(node);
    }
  }

  // The node, followed by the first `count` of its joins.
  #within(node: Node, count: number, follows: boolean): void {
    if (count === 0) return this.#block(node, follows);
    const join = node.joins[count - 1]!;
    this.#f.path(() =>
      this.#f.block((end) =>
        this.#labelled(join, end, () => this.#within(node, count - 1, follows))
      )
    );
    this.#f.forgetFlags();
    this.#f.owed = 0;
    this.#tree(join, false);
  }

  #block(node: Node, follows: boolean): void {
    let first = node.start + RECORD_STRIDE;
    this.#f.beginBlock(follows ? undefined : { stack: this.#stacks.get(node) });
    for (let at = first;; at += RECORD_STRIDE) {
      const handler = this.#handlerAt(at);
      if (EFFECTIVE_ADDRESSES.has(handler.definition)) continue;
      try {
        this.#instruction(node, first, at);
      } catch (error) {
        if (!(error instanceof Unsupported)) throw error;
        this.#f.toThreaded(first);
        return;
      }
      if (handler.definition.ends) return;
      first = at + RECORD_STRIDE;
    }
  }

  #handlerAt(record: number): WantedHandler {
    const index = this.#source.state.getUint32(record + REC_HANDLER, true);
    const handler = this.#source.handlerAt(index);
    if (handler === undefined || handler.definition === steps.STALE) {
      throw new Changed(`No instruction at record ${record}`);
    }
    return handler;
  }

  // The records of one instruction: its effective address's, if any, and its own.
  #instruction(node: Node, first: number, last: number): void {
    const f = this.#f;
    f.instruction(first, (end) => {
      for (let at = first; at <= last; at += RECORD_STRIDE) {
        const { definition, shape } = this.#handlerAt(at);
        const x = new Emitter(
          f.cpu,
          f,
          new ConstantFields(readFields(this.#source.state, at)),
          reduceShape(shape, definition.axes),
          definition.operands,
          new RegionContinuation(
            f,
            end,
            (x) => this.#branch(node, at, x),
            (x, rip) => this.#jump(node, at, x, rip),
          ),
        );
        definition.define(x);
      }
    });
    if (!this.#handlerAt(last).definition.ends) this.#checkCode(last);
  }

  // After a runtime function that wrote memory, the code that follows may be another, which
  // its records tell.
  #checkCode(record: number): void {
    const f = this.#f;
    if (!f.hasWritten) return;
    const { state } = this.#module;
    f.rarely(state.load32(0, CODE_DROPPED), () => {
      f.do(state.store32(0, 0, CODE_DROPPED));
      f.toThreaded(record + RECORD_STRIDE);
    });
  }

  #branch(node: Node, owner: number, x: Emitter): void {
    const f = this.#f;
    const { state } = this.#module;
    const to = node.edges.get(owner);
    const leave = () => {
      // The link may be set after this code was made.
      const link = f.let(state.load32(i32(owner), REC_LINK));
      const count = x.fields.count().value ?? 0;
      f.toRecord(link, branchTarget(x), count, to !== undefined);
    };
    if (to === undefined) return leave();
    if (f.hasWritten) f.rarely(state.load32(0, CODE_DROPPED), leave);
    const rip = branchTarget(x);
    if (!isPageKnown(node, to.page)) {
      f.rarely(f.leadsTo(rip, to.start).eqz(), leave);
    }
    this.#goOn(node, to, x, rip);
  }

  // A return goes where its call came from, nearly always.
  #jump(node: Node, owner: number, x: Emitter, rip: I64): void {
    const f = this.#f;
    const to = node.edges.get(owner);
    if (to !== undefined) {
      const offset = (to.page - node.page) * PAGE + this.#offsetOf(to);
      const guess = f.ripAt(offset, x.shape.code);
      const isKnown = isPageKnown(node, to.page);
      const isRight = f.let(rip.eq(guess));
      f.if(
        isKnown ? isRight : isRight.and(f.leadsTo(rip, to.start)),
        () => this.#goOn(node, to, x, rip),
        undefined,
        MOSTLY,
      );
    }
    jumpOut(x, rip);
  }

  // A loop that ran for a whole slice.
  #spent(): void {
    if (!this.#kind.isCounted) return;
    countMore(this.#module, this.#f, this.#head.start, ENTRIES_OF_SLICE);
  }

  #offsetOf({ start }: Node): number {
    const { site } = readFields(this.#source.state, start);
    return site & SITE_OFFSET;
  }

  #goOn(node: Node, to: Node, x: Emitter, rip: I64): void {
    const f = this.#f;
    const label = this.#labels.get(to);
    const stack = f.stackPosition;
    if (stack !== undefined && !this.#stacks.has(to)) {
      this.#stacks.set(to, stack);
    }
    f.path(() => {
      f.owed += x.fields.count().value ?? 0;
      f.movePage(to.page - node.page, x.shape.code);
      if (label === undefined) return this.#tree(to, true);
      f.joinFlags();
      if (to.order <= node.order) f.settleLoop(() => rip, () => this.#spent());
      else f.settleBudget();
      f.br(label);
    });
  }
}

/** How a region goes on. */
class RegionContinuation implements Continuation {
  constructor(
    readonly f: RegionFunction,
    readonly end: Label,
    readonly branch: (x: Emitter) => void,
    readonly jump: (x: Emitter, rip: I64) => void,
  ) {}

  next(): void {
    this.f.leaveInstruction(this.end);
  }
}

/** Emits the function of a region whose nodes are structured. */
export function emitRegion(
  source: RecordSource,
  module: CpuModule,
  head: Node,
  kind: RegionKind,
): RegionFunction {
  return new RegionEmitter(source, module, head, kind).emit();
}
