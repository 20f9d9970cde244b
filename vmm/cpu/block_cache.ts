// Decoded code: blocks of records by physical address and mode key, and which
// pages they came from, so that writes drop them (Intel SDM vol. 3, 12.6).

import {
  BlockDecoder,
  type DecodingSource,
  MAX_INSTRUCTIONS,
  MAX_LENGTH,
} from "./block_decoder.ts";
import { BlockMap } from "./block_map.ts";
import { BlockWriter } from "./block_writer.ts";
import { CodeGrains, type PageRange } from "./code_grains.ts";
import { codeSize } from "./mode.ts";
import { REC_HANDLER, REC_LINK } from "./record.ts";
import { type ModeSize, PLAIN } from "./shape.ts";
import { RECORD_STRIDE, RECORDS, RECORDS_SIZE } from "./state.ts";
import * as steps from "./steps.ts";
import { VECTOR } from "./runtime/traps.ts";

/** Most bytes of a block: few would be longer. */
const MAX_BYTES = 192;
/** Records that the longest block can need: two an instruction, stubs, ends. */
const BLOCK_RECORDS = MAX_INSTRUCTIONS * 3 + 4;

/** A decoded block. */
export interface Block {
  /** address of its first record */
  readonly start: number;
  /** address after its last record, stubs included */
  end: number;
  /** address after the records of its instructions: what follows only leads on */
  readonly bodyEnd: number;
  /** pages of guest memory that its bytes lie in: one or two */
  readonly pages: readonly number[];
  /** where its bytes begin, as offset in guest memory */
  readonly offset: number;
  /** bytes of the instructions in it */
  bytes: number;
  /** its mode key */
  readonly mode: number;
  /** whether its first record counts its executions */
  readonly isCounted: boolean;
  /** the next in its bucket; see `block_map.ts` */
  next: Block | undefined;
}

/** What the cache needs of the processor that it decodes for. */
export interface CodeSource extends DecodingSource {
  /** guest memory by offset */
  readonly memory: Uint8Array;
  /** where the bytes after the page of the block lie; undefined: a fault waits */
  nextPage(): number | undefined;
  /** executions after which a block that begins there is hot; 0: never counted */
  threshold(offset: number, mode: number): number;
  /** table index of the handler for two records in a row, if there is one */
  fused(first: number, second: number): number | undefined;
  /** is told of a block that is dropped */
  dropped(block: Block): void;
}

// The bytes of a page that a block was decoded from. One that crosses into another page
// is a single instruction, or what cannot become one whatever follows.
function rangeIn({ pages, offset, bytes }: Block, page: number): PageRange {
  const from = offset % 4096;
  const [first, second] = pages;
  if (pages.length === 1) return { from, to: from + bytes };
  if (first === second) return { from: 0, to: 4096 };
  return page === first ? { from, to: 4096 } : { from: 0, to: MAX_LENGTH };
}

/** The decoded code of one virtual CPU. */
export class BlockCache {
  readonly #source: CodeSource;
  readonly #blocks = new BlockMap<Block>();
  readonly #pages = new Map<number, Set<Block>>();
  readonly #decoder: BlockDecoder;
  readonly #grains: CodeGrains;
  #next = RECORDS;

  /** How often the cache was emptied. */
  epoch = 0;
  /** Blocks decoded since the cache was made. */
  decoded = 0;

  constructor(source: CodeSource) {
    this.#source = source;
    this.#decoder = new BlockDecoder(source);
    this.#grains = new CodeGrains(source.words);
    // A drop happens while code runs, when no handler can be built.
    for (const code of [16, 32, 64] as const) this.#stale(code);
    source.handler(steps.FORWARD, PLAIN);
  }

