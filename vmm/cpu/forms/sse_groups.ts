// The groups of MMX and SSE forms, by how often guests use them.

import type { Form } from "../form.ts";
import { MMX_FORMS } from "./mmx.ts";
import {
  SSE_ARITHMETIC_FORMS,
  SSE_COMMON_ARITHMETIC_FORMS,
} from "./sse_arithmetic.ts";
import { SSE_COMPARE_FORMS } from "./sse_compares.ts";
import {
  SSE_COMMON_CONVERSION_FORMS,
  SSE_CONVERSION_FORMS,
} from "./sse_conversions.ts";
import { SSE_CRYPTO_FORMS } from "./sse_crypto.ts";
import { SSE_COMMON_INTEGER_FORMS, SSE_INTEGER_FORMS } from "./sse_integer.ts";
import { SSE_COMMON_MOVE_FORMS, SSE_MOVE_FORMS } from "./sse_moves.ts";
import { SSE_COMMON_SHUFFLE_FORMS, SSE_SHUFFLE_FORMS } from "./sse_shuffles.ts";
import { SSE_STRING_FORMS } from "./sse_strings.ts";

/** SSE2, which every 64-bit program is compiled for. */
export const SSE_COMMON_GROUPS: readonly (readonly Form[])[] = [
  SSE_COMMON_MOVE_FORMS,
  SSE_COMMON_INTEGER_FORMS,
  SSE_COMMON_SHUFFLE_FORMS,
  SSE_COMMON_ARITHMETIC_FORMS,
  SSE_COMMON_CONVERSION_FORMS,
  SSE_COMPARE_FORMS,
];

/** What programs look for before they use it. */
export const SSE_GROUPS: readonly (readonly Form[])[] = [
  MMX_FORMS,
  SSE_MOVE_FORMS,
  SSE_INTEGER_FORMS,
  SSE_SHUFFLE_FORMS,
  SSE_ARITHMETIC_FORMS,
  SSE_CONVERSION_FORMS,
  SSE_STRING_FORMS,
  SSE_CRYPTO_FORMS,
];
