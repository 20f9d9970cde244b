// What accesses of a block have found in the TLB, for those after them: where two have
// the same base and lie near each other, the second tries the first one's page, whose
// tag and addend are in locals. That is a guess, which the tag confirms.
//
// The copies hold as long as the TLB does not change. Nothing but runtime functions
// changes it: after the slow path of an access the copies are read again, after all
// others they are forgotten; and no block knows of another's.

import {
  type AccessKind,
  type KnownPages,
  type PageAccess,
  pageByEntry,
} from "../page_access.ts";
import { tlbEntry } from "../runtime/walk.ts";
import { TLB_ADDEND, TLB_WRITE } from "../state.ts";
import type { FunctionBuilder, I32, I64, Memory, Var } from "../wasm/mod.ts";
import type { Origin, Origins } from "./origins.ts";

/** Most pages that are known at a time. */
const MOST = 3;
/** Accesses further apart are less likely to be of one page than not. */
const NEAR = 1024n;

/** Locals with what is known of a page. */
interface Slot {
  readonly entry: Var<"i32">;
  readonly tag: Var<"i64">;
  readonly addend: Var<"i64">;
}

interface Known {
  readonly slot: Slot;
  readonly base: string;
  readonly offset: bigint;
  readonly kind: AccessKind;
}

/** What is known at a place in the code. */
export type PagesMark = readonly Known[];

/** Pages that a block has found. */
export class BlockPages implements KnownPages {
  readonly #f: FunctionBuilder;
  readonly #memory: Memory<"i32">;
  readonly #origins: Origins;
  readonly #canLearn: () => boolean;
  readonly #slots: Slot[] = [];
  // The oldest first.
  #known: PagesMark = [];
  #isSlow = false;

  /**
   * @param f the function
   * @param memory memory 0 as it is
   * @param origins where addresses come from
   * @param canLearn whether the block's code from here on runs after what runs here
   */
  constructor(
    f: FunctionBuilder,
    memory: Memory<"i32">,
    origins: Origins,
    canLearn: () => boolean,
  ) {
    this.#f = f;
    this.#memory = memory;
    this.#origins = origins;
    this.#canLearn = canLearn;
  }

  /** Forgets all: another block, or the TLB may have changed. */
  forget(): void {
    if (!this.#isSlow) this.#known = [];
  }

  /** What is known now. */
  mark(): PagesMark {
    return this.#known;
  }

  /** Goes back to what was known. */
  rewind(mark: PagesMark): void {
    this.#known = mark;
  }

  find(array: I32, address: I64, kind: AccessKind): PageAccess {
    const origin = this.#origins.of(address);
    const known = this.#near(origin, kind) ??
      this.#learn(origin, array, address, kind);
    if (known === undefined) {
      const plain = pageByEntry(this.#f, this.#memory, [array, address, kind]);
      return { ...plain, missed: (slow) => this.#slowly(slow) };
    }
    const { slot } = known;
    return {
      tag: slot.tag.get(),
      addend: () => slot.addend.get(),
      missed: (slow) =>
        this.#slowly(() => {
          const result = slow();
          this.#f.set(slot.entry, tlbEntry(array, address));
          return result;
        }),
    };
  }

  // What can be written can be read.
  #near({ key, offset }: Origin, kind: AccessKind): Known | undefined {
    return this.#known.find((known) => {
      const distance = known.offset - offset;
      return known.base === key && -NEAR < distance && distance < NEAR &&
        (known.kind === kind || known.kind === TLB_WRITE);
    });
  }

  #learn(
    { key, offset }: Origin,
    array: I32,
    address: I64,
    kind: AccessKind,
  ): Known | undefined {
    if (!this.#canLearn()) return undefined;
    const known = { slot: this.#takeSlot(), base: key, offset, kind };
    this.#f.set(known.slot.entry, tlbEntry(array, address));
    this.#read(known);
    this.#known = [...this.#known, known];
    return known;
  }

  #takeSlot(): Slot {
    if (this.#known.length === MOST) this.#known = this.#known.slice(1);
    const taken = new Set(this.#known.map(({ slot }) => slot));
    const free = this.#slots.find((slot) => !taken.has(slot));
    if (free !== undefined) return free;
    const slot = {
      entry: this.#f.reserve("i32"),
      tag: this.#f.reserve("i64"),
      addend: this.#f.reserve("i64"),
    };
    this.#slots.push(slot);
    return slot;
  }

  #read({ slot, kind }: Known): void {
    const entry = slot.entry.get();
    this.#f.set(slot.tag, this.#memory.load64(entry, kind));
    this.#f.set(slot.addend, this.#memory.load64(entry, TLB_ADDEND));
  }

  // The slow path of an access, after which the copies are read again.
  #slowly<T>(slow: () => T): T {
    const outer = this.#isSlow;
    this.#isSlow = true;
    const result = slow();
    this.#isSlow = outer;
    for (const known of this.#known) this.#read(known);
    return result;
  }
}
