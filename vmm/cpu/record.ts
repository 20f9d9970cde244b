// A record: one instruction (or an engine step) of threaded code, 32 bytes in
// memory 0. Operands lie in fields by operand number, so that one handler serves
// every register.

import { RECORD_STRIDE } from "./state.ts";

/** The type of handlers: a record in, a status out. */
export const HANDLER_TYPE = { params: ["i32"], results: ["i32"] } as const;

/** Table index of the handler: u32. */
export const REC_HANDLER = 0;
/**
 * Operand n at `REC_OPERAND + 4 * n`, n 0 to 2: the address in memory 0 of its
 * register; for a memory operand in the base shape, of its base register.
 */
export const REC_OPERAND = 4;
/** Immediate operand, sign- or zero-extended as the instruction says: i64. */
export const REC_IMM = 16;
/** Displacement of the memory operand in the base shape: i32. */
export const REC_DISP = 24;
/** A direct branch's next record: u32 (in place of a displacement). */
export const REC_LINK = 24;
/** Offset of the instruction in its page, and `SITE_STACK`: u16. */
export const REC_SITE = 28;
/** Bytes of the instruction: u8. */
export const REC_LENGTH = 30;
/** Instructions of the block up to and with this one: u8. */
export const REC_COUNT = 31;

/** In a site: the access goes through SS, so a bad address is #SS, not #GP. */
export const SITE_STACK = 0x1000;
/** Bits of a site that are the offset in the page. */
export const SITE_OFFSET = 0xfff;

export { RECORD_STRIDE };
