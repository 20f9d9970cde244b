// A test case in the making: the initial state, which registers already have a purpose, and the
// plans of its instructions. Numbers up to 2^53 stand for addresses; bigints appear at the end.

import type { Instruction, Register } from "iced-x86";
import {
  CODE_BASE,
  type CpuCase,
  DATA_BASE,
  DATA_SIZE,
  DATA_WINDOW,
  FX_SIZE,
  STACK_WINDOW,
  STACK_WINDOW_AT,
} from "../native/native.ts";
import type { Form } from "./forms.ts";
import { writeFxImage } from "./fx_image.ts";
import type { Prng } from "./prng.ts";
import { int64, writePacked } from "./values.ts";

/** Hardware numbers of the registers that instructions use without naming them. */
export const GPR = {
  rax: 0,
  rcx: 1,
  rdx: 2,
  rbx: 3,
  rsp: 4,
  rbp: 5,
  rsi: 6,
  rdi: 7,
} as const;

const TWO_32 = 0x100000000;
/** CF, PF, AF, ZF, SF and OF. */
const STATUS_FLAGS = 0x8d5;
const DF = 0x400;
const AC = 0x40000;

/** A memory operand as iced describes it, and where it points. */
export interface PlannedMemory {
  base: Register;
  index: Register;
  scale: number;
  displacement: number;
  displacementSize: number;
  /** Linear address of its first byte. */
  target: number;
}

/** One instruction of the snippet. */
export interface Plan {
  form: Form;
  addressSize: 64 | 32 | 16;
  /** Only registers that need no REX prefix, which lets AH-BH in. */
  noRex: boolean;
  /** FS, GS or none. */
  segment: Register;
  memory: PlannedMemory | undefined;
  /** By operand: the hardware number of a general register, MMX, XMM or x87 register. */
  registers: number[];
  /** By operand. */
  immediates: number[];
  /** Where a direct branch goes. */
  branchTarget: number;
  lock: boolean;
  repeat: "none" | "rep" | "repne";
  /** Segment override without effect in front of the instruction. */
  idlePrefix?: number;
  instruction?: Instruction;
}

