// Accesses from one base: one after the other, with branches over some, and in loops.

import type { Prng } from "../fuzz/prng.ts";
import { type Bytes, flipAc, le, MIX, mov } from "./code.ts";
import { EDGE } from "./layout.ts";
import type { Place, Places } from "./places.ts";

/** Makes runs of accesses. */
export class RunMaker {
  readonly #random: Prng;
  readonly #places: Places;
  readonly #isWide: boolean;
  #isUser = false;

  /** @param isWide whether it is for 64-bit mode */
  constructor(random: Prng, places: Places, isWide: boolean) {
    this.#random = random;
    this.#places = places;
    this.#isWide = isWide;
  }

  /** @param isUser whether the user executes it */
  straight(isUser: boolean): Bytes {
    this.#isUser = isUser;
    const place = this.#places.place();
    return [...mov("ebx")(place.page + place.base), ...this.#run(place)];
  }

  /**
   * EDI rounds, in each of which the base moves.
   *
   * @param isUser whether the user executes it
   */
  loop(isUser: boolean): Bytes {
    this.#isUser = isUser;
    const place = this.#places.place();
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
    const other = this.#places.place();
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
    const wide = this.#places.wide();
    const [eax, ecx] = [0, 1].map((register) =>
      this.#operand(base, to, 4 + 4 * wide.length, register)
    ) as [Bytes, Bytes];
    const vector = this.#operand(base, to, 16, 0);
    const value = this.#places.harmless(wide);
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
}
