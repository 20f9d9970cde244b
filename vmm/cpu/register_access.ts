// Registers of one processor by their number in vmm(4), one by one and as segments'
// hidden parts. Nothing is loaded from a descriptor table.

import { CpuError } from "./exits.ts";
import { readFlags, writeFlags } from "./flag_words.ts";
import type { InterruptShadow } from "./interrupt_shadow.ts";
import type { SegmentDescriptor } from "./options.ts";
import {
  PLAIN_REGISTERS,
  REGISTER,
  type RegisterNumber,
  SEGMENT_NUMBERS,
} from "./registers.ts";
import {
  FS,
  GS,
  SEG_ACCESS,
  SEG_BASE,
  SEG_LIMIT,
  SEG_SELECTOR,
  SEGMENT_STRIDE,
  SEGMENTS,
} from "./state.ts";
import type { StateWords } from "./state_words.ts";

/** Segments that have a selector: all but GDTR and IDTR, which come last. */
const SELECTORS = 8;

function slotOf(segment: number): number {
  return SEGMENTS + segment * SEGMENT_STRIDE;
}

// The slot of a register that has a selector; undefined for any other.
function selectorSlot(register: RegisterNumber): number | undefined {
  const segment = SEGMENT_NUMBERS.indexOf(register);
  return segment >= 0 && segment < SELECTORS ? slotOf(segment) : undefined;
}

function descriptorSlot(register: RegisterNumber): number {
  const segment = SEGMENT_NUMBERS.indexOf(register);
  if (segment < 0) {
    throw new CpuError(
      `Register ${register} has no descriptor: expected ES to GDTR (22 to 31)`,
    );
  }
  return slotOf(segment);
}

/** The registers of one processor. */
export class RegisterAccess {
  readonly #words: StateWords;
  readonly #shadow: InterruptShadow;
  #entryLength = 0;

  constructor(words: StateWords, shadow: InterruptShadow) {
    this.#words = words;
    this.#shadow = shadow;
  }

  /** Reads a register; segment registers give selectors. @throws {CpuError} */
  get(register: RegisterNumber): bigint {
    const plain = PLAIN_REGISTERS.get(register);
    if (plain !== undefined) return this.#words.quad(plain);
    const slot = selectorSlot(register);
    if (slot !== undefined) {
      return BigInt(this.#words.word(slot + SEG_SELECTOR));
    }
    switch (register) {
      case REGISTER.RFLAGS:
        return readFlags(this.#words.view);
      case REGISTER.INTR_SHADOW:
        return this.#shadow.isActive ? 1n : 0n;
      case REGISTER.ENTRY_INST_LENGTH:
        return BigInt(this.#entryLength);
      case REGISTER.FS_BASE:
        return this.#words.quad(FS + SEG_BASE);
      case REGISTER.GS_BASE:
        return this.#words.quad(GS + SEG_BASE);
      default:
        throw new CpuError(
          `Cannot read register ${register}: expected a number of vmm(4) other than GDTR and IDTR`,
        );
    }
  }

  /** Writes a register; segment registers take selectors. @throws {CpuError} */
  set(register: RegisterNumber, value: bigint): void {
    const plain = PLAIN_REGISTERS.get(register);
    if (plain !== undefined) {
      this.#words.setQuad(plain, value);
      return;
    }
    const slot = selectorSlot(register);
    if (slot !== undefined) {
      this.#words.setWord(slot + SEG_SELECTOR, Number(value & 0xffffn));
      return;
    }
    this.#setSpecial(register, value);
  }

  #setSpecial(register: RegisterNumber, value: bigint): void {
    switch (register) {
      case REGISTER.RFLAGS:
        writeFlags(this.#words.view, value);
        return;
      case REGISTER.INTR_SHADOW:
        this.#shadow.set(value !== 0n);
        return;
      case REGISTER.ENTRY_INST_LENGTH:
        this.#entryLength = Number(value & 15n);
        return;
      case REGISTER.FS_BASE:
        this.#words.setQuad(FS + SEG_BASE, value);
        return;
      case REGISTER.GS_BASE:
        this.#words.setQuad(GS + SEG_BASE, value);
        return;
      default:
        throw new CpuError(
          `Cannot write register ${register}: expected a number of vmm(4) other than GDTR and IDTR`,
        );
    }
  }

  /** Reads a segment's hidden part, or GDTR or IDTR. @throws {CpuError} */
  getDescriptor(register: RegisterNumber): SegmentDescriptor {
    const slot = descriptorSlot(register);
    return {
      base: this.#words.quad(slot + SEG_BASE),
      limit: this.#words.word(slot + SEG_LIMIT) >>> 0,
      access: this.#words.word(slot + SEG_ACCESS) >>> 0,
    };
  }

  /** Writes a segment's hidden part, or GDTR or IDTR. @throws {CpuError} */
  setDescriptor(register: RegisterNumber, value: SegmentDescriptor): void {
    const slot = descriptorSlot(register);
    const { limit } = value;
    if (!Number.isInteger(limit) || limit < 0 || limit > 0xffff_ffff) {
      throw new CpuError(
        `Cannot set a limit of ${limit}: expected 0 to 0xffffffff`,
      );
    }
    this.#words.setQuad(slot + SEG_BASE, value.base);
    this.#words.setWord(slot + SEG_LIMIT, limit | 0);
    this.#words.setWord(slot + SEG_ACCESS, value.access | 0);
  }
}
