// What a program's kernel does between accesses: it changes entries of page tables and
// drops translations as it must, loads CR3, flips bits of control registers, writes code.

import { CR0, CR4, PTE } from "../../../vmm/cpu/testing.ts";
import type { Prng } from "../fuzz/prng.ts";
import type { AccessMaker } from "./accesses.ts";
import {
  type Bytes,
  CHANGED,
  le,
  mov,
  type Part,
  writeConstant,
} from "./code.ts";
import { FRAMES, type Kind, LAYOUT } from "./layout.ts";
import { type Entries, randomEntry, type Space } from "./spaces.ts";

/** MOV EAX, CR3; MOV CR3, EAX: drops all of this space that is not global. */
const RELOAD: Bytes = [0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8];
const EFER = 0xc000_0080;
const EFER_NXE = 11;
const KEEP = 1n << 63n;

// MOV EAX, CRn; BTC EAX, bit; MOV CRn, EAX
function flip(register: 0 | 4, bit: number): Bytes {
  const modrm = 0xc0 | register << 3;
  const change = [0x0f, 0xba, 0xf8, Math.log2(bit)];
  return [0x0f, 0x20, modrm, ...change, 0x0f, 0x22, modrm];
}

/** Drops everything. */
const FLUSH_ALL: Bytes = [...flip(4, CR4.PGE), ...flip(4, CR4.PGE)];

function invlpg(address: number): Bytes {
  return [...mov("ebx")(address), 0x0f, 0x01, 0x3b];
}

/** Makes a kernel's changes. */
export class ChangeMaker {
  readonly #random: Prng;
  readonly #entries: Entries;
  readonly #kind: Kind;
  readonly #spaces: readonly Space[];
  readonly #accesses: AccessMaker;
  /** Operands of INVPCID, two quads each. */
  readonly descriptors: bigint[] = [];
  #current = 0;

  constructor(
    random: Prng,
    entries: Entries,
    spaces: readonly Space[],
    accesses: AccessMaker,
  ) {
    this.#random = random;
    this.#entries = entries;
    this.#kind = entries.kind;
    this.#spaces = spaces;
    this.#accesses = accesses;
  }

  /** Adds a change to a kernel's code. */
  add(part: Part): void {
    const random = this.#random;
    const others: readonly (() => void)[] = [
      () => part.put(flip(0, CR0.WP)),
      () => part.put(flip(0, CR0.AM)),
      () => part.put(flip(4, random.pick([CR4.SMEP, CR4.SMAP, CR4.PGE]))),
      () => this.#flipNx(part),
      () => part.put(this.#writeFrame()),
      () => part.put(this.#writeFrame()),
      () => part.guarded(this.#accesses.make(false)),
      () => this.#switch(part),
      () => this.#switch(part),
      () => this.#elsewhere(part),
    ];
    const changes: readonly (() => void)[] = [
      ...Array(4).fill(() => this.#changePage(part)),
      () => this.#map(part),
      () => this.#large(part),
      () => random.pick(others)(),
      () => random.pick(others)(),
      () => random.pick(others)(),
    ];
    random.pick(changes)();
  }

  /** Goes back to the first address space, so that another round can begin. */
  goBack(part: Part): void {
    this.#load(part, 0);
  }

  // With PCIDs, those of other spaces would have to be dropped there.
  #space(): Space {
    const isAny = !this.#kind.hasPcids && this.#random.chance(30);
    return this.#spaces[
      isAny ? this.#anySpace() : this.#current
    ]!;
  }

  #write(at: number, value: bigint): Bytes {
    const high = value >> 32n;
    return [
      ...[...mov("ebx")(at), 0xc7, 0x03, ...le(value, 4)],
      ...this.#kind.entry === 8 ? [0xc7, 0x43, 4, ...le(high, 4)] : [],
    ];
  }

  // Drops what was known of a page, or more.
  #flush(page: number): Bytes {
    const within = page + this.#random.below(4096);
    if (this.#random.chance(70)) return invlpg(within);
    return this.#entries.hasGlobal || this.#random.chance(30)
      ? FLUSH_ALL
      : RELOAD;
  }

  #entry(): bigint {
    return randomEntry(this.#random, this.#entries);
  }

  // A page of an address space, and its entry.
  #pageOf({ pages }: Space): readonly [number, number] {
    const wanted = this.#accesses.page();
    return pages.find(([page]) => page === wanted)!;
  }

