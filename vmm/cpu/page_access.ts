// How emitted code finds the page of an access: by its entry in the TLB, or, in compiled
// code, by what an access before it found there.

import { TLB_ADDEND } from "./state.ts";
import { tlbEntry } from "./runtime/walk.ts";
import type { FunctionBuilder, I32, I64, Memory } from "./wasm/mod.ts";

/** What an access needs of a TLB entry. */
export interface PageAccess {
  /** the tag for its kind of access */
  readonly tag: I64;
  /** what gives the offset in memory 1 when it is added to the address */
  readonly addend: () => I64;
}

/** A kind of access: `TLB_READ` or `TLB_WRITE`, the offset of its tag in an entry. */
export type AccessKind = number;

/**
 * Guest memory of code that leaves for an instruction's handler, which begins with it
 * anew, where an access is not one to plain RAM in one page.
 */
export interface DirectMemory {
  /** offset in memory 1 of bytes at a linear address, through a TLB array */
  offset(array: I32, address: I64, bytes: number, kind: AccessKind): I64;
  /** leaves where it holds */
  leaveWhere(condition: I32): void;
}

// The address xor a tag that matches is the offset in the page. Both ways are here, since
// the inverse of a comparison is one more instruction in V8's first code.

/** Whether all of an access goes to the page with a tag. */
export function hits(tag: I64, address: I64, bytes: number): I32 {
  return address.xor(tag).leU(4096 - bytes);
}

/** Whether an access does not go to the page with a tag: in part, or not at all. */
export function misses(tag: I64, address: I64, bytes: number): I32 {
  return address.xor(tag).gtU(4096 - bytes);
}

/** The page of an access by its TLB entry. */
export function pageByEntry(
  f: FunctionBuilder,
  state: Memory<"i32">,
  [array, address, kind]: readonly [I32, I64, AccessKind],
): PageAccess {
  const entry = f.let(tlbEntry(array, address));
  return {
    tag: state.load64(entry, kind),
    addend: () => state.load64(entry, TLB_ADDEND),
  };
}
