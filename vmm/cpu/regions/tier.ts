// The compiled tier of one virtual CPU: which blocks are hot, the regions that grow
// from them, their modules, and what happens to them when code is dropped.

import type { Block, BlockCache } from "../block_cache.ts";
import type { WantedHandler } from "../handlers.ts";
import { MODE } from "../mode.ts";
import { REC_HANDLER, REC_IMM, REC_OPERAND } from "../record.ts";
import { RECORD_STRIDE } from "../state.ts";
import * as steps from "../steps.ts";
import type { RegionCompiler } from "./compiler.ts";
import type { RegionOptions } from "./limits.ts";
import { emitBatch, type RegionPlan } from "./plan.ts";

/** What the tier needs of the engine. */
export interface TierHost {
  /** memory 0 */
  readonly state: DataView;
  /** decoded code */
  readonly cache: Pick<BlockCache, "find">;
  /** what the handler at a table index was made from */
  handlerAt(index: number): WantedHandler | undefined;
  /** reserves table entries and answers the first */
  newHandlers(count: number): number;
  /** puts a module's functions into the table */
  install(module: WebAssembly.Module): void;
}

/** A compiled region. */
interface Region {
  readonly head: Block;
  readonly blocks: readonly Block[];
  /** what its head's first record had before */
  readonly handler: number;
}

/** A region that is to be compiled. */
interface GrownRegion {
  readonly blocks: readonly Block[];
  readonly plan: RegionPlan;
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

/** Compiles what is hot. */
export class RegionTier {
  readonly #host: TierHost;
  readonly #options: RegionOptions;
  readonly #hot: Block[] = [];
  readonly #regions = new Map<Block, Region>();
  readonly #users = new Map<Block, Set<Region>>();
  readonly #drops = new Map<number, number>();
  readonly #compiler: RegionCompiler | undefined;
  readonly #observer: RegionObserver | undefined;
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

  /** A block is hot: it is compiled now or soon. */
  hot(block: Block): void {
    this.#setCount(block, NEVER);
    this.#hot.push(block);
    if (this.#hot.length >= this.#options.batch) this.#compile();
  }

  /** Is called now and then, so that a batch does not wait for long. */
  look(): void {
    if (this.#compiler?.isDone) {
      const start = performance.now();
      this.#compiler.take();
      this.#spent(start);
    }
    if (this.#hot.length === 0) return;
    if (++this.#waited >= this.#options.patience) this.#compile();
  }

  /** A block was dropped: its regions are no longer entered. */
  dropped(block: Block): void {
    const users = this.#users.get(block);
    if (users === undefined) return;
    for (const region of users) this.#remove(region);
    const page = Math.floor(block.offset / 4096);
    this.#drops.set(page, (this.#drops.get(page) ?? 0) + 1);
  }

  /** Every block was dropped. */
  clear(): void {
    this.#hot.length = 0;
    this.#compiler?.forget();
    this.#regions.clear();
    this.#users.clear();
  }

  #setCount(block: Block, count: number): void {
    this.#host.state.setInt32(block.start + REC_OPERAND, count, true);
  }

  #remove(region: Region): void {
    const { state } = this.#host;
    this.#dropped++;
    this.#regions.delete(region.head);
    for (const block of region.blocks) {
      const users = this.#users.get(block);
      users?.delete(region);
      if (users?.size === 0) this.#users.delete(block);
    }
    // The head itself may be what was dropped: then it stays so.
    if (this.#isLive(region.head)) {
      state.setInt32(region.head.start + REC_HANDLER, region.handler, true);
      const { offset, mode } = region.head;
      this.#setCount(region.head, this.threshold(offset, mode));
    }
  }

  #isLive(block: Block): boolean {
    return this.#host.cache.find(block.offset, block.mode) === block;
  }

  // --- Growth --------------------------------------------------------------

