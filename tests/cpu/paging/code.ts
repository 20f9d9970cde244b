// Machine code that means the same in 64-bit and in 32-bit mode: addresses are below
// 2 GiB, and no register is used that only one of them has.
//
// EAX and ECX are values, EBX and EDI addresses, EDX is where to go on after a fault,
// ESI what became of all values so far, EBP what is left of the rounds.

import type { Prng } from "../fuzz/prng.ts";
import { LAYOUT } from "./layout.ts";

/** Bytes of code. */
export type Bytes = readonly number[];

/** RET, NOP, CLC, CWDE, CMC: nothing that is made of them does any harm. */
export const HARMLESS = [0xc3, 0x90, 0xf8, 0x98, 0xf5] as const;

/** ADD ESI, EAX; ROL ESI, 7 */
export const MIX: Bytes = [0x01, 0xc6, 0xc1, 0xc6, 7];

/** A number's bytes. */
export function le(value: number | bigint, bytes: number): Bytes {
  const all = BigInt.asUintN(8 * bytes, BigInt(value));
  return Array.from(
    { length: bytes },
    (_, n) => Number(all >> BigInt(8 * n) & 0xffn),
  );
}

/** MOV of a 32-bit constant to a register. */
export const mov =
  (register: "eax" | "ecx" | "edx" | "ebx" | "esp" | "edi") =>
  (value: number | bigint): Bytes => [MOV[register], ...le(value, 4)];
const MOV = {
  eax: 0xb8,
  ecx: 0xb9,
  edx: 0xba,
  ebx: 0xbb,
  esp: 0xbc,
  edi: 0xbf,
} as const;

/** A part of a program. */
export class Part {
  readonly base: number;
  readonly bytes: number[] = [];
  readonly #stack: number;

  /** @param stack what ESP is between the instructions that are put into it */
  constructor(base: number, stack: number) {
    this.base = base;
    this.#stack = stack;
  }

  /** Where what comes next lies. */
  get at(): number {
    return this.base + this.bytes.length;
  }

  put(...parts: readonly Bytes[]): void {
    for (const part of parts) this.bytes.push(...part);
  }

  /** What may fault; then execution goes on behind it, with the stack as it was. */
  guarded(...parts: readonly Bytes[]): void {
    const body = parts.flat();
    this.put(mov("edx")(this.at + 5 + body.length), body);
    this.put(mov("esp")(this.#stack));
  }
}

/** XOR of RFLAGS' AC, on the stack. */
export function flipAc(isWide: boolean): Bytes {
  const prefix = isWide ? [0x48] : [];
  return [0x9c, ...prefix, 0x81, 0x34, 0x24, ...le(0x4_0000, 4), 0x9d];
}

/** IRET of a kernel. */
export function iret(isWide: boolean): Bytes {
  return isWide ? [0x48, 0xcf] : [0xcf];
}

/** The handler of faults: mixes what tells of one into ESI, and goes on where EDX says. */
export function handler(isWide: boolean): Bytes {
  return [
    // ADD ESI, EDI; ADD ESI, ECX; POP of the error code; ADD ESI, ECX
    ...[0x01, 0xfe, 0x01, 0xce, 0x59, 0x01, 0xce],
    // MOV ECX, CR2; ADD ESI, ECX; ROL ESI, 5
    ...[0x0f, 0x20, 0xd1, 0x01, 0xce, 0xc1, 0xc6, 5],
    // INC of the counter
    ...[...mov("ecx")(LAYOUT.FAULTS), 0xff, 0x01],
    // MOV [ESP], EDX
    ...(isWide ? [0x48] : []),
    ...[0x89, 0x14, 0x24, ...iret(isWide)],
  ];
}

/** Functions in a frame, see `functions`. */
export const FUNCTIONS = {
  /** with any base, in one page */
  plain: [0x10, 0x20, 0x30, 0x50],
  /** with any base, that lead into the next page */
  leading: [0x60, 0xff0, 0xffd],
  /** with a base in the data */
  writing: [0x40],
} as const;

/** Functions, and where their constants are, bytes of which may change. */
export const CHANGED = [
  [0x10, [0x11]],
  [0x20, [0x21, 0x31]],
  [0x30, [0x31, 0x36]],
  [0xffd, [0xffe, 0xfff, 0x1000, 0x1001]],
] as const;

/**
 * MOV [EBX], AL: to a constant of a function of a page; where the function lies in two
 * pages, a harmless instruction's byte.
 */
export function writeConstant(
  random: Prng,
  page: number,
  constants: readonly number[],
): Bytes {
  const at = random.pick(constants);
  const write = at < 0x800 ? [0x88, 0x03] : [0xc6, 0x03, random.pick(HARMLESS)];
  return [...mov("ebx")(page + at), ...write];
}

/** The functions of a frame: some lead on into the page that follows. */
export function functions(
  frame: number,
): readonly (readonly [number, Bytes])[] {
  const mark = le(0x1357 * (frame + 1), 4);
  return [
    // The end of 0xffd's, in whose constant a page ends.
    [0, [HARMLESS[frame]!, HARMLESS[0], HARMLESS[0]]],
    // MOV EAX, mark; RET
    [0x10, [0xb8, ...mark, 0xc3]],
    // MOV EAX, mark; JMP to 0x30
    [0x20, [0xb8, ...mark, 0xeb, 0x09]],
    // ADD EAX, mark; ADD EAX, 3; RET
    [0x30, [0x05, ...mark, 0x05, 3, 0, 0, 0, 0xc3]],
    // MOV EAX, [EBX]; ADD EAX, [EBX + 8]; MOV [EBX + 16], EAX; RET
    [0x40, [0x8b, 0x03, 0x03, 0x43, 8, 0x89, 0x43, 16, 0xc3]],
    // MOV ECX, 5; L: ADD EAX, [EBX]; DEC ECX; JNZ L; RET
    [0x50, [0xb9, 5, 0, 0, 0, 0x03, 0x03, 0xff, 0xc9, 0x75, 0xfa, 0xc3]],
    // CALL of the next page's 0x10; ADD EAX, EBX; RET
    [0x60, [0xe8, ...le(0x1010 - 0x65, 4), 0x01, 0xd8, 0xc3]],
    // JMP to the next page's 0x30
    [0xff0, [0xeb, 0x1030 - 0xff2]],
    // MOV EAX, constant; and on in the next page
    [0xffd, [0xb8, 0x34, 0x12]],
  ];
}