  // What was done before is mostly done again, in the same way.
  #changePage(part: Part): void {
    const [page, at] = this.#pageOf(this.#space());
    const access = this.#accesses.make(false);
    const isBoth = this.#random.chance(60);
    if (isBoth) part.guarded(access);
    part.put(this.#write(at, this.#entry()), this.#flush(page));
    if (isBoth) part.guarded(access);
  }

  // A page that was not there need not be dropped when it is.
  #map(part: Part): void {
    const [page, at] = this.#pageOf(this.#space());
    const access = this.#accesses.make(false);
    part.put(this.#write(at, 0n), this.#flush(page));
    part.guarded(access);
    part.put(this.#write(at, this.#entry() | BigInt(PTE.P)));
    part.guarded(access);
  }

  // A large page instead of a table, and the table again, for which one INVLPG suffices.
  #large(part: Part): void {
    const { directory, leads } = this.#space();
    const large = randomEntry(this.#random, this.#entries, true);
    const isAll = this.#entries.hasGlobal || this.#random.chance(50);
    part.put(this.#write(directory, large), isAll ? FLUSH_ALL : RELOAD);
    for (let n = this.#random.between(1, 3); n > 0; n--) {
      part.guarded(this.#accesses.make(false));
    }
    const start = LAYOUT.WINDOW + this.#kind.large;
    const within = start + this.#random.below(this.#kind.large);
    part.put(this.#write(directory, leads), invlpg(within));
  }

  // XOR of EFER.NXE, which makes NX a reserved bit.
  #flipNx(part: Part): void {
    if (this.#kind.tables === "legacy") return;
    const toggle = [0x0f, 0x32, 0x0f, 0xba, 0xf8, EFER_NXE, 0x0f, 0x30];
    part.put(mov("ecx")(EFER), toggle, FLUSH_ALL);
  }

  // Where its frame is, not in the window.
  #writeFrame(): Bytes {
    const frame = LAYOUT.FRAMES + this.#random.below(FRAMES) * 4096;
    const [, constants] = this.#random.pick(CHANGED);
    return writeConstant(this.#random, frame, constants);
  }

  // --- Address spaces ------------------------------------------------------------

  #switch(part: Part): void {
    if (this.#kind.tables === "pae" && this.#random.chance(50)) {
      this.#point(part);
    } else this.#load(part, this.#anySpace());
  }

  #pcidOf(number: number): number {
    return this.#kind.hasPcids ? number + 1 : 0;
  }

  #load(part: Part, number: number): void {
    this.#current = number;
    const value = this.#spaces[number]!.tables.root + this.#pcidOf(number);
    const keeps = this.#kind.hasPcids && this.#random.chance(70);
    part.put(
      keeps ? [0x48, 0xb8, ...le(BigInt(value) | KEEP, 8)] : mov("eax")(value),
      [0x0f, 0x22, 0xd8],
    );
  }

  // Another space's entry in the table that CR3 loads PDPTEs from: until then, nothing
  // changes.
  #point(part: Part): void {
    const { pointer } = this.#spaces[this.#current]!;
    const { pointed } = this.#random.pick(this.#spaces);
    part.put(this.#write(pointer, pointed));
    part.guarded(this.#accesses.make(false));
    part.put(this.#entries.hasGlobal ? FLUSH_ALL : RELOAD);
  }

  // An entry of another PCID's space, which INVPCID then drops.
  #elsewhere(part: Part): void {
    if (!this.#kind.hasPcids) return;
    const [here, number] = [this.#current, this.#anySpace()];
    const access = this.#accesses.make(false);
    this.#load(part, number);
    part.guarded(access);
    this.#load(part, here);
    const [page, at] = this.#pageOf(this.#spaces[number]!);
    // Types 0 and 1 leave what is global, and 3 that of all.
    const type = this.#entries.hasGlobal ? 2 : this.#random.below(4);
    const descriptor = LAYOUT.DESCRIPTORS + this.descriptors.length * 8;
    this.descriptors.push(
      type < 2 ? BigInt(this.#pcidOf(number)) : 0n,
      type === 0 ? BigInt(page) : 0n,
    );
    part.put(this.#write(at, this.#entry()), mov("eax")(type));
    // INVPCID EAX, [EBX]
    part.put(mov("ebx")(descriptor), [0x66, 0x0f, 0x38, 0x82, 0x03]);
    this.#load(part, number);
    part.guarded(access);
  }

  #anySpace(): number {
    return this.#random.below(this.#spaces.length);
  }
}