  // Executions of a block so far, as far as they were counted.
  #ran(block: Block): number {
    if (this.#regions.has(block)) return Infinity;
    const left = this.#host.state.getInt32(block.start + REC_OPERAND, true);
    if (left > this.#options.threshold) return Infinity;
    return this.#options.threshold - left;
  }

  #definitionAt(record: number): WantedHandler["definition"] | undefined {
    const index = this.#host.state.getUint32(record + REC_HANDLER, true);
    return this.#host.handlerAt(index)?.definition;
  }

  // Direct branches inside the page, by the record that branches: target offsets.
  *#branches(block: Block): Iterable<[number, number]> {
    const { state } = this.#host;
    for (let at = block.bodyEnd; at < block.end; at += RECORD_STRIDE) {
      if (this.#definitionAt(at) !== steps.LINK) continue;
      const owner = state.getInt32(at + REC_OPERAND, true);
      yield [owner, state.getInt32(at + REC_IMM, true)];
    }
  }

  #joins(block: Block): boolean {
    const { share, threshold } = this.#options;
    return block.isCounted && block.pages.length === 1 &&
      this.#ran(block) >= share * threshold;
  }

  // The region around a block: successors, the nearest first.
  #grow(head: Block): GrownRegion {
    const { cache } = this.#host;
    const numbers = new Map<Block, number>([[head, 0]]);
    const edges: [number, number, number][] = [];
    const page = head.offset - head.offset % 4096;
    let room = this.#options.instructions;
    for (const [from, number] of numbers) {
      for (const [owner, target] of this.#branches(from)) {
        const block = cache.find(page + target, head.mode);
        if (block === undefined || !this.#joins(block)) continue;
        let to = numbers.get(block);
        if (to === undefined) {
          const size = (block.bodyEnd - block.start) / RECORD_STRIDE;
          if (numbers.size >= this.#options.blocks || size > room) continue;
          room -= size;
          to = numbers.size;
          numbers.set(block, to);
        }
        edges.push([number, owner, to]);
      }
    }
    const blocks = [...numbers.keys()];
    return { blocks, plan: { blocks: blocks.map((b) => b.start), edges } };
  }

  // --- Compilation ---------------------------------------------------------

  #compile(): void {
    const start = performance.now();
    const heads = this.#hot.filter((block) => this.#isLive(block));
    this.#hot.length = 0;
    this.#waited = 0;
    if (heads.length > 0) this.#compileHeads(heads);
    this.#spent(start);
  }

  #spent(start: number): void {
    this.#milliseconds += performance.now() - start;
    if (this.#observed === this.#moduleCount) return;
    this.#observed = this.#moduleCount;
    this.#observer?.(this.statistics);
  }

  #compileHeads(heads: readonly Block[]): void {
    const regions = heads.map((head) => this.#grow(head));
    const first = this.#host.newHandlers(heads.length);
    const batch = { first, regions: regions.map(({ plan }) => plan) };
    const blocks = regions.map((region) => region.blocks);
    if (!this.#compiler?.isReady) {
      this.#install(emitBatch(this.#host, batch), first, blocks);
    } else {
      this.#compiler.post(batch, (bytes) => {
        if (bytes !== undefined) this.#install(bytes, first, blocks);
        else this.#failed++;
      });
    }
  }

  #install(
    bytes: Uint8Array<ArrayBuffer>,
    first: number,
    regions: readonly (readonly Block[])[],
  ): void {
    this.#host.install(new WebAssembly.Module(bytes));
    regions.forEach((blocks, n) => {
      // Code may have changed while another thread compiled it.
      if (blocks.every((block) => this.#isLive(block))) {
        this.#enter(blocks, first + n);
      } else {
        this.#late++;
      }
    });
    this.#moduleCount++;
    this.#bytes += bytes.length;
  }

  #enter(blocks: readonly Block[], handler: number): void {
    const { state } = this.#host;
    const head = blocks[0]!;
    const at = head.start + REC_HANDLER;
    const region = { head, blocks, handler: state.getInt32(at, true) };
    state.setInt32(at, handler, true);
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
