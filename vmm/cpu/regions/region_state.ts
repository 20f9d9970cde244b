// Memory 0 as a region sees it, however it keeps the registers.

import { FLAG_CARRY, FLAG_RESULT } from "../state.ts";
import {
  type Expr,
  type I64,
  type Memory,
  Stmt,
  type Width,
} from "../wasm/mod.ts";
import type { Origins } from "./origins.ts";
import type { MapMark, RewindableMap } from "./rewindable_map.ts";

/** The two words of the lazy flags. */
export type FlagWord = typeof FLAG_RESULT | typeof FLAG_CARRY;

/** Both of them. */
export const FLAG_WORDS: readonly FlagWord[] = [FLAG_RESULT, FLAG_CARRY];

/** A write of a flag word, which the function may put off: see `RegionFunction`. */
export class FlagStore extends Stmt {
  /**
   * @param word which word
   * @param value its new value
   */
  constructor(readonly word: FlagWord, readonly value: I64) {
    super([], []);
  }
}

/** The low bytes of a value, zero-extended. */
export function lowBytes(value: I64, width: Width): I64 {
  if (width === 8) return value;
  return width === 4
    ? value.toI32().toI64U()
    : value.and(width === 2 ? 0xffff : 0xff);
}

/** Memory 0 with what a region keeps of it elsewhere. */
export interface RegionState extends Memory<"i32"> {
  /** Where values come from. */
  readonly origins: Origins;
  /** Flag words that were put off, by address. */
  readonly pending: RewindableMap<FlagWord, I64>;
  /** Is called where the x87's TOP or tags are stored one at a time, as MMX does. */
  onStack: () => void;
  /** Assigns a word now. */
  assign(at: number, value: Expr): Stmt;
  /** Sets the base of RIP here, if it is kept; its word in memory 0 is the caller's. */
  setBase(value: I64): Stmt | undefined;
  /** Another block begins. */
  beginBlock(): void;
  /** What is known of registers now. */
  mark(): MapMark;
  /** Goes back to what was known. */
  rewind(mark: MapMark): void;
  /** Loads what is kept here. */
  enter(): void;
  /** Stores what was written. */
  leave(): void;
  /** Loads the TLB's address again, after something that may have changed it. */
  renewTlb(): void;
}
