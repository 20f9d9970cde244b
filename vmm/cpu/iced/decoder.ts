// Decoding bytes into an `Instruction`.

import { calls, type Pointer, put, RESULT, word } from "./calls.ts";
import type { DecoderError } from "./enumerations.ts";
import type { Instruction } from "./instruction.ts";

/** Where in its bytes an instruction has its immediates. */
export interface ImmediateOffsets {
  readonly hasImmediate: boolean;
  /** whether a second one follows the first */
  readonly hasImmediate2: boolean;
  readonly immediateOffset: number;
  readonly immediateSize: number;
  readonly immediateSize2: number;
}

/** Decodes bytes from their beginning. */
export class Decoder {
  readonly #pointer: Pointer;

  /**
   * To be freed.
   *
   * @param bitness 16, 32 or 64
   * @param options of `DecoderOptions`, ored
   */
  constructor(bitness: number, bytes: Uint8Array, options: number) {
    calls.decoder_new(RESULT, bitness, put(bytes), bytes.length, options);
    this.#pointer = word(RESULT);
  }

  /** Says where the next instruction is. */
  set ip(ip: number) {
    calls.decoder_set_ip(this.#pointer, BigInt(ip));
  }

  /** Decodes the next instruction. */
  decodeOut(instruction: Instruction): void {
    calls.decoder_decodeOut(this.#pointer, instruction.pointer);
  }

  /** What was wrong with the last one. */
  get lastError(): DecoderError {
    return calls.decoder_lastError(this.#pointer);
  }

  /** Where the last instruction, which is to be given, had its immediates. */
  immediateOffsets(instruction: Instruction): ImmediateOffsets {
    const { pointer } = instruction;
    const at = calls.decoder_getConstantOffsets(this.#pointer, pointer);
    const offsets = {
      hasImmediate: calls.constantoffsets_hasImmediate(at) !== 0,
      hasImmediate2: calls.constantoffsets_hasImmediate2(at) !== 0,
      immediateOffset: calls.constantoffsets_immediateOffset(at),
      immediateSize: calls.constantoffsets_immediateSize(at),
      immediateSize2: calls.constantoffsets_immediateSize2(at),
    };
    calls.__wbg_constantoffsets_free(at);
    return offsets;
  }

  /** Gives its memory back. */
  free(): void {
    calls.__wbg_decoder_free(this.#pointer);
  }
}
