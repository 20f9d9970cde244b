// What programs do with the window: accesses from one base, often where a page ends,
// with branches between them and in loops, string instructions, calls, a stack there.
//
// Near a page's ends there is code as well, some of it in two pages: there they write
// only bytes that are harmless instructions.

import type { Prng } from "../fuzz/prng.ts";
import {
  type Bytes,
  CHANGED,
  flipAc,
  FUNCTIONS,
  HARMLESS,
  le,
  MIX,
  mov,
  writeConstant,
} from "./code.ts";
import { DATA, EDGE, PAGES } from "./layout.ts";

/** Where accesses go. */
interface Place {
  /** the window's page */
  readonly page: number;
  /** what the base is in the end, from the page's start */
  readonly base: number;
  readonly isEdge: boolean;
}

/** Makes accesses. */
export class AccessMaker {
  readonly #random: Prng;
  readonly #pages: readonly number[];
  readonly #isWide: boolean;
  /** Two neighbours that most accesses go to. */
  readonly #favourites: readonly number[];
  #isUser = false;

  /**
   * @param pages linear addresses of the window's pages
   * @param isWide whether it is for 64-bit mode
   */
  constructor(
    random: Prng,
    pages: readonly number[],
    isWide: boolean,
  ) {
    this.#random = random;
    this.#pages = pages;
    this.#isWide = isWide;
    const first = random.below(PAGES - 1) + random.pick([0, PAGES]);
    this.#favourites = pages.slice(first, first + 2);
  }

  /**
   * Code that may fault.
   *
   * @param isUser whether the user executes it: then the stack may be in the window, since
   *   faults have one of their own
   */
  make(isUser: boolean): Bytes {
    this.#isUser = isUser;
    const makers: readonly (() => Bytes)[] = [
      ...Array(4).fill(() => this.#straight()),
      ...Array(3).fill(() => this.#loop()),
      ...Array(4).fill(() => this.#call()),
      () => this.#fill(),
      () => this.#scan(),
      () => this.#copy(),
      () => this.#patch(),
      () => this.#patch(),
      () => isUser ? this.#stack() : this.#straight(),
    ];
    return this.#random.pick(makers)();
  }

  /** One of the window's pages. */
  page(): number {
    const isFavourite = this.#random.chance(60);
    return this.#random.pick(isFavourite ? this.#favourites : this.#pages);
  }

  #place(): Place {
    const isEdge = this.#random.chance(60);
    const base = isEdge
      ? 4096 - this.#random.below(EDGE + 1)
      : this.#random.between(DATA.START, DATA.END);
    return { page: this.page(), base, isEdge };
  }

  #function(): number {
    const { plain, leading } = FUNCTIONS;
    const from = this.#random.chance(50) ? plain : leading;
    return this.page() + this.#random.pick(from);
  }

  // The prefix of a 64-bit operand, or of none.
  #wide(): Bytes {
    return this.#isWide && this.#random.chance(40) ? [0x48] : [];
  }

