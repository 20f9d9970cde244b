// Decoding the instructions of a block into a writer's records: by iced-x86, or by
// the template of an instruction that began alike (see `template.ts`).

import type { BlockWriter, RecordSink } from "./block_writer.ts";
import type { Form } from "./form.ts";
import { FORMS } from "./forms/by_code.ts";
import { type Decoder, decoderOf } from "./iced/decoder.ts";
import {
  type Code,
  DecoderError,
  DecoderOptions,
  INVALID,
  Mnemonic,
} from "./iced/enumerations.ts";
import { Instruction } from "./iced/instruction.ts";
import { codeSize, MODE } from "./mode.ts";
import { VECTOR } from "./runtime/traps.ts";
import type { ModeSize } from "./shape.ts";
import { type Constant, hasPlainConstants, immediatesOf } from "./constants.ts";
import { endsBlock, lengthOf, templateOf, unitOf } from "./template.ts";
import { unitFault, UNITS } from "./units.ts";
import { Templates } from "./templates.ts";

/** Most instructions in a block: bounds decoding ahead and interrupt latency. */
export const MAX_INSTRUCTIONS = 64;
/** Longest legal instruction (Intel SDM vol. 2, 2.3.11). */
export const MAX_LENGTH = 15;

/** What decoding needs of the processor that it is done for. */
export interface DecodingSource extends RecordSink {
  /** whether the processor has the instruction */
  supports(code: Code): boolean;
  /** iced's decoder options */
  readonly decoderOptions: number;
}

/** Bits of the mode that decide an instruction's records, where it has any. */
const MODE_OF_RECORDS = MODE.CODE | MODE.STACK32 | MODE.FLAT | MODE.PROTECTED;

/** Code to decode. */
export interface CodeBytes {
  /** bytes that it is among, from `from` to before `to` */
  readonly bytes: Uint8Array;
  readonly from: number;
  readonly to: number;
  /** where it begins in its page */
  readonly inPage: number;
  /** the mode key */
  readonly mode: number;
}

interface CodeInfo {
  readonly form: Form | undefined;
  readonly isReal: boolean;
  readonly isPlain: boolean;
  immediates: readonly Constant[] | undefined;
}

// Of what protected mode brought, and what VEX prefixes encode.
const PROTECTED = /^(Arpl|Lar|Lldt|Lsl|Ltr|Sldt|Str|Verr|Verw|VEX)_/;

/** Whether real mode has a form that 16-bit or 32-bit code has. */
export function isInRealMode({ name }: Form): boolean {
  return !PROTECTED.test(name);
}

// What was decoded last, by whichever decoder: nothing is kept of it.
const instruction = new Instruction();

/** Decodes instructions for one virtual CPU. */
export class BlockDecoder {
  readonly #source: DecodingSource;
  readonly #infos: (CodeInfo | undefined)[] = [];
  readonly #templates: Templates;
  // A byte more than an instruction has tells too long from too few.
  readonly #bytes = new Uint8Array(MAX_LENGTH + 1);
  #ended = false;

  /** Instructions decoded since it was made. */
  instructions = 0;

  /** @param templates of instructions decoded before */
  constructor(source: DecodingSource, templates = new Templates()) {
    this.#source = source;
    this.#templates = templates;
  }

  /**
   * Decodes until a block ends or bytes are missing; answers the number of
   * instructions.
   */
  decodeInto(
    writer: BlockWriter,
    code: CodeBytes,
    most = code.mode & MODE.STEP ? 1 : MAX_INSTRUCTIONS,
  ): number {
    let count = 0;
    this.#ended = false;
    for (let at = code.from; count < most && !this.#ended; count++) {
      const length = this.#repeat(writer, code, at) ||
        this.#decode(writer, code, at);
      if (length === 0) break;
      at += length;
    }
    if (!this.#ended && count > 0) writer.fall();
    return count;
  }

  // Adds an instruction that begins like another; answers its length, or 0.
  #repeat(writer: BlockWriter, code: CodeBytes, at: number): number {
    const { bytes, from, to, inPage, mode } = code;
    const templates = this.#templates;
    const template = templates.find(mode & MODE_OF_RECORDS, bytes, at, to);
    const header = templates.pool[template]!;
    const length = lengthOf(header);
    const unit = unitOf(header);
    if (template === 0 || at + length > to) return 0;
    if (unit !== 0 && unitFault(UNITS[unit]!, mode) !== 0) return 0;
    this.instructions++;
    writer.begin(inPage + at - from, length);
    writer.repeat(templates.pool, template, bytes, at);
    this.#ended = endsBlock(header);
    return length;
  }

