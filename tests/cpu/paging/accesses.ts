// What programs do with the window: accesses from one base, often where a page ends,
// with branches between them and in loops, string instructions, calls, a stack there.
//
// Near a page's ends there is code as well, some of it in two pages: there they write
// only bytes that are harmless instructions.

import type { Prng } from "../fuzz/prng.ts";
import {
  type Bytes,
  FUNCTIONS,
  HARMLESS,
  le,
  MIX,
  mov,
  writeConstant,
} from "./code.ts";
import { DATA, EDGE } from "./layout.ts";

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
  }

  /**
   * Code that may fault.
   *
   * @param hasStack whether the stack may be in the window: faults have one of their own
   */
  make(hasStack: boolean): Bytes {
    const makers: readonly (() => Bytes)[] = [
      ...Array(4).fill(() => this.#straight()),
      ...Array(3).fill(() => this.#loop()),
      ...Array(4).fill(() => this.#call()),
      () => this.#fill(),
      () => this.#scan(),
      () => this.#copy(),
      () => writeConstant(this.#random, this.#page()),
      () => hasStack ? this.#stack() : this.#straight(),
    ];
    return this.#random.pick(makers)();
  }

  #page(): number {
    return this.#random.pick(this.#pages);
  }

  #place(): Place {
    const isEdge = this.#random.chance(60);
    const base = isEdge
      ? 4096 - this.#random.below(EDGE + 1)
      : this.#random.between(DATA.START, DATA.END);
    return { page: this.#page(), base, isEdge };
  }

  #function(): number {
    return this.#page() + this.#random.pick(FUNCTIONS.plain);
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

  #run(place: Place): Bytes {
    const count = this.#random.between(2, 6);
    const accesses = Array.from({ length: count }, () => {
      const access = this.#access(place);
      return this.#random.chance(25) ? this.#skipped(access) : access;
    });
    return [...accesses.flat(), ...MIX];
  }

  // TEST of a bit of ESI; JZ over what is skipped.
  #skipped(code: Bytes): Bytes {
    const bit = 1 << this.#random.below(31);
    return [0xf7, 0xc6, ...le(bit, 4), 0x74, code.length, ...code];
  }

  // A displacement with which so many bytes are not beyond where code begins.
  #displacement({ base, isEdge }: Place, bytes: number): number {
    const last = isEdge ? 4096 + EDGE - bytes - base : EDGE;
    return this.#random.between(-EDGE, Math.min(last, EDGE)) & 0xff;
  }

  #access(place: Place): Bytes {
    const wide = this.#wide();
    const at = this.#displacement(place, 4 + 4 * wide.length);
    const byte = this.#displacement(place, 1);
    const vector = this.#displacement(place, 16);
    const value = this.#harmless(wide);
    const any = place.isEdge ? value : [];
    return this.#random.pick<Bytes>([
      // ADD EAX, [EBX + at]
      [...wide, 0x03, 0x43, at],
      [...wide, 0x03, 0x43, at],
      // ADD AL, [EBX + at]
      [0x02, 0x43, byte],
      // MOV [EBX + at], ECX
      [...any, ...wide, 0x89, 0x4b, at],
      [...any, ...wide, 0x89, 0x4b, at],
      [...any, 0x88, 0x4b, byte],
      // XCHG [EBX + at], ECX; ADD EAX, ECX
      [...value, ...wide, 0x87, 0x4b, at, 0x01, 0xc8],
      // LOCK CMPXCHG [EBX + at], ECX
      [...value, 0xf0, ...wide, 0x0f, 0xb1, 0x4b, at],
      // MOVUPS XMM0, [EBX + at]; MOVD ECX, XMM0; ADD EAX, ECX
      [0x0f, 0x10, 0x43, vector, 0x66, 0x0f, 0x7e, 0xc1, 0x01, 0xc8],
      // MOVD XMM0, ECX; PSHUFD XMM0, XMM0, 0; MOVUPS [EBX + at], XMM0
      [
        ...[...value, 0x66, 0x0f, 0x6e, 0xc1, 0x66, 0x0f, 0x70, 0xc0, 0],
        ...[0x0f, 0x11, 0x43, vector],
      ],
      ...place.isEdge ? [] : this.#changes(wide, at),
    ]);
  }

  // ADD [EBX + at], ESI; LOCK XADD [EBX + at], EAX; MOV [EBX + at], ESI
  #changes(wide: Bytes, at: number): Bytes[] {
    return [
      [...wide, 0x01, 0x73, at],
      [0xf0, ...wide, 0x0f, 0xc1, 0x43, at],
      [...wide, 0x89, 0x73, at],
    ];
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
    const to = this.#page() + this.#random.between(DATA.START, DATA.END - 96);
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

  // CALL EAX
  #call(): Bytes {
    const writes = this.#random.chance(30);
    const { page, base, isEdge } = this.#place();
    const to = writes
      ? this.#page() + this.#random.pick(FUNCTIONS.writing)
      : this.#function();
    const from = writes && isEdge ? DATA.START : base;
    return [
      ...[...mov("ebx")(page + from), ...mov("eax")(to)],
      ...[0xff, 0xd0, ...MIX],
    ];
  }

  // MOV ESP, what has room for two words before a page's code; PUSH RCX twice, POP; or
  // in the data, a call.
  #stack(): Bytes {
    if (this.#random.chance(50)) {
      const to = this.#page() + this.#random.between(DATA.START, DATA.END);
      const call = [...mov("eax")(this.#function()), 0xff, 0xd0];
      return [...mov("ebx")(to), ...mov("esp")(to & ~7), ...call, ...MIX];
    }
    const value = this.#harmless(this.#isWide ? [0x48] : []);
    const top = this.#page() + 4096 + this.#random.between(-EDGE, EDGE);
    return [
      ...[...mov("esp")(top), ...value, 0x51, 0x51, 0x8b, 0x44, 0x24, 4],
      ...[0x03, 0x04, 0x24, 0x58, 0x5b, ...MIX],
    ];
  }
}
