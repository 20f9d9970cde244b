// Blocks by offset and mode: buckets of chains through the blocks themselves, so that
// adding, finding and removing one allocate nothing.

const BITS = 15;
const MULTIPLIER = 0x9e3779b1 | 0;

/** What lies in the map. */
export interface Mapped<B> {
  /** where its bytes begin, as offset in guest memory */
  readonly offset: number;
  /** its mode key */
  readonly mode: number;
  /** the next in its bucket; the map's own */
  next: B | undefined;
}

/** Blocks by offset and mode. */
export class BlockMap<B extends Mapped<B>> {
  readonly #buckets: (B | undefined)[] = Array(1 << BITS).fill(undefined);

  /** The block at an offset, if there is one. */
  get(offset: number, mode: number): B | undefined {
    let block = this.#buckets[bucketOf(offset, mode)];
    while (
      block !== undefined && (block.offset !== offset || block.mode !== mode)
    ) block = block.next;
    return block;
  }

  /** Adds a block where none is. */
  add(block: B): void {
    const bucket = bucketOf(block.offset, block.mode);
    block.next = this.#buckets[bucket];
    this.#buckets[bucket] = block;
  }

  /** Removes a block, if it is there. */
  delete(block: B): void {
    const bucket = bucketOf(block.offset, block.mode);
    let before: B | undefined;
    let at = this.#buckets[bucket];
    for (; at !== undefined && at !== block; at = at.next) before = at;
    if (at === undefined) return;
    if (before === undefined) this.#buckets[bucket] = block.next;
    else before.next = block.next;
    block.next = undefined;
  }

  /** Forgets all blocks. */
  clear(): void {
    this.#buckets.fill(undefined);
  }
}

function bucketOf(offset: number, mode: number): number {
  return Math.imul(offset ^ mode << 20, MULTIPLIER) >>> (32 - BITS);
}
