// The same definitions emitted both ways: operands read from records (threaded
// code) and operands as constants (compiled blocks). Random snippets over every
// form of the integer groups must leave the same state; no host CPU is needed.

import { assertEquals } from "@std/assert";
import { Code } from "iced-x86";
import { ALU_FORMS } from "../../vmm/cpu/forms/alu.ts";
import { BCD_FORMS } from "../../vmm/cpu/forms/bcd.ts";
import { BIT_FORMS } from "../../vmm/cpu/forms/bits.ts";
import { EXCHANGE_FORMS } from "../../vmm/cpu/forms/exchange.ts";
import { MULDIV_FORMS } from "../../vmm/cpu/forms/muldiv.ts";
import { SHIFT_FORMS } from "../../vmm/cpu/forms/shift.ts";
import { STRING_FORMS } from "../../vmm/cpu/forms/string.ts";
import { TRANSFER_FORMS } from "../../vmm/cpu/forms/transfer.ts";
import { userModeCodes } from "./fuzz/forms.ts";
import { Generator } from "./fuzz/generator.ts";
import { describeCase } from "./fuzz/report.ts";
import { createSoftwareExecutor, supportedCodes } from "./fuzz/software.ts";

const GROUPS = [
  ...[ALU_FORMS, TRANSFER_FORMS, SHIFT_FORMS, MULDIV_FORMS, BIT_FORMS],
  ...[EXCHANGE_FORMS, BCD_FORMS, STRING_FORMS],
];
const SEED = 64;
const ROUNDS = 4;
const BATCH = 256;

Deno.test("threaded and compiled code of the integer groups agree", async () => {
  const integer = new Set(GROUPS.flat().map((form) => form.name));
  const testable = new Set(userModeCodes());
  const codes = supportedCodes().filter((code) =>
    integer.has(Code[code]) && testable.has(code)
  );
  const generator = new Generator({ seed: SEED, codes });
  const threaded = await createSoftwareExecutor({ compile: false });
  const compiled = await createSoftwareExecutor({ compile: true });
  const seen = new Set<string>();
  const total = ROUNDS * generator.forms.length;
  for (let first = 0; first < total; first += BATCH) {
    const cases = Array.from(
      { length: Math.min(BATCH, total - first) },
      (_, n) => generator.make(first + n),
    );
    const expected = await threaded.run(cases.map((one) => one.test));
    const actual = await compiled.run(cases.map((one) => one.test));
    cases.forEach((one, n) => {
      seen.add(one.form.name);
      assertEquals(actual[n], expected[n], describeCase(one));
    });
  }
  assertEquals(seen.size, generator.forms.length);
  await threaded.close();
  await compiled.close();
});
