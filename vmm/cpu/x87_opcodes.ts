// The opcodes of the x87's instructions as FNSTENV tells of them, found by decoding all
// there are: iced-x86 has a table of op codes, but making it takes a thread 50 ms.

import { type Code, Decoder, DecoderOptions, Instruction } from "iced-x86";

/** Bytes that each is given, as zeros after the first two: the longest displacement. */
const STRIDE = 8;
const FIRST = 0xd8;
const REGISTERS = 0xc0;

// First bytes and ModR/M of all: with memory at a plain address, or with registers.
const OPCODES: readonly number[] = Array.from(
  { length: 8 << 8 },
  (_, opcode) => opcode,
).filter((opcode) =>
  (opcode & 0xff) >= REGISTERS || (opcode & ~(7 << 8 | 7 << 3)) === 0
);

function decodeAll(bitness: 16 | 32, found: Map<Code, number>): void {
  const bytes = new Uint8Array(OPCODES.length * STRIDE);
  OPCODES.forEach((opcode, n) => {
    bytes[n * STRIDE] = FIRST | opcode >> 8;
    bytes[n * STRIDE + 1] = opcode;
  });
  const decoder = new Decoder(bitness, bytes, DecoderOptions.None);
  const instruction = new Instruction();
  OPCODES.forEach((opcode, n) => {
    decoder.position = n * STRIDE;
    decoder.decodeOut(instruction);
    const { code } = instruction;
    // Of eight with ST(i) the first has the lowest.
    if (!found.has(code)) found.set(code, opcode);
  });
  instruction.free();
  decoder.free();
}

let opcodes: Map<Code, number> | undefined;

/** The low bits of the first byte, then ModR/M with what is not fixed as zeros. */
export function x87Opcodes(): ReadonlyMap<Code, number> {
  if (opcodes === undefined) {
    opcodes = new Map();
    // Environments have other forms where operands are of 16 bits.
    decodeAll(16, opcodes);
    decodeAll(32, opcodes);
  }
  return opcodes;
}
