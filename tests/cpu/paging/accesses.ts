// What programs do with the window: runs of accesses, string instructions, calls, a stack
// there.
//
// Near a page's ends there is code as well, some of it in two pages: there they write
// only bytes that are harmless instructions.

import type { Prng } from "../fuzz/prng.ts";
import {
  type Bytes,
  CHANGED,
  FUNCTIONS,
  HARMLESS,
  MIX,
  mov,
  writeConstant,
} from "./code.ts";
import { DATA, EDGE } from "./layout.ts";
import { Places } from "./places.ts";
import { RunMaker } from "./runs.ts";

/** Makes accesses. */
export class AccessMaker {
  readonly #random: Prng;
  readonly #isWide: boolean;
  /** Whether the window's code is executed: regions leave a page with code to write it. */
  readonly #hasCode: boolean;
  readonly #places: Places;
  readonly #runs: RunMaker;

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
    this.#isWide = isWide;
    this.#hasCode = random.chance(60);
    this.#places = new Places(random, pages, isWide);
    this.#runs = new RunMaker(random, this.#places, isWide);
  }

  /**
   * Code that may fault.
   *
   * @param isUser whether the user executes it: then the stack may be in the window, since
   *   faults have one of their own
   */
  make(isUser: boolean): Bytes {
    const makers: readonly (() => Bytes)[] = [
      ...Array(4).fill(() => this.#runs.straight(isUser)),
      ...Array(3).fill(() => this.#runs.loop(isUser)),
      ...Array(4).fill(() => this.#ofCode(isUser, () => this.#call())),
      () => this.#fill(),
      () => this.#scan(),
      () => this.#copy(),
      () => this.#ofCode(isUser, () => this.#patch()),
      () => this.#ofCode(isUser, () => this.#patch()),
      () => isUser ? this.#stack() : this.#runs.straight(isUser),
    ];
    return this.#random.pick(makers)();
  }

  #ofCode(isUser: boolean, make: () => Bytes): Bytes {
    return this.#hasCode ? make() : this.#runs.straight(isUser);
  }

  /** One of the window's pages. */
  page(): number {
    return this.#places.page();
  }

  #function(): number {
    const { plain, leading } = FUNCTIONS;
    const from = this.#random.chance(50) ? plain : leading;
    return this.#places.page() + this.#random.pick(from);
  }

  // --- String instructions -------------------------------------------------------

  // An address of which some double words end in the data, or before a page's code.
  #startOf(words: number): number {
    const { page, base, isEdge } = this.#places.place();
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
    const value = [...this.#places.harmless([]), 0x89, 0xc8];
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
    const to = this.#places.page() +
      this.#random.between(DATA.START, DATA.END - 96);
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
    const { page, base, isEdge } = this.#places.place();
    const to = writes
      ? this.#places.page() + this.#random.pick(FUNCTIONS.writing)
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
    const page = this.#places.page();
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
    if (this.#hasCode && this.#random.chance(50)) {
      const to = this.#places.page() +
        this.#random.between(DATA.START, DATA.END);
      const call = this.#callTo(this.#function());
      return [...mov("ebx")(to), ...mov("esp")(to & ~7), ...call];
    }
    const value = this.#places.harmless(this.#isWide ? [0x48] : []);
    const top = this.#places.page() + 4096 + this.#random.between(-EDGE, EDGE);
    return [
      ...[...mov("esp")(top), ...value, 0x51, 0x51, 0x8b, 0x44, 0x24, 4],
      ...[0x03, 0x04, 0x24, 0x58, 0x5b, ...MIX],
    ];
  }
}
