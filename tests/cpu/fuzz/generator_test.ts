// The generator is deterministic, and can make a case of every form it lists.

import { assert, assertEquals } from "@std/assert";
import { Code } from "iced-x86";
import { CODE_MAX } from "../native/native.ts";
import { userModeCodes } from "./forms.ts";
import { Generator } from "./generator.ts";
import { Prng } from "./prng.ts";

Deno.test("Prng gives the same numbers for the same seed and stream", () => {
  const numbers = (seed: number, stream: number) => {
    const rng = new Prng(seed, stream);
    return Array.from({ length: 8 }, () => rng.u32());
  };
  assertEquals(numbers(1, 2), numbers(1, 2));
  assert(numbers(1, 2).join() !== numbers(1, 3).join());
  assert(numbers(1, 2).join() !== numbers(2, 2).join());
});

Deno.test("Prng draws evenly", () => {
  const rng = new Prng(7);
  const counts = new Array<number>(10).fill(0);
  for (let draw = 0; draw < 20000; draw++) counts[rng.below(10)]!++;
  for (const count of counts) assert(Math.abs(count - 2000) < 200, `${counts}`);
});

Deno.test("Generator makes the same case again", () => {
  const codes = userModeCodes();
  const all = new Generator({ seed: 5, codes });
  const again = new Generator({ seed: 5, codes });
  const other = new Generator({ seed: 6, codes });
  for (const index of [0, 17, 2000, 123456]) {
    assertEquals(again.make(index), all.make(index));
    assert(
      other.make(index).test.gpr.join() !== all.make(index).test.gpr.join(),
    );
  }
});

Deno.test("Generator makes the same case when its form is selected by name", () => {
  const codes = userModeCodes();
  const all = new Generator({ seed: 9, codes });
  for (let index = 0; index < 300; index++) {
    const wanted = all.make(index);
    const forms = new RegExp(`^${wanted.form.name}$`);
    assertEquals(new Generator({ seed: 9, codes, forms }).make(index), wanted);
  }
});

Deno.test("Generator encodes every form it lists", () => {
  const generator = new Generator({ seed: 3, codes: userModeCodes() });
  const failures: string[] = [];
  for (let index = 0; index < generator.forms.length * 6; index++) {
    try {
      const { test, instructions } = generator.make(index);
      assert(test.code.length <= CODE_MAX);
      assert(
        instructions.some(({ form }) =>
          form === generator.forms[index % generator.forms.length]
        ),
      );
    } catch (error) {
      failures.push(
        `${generator.forms[index % generator.forms.length]!.name}: ${error}`,
      );
    }
  }
  assertEquals(failures, []);
});

Deno.test("userModeCodes() covers the units and leaves privileged codes out", () => {
  const codes = new Set(userModeCodes());
  const wanted = [
    ...[
      Code.Add_rm8_r8,
      Code.Daa,
      Code.Cmpxchg16b_m128,
      Code.VEX_Andn_r64_r64_rm64,
      Code.Fsin,
    ],
    ...[
      Code.Pshufb_mm_mmm64,
      Code.Pcmpestri_xmm_xmmm128_imm8,
      Code.Fxsave_m512byte,
    ],
    ...[Code.Crc32_r32_rm8, Code.Movbe_r64_m64, Code.Adcx_r32_rm32],
  ];
  const unwanted = [
    Code.Hlt,
    Code.Cpuid,
    Code.Rdtsc,
    Code.Syscall,
    Code.Wrmsr,
  ];
  for (const code of wanted) assert(codes.has(code), Code[code]);
  for (const code of unwanted) assert(!codes.has(code), Code[code]);
});
