// All instruction forms by iced-x86's `Code`, for whoever decodes.

import { Code } from "iced-x86";
import type { Form } from "../form.ts";
import { ALL_FORMS } from "./mod.ts";

/** The `Code` of a name such as `Add_rm32_r32`; throws where there is none. */
function codeNamed(name: string): Code {
  const code = (Code as unknown as Record<string, Code>)[name];
  if (code === undefined) throw new RangeError(`No instruction form "${name}"`);
  return code;
}

// One that is defined twice is an error.
function byCode(forms: readonly Form[]): ReadonlyMap<Code, Form> {
  const table = new Map(forms.map((form) => [codeNamed(form.name), form]));
  if (table.size !== forms.length) throw new Error("A form is defined twice");
  return table;
}

/** Every form that the processor has, by iced-x86's code. */
export const FORMS: ReadonlyMap<Code, Form> = byCode(ALL_FORMS);
