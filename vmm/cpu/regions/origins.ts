// Where the values of a block come from, as far as addresses go: two with the same key
// differ by their offsets, if nothing came between. Only guesses are built on it.

import { EA, FS, GPR, GS, RIP_BASE, SEG_BASE } from "../state.ts";
import { type Expr, I64 } from "../wasm/mod.ts";
import { type MapMark, RewindableMap } from "./rewindable_map.ts";

/** A value as a base and what was added to it. */
export interface Origin {
  readonly key: string;
  readonly offset: bigint;
}

const MOST_STEPS = 12;
const LOCAL_GET = 0x20;
const ADD = 0x7c;
const SUB = 0x7d;
const SHL = 0x86;
// Conversions between 32 and 64 bits keep what a guess needs.
const KEPT = new Set([0xa7, 0xad, 0xc4]);

/** What a value is that was read from a word of memory 0: its note. */
class WordNote {
  constructor(readonly word: number) {}
}

// The words of memory 0 that addresses come from.
const WORDS = [
  ...Array.from({ length: 16 }, (_, n) => GPR + 8 * n),
  ...[EA, RIP_BASE, FS + SEG_BASE, GS + SEG_BASE],
];
const NOTES: ReadonlyMap<number, WordNote> = new Map(
  WORDS.map((at) => [at, new WordNote(at)]),
);

/** Whether addresses come from the word of memory 0 at an address. */
export function isSource(word: number): boolean {
  return NOTES.has(word);
}

/** A value, marked as read from the word at an address, where that matters. */
export function readFrom<E extends Expr>(word: number, value: E): E {
  value.note = NOTES.get(word);
  return value;
}

/** The origins of values. */
export class Origins {
  /** Words of memory 0 by the local that they are in. */
  readonly #words = new Map<number, number>();
  readonly #assigned = new RewindableMap<number, Origin>();
  #unknown = 0;

  /** A word is in a local. */
  name(word: number, local: number): void {
    this.#words.set(local, word);
  }

  /** A word is assigned. */
  assign(word: number, value: Expr): void {
    this.#assigned.set(word, this.of(value));
  }

  /** What has been assigned so far. */
  mark(): MapMark {
    return this.#assigned.mark();
  }

  /** Goes back to what had been assigned. */
  rewind(mark: MapMark): void {
    this.#assigned.rewind(mark);
  }

  /** Another block begins. */
  forget(): void {
    this.#assigned.clear();
  }

  /** The origin of a value that is computed here. */
  of(value: Expr): Origin {
    return this.#trace(value, MOST_STEPS);
  }

  #trace(value: Expr, steps: number): Origin {
    if (steps === 0) return this.#new();
    if (value instanceof I64 && value.value !== undefined) {
      return { key: "", offset: value.value };
    }
    if (value.from !== undefined) return this.#trace(value.from, steps - 1);
    if (value.note instanceof WordNote) return this.#word(value.note.word);
    const opcode = value.bytes[0]!;
    const [first, second] = value.kids;
    if (opcode === LOCAL_GET) return this.#local(value);
    if (first === undefined) return this.#new();
    if (KEPT.has(opcode)) return this.#trace(first, steps - 1);
    if (second === undefined) return this.#new();
    const a = this.#trace(first, steps - 1);
    const b = this.#trace(second, steps - 1);
    return this.#combine(opcode, a, b);
  }

  #combine(opcode: number, a: Origin, b: Origin): Origin {
    if (opcode === ADD) {
      const keys = [a.key, b.key].filter((key) => key !== "");
      return { key: keys.sort().join("+"), offset: a.offset + b.offset };
    }
    if (b.key !== "") return this.#new();
    if (opcode === SUB) return { key: a.key, offset: a.offset - b.offset };
    if (opcode !== SHL) return this.#new();
    const shift = b.offset & 63n;
    return { key: `(${a.key})<<${shift}`, offset: a.offset << shift };
  }

  #local({ bytes }: Expr): Origin {
    const low = bytes[1]!;
    const index = low < 0x80 ? low : (low & 0x7f) | bytes[2]! << 7;
    const word = this.#words.get(index);
    return word === undefined ? this.#new() : this.#word(word);
  }

  #word(word: number): Origin {
    return this.#assigned.get(word) ?? { key: `r${word}`, offset: 0n };
  }

  #new(): Origin {
    return { key: `${this.#unknown++}`, offset: 0n };
  }
}
