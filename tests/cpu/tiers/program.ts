// Long random programs for comparing the tiers with each other: blocks that branch,
// loop, call and return, that write their own code and run into faults. Every block
// first takes one unit of fuel from a register, so that a program ends, with UD2.

import type { Prng } from "../fuzz/prng.ts";
import { RarerInstructions } from "./rarer.ts";

/**
 * Where a program's parts are: two pages of code, four of data, of which the last
 * cannot be written, one that is not mapped, and the stack.
 */
export const LAYOUT = {
  CODE: 0x8000,
  DATA: 0xa000,
  READ_ONLY: 0xd000,
  ABSENT: 0xe000,
  STACK: 0x1_1000,
  END: 0x1_2000,
} as const;

/** Bytes of a block's slot; its last bytes hold the way on. */
const SLOT = 112;
const SLOTS = 64;
/** Where in a slot the instruction lies that other blocks overwrite. */
const VICTIM = 9;
const MOST_BODY = 60;

/** A program. */
export interface Program {
  readonly code: Uint8Array;
  /** whether it is for 64-bit mode; else for 32-bit protected mode */
  readonly isWide: boolean;
  /** first values of RAX RCX RDX RSI RBP R8-R14, those that it is free to use */
  readonly registers: readonly bigint[];
  /** blocks that it executes */
  readonly fuel: number;
  /** whether it is the user's */
  readonly isUser: boolean;
  /** base of its segments but FS and GS, in 32-bit mode */
  readonly base: number;
  /** the x87's control word */
  readonly control: number;
  /** which page's frame each page of the data has, so that neighbours have other addends */
  readonly frames: readonly number[];
}

type Bytes = readonly number[];

// RBX is the data, RDI the code, RSP the stack, R15 the fuel (EBP, where there is no R15):
// the rest is free.
const WIDE = [0, 1, 2, 6, 5, 8, 9, 10, 11, 12, 13, 14] as const;
const NARROW = [0, 1, 2, 6] as const;
const ALU = [0x00, 0x08, 0x10, 0x18, 0x20, 0x28, 0x30, 0x38] as const;
const RBX = 3;
const RDI = 7;
const WRITABLE = LAYOUT.READ_ONLY - LAYOUT.DATA;
/** Neighbours' frames are never neighbours in this order. */
const FRAMES = [[1, 0, 3, 2], [2, 0, 3, 1], [3, 2, 1, 0]] as const;

/** Nothing is unmasked, mostly; other precisions, another direction; PE is unmasked. */
const CONTROLS = [0x37f, 0x37f, 0x37f, 0x27f, 0xf7f, 0x35f] as const;

/** Makes one program. */
export class ProgramMaker {
  readonly #random: Prng;
  readonly #isWide: boolean;
  readonly #rarer: RarerInstructions;
  /** Percent of the instructions that are rarer ones. */
  #rarely = 0;
  /** Percent of the writes to code that are made. */
  #writes = 0;
  /** Percent of the instructions that are accesses in any case. */
  #accesses = 0;
  /** Where one page of the data ends that is accessed often. */
  #edge = 4096;

  /** @param isWide whether the programs are for 64-bit mode */
  constructor(random: Prng, isWide: boolean) {
    this.#random = random;
    this.#isWide = isWide;
    this.#rarer = new RarerInstructions(random, isWide, this.#free);
  }

  make(): Program {
    this.#writes = this.#random.pick([0, 0, 10, 100]);
    this.#accesses = this.#random.pick([0, 0, 70]);
    this.#rarely = this.#random.pick([0, 20, 60]);
    this.#edge = this.#random.pick([0x1000, WRITABLE]);
    const code = new Uint8Array(SLOTS * SLOT).fill(0x90);
    for (let n = 0; n < SLOTS; n++) code.set(this.#block(n), n * SLOT);
    return {
      code,
      isWide: this.#isWide,
      registers: this.#free.map(() => this.#quad()),
      fuel: this.#random.between(50, 3000),
      isUser: this.#random.chance(30),
      base: this.#isWide ? 0 : this.#random.pick([0, 0, 0x10, 0x1234]),
      control: this.#random.pick(CONTROLS),
      frames: this.#random.pick(FRAMES),
    };
  }

  get #free(): readonly number[] {
    return this.#isWide ? WIDE : NARROW;
  }

