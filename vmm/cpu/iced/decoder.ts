// Decoding bytes into an `Instruction`. A decoder of the package's is made for some bytes
// and takes longer to make than to use: ours are kept, each with a window in the
// package's memory that bytes are put into.

import { allocate, calls, place, type Pointer, RESULT, word } from "./calls.ts";
import type { DecoderError } from "./enumerations.ts";
import type { Instruction } from "./instruction.ts";

/** Most bytes that a decoder is given at once. */
const WINDOW = 32;

/** Where in its bytes an instruction has its immediates. */
export interface ImmediateOffsets {
  readonly hasImmediate: boolean;
  /** whether a second one follows the first */
  readonly hasImmediate2: boolean;
  readonly immediateOffset: number;
  readonly immediateSize: number;
  readonly immediateSize2: number;
}

/** Decodes one kind of code; see `decoderOf`. */
class Decoder {
  readonly #window: Pointer = allocate(WINDOW);
  readonly #pointer: Pointer;

  constructor(bitness: number, options: number) {
    calls.decoder_new(RESULT, bitness, this.#window, WINDOW, options);
    this.#pointer = word(RESULT);
  }

  /**
   * Decodes what bytes begin with.
   *
   * @param bytes at most 32
   * @param ip where they are
   * @param instruction becomes what was decoded
   * @returns what is wrong with it
   */
  decode(
    bytes: Uint8Array,
    ip: number,
    instruction: Instruction,
  ): DecoderError {
    // At the end of the window, behind which there are no more bytes.
    const start = WINDOW - bytes.length;
    if (start < 0) throw new RangeError("Too many bytes to decode at once");
    place(bytes, this.#window + start);
    const decoder = this.#pointer;
    calls.decoder_set_position(RESULT, decoder, start);
    calls.decoder_set_ip(decoder, BigInt(ip));
    calls.decoder_decodeOut(decoder, instruction.pointer);
    return calls.decoder_lastError(decoder);
  }

  /** Where the last instruction, which is to be given, had its immediates. */
  immediateOffsets({ pointer }: Instruction): ImmediateOffsets {
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
}

export type { Decoder };

const BITNESS_BITS = 7;
const decoders = new Map<number, Decoder>();

/**
 * The decoder of a kind of code.
 *
 * @param bitness 16, 32 or 64
 * @param options of `DecoderOptions`, ored
 */
export function decoderOf(bitness: number, options: number): Decoder {
  const key = options << BITNESS_BITS | bitness;
  let decoder = decoders.get(key);
  if (decoder === undefined) {
    decoder = new Decoder(bitness, options);
    decoders.set(key, decoder);
  }
  return decoder;
}
