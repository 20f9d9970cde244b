// The constants of an instruction: its displacement and immediates, which are its
// last bytes, and the words of its records that they decide.

import type { Form } from "./form.ts";
import type { ImmediateOffsets } from "./iced/decoder.ts";
import { OpKind, Register } from "./iced/enumerations.ts";
import type { Instruction } from "./iced/instruction.ts";
import { addressSize } from "./memory_operands.ts";
import { REC_DISP, REC_IMM, RECORD_STRIDE } from "./record.ts";
import type { ModeSize } from "./shape.ts";

/** A displacement or an immediate, or half of one of 64 bits. */
export interface Constant {
  /** where it is, from the instruction's end on: below zero */
  readonly at: number;
  /** bytes of it: 1, 2 or 4 */
  readonly size: number;
  /** the word, from the end of the instruction's records on: below zero */
  readonly word: number;
  /** bits of the value that the word has */
  readonly mask: number;
  /** what is done with it */
  readonly traits: number;
}

/** What may be done with a constant. */
export const CONSTANT = {
  /** The instruction's offset in its page is added. */
  RELATIVE: 1,
  /** The next word has its sign. */
  SIGNED: 2,
  /** It is the 32-bit target of a branch that has a stub. */
  TARGET_32: 4,
  /** It is the 64-bit target of a branch that has a stub. */
  TARGET_64: 8,
} as const;

const { RELATIVE, SIGNED, TARGET_32, TARGET_64 } = CONSTANT;

const IMMEDIATES: ReadonlyMap<OpKind, number> = new Map([
  [OpKind.Immediate8, 0],
  [OpKind.Immediate16, 0],
  [OpKind.Immediate32, 0],
  [OpKind.Immediate64, 0],
  [OpKind.Immediate8to16, SIGNED],
  [OpKind.Immediate8to32, SIGNED],
  [OpKind.Immediate8to64, SIGNED],
  [OpKind.Immediate32to64, SIGNED],
  [OpKind.FarBranch16, 0],
  [OpKind.FarBranch32, 0],
  [OpKind.NearBranch16, RELATIVE],
  [OpKind.NearBranch32, RELATIVE | SIGNED | TARGET_32],
  [OpKind.NearBranch64, RELATIVE | SIGNED | TARGET_64],
]);

const IMM_WORD = (REC_IMM - RECORD_STRIDE) >> 2;
const DISP_WORD = (REC_DISP - RECORD_STRIDE) >> 2;

/** Whether the constants of every instruction of a form are words of its records. */
export function hasPlainConstants({ name }: Form): boolean {
  // An address of 64 bits that stands alone can need another kind of record.
  return !name.includes("_moffs");
}

/** The immediates of every instruction of a code, told from one of them. */
export function immediatesOf(
  instruction: Instruction,
  offsets: ImmediateOffsets,
): readonly Constant[] {
  const { hasImmediate, hasImmediate2, immediateSize: size } = offsets;
  if (!hasImmediate) return [];
  const kinds = Array.from(
    { length: instruction.opCount },
    (_, n) => instruction.opKind(n),
  );
  const traits = kinds.map((kind) => IMMEDIATES.get(kind))
    .find((traits) => traits !== undefined) ?? 0;
  const at = offsets.immediateOffset - instruction.length;
  if (size === 8) {
    return [immediate(at, 4, IMM_WORD), immediate(at + 4, 4, IMM_WORD + 1)];
  }
  const isShort = kinds.includes(OpKind.NearBranch16);
  const first = immediate(at, size, IMM_WORD, traits, isShort ? 2 : size);
  if (!hasImmediate2) return [first];
  const second = at + size;
  return [first, immediate(second, offsets.immediateSize2, IMM_WORD + 1)];
}

function immediate(
  at: number,
  size: number,
  word: number,
  traits = 0,
  bytes = size,
): Constant {
  const mask = bytes === 4 || traits & SIGNED ? -1 : (1 << 8 * bytes) - 1;
  return { at, size, word, mask, traits };
}

/** The displacement, in the record of the address and in the instruction's own. */
export function displacementsOf(
  instruction: Instruction,
  form: Form,
  immediates: readonly Constant[],
  code: ModeSize,
  records: number,
): readonly Constant[] {
  const hasMemory = form.operands.some(({ kind }) =>
    kind === "either" || kind === "memory"
  );
  if (!hasMemory || instruction.memoryDisplSize === 0) return [];
  // Those of 64-bit addresses are sign-extended from 32 bits.
  const size = Math.min(instruction.memoryDisplSize, 4);
  const base = instruction.memoryBase;
  const own: Constant = {
    at: (immediates[0]?.at ?? 0) - size,
    size,
    word: DISP_WORD,
    mask: addressSize(instruction, code) === 16 ? 0xffff : -1,
    traits: base === Register.RIP || base === Register.EIP ? RELATIVE : 0,
  };
  if (records === 1) return [own];
  return [own, { ...own, word: DISP_WORD - RECORD_STRIDE / 4 }];
}

/** The sign-extended constant at an offset of some bytes. */
export function readConstant(
  bytes: Uint8Array,
  at: number,
  size: number,
): number {
  if (size === 1) return bytes[at]! << 24 >> 24;
  const low = bytes[at]! | bytes[at + 1]! << 8;
  if (size === 2) return low << 16 >> 16;
  return low | bytes[at + 2]! << 16 | bytes[at + 3]! << 24;
}
