// All instruction forms by iced-x86's `Code`, for whoever decodes.

import type { Form } from "../form.ts";
import { CODES } from "../iced/codes.ts";
import type { Code } from "../iced/enumerations.ts";
import { ALL_FORMS } from "./mod.ts";

const NUMBER = /^\d/;

function codesByName(): ReadonlyMap<string, Code> {
  const codes = new Map<string, Code>();
  let next = 0;
  for (const word of CODES.trim().split(/\s/)) {
    if (NUMBER.test(word)) next = Number(word);
    else codes.set(word, next++);
  }
  return codes;
}

// One that is defined twice is an error.
function byCode(forms: readonly Form[]): ReadonlyMap<Code, Form> {
  const codes = codesByName();
  const table = new Map<Code, Form>();
  for (const form of forms) {
    const code = codes.get(form.name);
    if (code === undefined) {
      throw new RangeError(`No code of "${form.name}" in iced/codes.ts`);
    }
    table.set(code, form);
  }
  if (table.size !== forms.length) throw new Error("A form is defined twice");
  return table;
}

/** Every form that the processor has, by iced-x86's code. */
export const FORMS: ReadonlyMap<Code, Form> = byCode(ALL_FORMS);
