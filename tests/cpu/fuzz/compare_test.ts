// Comparisons find every difference that matters and forgive only what is documented.

import { assertEquals } from "@std/assert";
import { Code } from "iced-x86";
import type { CpuOutcome } from "../native/native.ts";
import { compareOutcomes } from "./compare.ts";
import { codeFacts } from "./forms.ts";
import { FX } from "./fx_image.ts";
import { type FuzzCase, Generator } from "./generator.ts";
import { reproduction } from "./report.ts";

const PAGE_FAULT = 14;

function caseOf(code: Code): FuzzCase {
  const generator = new Generator({ seed: 1, codes: [code], single: true });
  let index = 0;
  while (generator.make(index).test.mode !== 64) index++;
  const made = generator.make(index);
  generator.free();
  return made;
}

/** An outcome in which nothing has changed, at the end of the snippet. */
function unchanged({ test }: FuzzCase): CpuOutcome {
  return {
    vector: 3,
    errorCode: 0,
    cr2: 0n,
    rip: BigInt(test.codeBase + test.code.length + 1),
    gpr: test.gpr.slice(),
    rflags: test.rflags,
    fx: test.fx.slice(),
    data: test.data.slice(),
    stack: test.stack.slice(),
  };
}

function differences(
  code: Code,
  change: (outcome: CpuOutcome, test: FuzzCase) => void,
  both: (outcome: CpuOutcome, test: FuzzCase) => void = () => {},
): string[] {
  const test = caseOf(code);
  const expected = unchanged(test);
  const actual = unchanged(test);
  both(expected, test);
  both(actual, test);
  change(actual, test);
  return compareOutcomes(test, expected, actual).map(({ what }) => what);
}

function flip(bytes: Uint8Array, at: number, bit = 1): void {
  bytes[at] = bytes[at]! ^ bit;
}

Deno.test("compareOutcomes() finds nothing in equal outcomes", () => {
  assertEquals(differences(Code.Add_rm64_r64, () => {}), []);
});

Deno.test("compareOutcomes() finds each part of the state", () => {
  const found = differences(Code.Mov_r64_rm64, (outcome) => {
    outcome.vector = 6;
    outcome.gpr[9] = outcome.gpr[9]! ^ (1n << 63n);
    outcome.rflags ^= 0x40n;
    flip(outcome.fx, FX.control);
    flip(outcome.fx, FX.status + 1);
    flip(outcome.fx, FX.tags);
    flip(outcome.fx, FX.mxcsr);
    flip(outcome.fx, FX.st + 9);
    flip(outcome.fx, FX.xmm + 15 * 16);
    flip(outcome.data, 0x1fe);
    flip(outcome.stack, 3);
  });
  assertEquals(found, [
    ...[
      "vector",
      "rflags (ZF)",
      "r9",
      "fcw",
      "fsw",
      "ftw",
      "mxcsr",
      "st0",
      "xmm15",
    ],
    ...["data+1fe", "stack+3"],
  ]);
});

Deno.test("compareOutcomes() forgives undefined flags only", () => {
  const flags = (mask: bigint) => (outcome: CpuOutcome) => {
    outcome.rflags ^= mask;
  };
  assertEquals(differences(Code.And_rm64_r64, flags(0x10n)), []);
  assertEquals(differences(Code.And_rm64_r64, flags(0x11n)), ["rflags (CF)"]);
  assertEquals(differences(Code.Mul_rm64, flags(0xd4n)), []);
  assertEquals(differences(Code.Mul_rm64, flags(0x800n)), ["rflags (OF)"]);
  assertEquals(differences(Code.Shl_rm64_1, flags(0x10n)), []);
  assertEquals(differences(Code.Shl_rm64_1, flags(0x800n)), ["rflags (OF)"]);
});

Deno.test("compareOutcomes() holds an instruction that faulted to its flags", () => {
  const fault = (outcome: CpuOutcome, { test }: FuzzCase) => {
    outcome.vector = 0;
    outcome.rip = BigInt(test.codeBase);
  };
  const found = differences(
    Code.Div_rm64,
    (outcome) => outcome.rflags ^= 1n,
    fault,
  );
  assertEquals(found, ["rflags (CF)"]);
});

Deno.test("compareOutcomes() allows transcendental results one unit in the last place", () => {
  const set =
    (exponent: number, significand: bigint) => (outcome: CpuOutcome) => {
      const view = new DataView(outcome.fx.buffer, outcome.fx.byteOffset);
      view.setBigUint64(FX.st, significand, true);
      view.setUint16(FX.st + 8, exponent, true);
    };
  const power = 1n << 63n;
  const one = set(0x3fff, power);
  assertEquals(differences(Code.Fsin, set(0x3fff, power + 1n), one), []);
  assertEquals(differences(Code.Fsin, set(0x3ffe, 2n * power - 1n), one), []);
  assertEquals(differences(Code.Fsin, set(0x3fff, power + 2n), one), ["st0"]);
  assertEquals(differences(Code.Fsin, set(0xbfff, power), one), ["st0"]);
  assertEquals(differences(Code.Fsqrt, set(0x3fff, power + 1n), one), ["st0"]);
});

Deno.test("compareOutcomes() allows reciprocals their error", () => {
  const set = (value: number) => (outcome: CpuOutcome) =>
    new DataView(outcome.fx.buffer, outcome.fx.byteOffset).setFloat32(
      FX.xmm,
      value,
      true,
    );
  assertEquals(differences(Code.Rcpps_xmm_xmmm128, set(2.0009), set(2)), []);
  assertEquals(differences(Code.Rcpps_xmm_xmmm128, set(2.002), set(2)), [
    "xmm0",
  ]);
  assertEquals(differences(Code.Sqrtps_xmm_xmmm128, set(2.0009), set(2)), [
    "xmm0",
  ]);
});

Deno.test("compareOutcomes() does not compare what a fault inside of FXSAVE leaves", () => {
  const fault = (outcome: CpuOutcome, { test }: FuzzCase) => {
    outcome.vector = PAGE_FAULT;
    outcome.rip = BigInt(test.codeBase);
  };
  const change = (outcome: CpuOutcome) => {
    flip(outcome.data, 5);
    outcome.cr2 = 5n;
  };
  assertEquals(differences(Code.Fxsave_m512byte, change, fault), []);
  assertEquals(differences(Code.Mov_rm64_r64, change, fault), [
    "cr2",
    "data+5",
  ]);
});

Deno.test("reproduction() names seed, case and form, and shows the code", () => {
  const made = caseOf(Code.Nopd);
  assertEquals(codeFacts(Code.Nopd).name, "Nopd");
  const [options, comment] = reproduction(made, 1).split(" # ");
  assertEquals(options, `--seed 1 --only ${made.index} --forms '^Nopd\\/reg$'`);
  assertEquals(comment, "64-bit: nop");
});
