// Templates by mode and first bytes of an instruction: a tree of bytes, whose edges
// lie in one hash table. No instruction's head begins another's, so the first
// template on the way is the one.

import type { Template } from "./template.ts";

const BITS = 16;
const SLOTS = 1 << BITS;
/** Edges before all is forgotten: a guest chooses what it executes. */
const MAX_USED = SLOTS * 3 / 4;
const MULTIPLIER = 0x9e3779b1 | 0;
/** Most bytes of a head: the longest legal instruction's. */
const MAX_HEAD = 15;
/** Words of all templates before they are forgotten. */
const POOL = 1 << 19;
/** Most words of one: a header, two records and a constant in each word. */
const MAX_TEMPLATE = 65;

// A node is the slot of the edge that leads to it; the roots, one a mode, lie above.
function edge(node: number, byte: number): number {
  return (node << 8 | byte) + 1;
}

/** Templates of one virtual CPU. */
export class Templates {
  /** Words of the templates; there is none at 0. */
  readonly pool = new Int32Array(POOL);
  // A slot's edge, or 0, and the template where it leads, or 0.
  readonly #slots = new Int32Array(2 * SLOTS);
  #used = 0;
  #end = 1;

  /** Where in the pool the template of the instruction at `from` is, or 0. */
  find(mode: number, bytes: Uint8Array, from: number, to: number): number {
    const slots = this.#slots;
    const end = Math.min(to, from + MAX_HEAD);
    let node = SLOTS + mode;
    for (let at = from; at < end; at++) {
      const wanted = edge(node, bytes[at]!);
      node = slotOf(slots, wanted);
      if (slots[2 * node] !== wanted) return 0;
      const template = slots[2 * node + 1]!;
      if (template !== 0) return template;
    }
    return 0;
  }

  /** Adds the template of all instructions that begin as these bytes do. */
  add(mode: number, bytes: Uint8Array, { words, head }: Template): void {
    const isFull = this.#used + head > MAX_USED ||
      this.#end + MAX_TEMPLATE > POOL;
    if (isFull) this.#forget();
    let node = SLOTS + mode;
    for (let at = 0; at < head; at++) {
      const wanted = edge(node, bytes[at]!);
      node = slotOf(this.#slots, wanted);
      if (this.#slots[2 * node] === wanted) continue;
      this.#slots[2 * node] = wanted;
      this.#used++;
    }
    this.#slots[2 * node + 1] = this.#end;
    for (const word of words) this.pool[this.#end++] = word;
  }

  #forget(): void {
    this.#slots.fill(0);
    this.#used = 0;
    this.#end = 1;
  }
}

// The slot of an edge, or the free one where it would be.
function slotOf(slots: Int32Array, wanted: number): number {
  let slot = Math.imul(wanted, MULTIPLIER) >>> (32 - BITS);
  while (slots[2 * slot] !== wanted && slots[2 * slot] !== 0) {
    slot = (slot + 1) & (SLOTS - 1);
  }
  return slot;
}
