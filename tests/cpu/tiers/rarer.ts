// Rarer instructions for the programs that compare the tiers: vectors, MMX, the x87, bit
// fields, frames on the stack, atomics, other operand and address sizes. They keep the
// registers that programs go by.

import type { Prng } from "../fuzz/prng.ts";
import {
  BITS,
  type Bytes,
  hex,
  MEMORY_ONLY,
  MMX,
  VECTORS,
  X87,
  X87_MEMORY,
} from "./opcodes.ts";

const RBX = 3;
function le32(value: number): number[] {
  return [value & 255, value >> 8 & 255, value >> 16 & 255, value >> 24 & 255];
}

/** Makes rarer instructions. */
export class RarerInstructions {
  readonly #random: Prng;
  readonly #isWide: boolean;
  readonly #free: readonly number[];
  readonly #makers: readonly (() => Bytes)[];

  /**
   * @param isWide whether they are for 64-bit mode
   * @param free the registers that they may change
   */
  constructor(random: Prng, isWide: boolean, free: readonly number[]) {
    this.#random = random;
    this.#isWide = isWide;
    this.#free = free;
    this.#makers = [
      ...Array(4).fill(() => this.#vector()),
      ...Array(2).fill(() => this.#x87()),
      ...Array(2).fill(() => this.#x87Run()),
      () => this.#moved(),
      () => this.#mmx(),
      () => this.#bits(),
      () => this.#bits(),
      () => this.#stack(),
      () => this.#frame(),
      () => this.#exchange(),
      () => this.#lock(),
      () => this.#segment(),
      () => this.#narrowAddress(),
      () => this.#highByte(),
      () => this.#divide(),
      () => this.#small(),
      () => this.#down(),
    ];
  }

  /** One, or a few that belong together. */
  make(): Bytes {
    return this.#random.pick(this.#makers)();
  }

  #rex(w: boolean | number, reg = 0, rm = 0): Bytes {
    return this.#isWide
      ? [0x40 | Number(w) << 3 | reg >> 3 << 2 | rm >> 3]
      : [];
  }

  #register(): number {
    return this.#random.pick(this.#free);
  }

