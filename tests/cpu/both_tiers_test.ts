// One meaning, two emissions: random snippets of the integer instructions give the same state on the
// threaded tier, which reads operands from records, and on the compiled tier, where they are
// constants. Needs no host to compare with, so nothing is undefined here: every bit is compared.

import { assertEquals } from "@std/assert";
import { Code } from "iced-x86";
import type { Form } from "../../vmm/cpu/form.ts";
import { ALU_FORMS } from "../../vmm/cpu/forms/alu.ts";
import { BCD_FORMS } from "../../vmm/cpu/forms/bcd.ts";
import { BIT_FORMS } from "../../vmm/cpu/forms/bits.ts";
import { EXCHANGE_FORMS } from "../../vmm/cpu/forms/exchange.ts";
import { FAR_FORMS } from "../../vmm/cpu/forms/far.ts";
import { FRAME_FORMS } from "../../vmm/cpu/forms/frames.ts";
import { IO_FORMS } from "../../vmm/cpu/forms/io.ts";
import { MISC_FORMS } from "../../vmm/cpu/forms/misc.ts";
import { MULDIV_FORMS } from "../../vmm/cpu/forms/muldiv.ts";
import { SEGMENT_FORMS } from "../../vmm/cpu/forms/segment.ts";
import { SHIFT_FORMS } from "../../vmm/cpu/forms/shift.ts";
import { STRING_FORMS } from "../../vmm/cpu/forms/string.ts";
import { TRANSFER_FORMS } from "../../vmm/cpu/forms/transfer.ts";
import { userModeCodes } from "./fuzz/forms.ts";
import { type FuzzCase, Generator } from "./fuzz/generator.ts";
import { disassemble } from "./fuzz/report.ts";
import { createSoftwareExecutor, supportedCodes } from "./fuzz/software.ts";
import type { CpuOutcome } from "./native/native.ts";

const SEED = 7;
/** Cases of each form with its operand in a register, and as many with it in memory. */
const ROUNDS = 2;

/** Groups of which programs can execute every form. */
const GROUPS: Readonly<Record<string, readonly Form[]>> = {
  ALU_FORMS,
  BCD_FORMS,
  BIT_FORMS,
  EXCHANGE_FORMS,
  FRAME_FORMS,
  IO_FORMS,
  MISC_FORMS,
  MULDIV_FORMS,
  SHIFT_FORMS,
  STRING_FORMS,
  TRANSFER_FORMS,
};
/** Groups of which some forms are the kernel's alone. */
const MIXED_GROUPS = [FAR_FORMS, SEGMENT_FORMS];

/** Has a ModRM byte for Intel's processors alone, and so no encoding here. */
const INTELS_UD0 = Code.Ud0_r64_rm64;

function integerCases(): FuzzCase[] {
  const executable = new Set(userModeCodes());
  const supported = new Set(supportedCodes());
  const codes = [...Object.values(GROUPS), ...MIXED_GROUPS].flat()
    .map(({ code }) => code)
    .filter((code) => executable.has(code) && supported.has(code));
  const generator = new Generator({ seed: SEED, codes });
  const cases = Array.from(
    { length: generator.forms.length * ROUNDS },
    (_, index) => generator.make(index),
  );
  generator.free();
  return cases;
}

/** All of an outcome as text, a line for each field. */
function stateOf(outcome: CpuOutcome): string[] {
  return Object.entries(outcome).map(([field, value]) =>
    `${field} ${ArrayBuffer.isView(value) ? [...value as never] : value}`
  );
}

Deno.test("every form of the integer groups is among the cases", () => {
  const covered = new Set(integerCases().map(({ form }) => form.facts.code));
  for (const [name, forms] of Object.entries(GROUPS)) {
    const missing = forms.filter(({ code }) =>
      !covered.has(code) && code !== INTELS_UD0
    );
    assertEquals(missing.map(({ code }) => Code[code]), [], name);
  }
});

Deno.test("operands as record fields and as constants have the same effect", async () => {
  const cases = integerCases();
  const tests = cases.map(({ test }) => test);
  const threaded = await createSoftwareExecutor({ compile: false });
  const compiled = await createSoftwareExecutor({ compile: true });
  const expected = await threaded.run(tests);
  const actual = await compiled.run(tests);
  await threaded.close();
  await compiled.close();
  cases.forEach(({ test }, n) =>
    assertEquals(stateOf(actual[n]!), stateOf(expected[n]!), disassemble(test))
  );
});
