// All instruction forms, by group.

import type { Definition, Form } from "../form.ts";
import * as steps from "../steps.ts";
import { ALU_FORMS } from "./alu.ts";
import { BCD_FORMS } from "./bcd.ts";
import { BIT_FORMS } from "./bits.ts";
import { COUNTER_FORMS } from "./counters.ts";
import { EXCHANGE_FORMS } from "./exchange.ts";
import { FAR_FORMS } from "./far.ts";
import { FRAME_FORMS } from "./frames.ts";
import { HINT_FORMS } from "./hints.ts";
import { IO_FORMS } from "./io.ts";
import { MISC_FORMS } from "./misc.ts";
import { MULDIV_FORMS } from "./muldiv.ts";
import { SEGMENT_FORMS } from "./segment.ts";
import { SHIFT_FORMS } from "./shift.ts";
import { SSE_COMMON_GROUPS, SSE_GROUPS } from "./sse_groups.ts";
import { STRING_FORMS } from "./string.ts";
import { SYSTEM_FORMS } from "./system.ts";
import { TRANSFER_FORMS } from "./transfer.ts";
import { X87_FORMS } from "./x87.ts";

const INTEGER_GROUPS: readonly (readonly Form[])[] = [
  ALU_FORMS,
  TRANSFER_FORMS,
  SHIFT_FORMS,
  MULDIV_FORMS,
  BIT_FORMS,
  EXCHANGE_FORMS,
  MISC_FORMS,
  FRAME_FORMS,
  STRING_FORMS,
  IO_FORMS,
  COUNTER_FORMS,
  SYSTEM_FORMS,
];

// Seldom executed, or in shapes of their own.
const RARE_INTEGER_GROUPS: readonly (readonly Form[])[] = [
  HINT_FORMS,
  BCD_FORMS,
  SEGMENT_FORMS,
  FAR_FORMS,
];

/** Every form that the processor has. */
export const ALL_FORMS: readonly Form[] = [
  ...INTEGER_GROUPS,
  ...RARE_INTEGER_GROUPS,
  ...SSE_COMMON_GROUPS,
  ...SSE_GROUPS,
  X87_FORMS,
].flat();

// Of the far branches, those on a kernel's shortest paths.
const HOT = /^(Syscall|Sysretq|Iretq|Int_imm8)$/;
// What no compiler makes, and branches that 64-bit code does not have.
const UNCOMMON = /^Rc[lr]_|_82$|_rel(8|32)_32$/;

/** What is built together with the runtime: what systems boot with, and programs use. */
export const COMMON_DEFINITIONS: readonly Definition[] = [
  ...Object.values(steps).filter((s) => typeof s === "object"),
  ...[...INTEGER_GROUPS, ...SSE_COMMON_GROUPS].flat()
    .filter(({ name, access }) => access !== "ignored" && !UNCOMMON.test(name)),
  ...FAR_FORMS.filter(({ name }) => HOT.test(name)),
];
