// All instruction forms, by group.

import { type Definition, type Form, formTable } from "../form.ts";
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
];

// Seldom executed, or in shapes of their own.
const RARE_INTEGER_GROUPS: readonly (readonly Form[])[] = [
  STRING_FORMS,
  IO_FORMS,
  HINT_FORMS,
  COUNTER_FORMS,
  BCD_FORMS,
  SEGMENT_FORMS,
  FAR_FORMS,
  SYSTEM_FORMS,
];

/** Every form that the processor has, by iced-x86's code. */
export const FORMS = formTable([
  ...INTEGER_GROUPS,
  ...RARE_INTEGER_GROUPS,
  ...SSE_COMMON_GROUPS,
  ...SSE_GROUPS,
  X87_FORMS,
]);

// Of the system forms, those on a kernel's shortest paths.
const HOT = /^(Syscall|Sysretq|Iretq|Int_imm8|Swapgs|Cli|Sti|Stac|Clac)$/;
const HOT_FORMS = [...FAR_FORMS, ...SYSTEM_FORMS].filter(({ name }) =>
  HOT.test(name)
);

/** What is built together with the runtime. */
export const COMMON_DEFINITIONS: readonly Definition[] = [
  ...Object.values(steps).filter((s) => typeof s === "object"),
  ...INTEGER_GROUPS.flat(),
  ...SSE_COMMON_GROUPS.flat(),
  ...HOT_FORMS,
];
