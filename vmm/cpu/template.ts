// Templates: an instruction's records but for its constants. The bytes before those
// decide everything else, so that of all instructions that begin alike only the
// first is decoded by iced-x86. A template is a few words, so that it is read fast:
// a header, the words of the records, and three words a constant.

import {
  CONSTANT,
  type Constant,
  displacementsOf,
  readConstant,
} from "./constants.ts";
import type { Form } from "./form.ts";
import type { Instruction } from "./iced/instruction.ts";
import { REC_SITE, RECORD_STRIDE } from "./record.ts";
import type { ModeSize } from "./shape.ts";
import { UNITS } from "./units.ts";

const LENGTH = 0xf;
const ENDS = 1 << 4;
const UNIT_SHIFT = 8;
const WORDS_SHIFT = 16;
const CONSTANTS_SHIFT = 24;
const FIELD = 0xff;

// A constant's first word; its mask and what is added follow.
const SIZE_SHIFT = 8;
const WORD_SHIFT = 16;
const TRAITS_SHIFT = 24;
const CONSTANT_WORDS = 3;

/** Bytes of the instruction, by the header. */
export function lengthOf(header: number): number {
  return header & LENGTH;
}

/** Whether the instruction ends its block, by the header. */
export function endsBlock(header: number): boolean {
  return (header & ENDS) !== 0;
}

/** The number of the unit that the instruction needs, by the header. */
export function unitOf(header: number): number {
  return header >> UNIT_SHIFT & FIELD;
}

/** Words of the instruction's records, by the header. */
export function recordWords(header: number): number {
  return header >> WORDS_SHIFT & FIELD;
}

/** The instruction of which a template is made. */
export interface Example {
  readonly instruction: Instruction;
  readonly form: Form;
  /** the immediates of its code */
  readonly immediates: readonly Constant[];
  /** its bytes */
  readonly bytes: Uint8Array;
  /** where it begins in its page */
  readonly start: number;
  /** the number of it in its block */
  readonly count: number;
  /** default operation size of its code segment */
  readonly code: ModeSize;
  /** its records' words */
  readonly words: Int32Array;
}

/** A template, and how many bytes decide that it is the one. */
export interface Template {
  readonly words: readonly number[];
  readonly head: number;
}

/** The template of an instruction. */
export function templateOf(example: Example): Template {
  const { instruction, form, code, immediates, words, bytes } = example;
  const records = 4 * words.length / RECORD_STRIDE;
  const constants = [
    ...displacementsOf(instruction, form, immediates, code, records),
    ...immediates,
  ];
  const template = [
    bytes.length | (form.ends ? ENDS : 0) |
    UNITS.indexOf(form.unit) << UNIT_SHIFT | words.length << WORDS_SHIFT |
    constants.length << CONSTANTS_SHIFT,
    ...words,
  ];
  const stamp = example.start | example.count << 24;
  for (let n = 0; n < records; n++) {
    template[1 + ((n * RECORD_STRIDE + REC_SITE) >> 2)]! -= stamp;
  }
  for (const constant of constants) putConstant(template, constant, example);
  return { words: template, head: bytes.length + (constants[0]?.at ?? 0) };
}

function putConstant(
  template: number[],
  { at, size, word, mask, traits }: Constant,
  { bytes, start, words }: Example,
): void {
  const offset = bytes.length + at;
  const place = words.length + word;
  // A length, for what is relative to the instruction's end; mostly nothing.
  const bias = words[place]! - readConstant(bytes, offset, size) -
    (traits & CONSTANT.RELATIVE ? start : 0);
  template.push(
    offset | size << SIZE_SHIFT | place << WORD_SHIFT | traits << TRAITS_SHIFT,
    mask,
    bias | 0,
  );
}

/**
 * Writes the records of an instruction, which begins at `from` in the bytes.
 *
 * @param pool words that the template is among, at `template`
 * @param words where the records begin, at `first`
 * @param start where the instruction begins in its page
 * @param count the number of it in its block
 * @returns the target of a direct branch that needs a stub, or `NO_TARGET`
 */
export function applyTemplate(
  pool: Int32Array,
  template: number,
  bytes: Uint8Array,
  from: number,
  words: Int32Array,
  first: number,
  start: number,
  count: number,
): number {
  const header = pool[template]!;
  const size = recordWords(header);
  for (let n = 0; n < size; n++) words[first + n] = pool[template + 1 + n]!;
  const stamp = start | count << 24;
  for (let n = REC_SITE >> 2; n < size; n += RECORD_STRIDE >> 2) {
    words[first + n]! += stamp;
  }
  let target = NO_TARGET;
  let at = template + 1 + size;
  for (let n = header >>> CONSTANTS_SHIFT; n > 0; n--) {
    const place = pool[at]!;
    const traits = place >> TRAITS_SHIFT;
    const word = first + (place >> WORD_SHIFT & FIELD);
    const sum = pool[at + 2]! + (traits & CONSTANT.RELATIVE ? start : 0) +
      readConstant(bytes, from + (place & FIELD), place >> SIZE_SHIFT & FIELD);
    const value = traits & CONSTANT.TARGET_64 ? sum : sum & pool[at + 1]!;
    words[word] = value;
    if (traits & CONSTANT.SIGNED) words[word + 1] = value < 0 ? -1 : 0;
    if (traits & (CONSTANT.TARGET_32 | CONSTANT.TARGET_64)) target = value;
    at += CONSTANT_WORDS;
  }
  return target;
}

/** What no branch leads to. */
export const NO_TARGET = 2 ** 40;
