// The names and types of all runtime functions. Each group defines its own.

import { BITS_SIGNATURES } from "./bits.ts";
import { MEMORY_SIGNATURES } from "./memory.ts";
import { MISC_SIGNATURES } from "./misc.ts";
import { RUN_SIGNATURES } from "./run.ts";
import { SEGMENT_SIGNATURES } from "./segments.ts";
import { TRAP_SIGNATURES } from "./traps.ts";
import { WALK_SIGNATURES } from "./walk.ts";
import { WIDE_SIGNATURES } from "./wide.ts";

/** Signatures of the runtime functions. */
export const RUNTIME_SIGNATURES = {
  ...TRAP_SIGNATURES,
  ...WALK_SIGNATURES,
  ...MEMORY_SIGNATURES,
  ...SEGMENT_SIGNATURES,
  ...MISC_SIGNATURES,
  ...RUN_SIGNATURES,
  ...WIDE_SIGNATURES,
  ...BITS_SIGNATURES,
} as const;

/** The name of a runtime function. */
export type RuntimeName = keyof typeof RUNTIME_SIGNATURES;