  // MOV to ECX of harmless instructions.
  #harmless(wide: Bytes): Bytes {
    const bytes = Array.from(
      { length: 4 + 4 * wide.length },
      () => this.#random.pick(HARMLESS),
    );
    return [...wide, 0xb9, ...bytes];
  }

  // --- Accesses from one base ----------------------------------------------------

  #straight(): Bytes {
    const place = this.#place();
    return [...mov("ebx")(place.page + place.base), ...this.#run(place)];
  }

  // EDI rounds, in each of which the base moves.
  #loop(): Bytes {
    const place = this.#place();
    const step = this.#random.pick([0, 4, 8, 8, 16]);
    const rounds = this.#random.between(2, 8);
    const start = place.page + place.base - step * (rounds - 1);
    const run = this.#run(place);
    // ADD EBX, step; DEC EDI
    const body = [...run, 0x83, 0xc3, step, 0xff, 0xcf];
    return [
      ...mov("ebx")(start),
      ...mov("edi")(rounds),
      ...[...body, 0x0f, 0x85, ...le(-(body.length + 6), 4)],
    ];
  }

  // Accesses of one place, and of one further away from the same base.
  #run(place: Place): Bytes {
    const count = this.#random.between(2, 9);
    const other = this.#place();
    const accesses = Array.from({ length: count }, () => {
      const access = this.#random.chance(10)
        ? this.#changeAc()
        : this.#access(place, this.#random.chance(75) ? place : other);
      return this.#random.chance(25) ? this.#skipped(access) : access;
    });
    return [...accesses.flat(), ...MIX];
  }

  // What tells alignment checks from none, or whether SMAP protects: STAC and CLAC.
  #changeAc(): Bytes {
    return this.#isUser
      ? flipAc(this.#isWide)
      : [0x0f, 0x01, this.#random.pick([0xca, 0xcb])];
  }

  // TEST of a bit of ESI; JZ over what is skipped.
  #skipped(code: Bytes): Bytes {
    const bit = 1 << this.#random.below(31);
    return [0xf7, 0xc6, ...le(bit, 4), 0x74, code.length, ...code];
  }

  // [EBX + displacement]: so many bytes of a place, not beyond where code begins.
  #operand(base: Place, to: Place, bytes: number, register: number): Bytes {
    const last = to.isEdge ? 4096 + EDGE - bytes - to.base : EDGE;
    const at = this.#random.between(-EDGE, Math.min(last, EDGE));
    const distance = to.page + to.base - base.page - base.base;
    return distance === 0
      ? [0x43 | register << 3, at & 0xff]
      : [0x83 | register << 3, ...le(distance + at, 4)];
  }

  #access(base: Place, to: Place): Bytes {
    const wide = this.#wide();
    const [eax, ecx] = [0, 1].map((register) =>
      this.#operand(base, to, 4 + 4 * wide.length, register)
    ) as [Bytes, Bytes];
    const vector = this.#operand(base, to, 16, 0);
    const value = this.#harmless(wide);
    const any = to.isEdge ? value : [];
    return this.#random.pick<Bytes>([
      // ADD EAX, [m]
      [...wide, 0x03, ...eax],
      [...wide, 0x03, ...eax],
      // ADD AL, [m]
      [0x02, ...this.#operand(base, to, 1, 0)],
      // MOV [m], ECX
      [...any, ...wide, 0x89, ...ecx],
      [...any, ...wide, 0x89, ...ecx],
      [...any, 0x88, ...this.#operand(base, to, 1, 1)],
      // XCHG [m], ECX; ADD EAX, ECX
      [...value, ...wide, 0x87, ...ecx, 0x01, 0xc8],
      // LOCK CMPXCHG [m], ECX
      [...value, 0xf0, ...wide, 0x0f, 0xb1, ...ecx],
      // MOVUPS XMM0, [m]; MOVD ECX, XMM0; ADD EAX, ECX
      [0x0f, 0x10, ...vector, 0x66, 0x0f, 0x7e, 0xc1, 0x01, 0xc8],
      // MOVD XMM0, ECX; PSHUFD XMM0, XMM0, 0; MOVUPS [m], XMM0
      [
        ...[...value, 0x66, 0x0f, 0x6e, 0xc1, 0x66, 0x0f, 0x70, 0xc0, 0],
        ...[0x0f, 0x11, ...vector],
      ],
      ...to.isEdge ? [] : [
        // ADD [m], ECX; LOCK XADD [m], EAX
        [...wide, 0x01, ...ecx],
        [0xf0, ...wide, 0x0f, 0xc1, ...eax],
      ],
    ]);
  }

  // --- String instructions -------------------------------------------------------

  // An address of which some double words end in the data, or before a page's code.
  #startOf(words: number): number {
    const { page, base, isEdge } = this.#place();
    const last = isEdge ? base + this.#random.below(EDGE) : base;
    return page + Math.min(last, 4096 + EDGE) - words * 4;
  }

  // Most double words for a string instruction, so that it stays in the data.
  #words(): number {
    return this.#random.between(1, 24);
  }

  // ECX = harmless instructions; EAX = ECX; REP STOSD
  #fill(): Bytes {
    const words = this.#words();
    const value = [...this.#harmless([]), 0x89, 0xc8];
    return this.#string(this.#startOf(words), words, value, [0xf3, 0xab]);
  }

  // REPNE SCASD
  #scan(): Bytes {
    const words = this.#words();
    const value = mov("eax")(this.#random.pick(HARMLESS) * 0x0101_0101);
    return this.#string(this.#startOf(words), words, value, [0xf2, 0xaf]);
  }

  // XCHG EBX, ESI around REP MOVSD, from anywhere into data.
  #copy(): Bytes {
    const words = this.#words();
    const to = this.page() + this.#random.between(DATA.START, DATA.END - 96);
    const from = mov("ebx")(this.#startOf(words));
    const copy = [0x87, 0xde, 0xf3, 0xa5, 0x87, 0xde];
    return this.#string(to, words, from, copy);
  }

  // ADD ESI, EDI; ADD ESI, ECX, afterwards.
  #string(to: number, words: number, before: Bytes, string: Bytes): Bytes {
    return [
      ...[...before, ...mov("edi")(to), ...mov("ecx")(words), ...string],
      ...[0x01, 0xfe, 0x01, 0xce],
    ];
  }

  // --- Code ----------------------------------------------------------------------

  #call(): Bytes {
    const writes = this.#random.chance(30);
    const { page, base, isEdge } = this.#place();
    const to = writes
      ? this.page() + this.#random.pick(FUNCTIONS.writing)
      : this.#function();
    const from = writes && isEdge ? DATA.START : base;
    return [...mov("ebx")(page + from), ...this.#callTo(to)];
  }

  // CALL EAX
  #callTo(to: number): Bytes {
    return [...mov("eax")(to), 0xff, 0xd0, ...MIX];
  }

  // Data of a page is written, a function executed, changed and executed again.
  #patch(): Bytes {
    const page = this.page();
    const [from, constants] = this.#random.pick(CHANGED);
    const data = page + this.#random.between(DATA.START, DATA.END);
    const call = this.#callTo(page + from);
    const store = [...mov("ebx")(data), 0x89, 0x33];
    return [
      ...[...store, ...call],
      ...writeConstant(this.#random, page, constants),
      ...call,
    ];
  }

  // MOV ESP, what has room for two words before a page's code; PUSH RCX twice, POP; or
  // in the data, a call.
  #stack(): Bytes {
    if (this.#random.chance(50)) {
      const to = this.page() + this.#random.between(DATA.START, DATA.END);
      const call = this.#callTo(this.#function());
      return [...mov("ebx")(to), ...mov("esp")(to & ~7), ...call];
    }
    const value = this.#harmless(this.#isWide ? [0x48] : []);
    const top = this.page() + 4096 + this.#random.between(-EDGE, EDGE);
    return [
      ...[...mov("esp")(top), ...value, 0x51, 0x51, 0x8b, 0x44, 0x24, 4],
      ...[0x03, 0x04, 0x24, 0x58, 0x5b, ...MIX],
    ];
  }
}
