// How emitted code finds the page of an access in the TLB: by its entry, or, in
// compiled code, by what an access before it found.

import { TLB_ADDEND } from "./state.ts";
import { tlbEntry } from "./runtime/walk.ts";
import type { FunctionBuilder, I32, I64, Memory } from "./wasm/mod.ts";

/** What an access needs of a TLB entry. */
export interface PageAccess {
  /** the tag for its kind of access */
  readonly tag: I64;
  /** what gives the offset in memory 1 when it is added to the address */
  readonly addend: () => I64;
  /** runs what is done where the tag does not match */
  readonly missed: <T>(slow: () => T) => T;
}

/** A kind of access: `TLB_READ` or `TLB_WRITE`, the offset of its tag in an entry. */
export type AccessKind = number;

/** Remembers pages between accesses. */
export interface KnownPages {
  /** the page of an access at a kept address, through a TLB array */
  find(array: I32, address: I64, kind: AccessKind): PageAccess;
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
    missed: (slow) => slow(),
  };
}