  // A REX prefix; there is none in 32-bit mode.
  #rex(w: boolean | 0 | 1, reg = 0, rm = 0): Bytes {
    return this.#isWide
      ? [0x40 | Number(w) << 3 | reg >> 3 << 2 | rm >> 3]
      : [];
  }

  #chooseW(): boolean {
    return this.#random.chance(50);
  }

  #quad(): bigint {
    const { u32 } = { u32: () => BigInt(this.#random.u32()) };
    return this.#random.chance(50) ? u32() & 0xffn : u32() << 32n | u32();
  }

  #block(slot: number): number[] {
    // DEC of the fuel, which is EBP's or R15's number; JZ to the UD2 at the slot's end.
    const dec = this.#isWide ? [0x49, 0xff, 0xcf] : [0x90, 0xff, 0xcd];
    const start = [...dec, 0x0f, 0x84, ...le32(SLOT - 2 - 9)];
    const out = [...start, ...this.#victim()];
    const length = this.#random.below(MOST_BODY);
    while (out.length < length) out.push(...this.#instruction());
    out.push(...this.#wayOn(slot, out.length));
    if (out.length > SLOT - 2) throw new RangeError("A block is too long");
    while (out.length < SLOT - 2) out.push(0x90);
    return [...out, 0x0f, 0x0b];
  }

  // ADD, SUB or another operation of RAX with an immediate byte: REX.W (or NOP) 83 /n ib.
  #victim(): number[] {
    return [
      this.#isWide ? 0x48 : 0x90,
      0x83,
      0xc0 | this.#random.below(8) << 3,
      this.#byte(),
    ];
  }

  #byte(): number {
    return this.#random.below(256);
  }

  #register(): number {
    return this.#random.pick(this.#free);
  }

  // --- Ways on ---------------------------------------------------------------

  #target(from: number, at: number): Bytes {
    // Near ones make loops in loops, far ones new paths.
    const near = Math.floor(from / SLOT) + this.#random.below(9) - 4;
    const to = this.#random.chance(50)
      ? Math.min(Math.max(0, near), SLOTS - 1)
      : this.#random.below(SLOTS);
    return le32(to * SLOT - at);
  }

  #wayOn(slot: number, length: number): number[] {
    const from = slot * SLOT;
    const at = from + length;
    const jcc = (where: number, cc = this.#random.below(16)) => [
      ...[0x0f, 0x80 | cc],
      ...this.#target(from, where + 6),
    ];
    const jmp = (where: number) => [0xe9, ...this.#target(from, where + 5)];
    // Flags that blocks leave lead round in small circles; what is left of the fuel not.
    const fuel = (where: number) => {
      const test = this.#testFuel();
      const branch = jcc(where + test.length, this.#random.pick([4, 5]));
      return [...test, ...branch];
    };
    const both = (where: number) => {
      const branch = this.#random.chance(60) ? fuel(where) : jcc(where);
      return [...branch, ...jmp(where + branch.length)];
    };
    switch (this.#random.below(8)) {
      case 0:
        return [0xe8, ...this.#target(from, at + 5), ...jmp(at + 5)];
      case 1:
        // What was pushed last is rarely an address: mostly it is dropped.
        return this.#random.chance(10) ? [0xc3] : both(at);
      case 2:
        return jmp(at);
      case 3: {
        // Jumps over nothing much: both ways join at once.
        const inc = [...this.#rex(1), 0xff, 0xc0];
        const skip = [0x70 | this.#random.below(16), inc.length, ...inc];
        return [...skip, ...both(at + skip.length)];
      }
      case 4: {
        // The top of the stack is where a call came from: RET, once it is there.
        const top = [...this.#rex(1), 0x83, 0x3c, 0x24, 0, 0x78, 1, 0xc3];
        return [...top, ...jmp(at + top.length)];
      }
      default:
        return both(at);
    }
  }

  // TEST of a bit of the fuel.
  #testFuel(): Bytes {
    const bit = 1 << this.#random.below(8);
    return this.#isWide ? [0x41, 0xf6, 0xc7, bit] : [0xf7, 0xc5, ...le32(bit)];
  }

  // --- Instructions ----------------------------------------------------------

  #instruction(): Bytes {
    if (this.#random.chance(this.#rarely)) return this.#rarer.make();
    if (this.#random.chance(this.#accesses)) return this.#memory();
    const makers: readonly (() => Bytes)[] = [
      ...Array(6).fill(() => this.#binary()),
      ...Array(3).fill(() => this.#immediate()),
      ...Array(2).fill(() => this.#unary()),
      ...Array(2).fill(() => this.#shift()),
      ...Array(4).fill(() => this.#memory()),
      () => this.#condition(),
      () => this.#extend(),
      () => this.#multiply(),
      () => this.#push(),
      () => this.#pop(),
      () => this.#indexed(),
      () => this.#other(),
      () => this.#locked(),
      () => this.#vector(),
      () => this.#string(),
      () => this.#random.chance(this.#writes) ? this.#writeCode() : [],
      () => this.#random.chance(4) ? this.#wild() : [],
    ];
    return this.#random.pick(makers)();
  }

  // REX prefix and opcode bytes with register operands; 8, 16, 32 or 64 bits.
  #sized(opcode: Bytes, reg: number, rm: number, mod: number): Bytes {
    const size = this.#random.below(4);
    const rex = this.#rex(size === 3, reg, rm);
    const last = opcode.at(-1)! | (size === 0 ? 0 : 1);
    return [
      ...(size === 1 ? [0x66] : []),
      ...[...rex, ...opcode.slice(0, -1), last, mod | (reg & 7) << 3 | rm & 7],
    ];
  }

  #binary(): Bytes {
    const opcode = this.#random.pick([...ALU, 0x84, 0x88, 0x86]);
    return this.#sized([opcode], this.#register(), this.#register(), 0xc0);
  }

  #immediate(): Bytes {
    const r = this.#register();
    const modrm = 0xc0 | this.#random.below(8) << 3 | r & 7;
    return [...this.#rex(this.#chooseW(), 0, r), 0x83, modrm, this.#byte()];
  }

  #unary(): Bytes {
    const [opcode, n] = this.#random.pick(
      [[0xfe, 0], [0xfe, 1], [0xf6, 2], [0xf6, 3]] as const,
    );
    return this.#sized([opcode], n, this.#register(), 0xc0);
  }

  #shift(): Bytes {
    const n = this.#random.pick([0, 1, 2, 3, 4, 5, 7]);
    return this.#random.chance(50)
      ? this.#sized([0xd2], n, this.#register(), 0xc0)
      : [...this.#sized([0xc0], n, this.#register(), 0xc0), this.#byte()];
  }

  // [RBX + disp32] inside the data, often where one page ends and another begins.
  #memory(): Bytes {
    const opcode = this.#random.pick([...ALU, 0x88, 0x8a, 0x02, 0x3a, 0x86]);
    const at = this.#random.chance(40)
      ? this.#edge + this.#random.between(-24, 24)
      : this.#random.below(WRITABLE + 0x800);
    const isIn = at + 8 <= WRITABLE || this.#random.chance(1);
    const reads = isIn ? opcode : reading(opcode);
    return [...this.#sized([reads], this.#register(), RBX, 0x80), ...le32(at)];
  }

  // A string instruction on the data, up to 40 elements, often across a page's end.
  #string(): Bytes {
    const at = () => le32(0x1000 + this.#random.between(-320, 64));
    const opcode = this.#random.pick([0xa4, 0xaa, 0xac, 0xa6, 0xae]);
    const count = this.#random.below(41);
    return [
      // PUSH RDI; LEA RDI, [RBX + at]; LEA RSI, [RBX + at]; MOV ECX, count
      ...[0x57, ...this.#rex(1), 0x8d, 0x80 | RDI << 3 | RBX, ...at()],
      ...[...this.#rex(1), 0x8d, 0xb3, ...at(), 0xb9, ...le32(count)],
      ...this.#random.pick<Bytes>([[0xf3], [0xf3], [0xf2], []]),
      ...this.#rex(this.#chooseW()),
      ...[opcode | this.#random.below(2), 0x5f],
    ];
  }

  #indexed(): Bytes {
    // AND ECX, 7f8h; then [RBX + RCX].
    return [
      ...[0x81, 0xe1, ...le32(0x7f8)],
      ...this.#rex(1, this.#random.pick([0, 8])),
      ...[
        this.#random.pick([0x8b, 0x89]),
        0x04 | this.#random.below(3) << 3,
        0x0b,
      ],
    ];
  }

  #condition(): Bytes {
    const cc = this.#random.below(16);
    const a = this.#register();
    const b = this.#register();
    const modrm = 0xc0 | (a & 7) << 3 | b & 7;
    // Without REX, 4 to 7 would be the second bytes of the first four.
    return this.#random.chance(50)
      ? [
        ...this.#rex(0, 0, a),
        0x0f,
        0x90 | cc,
        0xc0 | a & (this.#isWide ? 7 : 3),
      ]
      : [...this.#rex(1, a, b), 0x0f, 0x40 | cc, modrm];
  }

  #extend(): Bytes {
    const a = this.#register();
    const b = this.#register();
    const opcode = this.#random.pick([0xb6, 0xb7, 0xbe, 0xbf]);
    const rex = this.#rex(this.#chooseW(), a, b);
    return [...rex, 0x0f, opcode, 0xc0 | (a & 7) << 3 | b & 7];
  }

  #multiply(): Bytes {
    const a = this.#register();
    const b = this.#register();
    if (this.#random.chance(30)) {
      return this.#sized([0xf6], this.#random.pick([4, 5]), a, 0xc0);
    }
    // DIV now and then, which faults more often than not.
    if (this.#random.chance(3)) return this.#sized([0xf6], 6, a, 0xc0);
    const modrm = 0xc0 | (a & 7) << 3 | b & 7;
    return [...this.#rex(1, a, b), 0x0f, 0xaf, modrm];
  }

  #push(): Bytes {
    const r = this.#register();
    return [...this.#rex(0, 0, r), 0x50 | r & 7];
  }

  #pop(): Bytes {
    const r = this.#register();
    return [...this.#rex(0, 0, r), 0x58 | r & 7];
  }

  #other(): Bytes {
    const r = this.#register();
    const rex = this.#rex(1, 0, r);
    const wide = this.#rex(1);
    // [RIP + disp32], or [disp32] in 32-bit mode.
    const near = this.#random.below(64) + (this.#isWide ? 0 : LAYOUT.CODE);
    return this.#random.pick<Bytes>([
      [0xf8],
      [0xf9],
      [0xf5],
      [0x9e],
      [0x9f],
      [...wide, 0x99],
      [0x98],
      [0x9c, 0x58],
      [...rex, 0x0f, 0xc8 | r & 7],
      [...rex, 0x0f, 0xba, 0xe0 | r & 7, this.#byte()],
      [...rex, 0x0f, 0xba, 0xf8 | r & 7, this.#byte()],
      [...this.#rex(1, r, r), 0x0f, 0xbc, 0xc0 | (r & 7) << 3 | r & 7],
      [...rex, 0x0f, 0xa4, 0xc0 | r & 7, this.#byte()],
      [...wide, 0x8d, 0x84, 0x4b, ...le32(this.#random.u32())],
      [...wide, 0x8d, 0x05, ...le32(this.#random.u32())],
      [...this.#rex(1, 8), 0x8b, 0x05, ...le32(near)],
    ]);
  }

  #locked(): Bytes {
    const r = this.#register();
    const at = le32(this.#random.below(0x1000));
    const rex = this.#rex(1, r);
    const modrm = 0x80 | (r & 7) << 3 | RBX;
    return this.#random.pick<Bytes>([
      [0xf0, ...rex, 0x0f, 0xc1, modrm, ...at],
      [0xf0, ...rex, 0x0f, 0xb1, modrm, ...at],
      [0xf0, ...rex, 0x01, modrm, ...at],
      [...rex, 0x87, modrm, ...at],
    ]);
  }

  #vector(): Bytes {
    const at = le32(this.#random.below(0x1000));
    return this.#random.pick<Bytes>([
      [0xf3, 0x0f, 0x6f, 0x83, ...at],
      [0xf3, 0x0f, 0x7f, 0x83, ...at],
      [0x66, 0x0f, 0xd4, 0xc1],
      [0x66, 0x0f, 0xef, 0xc8],
      [0x66, ...this.#rex(1), 0x0f, 0x6e, 0xc8],
      [0x66, ...this.#rex(1), 0x0f, 0x7e, 0xc0],
    ]);
  }

  // A byte of another block's victim, or of this one's: its immediate or its ModR/M.
  #writeCode(): Bytes {
    const at = this.#random.below(SLOTS) * SLOT + VICTIM;
    return this.#random.chance(50)
      ? [0xc6, 0x80 | RDI, ...le32(at + 3), this.#byte()]
      : [0xc6, 0x80 | RDI, ...le32(at + 2), 0xc0 | this.#random.below(8) << 3];
  }

  // An access that faults: to the absent page, or anywhere.
  #wild(): Bytes {
    const r = this.#register();
    return this.#random.chance(50)
      ? [...this.#rex(1), 0x8b, 0x83, ...le32(LAYOUT.ABSENT - LAYOUT.DATA)]
      : [
        ...this.#rex(1, 0, r),
        0x8b,
        0x80 | r & 7,
        ...(r === 12 ? [0x24] : []),
        ...le32(0),
      ];
  }
}

// What reads at an operand in memory that an opcode would write to.
function reading(opcode: number): number {
  return opcode === 0x86 ? 0x8a : opcode | 2;
}

function le32(value: number): number[] {
  return [value & 255, value >> 8 & 255, value >> 16 & 255, value >> 24 & 255];
}
