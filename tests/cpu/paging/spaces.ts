// Address spaces: each maps all that is outside the window as it is, and the window by
// tables of its own.

import {
  NX,
  PageTables,
  PTE,
  type TestMachine,
} from "../../../vmm/cpu/testing.ts";
import type { Prng } from "../fuzz/prng.ts";
import { FRAMES, type Kind, LAYOUT, PAGES } from "./layout.ts";

/** What entries of the window may be. */
export interface Entries {
  readonly kind: Kind;
  /** whether the programs are mostly the user's */
  readonly isUser: boolean;
  /** whether some pages are global */
  readonly hasGlobal: boolean;
  /** whether all outside the window is */
  readonly isRestGlobal: boolean;
}

/** An address space, and where in memory its window's entries are. */
export interface Space {
  readonly tables: PageTables;
  /** linear addresses of the window's pages, and their entries' */
  readonly pages: readonly (readonly [number, number])[];
  /** the entry that leads to the second stretch's table, or maps a large page */
  readonly directory: number;
  /** what it is where it leads to the table */
  readonly leads: bigint;
  /** PAE: the entry that leads to all of the window, and what it is at first */
  readonly pointer: number;
  readonly pointed: bigint;
}

/** The linear addresses of the window's pages. */
export function windowPages(kind: Kind): number[] {
  const stretches = [LAYOUT.WINDOW, LAYOUT.WINDOW + kind.large];
  return stretches.flatMap((start) =>
    Array.from({ length: PAGES }, (_, n) => start + n * 4096)
  );
}

/** A random entry of the window for a 4 KiB page, or, without a frame, a large one. */
export function randomEntry(
  random: Prng,
  { kind, isUser, hasGlobal }: Entries,
  isLarge = false,
): bigint {
  const frame = isLarge ? 0 : random.below(FRAMES) * 4096;
  let bits = LAYOUT.FRAMES + frame;
  if (isLarge) bits += PTE.PS;
  if (!random.chance(6)) bits += PTE.P;
  if (random.chance(88)) bits += PTE.RW;
  if (random.chance(isUser ? 92 : 30)) bits += PTE.US;
  if (random.chance(33)) bits += PTE.A + PTE.D;
  if (hasGlobal && random.chance(50)) bits += PTE.G;
  const isNx = kind.tables !== "legacy" && random.chance(6);
  return isNx ? BigInt(bits) | NX : BigInt(bits);
}

// Outside the window: small pages below 4 MiB, large ones beyond.
function mapRest(tables: PageTables, kind: Kind, rights: number): void {
  const { USER_STACK, USER_CODE, END_OF_CODE, TABLES, END } = LAYOUT;
  for (let at = 0; at < END_OF_CODE; at += 4096) {
    // Its stack and code.
    const isUser = at === USER_STACK - 4096 || at >= USER_CODE;
    tables.map(at, at, isUser ? rights | PTE.US : rights);
  }
  for (let at: number = TABLES; at < END; at += kind.large) {
    tables.map(at, at, rights, kind.large);
  }
}

// What is global need not be walked to in each address space.
function setAccessed(tables: PageTables): void {
  const from = tables.root + (tables.kind === "pae" ? 4096 : 0);
  const end = tables.root + LAYOUT.TABLES_OF_SPACE;
  for (let at = from; at < end; at += tables.kind === "legacy" ? 4 : 8) {
    const entry = tables.read(at);
    if (entry !== 0n) tables.write(at, entry | BigInt(PTE.A | PTE.D));
  }
}

/** Makes the address space of a number. */
export function makeSpace(
  machine: TestMachine,
  random: Prng,
  entries: Entries,
  number: number,
): Space {
  const { kind, isRestGlobal } = entries;
  const at = LAYOUT.TABLES + number * LAYOUT.TABLES_OF_SPACE;
  const tables = new PageTables(machine, kind.tables, at);
  mapRest(tables, kind, PTE.P | PTE.RW | (isRestGlobal ? PTE.G : 0));
  if (isRestGlobal) setAccessed(tables);
  const pages = windowPages(kind).map((page) =>
    [page, tables.entry(BigInt(page))] as const
  );
  for (const [, entry] of pages) {
    tables.write(entry, randomEntry(random, entries));
  }
  const second = BigInt(LAYOUT.WINDOW + kind.large);
  const directory = tables.entry(second, kind.large);
  const pointer = at + (LAYOUT.WINDOW >>> 30) * 8;
  return {
    ...{ tables, pages, directory, leads: tables.read(directory) },
    ...{ pointer, pointed: kind.tables === "pae" ? tables.read(pointer) : 0n },
  };
}