  #stale(code: ModeSize): number {
    return this.#source.handler(steps.STALE, { ...PLAIN, code });
  }

  /** Instructions decoded since the cache was made. */
  get instructions(): number {
    return this.#decoder.instructions;
  }

  /** Whether a page of guest memory holds decoded code. */
  hasCode(page: number): boolean {
    return (this.#pages.get(page)?.size ?? 0) > 0;
  }

  /** Forgets everything. Only where no record is executing. */
  clear(): void {
    this.epoch++;
    this.#blocks.clear();
    this.#pages.clear();
    this.#next = RECORDS;
  }

  /** Whether the next block might not fit: then `clear` first. */
  get isFull(): boolean {
    return this.#next + BLOCK_RECORDS * RECORD_STRIDE > RECORDS + RECORDS_SIZE;
  }

  /** The block at an offset in guest memory, if it is decoded. */
  find(offset: number, mode: number): Block | undefined {
    return this.#blocks.get(offset, mode);
  }

  /**
   * Drops the blocks that a write hits. Their records are made stale, so that
   * one of them that executes goes on with the new bytes.
   */
  invalidate(page: number, from: number, length: number): void {
    const blocks = this.#pages.get(page);
    if (blocks === undefined) return;
    this.#grains.begin(page);
    for (const block of blocks) {
      const range = rangeIn(block, page);
      if (range.from < from + length && from < range.to) this.drop(block);
      else this.#grains.add(page, range);
    }
  }

  /** Drops every block of a page. */
  invalidatePage(page: number): void {
    for (const block of this.#pages.get(page) ?? []) this.drop(block);
  }

  /** Drops one block. */
  drop(block: Block): void {
    const { state } = this.#source;
    const stale = this.#stale(codeSize(block.mode));
    // The ends stay: an instruction that drops its own block still goes on by them.
    for (let at = block.start; at < block.bodyEnd; at += RECORD_STRIDE) {
      state.setInt32(at + REC_HANDLER, stale, true);
    }
    this.#blocks.delete(block);
    for (const page of block.pages) this.#pages.get(page)?.delete(block);
    this.#source.dropped(block);
  }

  /** Sets where a direct branch leads, if its block is still there. */
  link(owner: number, target: Block): void {
    this.#source.state.setInt32(owner + REC_LINK, target.start, true);
  }

  /**
   * Decodes the block at an offset in guest memory. Answers undefined where its
   * first instruction's bytes cannot all be fetched: then a fault waits.
   *
   * @param limit bytes that the code segment allows from here on
   */
  decode(offset: number, mode: number, limit: number): Block | undefined {
    const page = Math.floor(offset / 4096);
    const inPage = offset % 4096;
    const available = Math.min(4096 - inPage, limit);
    const bytes = this.#source.memory;
    const to = offset + Math.min(available, MAX_BYTES);
    const code = { bytes, from: offset, to, inPage, mode };
    const writer = new BlockWriter(this.#source, this.#next, mode);
    const threshold = this.#source.threshold(offset, mode);
    if (threshold > 0) writer.profile(inPage, threshold);
    const count = this.#decoder.decodeInto(writer, code);
    if (count > 0) return this.#finish(writer, [page], offset, mode, limit);
    // The first instruction does not fit before the page's end.
    if (available < 4096 - inPage) {
      writer.raise(VECTOR.GP, 0, inPage);
      return this.#finish(writer, [page], offset, mode, limit);
    }
    const rest = bytes.subarray(offset, to);
    if (this.#decoder.isUndefined(rest, mode)) {
      writer.begin(inPage, rest.length);
      writer.raise(VECTOR.UD, -1, inPage);
      return this.#finish(writer, [page], offset, mode, limit);
    }
    const second = this.#source.nextPage();
    if (second === undefined) return undefined;
    const both = new Uint8Array(rest.length + MAX_LENGTH);
    both.set(rest);
    both.set(bytes.subarray(second, second + MAX_LENGTH), rest.length);
    const crossing = new BlockWriter(this.#source, this.#next, mode);
    crossing.checkPage(second, inPage);
    const allowed = Math.min(both.length, limit);
    const crossed = { ...code, bytes: both, from: 0, to: allowed };
    if (this.#decoder.decodeInto(crossing, crossed, 1) === 0) {
      crossing.raise(VECTOR.GP, 0, inPage);
    }
    const pages = [page, Math.floor(second / 4096)];
    return this.#finish(crossing, pages, offset, mode, limit);
  }

  // Gives pairs of records from `#next` on their fused handlers.
  #fuse(end: number): void {
    const { words } = this.#source;
    const at = (record: number) => (record + REC_HANDLER) >> 2;
    let first = this.#next;
    for (; first < end; first += RECORD_STRIDE) {
      const second = first + RECORD_STRIDE;
      const fused = this.#source.fused(words[at(first)]!, words[at(second)]!);
      if (fused === undefined) continue;
      words[at(first)] = fused;
      first = second;
    }
  }

  #finish(
    writer: BlockWriter,
    pages: readonly number[],
    offset: number,
    mode: number,
    limit: number,
  ): Block {
    writer.close();
    this.#fuse(writer.bodyEnd);
    const block: Block = {
      start: this.#next,
      end: writer.end,
      bodyEnd: writer.bodyEnd,
      pages,
      offset,
      bytes: Math.max(writer.lastEnd, 1),
      mode,
      isCounted: writer.isCounted,
      next: undefined,
    };
    this.#next = writer.end;
    this.decoded++;
    for (const page of pages) {
      let set = this.#pages.get(page);
      if (set === undefined) this.#pages.set(page, set = new Set());
      set.add(block);
      this.#grains.add(page, rangeIn(block, page));
    }
    // A block that the segment's limit cut short is not the bytes' own.
    if (limit >= 4096) this.#blocks.add(block);
    return block;
  }
}