  // A place in the data, now and then across the end of a page.
  #at(align = 1): number {
    const place = this.#random.chance(30)
      ? 0x1000 + this.#random.between(-16, 16)
      : this.#random.below(0x2f00);
    return place - place % align;
  }

  // ModR/M for [RBX + disp32], its displacement behind it.
  #data(reg: number, align = 1): Bytes {
    return [0x80 | (reg & 7) << 3 | RBX, ...le32(this.#at(align))];
  }

  #xmm(): number {
    return this.#random.below(this.#isWide ? 10 : 6);
  }

  #vector(): Bytes {
    const [prefix, opcodes, hasImmediate] = this.#random.pick(VECTORS);
    const opcode = this.#random.pick(hex(opcodes));
    const [a, b] = [this.#xmm(), this.#xmm()];
    const key = ` ${[...prefix, opcode].map((n) => n.toString(16)).join(" ")}`;
    const isMemory = MEMORY_ONLY.has(key) || this.#random.chance(40);
    const isAligned = !this.#random.chance(3);
    const operand = isMemory
      ? this.#data(a, isAligned ? 16 : 1)
      : [0xc0 | (a & 7) << 3 | b & 7];
    const rex = this.#rex(0, a, isMemory ? 0 : b);
    const immediate = hasImmediate ? [this.#random.below(256) & 7] : [];
    return [...prefix, ...rex, 0x0f, opcode, ...operand, ...immediate];
  }

  // Between vectors, MMX and general registers.
  #moved(): Bytes {
    const [x, r] = [this.#xmm(), this.#register()];
    const w = this.#random.chance(50);
    const modrm = 0xc0 | (x & 7) << 3 | r & 7;
    const toGeneral = 0xc0 | (r & 7) << 3 | x & 7;
    return this.#random.pick<Bytes>([
      [0x66, ...this.#rex(w, x, r), 0x0f, 0x6e, modrm],
      [0x66, ...this.#rex(w, x, r), 0x0f, 0x7e, modrm],
      [0xf2, ...this.#rex(w, x, r), 0x0f, 0x2a, modrm],
      [0xf3, ...this.#rex(w, x, r), 0x0f, 0x2a, modrm],
      [0xf2, ...this.#rex(w, r, x), 0x0f, 0x2c, toGeneral],
      [0xf3, ...this.#rex(w, r, x), 0x0f, 0x2d, toGeneral],
      [0x66, ...this.#rex(0, r, x), 0x0f, 0xd7, toGeneral],
      [0x66, ...this.#rex(0, x, r), 0x0f, 0xc4, modrm, this.#random.below(8)],
      [0x66, ...this.#rex(0, r, x), 0x0f, 0xc5, toGeneral, 3],
      [0x66, ...this.#rex(0, x), 0x0f, 0x13, ...this.#data(x)],
      [...this.#rex(0, x), 0x0f, 0x17, ...this.#data(x)],
      [0x66, 0x0f, 0x73, 0xf8 | x & 7, this.#random.below(18)],
      [0x66, 0x0f, 0x72, 0xe0 | x & 7, this.#random.below(40)],
    ]);
  }

  #mmx(): Bytes {
    const [a, b] = [this.#random.below(8), this.#random.below(8)];
    const op = [0x0f, this.#random.pick(MMX)];
    return this.#random.pick<Bytes>([
      [...op, 0xc0 | a << 3 | b],
      [...op, ...this.#data(a)],
      [0x0f, 0x7f, ...this.#data(a)],
      [0xf3, 0x0f, 0xd6, 0xc0 | a << 3 | b],
      [0xf2, 0x0f, 0xd6, 0xc0 | a << 3 | b],
      [0x0f, 0x77],
      [0x0f, 0x77],
    ]);
  }

  #x87(): Bytes {
    if (this.#random.chance(50)) return this.#random.pick(X87);
    const [opcode, all] = this.#random.pick(X87_MEMORY);
    return [opcode, ...this.#data(this.#random.pick(all))];
  }

  // Loads, computes and stores, as compilers have it.
  #x87Run(): Bytes {
    const fld = [0xdd, ...this.#data(0)];
    const op = this.#random.pick<Bytes>([
      [0xdc, ...this.#data(this.#random.below(8))],
      [0xd8, 0xc0 | this.#random.below(64)],
      [0xdf, ...this.#data(0)],
      [0xd9, 0xe8, 0xde, 0xc1],
    ]);
    const fstp = this.#random.pick<Bytes>([[0xdd, ...this.#data(3)], [
      0xdb,
      ...this.#data(7),
    ]]);
    const init = this.#random.chance(30) ? [0xdb, 0xe3] : [];
    return [...init, ...fld, ...op, ...fstp];
  }

  #bits(): Bytes {
    const [a, b] = [this.#register(), this.#register()];
    const size = this.#random.below(3);
    const opcode = this.#random.pick(BITS);
    // A prefix of the opcode comes before REX.
    const first = opcode[0] === 0x0f ? [] : [opcode[0]!];
    return [
      ...(size === 0 ? [0x66] : []),
      ...first,
      ...this.#rex(size === 2, a, b),
      ...opcode.slice(first.length),
      0xc0 | (a & 7) << 3 | b & 7,
    ];
  }

  #stack(): Bytes {
    const [a, b] = [this.#register(), this.#register()];
    const memory = (opcode: number, reg: number) => [
      opcode,
      ...this.#data(reg),
    ];
    const wide = [...this.#rex(0, 0, b), 0x58 | b & 7];
    return this.#random.pick<Bytes>([
      [...memory(0xff, 6), ...memory(0x8f, 0)],
      [...memory(0xff, 6), ...wide],
      [0x54, ...wide],
      [0x66, ...this.#rex(0, 0, a), 0x50 | a & 7, 0x66, ...wide],
      [0x9c, 0x9d],
      [0x6a, this.#random.below(256), ...wide],
      [0x68, ...le32(this.#random.u32()), ...wide],
      // PUSH RBX; POP [RSP + 8]: its address is that after the pop.
      [0x53, 0x8f, 0x44, 0x24, 8],
    ]);
  }

  // ENTER and LEAVE, where RBP is free; else PUSHA and POPA.
  #frame(): Bytes {
    return this.#isWide
      ? [0xc8, this.#random.below(64), 0, this.#random.below(4), 0xc9]
      : [0x60, 0x61];
  }

  #exchange(): Bytes {
    const isWide = this.#isWide && this.#random.chance(50);
    const lock = this.#random.chance(50) ? [0xf0] : [];
    const align = isWide ? 16 : 1;
    const operand = this.#data(1, align);
    const same = [...this.#rex(isWide), 0x8b, 0x80 | RBX, ...operand.slice(1)];
    const exchange = [...lock, ...this.#rex(isWide), 0x0f, 0xc7, ...operand];
    return this.#random.chance(50) ? [...same, ...exchange] : exchange;
  }

  #lock(): Bytes {
    const r = this.#register();
    const rex = this.#rex(this.#random.chance(50), r);
    return this.#random.pick<Bytes>([
      [0xf0, ...rex, 0xff, ...this.#data(this.#random.below(2))],
      [0xf0, ...rex, 0xf7, ...this.#data(2 + this.#random.below(2))],
      [0xf0, ...rex, 0x0f, 0xb1, ...this.#data(r)],
      [0xf0, ...rex, 0x11, ...this.#data(r)],
      [0x66, ...rex, 0x87, ...this.#data(r)],
      [0xf0, ...rex, 0x0f, 0xba, ...this.#data(5), this.#random.below(64)],
    ]);
  }

  // Through FS, whose base is the data.
  #segment(): Bytes {
    const r = this.#register();
    const opcode = this.#random.pick([0x8b, 0x89, 0x03, 0x01, 0x3b]);
    const rex = this.#rex(this.#random.chance(50), r);
    const at = le32(this.#at());
    const operand = this.#isWide
      ? [0x04 | (r & 7) << 3, 0x25, ...at]
      : [0x05 | (r & 7) << 3, ...at];
    return [0x64, ...rex, opcode, ...operand];
  }

  // [EBX + disp32] in 64-bit mode, [BX + disp16] in 32-bit mode.
  #narrowAddress(): Bytes {
    const r = this.#register();
    const opcode = this.#random.pick([0x8b, 0x89, 0x03, 0x01]);
    const rex = this.#rex(this.#random.chance(50), r);
    const at = le32(this.#at());
    return this.#isWide
      ? [0x67, ...rex, opcode, 0x83 | (r & 7) << 3, ...at]
      : [0x67, opcode, 0x87 | (r & 7) << 3, ...at.slice(0, 2)];
  }

  // Without REX: AL, CL, DL, AH, CH, DH.
  #highByte(): Bytes {
    const [a, b] = [0, 0].map(() => this.#random.pick([0, 1, 2, 4, 5, 6]));
    const opcode = this.#random.pick([0x00, 0x10, 0x28, 0x30, 0x38, 0x88]);
    return [opcode, 0xc0 | a! << 3 | b!];
  }

  // By what is rarely too small.
  #divide(): Bytes {
    const divisor = le32(this.#random.u32() >>> this.#random.below(31) | 1);
    const rex = this.#rex(this.#random.chance(50));
    return [0x31, 0xd2, 0xb9, ...divisor, ...rex, 0xf7, 0xf1];
  }

  #small(): Bytes {
    return this.#random.pick<Bytes>([
      [0xd7],
      [0xe2, 0],
      [0xe3, 0],
      [0xe1, 1, 0x90],
      [0xe0, 1, 0xf5],
      [0x66, 0x98],
      [0x66, 0x99],
      [0xf3, 0x90],
      [0x0f, 0xae, 0xf0],
      [0x0f, 0xae, ...this.#data(3)],
      [...this.#rex(1), 0x0f, 0xc3, ...this.#data(0)],
    ]);
  }

  // A string instruction downwards: STD, STOS or MOVS, CLD.
  #down(): Bytes {
    const at = () => le32(0x1000 + this.#random.between(-32, 32));
    return [
      ...[0x57, ...this.#rex(1), 0x8d, 0xbb, ...at()],
      ...[...this.#rex(1), 0x8d, 0xb3, ...at(), 0xfd],
      ...[0xb9, 5, 0, 0, 0, 0xf3, this.#random.pick([0xa5, 0xab, 0xa4])],
      ...[0xfc, 0x5f],
    ];
  }
}
