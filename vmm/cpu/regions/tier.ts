// The compiled tier of one virtual CPU: which blocks are hot, the regions that grow
// from them, their modules, and what happens to them when code is dropped.

import type { Block } from "../block_cache.ts";
import { MODE } from "../mode.ts";
import { REC_HANDLER, REC_OPERAND } from "../record.ts";
import type { RegionCompiler } from "./compiler.ts";
import { type GrownRegion, growRegion, type GrowthSource } from "./growth.ts";
import type { RegionOptions } from "./limits.ts";
import { emitBatch, type RegionPlan } from "./plan.ts";

/** What the tier needs of the engine. */
export interface TierHost extends GrowthSource {
  /** reserves table entries and answers the first */
  newHandlers(count: number): number;
  /** puts a module's functions into the table */
  install(module: WebAssembly.Module): void;
}

/** A compiled region. */
interface Region {
  readonly head: Block;
  readonly blocks: readonly Block[];
  readonly plan: RegionPlan;
  /** what its head's first record had before */
  readonly handler: number;
}

/** What the tier has done. */
export interface RegionStatistics {
  /** regions compiled */
  readonly regions: number;
  /** blocks in them */
  readonly blocks: number;
  /** modules that they lie in */
  readonly modules: number;
  /** bytes of those */
  readonly bytes: number;
  /** regions dropped because their code changed */
  readonly dropped: number;
  /** regions whose code changed before they were compiled */
  readonly late: number;
  /** batches that no module came of */
  readonly failed: number;
  /** regions that are there */
  readonly live: number;
  /** milliseconds that this thread spent on it */
  readonly milliseconds: number;
}

/** Is told what the tier has done so far, after each module. */
export type RegionObserver = (statistics: RegionStatistics) => void;

/** Executions until a block that could not be compiled is looked at again. */
const NEVER = 0x7fffffff;

/** How much longer a block is counted each time it is postponed. */
const LONGER = 4;

/** How much longer one is that a region will have: more than once, so that it is hot. */
const LATER = 2;

// Whether a region is worth compiling, after the one that its head has.
function isBetter({ plan }: GrownRegion, old: Region | undefined): boolean {
  return old === undefined || (old.plan.isInPlace && !plan.isInPlace) ||
    plan.nodes.length > old.plan.nodes.length;
}

/** Compiles what is hot. */
export class RegionTier {
  readonly #host: TierHost;
  readonly #options: RegionOptions;
  // What is to be compiled next, and what the compiler has.
  #grown: GrownRegion[] = [];
  #sent: readonly GrownRegion[] = [];
  readonly #regions = new Map<Block, Region>();
  readonly #users = new Map<Block, Set<Region>>();
  readonly #drops = new Map<number, number>();
  readonly #compiler: RegionCompiler | undefined;
  readonly #observer: RegionObserver | undefined;
  // Blocks that were hot while the compiler had work: executions until they are again.
  readonly #postponed = new Map<Block, number>();
  #waited = 0;
  #regionCount = 0;
  #blockCount = 0;
  #moduleCount = 0;
  #bytes = 0;
  #dropped = 0;
  #late = 0;
  #failed = 0;
  #observed = 0;
  #milliseconds = 0;

  /** @param compiler compiles in another thread; without it, this one does */
  constructor(
    host: TierHost,
    options: RegionOptions,
    compiler?: RegionCompiler,
    observer?: RegionObserver,
  ) {
    this.#host = host;
    this.#options = options;
    this.#compiler = compiler;
    this.#observer = observer;
  }

  /** What the tier has done so far. */
  get statistics(): RegionStatistics {
    return {
      regions: this.#regionCount,
      blocks: this.#blockCount,
      modules: this.#moduleCount,
      bytes: this.#bytes,
      dropped: this.#dropped,
      late: this.#late,
      failed: this.#failed,
      live: this.#regions.size,
      milliseconds: this.#milliseconds,
    };
  }

  /** Executions after which a block that begins at an offset is hot; 0: never. */
  threshold(offset: number, mode: number): number {
    const { threshold, doublings } = this.#options;
    if (mode & MODE.STEP) return 0;
    const drops = this.#drops.get(Math.floor(offset / 4096)) ?? 0;
    return threshold * 2 ** Math.min(drops, doublings);
  }

