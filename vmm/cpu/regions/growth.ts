// The region around a hot block: the blocks that direct branches lead to, the nearest
// first, in whatever pages they lie. A call leads into the function and its return back
// to the caller, so that a function is part of every region that calls it: a block is
// a node of its own for each chain of calls that it is reached by.

import type { Block, BlockCache } from "../block_cache.ts";
import type { StackPosition } from "../fixed_stack.ts";
import type { WantedHandler } from "../handlers.ts";
import { MODE } from "../mode.ts";
import {
  REC_HANDLER,
  REC_IMM,
  REC_LENGTH,
  REC_OPERAND,
  REC_SITE,
  SITE_OFFSET,
} from "../record.ts";
import { FPU_TAGS, FPU_TOP, RECORD_STRIDE } from "../state.ts";
import * as steps from "../steps.ts";
import type { RegionLimits } from "./limits.ts";
import type { RegionPlan } from "./plan.ts";

const PAGE = 4096;

/** What growth needs to know. */
export interface GrowthSource {
  /** memory 0 */
  readonly state: DataView;
  /** decoded code */
  readonly cache: Pick<BlockCache, "find">;
  /** what the handler at a table index was made from */
  handlerAt(index: number): WantedHandler | undefined;
  /**
   * offset in guest memory of the page that lies so many pages after the one that
   * executes; undefined where none is mapped there
   */
  locate(pages: number): number | undefined;
}

/** A region that is to be compiled. */
export interface GrownRegion {
  /** its blocks, its head first */
  readonly blocks: readonly Block[];
  /** what the compiler takes */
  readonly plan: RegionPlan;
}

/** A call that a node is inside of. */
interface Call {
  /** where it returns to: from the head's page on */
  readonly back: number;
  /** the call around it */
  readonly outer: Call | undefined;
  readonly depth: number;
}

interface Site {
  readonly block: Block;
  /** pages from the head's to the block's */
  readonly page: number;
  readonly call: Call | undefined;
}

const CALL = /^Call_rel/;
const RETURN = /^Retn[wdq]/;

/** Grows one region. */
class Growth {
  readonly #source: GrowthSource;
  readonly #limits: RegionLimits;
  readonly #mayJoin: (block: Block) => boolean;
  readonly #sites: Site[] = [];
  readonly #numbers = new Map<Block, Map<Call | undefined, number>>();
  readonly #calls = new Map<Call | undefined, Map<number, Call>>();
  readonly #pages = new Map<number, number | undefined>();
  readonly #edges: [number, number, number][] = [];
  #room: number;

  constructor(
    source: GrowthSource,
    limits: RegionLimits,
    mayJoin: (block: Block) => boolean,
  ) {
    this.#source = source;
    this.#limits = limits;
    this.#mayJoin = mayJoin;
    this.#room = limits.instructions;
  }

  grow(head: Block, isCounted: boolean): GrownRegion {
    this.#pages.set(0, head.offset - head.offset % PAGE);
    this.#add({ block: head, page: 0, call: undefined });
    for (let n = 0; n < this.#sites.length; n++) {
      this.#follow(n, this.#sites[n]!);
    }
    const nodes = this.#sites.map(({ block, page }) =>
      [block.start, page] as const
    );
    return {
      blocks: [...this.#numbers.keys()],
      plan: {
        nodes,
        edges: this.#edges,
        isCounted,
        isInPlace: this.#limits.inPlace,
        isFlat: (head.mode & MODE.FLAT) !== 0,
        stack: this.#stackNow(),
      },
    };
  }

  // The head is about to execute, so this is how it finds the register stack.
  #stackNow(): StackPosition {
    const { state } = this.#source;
    return [state.getInt32(FPU_TOP, true), state.getInt32(FPU_TAGS, true)];
  }

  #add(site: Site): number {
    const { block, call } = site;
    const number = this.#sites.push(site) - 1;
    let byCall = this.#numbers.get(block);
    if (byCall === undefined) this.#numbers.set(block, byCall = new Map());
    byCall.set(call, number);
    return number;
  }

  #definitionAt(record: number): WantedHandler["definition"] | undefined {
    const index = this.#source.state.getUint32(record + REC_HANDLER, true);
    return this.#source.handlerAt(index)?.definition;
  }

  #follow(number: number, { block, page, call }: Site): void {
    const { state } = this.#source;
    for (let at = block.bodyEnd; at < block.end; at += RECORD_STRIDE) {
      const stub = this.#definitionAt(at);
      if (stub !== steps.LINK && stub !== steps.LOOKUP) continue;
      const owner = state.getInt32(at + REC_OPERAND, true);
      const target = page * PAGE + state.getInt32(at + REC_IMM, true);
      const inside = this.#callAt(owner, page, call);
      if (inside !== "too deep") this.#lead(number, owner, target, inside);
    }
    const last = block.bodyEnd - RECORD_STRIDE;
    const name = this.#definitionAt(last)?.name ?? "";
    if (call !== undefined && RETURN.test(name)) {
      this.#lead(number, last, call.back, call.outer);
    }
  }

  // The call that a branch's target is inside of.
  #callAt(
    owner: number,
    page: number,
    call: Call | undefined,
  ): Call | undefined | "too deep" {
    if (!CALL.test(this.#definitionAt(owner)?.name ?? "")) return call;
    const depth = (call?.depth ?? 0) + 1;
    if (depth > this.#limits.calls) return "too deep";
    const { state } = this.#source;
    const back = page * PAGE +
      (state.getUint16(owner + REC_SITE, true) & SITE_OFFSET) +
      state.getUint8(owner + REC_LENGTH);
    let inner = this.#calls.get(call);
    if (inner === undefined) this.#calls.set(call, inner = new Map());
    let made = inner.get(back);
    if (made === undefined) {
      inner.set(back, made = { back, outer: call, depth });
    }
    return made;
  }

  #locate(page: number): number | undefined {
    if (!this.#pages.has(page)) {
      this.#pages.set(page, this.#source.locate(page));
    }
    return this.#pages.get(page);
  }

  // A branch to what lies `target` bytes after the head's page.
  #lead(
    from: number,
    owner: number,
    target: number,
    call: Call | undefined,
  ): void {
    const page = Math.floor(target / PAGE);
    const start = this.#locate(page);
    if (start === undefined) return;
    const { mode } = this.#sites[0]!.block;
    const block = this.#source.cache.find(start + target - page * PAGE, mode);
    if (block === undefined || !this.#joins(block)) return;
    const known = this.#numbers.get(block)?.get(call);
    if (known !== undefined && this.#sites[known]!.page !== page) return;
    const to = known ?? this.#admit({ block, page, call });
    if (to !== undefined) this.#edges.push([from, owner, to]);
  }

  #joins(block: Block): boolean {
    return block.isCounted && block.pages.length === 1 && this.#mayJoin(block);
  }

  #admit(site: Site): number | undefined {
    const { block } = site;
    const size = (block.bodyEnd - block.start) / RECORD_STRIDE;
    if (this.#sites.length >= this.#limits.blocks || size > this.#room) {
      return undefined;
    }
    this.#room -= size;
    return this.#add(site);
  }
}

/**
 * Grows the region of a block that is about to execute.
 *
 * @param mayJoin whether a block may: it runs often enough, say
 * @param isCounted whether its entries are counted
 */
export function growRegion(
  source: GrowthSource,
  limits: RegionLimits,
  head: Block,
  mayJoin: (block: Block) => boolean,
  isCounted: boolean,
): GrownRegion {
  return new Growth(source, limits, mayJoin).grow(head, isCounted);
}
