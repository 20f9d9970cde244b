// The x87 in regions, which suppose how its register stack is: whatever they suppose,
// they leave the state that handlers do. What instructions compute is compared with
// silicon in `tests/cpu/`.

import { assert, assertEquals } from "@std/assert";
import { CR4, TestMachine } from "../testing.ts";
import { FORCED_REGIONS, type RegionOptions } from "./limits.ts";
import { VECTOR } from "../runtime/traps.ts";

const CODE = 0x8000;
const DATA = 0x9000;
/** Where programs store the x87's state: FNSTENV, then FXSAVE. */
const IMAGE = 0xa000;
const IMAGE_BYTES = 0x300;
// FNSTENV [0xA000], FXSAVE [0xA100], UD2.
const END = "d93500a00000 0fae0500a10000 0f0b";

const SMALL: RegionOptions = { ...FORCED_REGIONS, inPlace: true };
/** When the blocks around are known. */
const LATER: RegionOptions = { ...FORCED_REGIONS, threshold: 3 };

interface End {
  readonly vector: number;
  readonly rip: bigint;
  readonly rax: bigint;
  readonly data: Uint8Array;
  readonly regions: number;
}

/** Runs a program that has EBX at its data and ECX at a count. */
function end(
  compile: boolean | RegionOptions,
  program: string,
  count: number,
): End {
  const m = new TestMachine({ compile });
  m.enter("protected32", { cr4: CR4.OSFXSR });
  m.poke(CODE, program + END);
  const values = [1.5, -3.25, 0.1, 1e300, 0, -0, 7, 2 ** -1050, 1 / 3];
  values.forEach((x, n) => m.view.setFloat64(DATA + 8 * n, x, true));
  m.set({ RIP: CODE, RSP: 0x7000, RAX: 0, RBX: DATA, RCX: count, RDX: 0 });
  const exit = m.runToException(100_000);
  const { bytes } = m.memory;
  const data = [DATA, IMAGE].map((at) => bytes.slice(at, at + IMAGE_BYTES));
  return {
    vector: exit.vector,
    rip: exit.rip,
    rax: m.get("RAX"),
    data: Uint8Array.from(data.flatMap((part) => [...part])),
    regions: m.cpu.statistics.regions?.regions ?? 0,
  };
}

/** FNINIT, then the body so many times: in regions of both kinds and in none. */
function assertSame(body: string, count = 20): End {
  const length = body.replaceAll(" ", "").length / 2 + 2;
  // LOOP goes back by one byte.
  const program = `dbe3 ${body} e2 ${(256 - length).toString(16)}`;
  const { regions, ...compiled } = end(true, program, count);
  const { regions: none, ...threaded } = end(false, program, count);
  assertEquals(compiled, threaded);
  assert(regions > 0 && none === 0);
  for (const kind of [SMALL, LATER]) {
    const { regions: some, ...other } = end(kind, program, count);
    assertEquals(other, threaded);
    // A fault may come before anything is hot.
    assert(some > 0 || threaded.vector !== VECTOR.UD);
  }
  return { ...compiled, regions };
}

function word(data: Uint8Array, offset: number): number {
  return new DataView(data.buffer).getUint32(IMAGE_BYTES + offset, true);
}

// FLD, FMUL, FADD, FSTP on numbers of all kinds.
const SUM = "dd03 dc4b08 dc4310 dd5b30";

Deno.test("a loop leaves numbers, flags and what FNSTENV tells", () => {
  const { data } = assertSame(SUM);
  // FIP, FDP: those of the FSTP.
  assertEquals([word(data, 12), word(data, 20)], [CODE + 10, DATA + 0x30]);
});

Deno.test("special operands are left to handlers", () => {
  const pairs = [["18", "38"], ["20", "28"], ["38", "38"], ["18", "18"]];
  for (const [a, b] of [...pairs, ["40", "38"]]) {
    assertSame(`dd43${a} dc4b${b} dc43${a} dc7310 dd5b${b}`);
  }
});

Deno.test("code that finds another stack than it supposes leaves", () => {
  // Each round leaves a number: the eighth has no room.
  assertSame(`dd03 ${SUM}`, 12);
  // Each round takes one that is not there.
  assertSame(`d9e8 d8c1 ddd8 ddd8`, 6);
  // FLD1; FST ST(2), which is empty; FLD ST(2); FSTP ST(0); FSTP ST(0); FFREE ST(1)
  assertSame("d9e8 ddd2 d9c2 ddd8 ddd8 ddc1");
  // A block that pushes nine.
  assertSame("d9e8".repeat(9));
  // FLD1; FSTP ST(0); INC EDX; TEST DL, 1; JZ M; FLD1; M: FLD1; FSTP ST(0)
  assertSame("d9e8 ddd8 42 f6c201 7402 d9e8 d9e8 ddd8");
});

Deno.test("a region that executes nothing of the x87 leaves what FNSTENV tells", () => {
  // INC EDX; CMP DL, 10; JA M; FLD [EBX + 38h], left to its handler; FSTP ST(0); M:
  const { data } = assertSame("42 80fa0a 7705 dd4338 ddd8");
  assertEquals(word(data, 12), CODE + 11);
});

Deno.test("an error of an instruction reaches the next", () => {
  // FLDCW with PE unmasked, then an inexact quotient.
  const program = "66c743405f03 d96b40 dd03 dc7330 d9c0";
  assertEquals(assertSame(program).vector, VECTOR.MF);
});

Deno.test("rounding and precision are those of the control word", () => {
  for (const word of ["7f00", "7f02", "7f07", "7f0b", "7f0f", "7f0c"]) {
    assertSame(`66c74340${word} d96b40 ${SUM} dd4310 dc7308 dd5b10`);
  }
});

Deno.test("other instructions that change the stack are seen", () => {
  // FNINIT: nothing is told of what was before it.
  const { data } = assertSame(`${SUM} dbe3`);
  assertEquals([word(data, 12), word(data, 20)], [0, 0]);
  // FLD1 then has no operand.
  const one = assertSame(`${SUM} dbe3 d9e8`).data;
  assertEquals([word(one, 12), word(one, 20)], [CODE + 15, 0]);
  // PADDB MM0, MM1 and EMMS; FSINCOS; FSTP ST(3); FFREE.
  assertSame("dd03 0ffcc1 dd4308 ddd8 0f77 dd03 dc4308 ddd8");
  assertSame(`${SUM} dd03 d9fb dec1 dd5b30`);
  assertSame(`d9e8 d9ee d9e8 ${SUM} dddb ddd8 ddd8`);
  assertSame(`dd03 ddc0 ${SUM} d9f7`);
});

Deno.test("exchanges, signs, constants, comparisons, integers", () => {
  assertSame("dd03 dd4310 d9c9 d9e0 d9e1 d9c0 dbf2 7402 ffc0 ddd8 ddd8 ddd8");
  assertSame("dd03 dc5b08 dfe0 dd4308 d8d0 d9e8 ded9 dfe0");
  assertSame("db03 df4304 df6b08 dec1 dec9 db5b30 dd4318 df5b38");
  assertSame("d903 d84b08 d95b30 db2b db7b40 d9ee ddd8");
});
