// All instruction forms, by group.

import { type Definition, type Form, formTable } from "../form.ts";
import * as steps from "../steps.ts";
import { ALU_FORMS } from "./alu.ts";
import { TRANSFER_FORMS } from "./transfer.ts";

const INTEGER_GROUPS: readonly (readonly Form[])[] = [
  ALU_FORMS,
  TRANSFER_FORMS,
];

/** Every form that the processor has, by iced-x86's code. */
export const FORMS = formTable([...INTEGER_GROUPS]);

/** What is built together with the runtime. */
export const COMMON_DEFINITIONS: readonly Definition[] = [
  ...Object.values(steps).filter((s) => typeof s === "object"),
  ...INTEGER_GROUPS.flat(),
];