  // Decodes one instruction; answers its length, or 0 where bytes of it are missing.
  #decode(writer: BlockWriter, code: CodeBytes, at: number): number {
    const { from, to, inPage, mode } = code;
    if (at >= to) return 0;
    const start = inPage + at - from;
    const bytes = this.#copy(code, at);
    const decoder = decoderOf(codeSize(mode), this.#source.decoderOptions);
    const error = decoder.decode(bytes, start, instruction);
    if (error !== DecoderError.NoMoreBytes) {
      return this.#add(writer, decoder, bytes, start, mode);
    }
    if (bytes.length < MAX_LENGTH) return 0;
    // Fifteen bytes and not yet an instruction: too long.
    writer.raise(VECTOR.GP, 0, start);
    this.#ended = true;
    return MAX_LENGTH;
  }

  // Guest memory may change meanwhile: what is learned must be of the same bytes. An
  // array for each would cost more than decoding.
  #copy({ bytes, to }: CodeBytes, at: number): Uint8Array {
    const copy = this.#bytes;
    const length = Math.min(copy.length, to - at);
    for (let n = 0; n < length; n++) copy[n] = bytes[at + n]!;
    return copy.subarray(0, length);
  }

  // Adds what was decoded; answers its length.
  #add(
    writer: BlockWriter,
    decoder: Decoder,
    bytes: Uint8Array,
    start: number,
    mode: number,
  ): number {
    const { length } = instruction;
    writer.begin(start, length);
    this.instructions++;
    const info = this.#info(instruction.code);
    const { form, isReal } = info;
    const isProtected = (mode & MODE.PROTECTED) !== 0;
    this.#ended = true;
    if (form === undefined || !(isProtected || isReal)) {
      const tooLong = instruction.isInvalid && length >= MAX_LENGTH;
      writer.raise(tooLong ? VECTOR.GP : VECTOR.UD, tooLong ? 0 : -1, start);
      return length;
    }
    const refusal = unitFault(form.unit, mode);
    if (refusal !== 0) {
      writer.raise(refusal, -1, start);
      return length;
    }
    const at = writer.end;
    writer.instruction(instruction, form);
    this.#ended = form.ends;
    if (!info.isPlain) return length;
    info.immediates ??= this.#immediates(decoder);
    const { immediates } = info;
    const template = templateOf({
      instruction,
      form,
      immediates,
      bytes: bytes.subarray(0, length),
      start,
      count: writer.count,
      code: codeSize(mode),
      words: this.#source.words.subarray(at >> 2, writer.end >> 2),
    });
    this.#templates.add(mode & MODE_OF_RECORDS, bytes, template);
    return length;
  }

  #immediates(decoder: Decoder): readonly Constant[] {
    const offsets = decoder.immediateOffsets(instruction);
    return immediatesOf(instruction, offsets);
  }

  #info(code: Code): CodeInfo {
    let info = this.#infos[code];
    if (info === undefined) {
      const form = this.#source.supports(code) ? FORMS.get(code) : undefined;
      info = {
        form,
        isReal: form !== undefined && isInRealMode(form),
        isPlain: form !== undefined && hasPlainConstants(form),
        immediates: undefined,
      };
      this.#infos[code] = info;
    }
    return info;
  }

  /**
   * Whether nothing that may follow the bytes makes them an instruction: then #UD
   * comes before a fault on what follows. UD0 and UD1 have no operands to wait for
   * either, as AMD's processors have it.
   */
  isUndefined(bytes: Uint8Array, mode: number): boolean {
    const { decoderOptions } = this.#source;
    const opcode = bytes.find((byte) => !isPrefix(byte, codeSize(mode)));
    if (opcode !== undefined && LONG_PREFIXES.has(opcode)) return false;
    const options = decoderOptions | DecoderOptions.NoInvalidCheck;
    const decoder = decoderOf(codeSize(mode), options);
    const padded = new Uint8Array(bytes.length + MAX_LENGTH);
    padded.set(bytes);
    for (let next = 0; next < 256; next++) {
      padded[bytes.length] = next;
      decoder.decode(padded, 0, instruction);
      const { code, mnemonic } = instruction;
      const undefines = mnemonic === Mnemonic.Ud0 || mnemonic === Mnemonic.Ud1;
      if (code !== INVALID && !undefines) return false;
    }
    return true;
  }
}

const PREFIXES: ReadonlySet<number> = new Set([
  ...[0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3],
]);

/** What VEX, EVEX and XOP begin with: a byte more does not yet tell an opcode. */
const LONG_PREFIXES: ReadonlySet<number> = new Set([0xc4, 0xc5, 0x62, 0x8f]);

function isPrefix(byte: number, code: ModeSize): boolean {
  return PREFIXES.has(byte) || (code === 64 && byte >> 4 === 4);
}
