// The names and types of all runtime functions. Each group defines its own.

import { BITS_SIGNATURES } from "./bits.ts";
import { BUS_SIGNATURES } from "./bus.ts";
import { CONTROL_SIGNATURES } from "./control.ts";
import { DEBUG_SIGNATURES } from "./debug.ts";
import { DESCRIPTOR_SIGNATURES } from "./descriptors.ts";
import { ENTRY_SIGNATURES } from "./entry.ts";
import { JUMP_SIGNATURES } from "./jumps.ts";
import { TIME_SIGNATURES } from "./time.ts";
import { EVENT_SIGNATURES } from "./events.ts";
import { FAR_SIGNATURES } from "./far.ts";
import { FRAME_SIGNATURES } from "./frames.ts";
import { IO_SIGNATURES } from "./io.ts";
import { IRET_SIGNATURES } from "./iret.ts";
import { ALIGNMENT_SIGNATURES } from "./alignment.ts";
import { MEMORY_SIGNATURES } from "./memory.ts";
import { MISC_SIGNATURES } from "./misc.ts";
import { RUN_SIGNATURES } from "./run.ts";
import { SEGMENT_LOAD_SIGNATURES } from "./segment_loads.ts";
import { SEGMENT_SIGNATURES } from "./segments.ts";
import { SPACE_SIGNATURES } from "./spaces.ts";
import { SSE_SIGNATURES } from "./sse.ts";
import { SSE_COMPARE_SIGNATURES } from "./sse_compare.ts";
import { SSE_CRYPTO_SIGNATURES } from "./sse_crypto.ts";
import { SSE_EXACT_SIGNATURES } from "./sse_exact.ts";
import { SSE_PRODUCT_SIGNATURES } from "./sse_products.ts";
import { SSE_STRING_SIGNATURES } from "./sse_string.ts";
import { STRING_SIGNATURES } from "./string.ts";
import { SYSTEM_SIGNATURES } from "./system.ts";
import { TASK_SIGNATURES } from "./tasks.ts";
import { TLB_SIGNATURES } from "./tlb.ts";
import { CODE_PAGE_SIGNATURES } from "./code_pages.ts";
import { TRANSLATE_SIGNATURES } from "./translate.ts";
import { TRAP_SIGNATURES } from "./traps.ts";
import { USER_SIGNATURES } from "./user.ts";
import { WALK_SIGNATURES } from "./walk.ts";
import { WIDE_SIGNATURES } from "./wide.ts";
import { X87_ARITHMETIC_SIGNATURES } from "./x87_arithmetic.ts";
import { X87_COMPARE_SIGNATURES } from "./x87_compare.ts";
import { X87_CONTROL_SIGNATURES } from "./x87_control.ts";
import { X87_IMAGE_SIGNATURES } from "./x87_image.ts";
import { X87_MOVE_SIGNATURES } from "./x87_moves.ts";
import { X87_NOTE_SIGNATURES } from "./x87_note.ts";
import { X87_NUMBER_SIGNATURES } from "./x87_numbers.ts";

/** Signatures of the runtime functions. */
export const RUNTIME_SIGNATURES = {
  ...TRAP_SIGNATURES,
  ...WALK_SIGNATURES,
  ...TRANSLATE_SIGNATURES,
  ...TLB_SIGNATURES,
  ...CODE_PAGE_SIGNATURES,
  ...ALIGNMENT_SIGNATURES,
  ...MEMORY_SIGNATURES,
  ...SEGMENT_SIGNATURES,
  ...BUS_SIGNATURES,
  ...MISC_SIGNATURES,
  ...RUN_SIGNATURES,
  ...WIDE_SIGNATURES,
  ...BITS_SIGNATURES,
  ...STRING_SIGNATURES,
  ...IO_SIGNATURES,
  ...USER_SIGNATURES,
  ...SSE_SIGNATURES,
  ...SSE_COMPARE_SIGNATURES,
  ...SSE_EXACT_SIGNATURES,
  ...SSE_PRODUCT_SIGNATURES,
  ...SSE_STRING_SIGNATURES,
  ...SSE_CRYPTO_SIGNATURES,
  ...CONTROL_SIGNATURES,
  ...SPACE_SIGNATURES,
  ...DEBUG_SIGNATURES,
  ...DESCRIPTOR_SIGNATURES,
  ...ENTRY_SIGNATURES,
  ...JUMP_SIGNATURES,
  ...TIME_SIGNATURES,
  ...EVENT_SIGNATURES,
  ...FAR_SIGNATURES,
  ...FRAME_SIGNATURES,
  ...IRET_SIGNATURES,
  ...SEGMENT_LOAD_SIGNATURES,
  ...SYSTEM_SIGNATURES,
  ...TASK_SIGNATURES,
  ...X87_CONTROL_SIGNATURES,
  ...X87_ARITHMETIC_SIGNATURES,
  ...X87_COMPARE_SIGNATURES,
  ...X87_MOVE_SIGNATURES,
  ...X87_NOTE_SIGNATURES,
  ...X87_NUMBER_SIGNATURES,
  ...X87_IMAGE_SIGNATURES,
} as const;

/** The name of a runtime function. */
export type RuntimeName = keyof typeof RUNTIME_SIGNATURES;
