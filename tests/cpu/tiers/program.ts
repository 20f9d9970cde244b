// Long random programs for comparing the tiers with each other: blocks that branch,
// loop, call and return, that write their own code and run into faults. Every block
// first takes one unit of fuel from R15, so that a program ends, with UD2.

import type { Prng } from "../fuzz/prng.ts";

/** Where a program's parts are; all pages but `ABSENT` are mapped. */
export const LAYOUT = {
  CODE: 0x8000,
  DATA: 0xa000,
  ABSENT: 0xd000,
  STACK: 0xf000,
  END: 0x1_0000,
} as const;

/** Bytes of a block's slot; its last bytes hold the way on. */
const SLOT = 96;
const SLOTS = 64;
/** Where in a slot the instruction lies that other blocks overwrite. */
const VICTIM = 9;
const MOST_BODY = 60;

/** A program. */
export interface Program {
  readonly code: Uint8Array;
  /** first values of RAX RCX RDX RSI RBP R8-R14 */
  readonly registers: readonly bigint[];
  /** blocks that it executes */
  readonly fuel: number;
}

type Bytes = readonly number[];

// RBX is the data, RDI the code, RSP the stack, R15 the fuel: the rest is free.
const FREE = [0, 1, 2, 5, 6, 8, 9, 10, 11, 12, 13, 14] as const;
const ALU = [0x00, 0x08, 0x10, 0x18, 0x20, 0x28, 0x30, 0x38] as const;
const RBX = 3;
const RDI = 7;

/** Makes one program. */
export class ProgramMaker {
  readonly #random: Prng;
  /** Percent of the writes to code that are made. */
  #writes = 0;

  constructor(random: Prng) {
    this.#random = random;
  }

  make(): Program {
    this.#writes = this.#random.pick([0, 0, 10, 100]);
    const code = new Uint8Array(SLOTS * SLOT).fill(0x90);
    for (let n = 0; n < SLOTS; n++) code.set(this.#block(n), n * SLOT);
    return {
      code,
      registers: FREE.map(() => this.#quad()),
      fuel: this.#random.between(50, 3000),
    };
  }

  #quad(): bigint {
    const { u32 } = { u32: () => BigInt(this.#random.u32()) };
    return this.#random.chance(50) ? u32() & 0xffn : u32() << 32n | u32();
  }

  #block(slot: number): number[] {
    // DEC R15; JZ to the UD2 at the slot's end.
    const start = [0x49, 0xff, 0xcf, 0x0f, 0x84, ...le32(SLOT - 2 - 9)];
    const out = [...start, ...this.#victim()];
    const length = this.#random.below(MOST_BODY);
    while (out.length < length) out.push(...this.#instruction());
    out.push(...this.#wayOn(slot, out.length));
    if (out.length > SLOT - 2) throw new RangeError("A block is too long");
    while (out.length < SLOT - 2) out.push(0x90);
    return [...out, 0x0f, 0x0b];
  }

  // ADD, SUB or another operation of RAX with an immediate byte: REX.W 83 /n ib.
  #victim(): number[] {
    return [0x48, 0x83, 0xc0 | this.#random.below(8) << 3, this.#byte()];
  }

  #byte(): number {
    return this.#random.below(256);
  }

  #register(): number {
    return this.#random.pick(FREE);
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
    const jcc = (where: number) => [
      ...[0x0f, 0x80 | this.#random.below(16)],
      ...this.#target(from, where + 6),
    ];
    const jmp = (where: number) => [0xe9, ...this.#target(from, where + 5)];
    const both = (where: number) => [...jcc(where), ...jmp(where + 6)];
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
        const skip = [0x70 | this.#random.below(16), 3, 0x48, 0xff, 0xc0];
        return [...skip, ...both(at + 5)];
      }
      case 4:
        // The top of the stack is where a call came from: RET, once it is there.
        return [0x48, 0x83, 0x3c, 0x24, 0, 0x78, 1, 0xc3, ...jmp(at + 8)];
      default:
        return both(at);
    }
  }

  // --- Instructions ----------------------------------------------------------

  #instruction(): Bytes {
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
      () => this.#random.chance(this.#writes) ? this.#writeCode() : [],
      () => this.#random.chance(4) ? this.#wild() : [],
    ];
    return this.#random.pick(makers)();
  }

  // REX prefix and opcode bytes with register operands; 8, 16, 32 or 64 bits.
  #sized(opcode: Bytes, reg: number, rm: number, mod: number): Bytes {
    const size = this.#random.below(4);
    const rex = 0x40 | (size === 3 ? 8 : 0) | reg >> 3 << 2 | rm >> 3;
    const last = opcode.at(-1)! | (size === 0 ? 0 : 1);
    return [
      ...(size === 1 ? [0x66] : []),
      ...[rex, ...opcode.slice(0, -1), last, mod | (reg & 7) << 3 | rm & 7],
    ];
  }

  #binary(): Bytes {
    const opcode = this.#random.pick([...ALU, 0x84, 0x88, 0x86]);
    return this.#sized([opcode], this.#register(), this.#register(), 0xc0);
  }

