// The mode key: everything about the processor's state that decoding a block may
// rely on. Blocks are found by physical address and mode key.

import type { ModeSize } from "./shape.ts";

/** Bits of the mode key. */
export const MODE = {
  /** Two bits: default operation size 0 = 16, 1 = 32, 2 = 64 bits. */
  CODE: 3,
  /** The stack pointer has 32 bits (64 in 64-bit mode). */
  STACK32: 1 << 2,
  /** 64-bit mode, or CS DS ES SS with base 0, limit 4 GiB, readable, writable. */
  FLAT: 1 << 3,
  /** Protected mode outside virtual-8086 mode. */
  PROTECTED: 1 << 4,
  /** CR0.EM */
  EM: 1 << 5,
  /** CR0.TS */
  TS: 1 << 6,
  /** CR0.MP */
  MP: 1 << 7,
  /** CR4.OSFXSR */
  OSFXSR: 1 << 8,
  /** Blocks of one instruction: something looks at every instruction. */
  STEP: 1 << 9,
} as const;

/** Bits of the mode key; the jump cache's generation lies above. */
export const MODE_BITS = 10;

/** Default operation size of the code segment. */
export function codeSize(key: number): ModeSize {
  const size = key & MODE.CODE;
  return size === 2 ? 64 : size === 1 ? 32 : 16;
}

/** Size of the stack pointer. */
export function stackSize(key: number): ModeSize {
  return codeSize(key) === 64 ? 64 : key & MODE.STACK32 ? 32 : 16;
}