/** The bytes that take the draft's state, allocated once per case because the case keeps them. */
function allocate(): {
  gpr: BigUint64Array;
  fx: Uint8Array;
  data: Uint8Array;
  stack: Uint8Array;
} {
  const buffer = new ArrayBuffer(128 + FX_SIZE + DATA_WINDOW + STACK_WINDOW);
  return {
    gpr: new BigUint64Array(buffer, 0, 16),
    fx: new Uint8Array(buffer, 128, FX_SIZE),
    data: new Uint8Array(buffer, 128 + FX_SIZE, DATA_WINDOW),
    stack: new Uint8Array(buffer, 128 + FX_SIZE + DATA_WINDOW, STACK_WINDOW),
  };
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

function chooseDataBase(rng: Prng): number {
  const kind = rng.below(100);
  if (kind < 86) return DATA_BASE + 0xf00;
  if (kind < 96) return DATA_BASE + DATA_SIZE - DATA_WINDOW;
  if (kind < 98) return DATA_BASE;
  return DATA_BASE + rng.below(DATA_SIZE - DATA_WINDOW);
}

function chooseCodeBase(rng: Prng): number {
  // Far enough from the ends for short branches to stay inside; sometimes across the page boundary.
  return rng.chance(90)
    ? CODE_BASE + 0x400
    : CODE_BASE + 0x1000 - rng.between(1, 24);
}

function chooseSegmentBase(rng: Prng, mode: 64 | 32): number {
  const kind = rng.below(6);
  if (kind === 0) return 0;
  if (kind === 1) return DATA_BASE;
  if (kind === 2) return DATA_BASE + rng.below(0x2000) - 0x1000;
  if (kind === 3) return rng.u32();
  return mode === 32
    ? rng.below(0x10000)
    : rng.pick([-0x1000, -8, 0x7fff00000000, 0x100000000]);
}

/** The state of a case while its instructions are chosen. */
export class Draft {
  readonly rng: Prng;
  readonly mode: 64 | 32;
  readonly plans: Plan[] = [];
  readonly fx: DataView;
  readonly data: DataView;
  readonly stack: DataView;
  readonly dataBase: number;
  readonly fsBase: number;
  readonly gsBase: number;
  codeBase: number;
  rflags: number;
  /** Bit per general register whose value an address or a precondition depends on. */
  pinned = 1 << GPR.rsp;
  /** Bit per general register that some instruction uses without naming it. */
  implicit = 0;
  readonly #buffers = allocate();
  readonly #words: Uint32Array;

  constructor(rng: Prng, mode: 64 | 32, forms: readonly Form[]) {
    this.rng = rng;
    this.mode = mode;
    this.#words = new Uint32Array(this.#buffers.gpr.buffer, 0, 32);
    this.fx = viewOf(this.#buffers.fx);
    this.data = viewOf(this.#buffers.data);
    this.stack = viewOf(this.#buffers.stack);
    this.dataBase = chooseDataBase(rng);
    this.codeBase = chooseCodeBase(rng);
    this.fsBase = chooseSegmentBase(rng, mode);
    this.gsBase = chooseSegmentBase(rng, mode);
    this.rflags = this.#chooseFlags(forms);
    this.#fillRegisters();
    this.#fillMemory(forms);
  }

  /** Whether nothing precedes or follows the instruction, so that its inputs are known. */
  get isSingle(): boolean {
    return this.plans.length === 1;
  }

  isPinned(register: number): boolean {
    return (this.pinned >> register & 1) !== 0;
  }

  pin(register: number): void {
    this.pinned |= 1 << register;
  }

  low(register: number): number {
    return this.#words[register * 2]!;
  }

  high(register: number): number {
    return this.#words[register * 2 + 1]!;
  }

  setLow(register: number, value: number): void {
    this.#words[register * 2] = value;
  }

  setHigh(register: number, value: number): void {
    this.#words[register * 2 + 1] = value;
  }

  /** Sets all 64 bits from a number below 2^53 of either sign. */
  setWhole(register: number, value: number): void {
    this.setLow(register, value);
    this.setHigh(register, Math.floor(value / TWO_32));
  }

  /** Sets a byte of memory if it is in one of the windows. */
  poke(address: number, byte: number): void {
    const inData = address - this.dataBase;
    const inStack = address - STACK_WINDOW_AT;
    if (inData >= 0 && inData < DATA_WINDOW) this.data.setUint8(inData, byte);
    else if (inStack >= 0 && inStack < STACK_WINDOW) {
      this.stack.setUint8(inStack, byte);
    }
  }

  /** Sets memory from the low bytes of a number. */
  pokeNumber(address: number, size: number, value: number): void {
    let rest = value;
    for (let byte = 0; byte < size; byte++) {
      this.poke(address + byte, rest & 0xff);
      rest = Math.floor(rest / 256);
    }
  }

  /** The finished case. */
  finish(code: Uint8Array): CpuCase {
    return {
      ...this.#buffers,
      mode: this.mode,
      code,
      codeBase: this.codeBase,
      dataBase: this.dataBase,
      rflags: BigInt(this.rflags),
      fsBase: BigInt.asUintN(64, BigInt(this.fsBase)),
      gsBase: BigInt.asUintN(64, BigInt(this.gsBase)),
    };
  }

  #chooseFlags(forms: readonly Form[]): number {
    let flags = this.rng.u32() & STATUS_FLAGS | 0x202;
    if (this.rng.chance(20)) flags |= DF;
    // What alignment checks make of x87 and SSE operands differs between processors.
    const integer = forms.every(({ facts }) =>
      !facts.isX87 && !facts.isSse && !facts.isMmx
    );
    if (integer && this.rng.chance(1)) flags |= AC;
    return flags;
  }

  #fillRegisters(): void {
    for (let register = 0; register < 16; register++) {
      int64(this.rng, this.#words, register * 2);
    }
    // In the middle of the window, so that pushes and pops find room; aligned like real stacks.
    const unaligned = this.rng.chance(90) ? 0 : this.rng.below(8);
    this.setWhole(
      GPR.rsp,
      STACK_WINDOW_AT + 0x60 + this.rng.below(8) * 8 + unaligned,
    );
  }

  #fillMemory(forms: readonly Form[]): void {
    const sse = forms.find(({ facts }) =>
      facts.isSse && facts.flavour !== "int"
    );
    const flavour = sse && !this.rng.chance(10) ? sse.facts.flavour : "int";
    const mmx = forms.some(({ facts }) => facts.isMmx);
    writeFxImage(this.rng, this.fx, 0, {
      flavour: flavour === "f80" ? "int" : flavour,
      mmx,
    });
    for (let at = 0; at < DATA_WINDOW; at += 4) {
      writePacked(this.rng, this.data, at);
    }
    for (let at = 0; at < STACK_WINDOW; at += 4) {
      this.stack.setUint32(at, this.rng.u32(), true);
    }
  }
}