  #immediate(): Bytes {
    const r = this.#register();
    const rex = this.#random.pick([0x40, 0x48]) | r >> 3;
    const modrm = 0xc0 | this.#random.below(8) << 3 | r & 7;
    return [rex, 0x83, modrm, this.#byte()];
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

  // [RBX + disp32] inside the data; pages are crossed now and then.
  #memory(): Bytes {
    const opcode = this.#random.pick([...ALU, 0x88, 0x8a, 0x02, 0x3a, 0x86]);
    const at = this.#random.chance(5)
      ? 4096 - this.#random.between(1, 8)
      : this.#random.below(0x2000);
    return [...this.#sized([opcode], this.#register(), RBX, 0x80), ...le32(at)];
  }

  #indexed(): Bytes {
    // AND ECX, 7f8h; then [RBX + RCX].
    return [
      ...[0x81, 0xe1, ...le32(0x7f8)],
      ...[0x48 | this.#random.pick([0, 4]), this.#random.pick([0x8b, 0x89])],
      ...[0x04 | this.#random.below(3) << 3, 0x0b],
    ];
  }

  #condition(): Bytes {
    const cc = this.#random.below(16);
    const a = this.#register();
    const b = this.#register();
    return this.#random.chance(50)
      ? [0x40 | a >> 3, 0x0f, 0x90 | cc, 0xc0 | a & 7]
      : [
        0x48 | a >> 3 << 2 | b >> 3,
        0x0f,
        0x40 | cc,
        0xc0 | (a & 7) << 3 | b & 7,
      ];
  }

  #extend(): Bytes {
    const a = this.#register();
    const b = this.#register();
    const opcode = this.#random.pick([0xb6, 0xb7, 0xbe, 0xbf]);
    const rex = this.#random.pick([0x40, 0x48]) | a >> 3 << 2 | b >> 3;
    return [rex, 0x0f, opcode, 0xc0 | (a & 7) << 3 | b & 7];
  }

  #multiply(): Bytes {
    const a = this.#register();
    const b = this.#register();
    if (this.#random.chance(30)) {
      return this.#sized([0xf6], this.#random.pick([4, 5]), a, 0xc0);
    }
    // DIV now and then, which faults more often than not.
    if (this.#random.chance(3)) return this.#sized([0xf6], 6, a, 0xc0);
    return [
      0x48 | a >> 3 << 2 | b >> 3,
      0x0f,
      0xaf,
      0xc0 | (a & 7) << 3 | b & 7,
    ];
  }

  #push(): Bytes {
    const r = this.#register();
    return [0x40 | r >> 3, 0x50 | r & 7];
  }

  #pop(): Bytes {
    const r = this.#register();
    return [0x40 | r >> 3, 0x58 | r & 7];
  }

  #other(): Bytes {
    const r = this.#register();
    const rex = 0x48 | r >> 3;
    return this.#random.pick<Bytes>([
      [0xf8],
      [0xf9],
      [0xf5],
      [0x9e],
      [0x9f],
      [0x48, 0x99],
      [0x98],
      [0x9c, 0x58],
      [rex, 0x0f, 0xc8 | r & 7],
      [rex, 0x0f, 0xba, 0xe0 | r & 7, this.#byte()],
      [rex, 0x0f, 0xba, 0xf8 | r & 7, this.#byte()],
      [rex | r >> 3 << 2, 0x0f, 0xbc, 0xc0 | (r & 7) << 3 | r & 7],
      [rex, 0x0f, 0xa4, 0xc0 | r & 7, this.#byte()],
      [0x48, 0x8d, 0x84, 0x4b, ...le32(this.#random.u32())],
      [0x48, 0x8d, 0x05, ...le32(this.#random.u32())],
      [0x4c, 0x8b, 0x05, ...le32(this.#random.below(64))],
    ]);
  }

  #locked(): Bytes {
    const r = this.#register();
    const at = le32(this.#random.below(0x1000));
    const rex = 0x48 | r >> 3 << 2;
    const modrm = 0x80 | (r & 7) << 3 | RBX;
    return this.#random.pick<Bytes>([
      [0xf0, rex, 0x0f, 0xc1, modrm, ...at],
      [0xf0, rex, 0x0f, 0xb1, modrm, ...at],
      [0xf0, rex, 0x01, modrm, ...at],
      [rex, 0x87, modrm, ...at],
    ]);
  }

  #vector(): Bytes {
    const at = le32(this.#random.below(0x1000));
    return this.#random.pick<Bytes>([
      [0xf3, 0x0f, 0x6f, 0x83, ...at],
      [0xf3, 0x0f, 0x7f, 0x83, ...at],
      [0x66, 0x0f, 0xd4, 0xc1],
      [0x66, 0x0f, 0xef, 0xc8],
      [0x66, 0x48, 0x0f, 0x6e, 0xc8],
      [0x66, 0x48, 0x0f, 0x7e, 0xc0],
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
      ? [0x48, 0x8b, 0x83, ...le32(LAYOUT.ABSENT - LAYOUT.DATA)]
      : [
        0x48 | r >> 3,
        0x8b,
        0x80 | r & 7,
        ...(r === 12 ? [0x24] : []),
        ...le32(0),
      ];
  }
}

function le32(value: number): number[] {
  return [value & 255, value >> 8 & 255, value >> 16 & 255, value >> 24 & 255];
}