  /**
   * A block that is about to execute is hot, or its region is: it is compiled now or
   * soon.
   */
  hot(block: Block): void {
    if (this.#isComing(block) || this.#isPostponed(block)) return;
    const start = performance.now();
    this.#setCount(block, NEVER);
    this.#postponed.delete(block);
    const isOnce = this.#options.again === 0 || !(block.mode & MODE.FLAT);
    const old = this.#regions.get(block);
    const isAgain = isOnce || old !== undefined;
    const limits = isAgain ? this.#options : this.#options.small;
    const joins = (block: Block) =>
      (isAgain || !this.#isHead(block)) && this.#isHot(block);
    const grown = growRegion(this.#host, limits, block, joins, !isAgain);
    if (isBetter(grown, old)) this.#grown.push(grown);
    if (this.#grown.length >= this.#options.batch) this.#compile();
    this.#spent(start);
  }

  // A block that a region will have soon is counted on: what runs in a row becomes hot in
  // a row, and may not run by itself any more once the region is there.
  #isComing(block: Block): boolean {
    if (!this.#someComing(({ blocks }) => blocks.includes(block))) return false;
    this.#setCount(block, LATER * this.threshold(block.offset, block.mode));
    return true;
  }

  #someComing(test: (region: GrownRegion) => boolean): boolean {
    return this.#grown.some(test) || this.#sent.some(test);
  }

  // While the compiler has work, a block that is not compiled yet is counted on, until
  // it is hot enough to wait in line.
  #isPostponed(block: Block): boolean {
    const { insistent } = this.#options;
    if (this.#regions.has(block) || !this.#compiler?.isBusy) return false;
    const executions = this.#postponed.get(block) ??
      this.threshold(block.offset, block.mode);
    if (executions >= insistent) return false;
    const next = Math.min(executions * LONGER, insistent);
    this.#postponed.set(block, next);
    this.#setCount(block, next - executions);
    return true;
  }

  /** Is called now and then, so that a batch does not wait for long. */
  look(): void {
    if (this.#compiler?.isDone) {
      const start = performance.now();
      this.#compiler.take();
      this.#spent(start);
    }
    if (this.#grown.length === 0) return;
    if (++this.#waited < this.#options.patience) return;
    const start = performance.now();
    this.#compile();
    this.#spent(start);
  }

  #spent(start: number): void {
    this.#milliseconds += performance.now() - start;
    if (this.#observed === this.#moduleCount) return;
    this.#observed = this.#moduleCount;
    this.#observer?.(this.statistics);
  }

  /** A block was dropped: its regions are no longer entered. */
  dropped(block: Block): void {
    this.#postponed.delete(block);
    const users = this.#users.get(block);
    if (users === undefined) return;
    for (const region of users) this.#remove(region);
    const page = Math.floor(block.offset / 4096);
    this.#drops.set(page, (this.#drops.get(page) ?? 0) + 1);
  }

  /** Every block was dropped. */
  clear(): void {
    this.#grown = [];
    this.#sent = [];
    this.#compiler?.forget();
    this.#regions.clear();
    this.#users.clear();
    this.#postponed.clear();
  }

  #setCount(block: Block, count: number): void {
    this.#host.state.setInt32(block.start + REC_OPERAND, count, true);
  }

  #remove(region: Region): void {
    const { state } = this.#host;
    this.#dropped++;
    this.#forget(region);
    // The head itself may be what was dropped: then it stays so.
    if (this.#isLive(region.head)) {
      state.setInt32(region.head.start + REC_HANDLER, region.handler, true);
      this.#recount(region.head);
    }
  }

  #forget(region: Region): void {
    this.#regions.delete(region.head);
    for (const block of region.blocks) {
      const users = this.#users.get(block);
      users?.delete(region);
      if (users?.size === 0) this.#users.delete(block);
    }
  }

  #isLive(block: Block): boolean {
    return this.#host.cache.find(block.offset, block.mode) === block;
  }

  // Whether a region begins with a block, or will soon.
  #isHead(block: Block): boolean {
    return this.#regions.has(block) ||
      this.#someComing(({ blocks }) => blocks[0] === block);
  }

  // Whether a block runs often enough to be part of a region, as far as it was counted.
  #isHot(block: Block): boolean {
    const { share, threshold } = this.#options;
    if (this.#regions.has(block)) return true;
    const left = this.#host.state.getInt32(block.start + REC_OPERAND, true);
    return left > threshold || threshold - left >= share * threshold;
  }

  // --- Compilation ---------------------------------------------------------

  // While the compiler has a batch, the next one grows.
  #compile(): void {
    if (this.#compiler?.isFree === false) return;
    const whole = this.#grown.filter((region) => this.#isWhole(region));
    const regions = whole.slice(0, this.#options.batch);
    this.#grown = whole.slice(regions.length);
    this.#waited = 0;
    if (regions.length === 0) return;
    const first = this.#host.newHandlers(regions.length);
    const batch = { first, regions: regions.map(({ plan }) => plan) };
    if (!this.#compiler?.isReady) {
      this.#install(emitBatch(this.#host, batch), first, regions);
    } else {
      this.#sent = regions;
      this.#compiler.post(batch, (bytes) => {
        this.#sent = [];
        if (bytes !== undefined) this.#install(bytes, first, regions);
        else this.#fail(regions);
      });
    }
  }

  // Whether a region's code is what it was when it was grown. If it is not, the head
  // is counted again.
  #isWhole({ blocks }: GrownRegion): boolean {
    if (blocks.every((block) => this.#isLive(block))) return true;
    this.#recount(blocks[0]!);
    return false;
  }

  #recount(head: Block): void {
    if (!this.#isLive(head)) return;
    this.#setCount(head, this.threshold(head.offset, head.mode));
  }

  // Code of one of the regions changed while they were compiled: no module came of it.
  #fail(regions: readonly GrownRegion[]): void {
    this.#failed++;
    for (const { blocks } of regions) this.#recount(blocks[0]!);
  }

  #install(
    bytes: Uint8Array<ArrayBuffer>,
    first: number,
    regions: readonly GrownRegion[],
  ): void {
    this.#host.install(new WebAssembly.Module(bytes));
    regions.forEach((region, n) => {
      // Code may have changed while another thread compiled it.
      if (this.#isWhole(region)) this.#enter(region, first + n);
      else this.#late++;
    });
    this.#moduleCount++;
    this.#bytes += bytes.length;
  }

  #enter({ blocks, plan }: GrownRegion, index: number): void {
    const { state } = this.#host;
    const head = blocks[0]!;
    const at = head.start + REC_HANDLER;
    const old = this.#regions.get(head);
    if (old !== undefined) this.#forget(old);
    const handler = old?.handler ?? state.getInt32(at, true);
    const region = { head, blocks, plan, handler };
    state.setInt32(at, index, true);
    if (plan.isCounted) this.#setCount(head, this.#options.again);
    this.#regions.set(head, region);
    for (const block of blocks) {
      let users = this.#users.get(block);
      if (users === undefined) this.#users.set(block, users = new Set());
      users.add(region);
    }
    this.#regionCount++;
    this.#blockCount += blocks.length;
  }
}
