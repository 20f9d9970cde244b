// An instruction as the decoder tells it: see iced-x86's documentation for what each
// property means where it is not plain.

import { calls, type Pointer, RESULT, take, word } from "./calls.ts";
import type { Code, OpKind, Register } from "./enumerations.ts";

const KINDS = [
  calls.instruction_op0Kind,
  calls.instruction_op1Kind,
  calls.instruction_op2Kind,
  calls.instruction_op3Kind,
  calls.instruction_op4Kind,
];

const REGISTERS = [
  calls.instruction_op0Register,
  calls.instruction_op1Register,
  calls.instruction_op2Register,
  calls.instruction_op3Register,
  calls.instruction_op4Register,
];

/** Bytes of memory of a `MemorySize`; 0 where it is not known. */
export function bytesOf(memorySize: number): number {
  return calls.memorysizeext_size(memorySize);
}

/** An instruction; one serves to decode many, and its memory is never given back. */
export class Instruction {
  /** Where the decoder has it. */
  readonly pointer: Pointer = calls.instruction_new();

  /** Which one it is, with which operands. */
  get code(): Code {
    return calls.instruction_code(this.pointer);
  }

  /** Makes it one of a code, to ask what is the same for all of them. */
  set code(code: Code) {
    calls.instruction_set_code(this.pointer, code);
  }

  /** The features that all of its code need. */
  cpuidFeatures(): Int32Array {
    calls.instruction_cpuidFeatures(RESULT, this.pointer);
    return take(word(RESULT), word(RESULT + 4));
  }

  /** Which one it is, whatever its operands. */
  get mnemonic(): number {
    return calls.instruction_mnemonic(this.pointer);
  }

  /** Bytes of it. */
  get length(): number {
    return calls.instruction_length(this.pointer);
  }

  /** Whether the bytes are no instruction. */
  get isInvalid(): boolean {
    return calls.instruction_isInvalid(this.pointer) !== 0;
  }

  /** Whether it has LOCK. */
  get hasLockPrefix(): boolean {
    return calls.instruction_hasLockPrefix(this.pointer) !== 0;
  }

  /** Whether it has REP or REPE. */
  get hasRepePrefix(): boolean {
    return calls.instruction_hasRepePrefix(this.pointer) !== 0;
  }

  /** Whether it has REPNE. */
  get hasRepnePrefix(): boolean {
    return calls.instruction_hasRepnePrefix(this.pointer) !== 0;
  }

  /** Number of its operands. */
  get opCount(): number {
    return calls.instruction_opCount(this.pointer);
  }

  /** What an operand is. */
  opKind(operand: number): OpKind {
    return KINDS[operand]!(this.pointer);
  }

  /** The register that an operand is. */
  opRegister(operand: number): Register {
    return REGISTERS[operand]!(this.pointer);
  }

  /** The segment of its memory operand. */
  get memorySegment(): Register {
    return calls.instruction_memorySegment(this.pointer);
  }

  /** The base of its memory operand's address. */
  get memoryBase(): Register {
    return calls.instruction_memoryBase(this.pointer);
  }

  /** The index of its memory operand's address. */
  get memoryIndex(): Register {
    return calls.instruction_memoryIndex(this.pointer);
  }

  /** What the index is multiplied by. */
  get memoryIndexScale(): number {
    return calls.instruction_memoryIndexScale(this.pointer);
  }

  /** Bytes of the displacement, or of the address that it is part of. */
  get memoryDisplSize(): number {
    return calls.instruction_memoryDisplSize(this.pointer);
  }

  /** The displacement; the address where RIP is the base. */
  get memoryDisplacement(): bigint {
    return calls.instruction_memoryDisplacement(this.pointer);
  }

  /** The `MemorySize` of its memory operand. */
  get memorySize(): number {
    return calls.instruction_memorySize(this.pointer);
  }

  /** The target of a near branch of 16 bits. */
  get nearBranch16(): number {
    return calls.instruction_nearBranch16(this.pointer);
  }

  /** The target of a near branch of 32 bits, signed. */
  get nearBranch32(): number {
    return calls.instruction_nearBranch32(this.pointer);
  }

  /** The target of a near branch of 64 bits, signed. */
  get nearBranch64(): bigint {
    return calls.instruction_nearBranch64(this.pointer);
  }

  /** The offset of a far branch of 16 bits. */
  get farBranch16(): number {
    return calls.instruction_farBranch16(this.pointer);
  }

  /** The offset of a far branch of 32 bits. */
  get farBranch32(): number {
    return calls.instruction_farBranch32(this.pointer) >>> 0;
  }

  /** The selector of a far branch. */
  get farBranchSelector(): number {
    return calls.instruction_farBranchSelector(this.pointer);
  }

  /** Its immediate of 8 bits. */
  get immediate8(): number {
    return calls.instruction_immediate8(this.pointer);
  }

  /** Its second immediate, of 8 bits. */
  get immediate8_2nd(): number {
    return calls.instruction_immediate8_2nd(this.pointer);
  }

  /** Its immediate of 16 bits. */
  get immediate16(): number {
    return calls.instruction_immediate16(this.pointer);
  }

  /** Its immediate of 32 bits. */
  get immediate32(): number {
    return calls.instruction_immediate32(this.pointer) >>> 0;
  }

  /** Its immediate of 64 bits, signed. */
  get immediate64(): bigint {
    return calls.instruction_immediate64(this.pointer);
  }
}
