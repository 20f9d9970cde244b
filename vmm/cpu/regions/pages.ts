// How a region gets at guest memory: where its accesses go to plain RAM, by the TLB. For
// all else (a fault, device memory, two pages, a page with code) it leaves, and the
// instruction's handler does it: so an access can neither fault nor change anything else,
// and V8 keeps nothing for the case. Where an entry misses, a large region has the TLB
// refilled; a small one leaves, which saves a sixth of what V8 spends on a boot.
//
// Accesses share what was found: where two have the same base and lie near each other,
// the second tries the first one's page, whose tag and addend are in locals. That is a
// guess, which the tag confirms. The copies hold as long as nothing is flushed, which only
// runtime functions do: after those they are forgotten, and where paths join, since they
// come from one of them. It makes the machine code of regions a tenth smaller.

import type { RuntimeFunctions } from "../cpu_module.ts";
import {
  type AccessKind,
  type DirectMemory,
  misses,
  pageByEntry,
} from "../page_access.ts";
import { ACCESS_READ, ACCESS_WRITE, NOT_RAM } from "../runtime/walk.ts";
import { TLB_WRITE } from "../state.ts";
import {
  type FunctionBuilder,
  type I32,
  i32,
  type I64,
  type Memory,
  type Var,
} from "../wasm/mod.ts";
import type { Origin, Origins } from "./origins.ts";

/** Most pages that are known at a time. */
const MOST = 3;
/** Accesses further apart are less likely to be of one page than not. */
const NEAR = 1024n;

/** Locals with what is known of a page. */
interface Slot {
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

/** How the code at hand learns of pages. */
export interface Learning {
  /** where addresses come from */
  readonly origins: Origins;
  /** whether the block's code from here on runs after what runs here */
  readonly canLearn: () => boolean;
  /** whether the TLB is refilled where it misses */
  readonly refills: boolean;
}

/** Guest memory of a region, and the pages that the path to here has found. */
export class KnownPages implements DirectMemory {
  readonly #f: FunctionBuilder;
  readonly #fn: RuntimeFunctions;
  readonly #memory: Memory<"i32">;
  readonly #leave: () => void;
  readonly #learning: Learning;
  readonly #slots: Slot[] = [];
  // The oldest first.
  #known: PagesMark = [];

  /**
   * @param f the function
   * @param module the runtime, and memory 0 as it is
   * @param leave leaves for the handler of the instruction
   * @param learning how the code learns of pages
   */
  constructor(
    f: FunctionBuilder,
    { fn, state }: { fn: RuntimeFunctions; state: Memory<"i32"> },
    leave: () => void,
    learning: Learning,
  ) {
    this.#f = f;
    this.#fn = fn;
    this.#memory = state;
    this.#leave = leave;
    this.#learning = learning;
  }

  /** Forgets all: paths join, or the TLB may have been flushed. */
  forget(): void {
    this.#known = [];
  }

  /** What is known now. */
  mark(): PagesMark {
    return this.#known;
  }

  /** Goes back to what was known. */
  rewind(mark: PagesMark): void {
    this.#known = mark;
  }

  leaveWhere(condition: I32): void {
    this.#f.rarely(condition, this.#leave);
  }

  offset(array: I32, la: I64, bytes: number, kind: AccessKind): I64 {
    const address = this.#f.let(la);
    const known = this.#find(this.#learning, array, address, kind);
    if (!this.#learning.refills) {
      const { tag, addend } = known === undefined
        ? pageByEntry(this.#f, this.#memory, [array, address, kind])
        : { tag: known.slot.tag.get(), addend: () => known.slot.addend.get() };
      this.leaveWhere(misses(tag, address, bytes));
      return this.#f.let(address.add(addend()));
    }
    return known === undefined
      ? this.#byEntry(array, address, bytes, kind)
      : this.#byGuess(known, address, bytes, kind);
  }

  #byEntry(array: I32, address: I64, bytes: number, kind: AccessKind): I64 {
    const f = this.#f;
    const page = pageByEntry(f, this.#memory, [array, address, kind]);
    const addend = f.var("i64", page.addend());
    f.rarely(
      misses(page.tag, address, bytes),
      () => f.set(addend, this.#refilled(address, bytes, kind)),
    );
    return f.let(address.add(addend.get()));
  }

  #byGuess(
    { slot, kind: known }: Known,
    address: I64,
    bytes: number,
    kind: AccessKind,
  ): I64 {
    const f = this.#f;
    const isMiss = misses(slot.tag.get(), address, bytes);
    // A page that can be read may not be one that can be written: the slot keeps its own.
    const addend = known === kind
      ? slot.addend
      : f.var("i64", slot.addend.get());
    f.rarely(isMiss, () => {
      f.set(addend, this.#refilled(address, bytes, kind));
      if (known === kind) f.set(slot.tag, address.and(-4096));
    });
    return f.let(address.add(addend.get()));
  }

  // The addend of a page that was not in the TLB, or under another guess.
  #refilled(address: I64, bytes: number, kind: AccessKind): I64 {
    const access = kind === TLB_WRITE ? ACCESS_WRITE : ACCESS_READ;
    const { refill } = this.#fn;
    const [addend] = this.#f.call(refill, address, i32(bytes), i32(access));
    this.leaveWhere(addend.eq(NOT_RAM));
    return addend;
  }

  #find(
    { origins, canLearn }: Learning,
    array: I32,
    address: I64,
    kind: AccessKind,
  ): Known | undefined {
    const origin = origins.of(address);
    const known = this.#near(origin, kind);
    if (known !== undefined || !canLearn()) return known;
    return this.#learn(origin, array, address, kind);
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
  ): Known {
    const known = { slot: this.#takeSlot(), base: key, offset, kind };
    const page = pageByEntry(this.#f, this.#memory, [array, address, kind]);
    this.#f.set(known.slot.tag, page.tag);
    this.#f.set(known.slot.addend, page.addend());
    this.#known = [...this.#known, known];
    return known;
  }

  #takeSlot(): Slot {
    if (this.#known.length === MOST) this.#known = this.#known.slice(1);
    const taken = new Set(this.#known.map(({ slot }) => slot));
    const free = this.#slots.find((slot) => !taken.has(slot));
    if (free !== undefined) return free;
    const slot = {
      tag: this.#f.reserve("i64"),
      addend: this.#f.reserve("i64"),
    };
    this.#slots.push(slot);
    return slot;
  }
}
