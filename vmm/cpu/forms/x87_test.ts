// What the fuzzer cannot compare with silicon: errors that reach the next waiting
// instruction, CR0.NE, what FNSTENV knows, stores that do not happen.

import { assertEquals } from "@std/assert";
import { PageTables, TestMachine } from "../testing.ts";
import { VECTOR } from "../runtime/traps.ts";

const CODE = 0x8000;
const DATA = 0x9000;
const UD2 = "0f0b";
const NE = 0x20n;

function machine(cr0Bits = NE): TestMachine {
  const m = new TestMachine();
  const tables = new PageTables(m, "long");
  tables.map(0, 0, 7, 1 << 21);
  m.enter("long", { tables });
  m.set({ CR0: m.get("CR0") & ~NE | cr0Bits, RBX: BigInt(DATA) });
  return m;
}

/** Runs a program; the vector and the offset at which it stopped. */
function run(m: TestMachine, program: string): [number, number] {
  m.poke(CODE, program + UD2);
  m.set({ RIP: CODE });
  const { vector, rip } = m.runToException();
  return [vector, Number(rip) - CODE];
}

// FNINIT, FLDCW [RBX] with ZE unmasked, then 1 / 0.
const ZERO_DIVIDE = "dbe3 66c7037b03 d92b d9e8 d9ee def9";
const AT = 15;

Deno.test("an unmasked error is raised at the next waiting instruction", () => {
  assertEquals(run(machine(), ZERO_DIVIDE), [VECTOR.UD, AT]);
  assertEquals(run(machine(), ZERO_DIVIDE + "d9e8"), [VECTOR.MF, AT]);
  assertEquals(run(machine(), ZERO_DIVIDE + "9b"), [VECTOR.MF, AT]);
  assertEquals(run(machine(), ZERO_DIVIDE + "0f77"), [VECTOR.MF, AT]);
});

Deno.test("instructions that do not wait pass an error", () => {
  // FNSTSW AX, FNSTCW [RBX], FNCLEX, then FLD1 again.
  const m = machine();
  assertEquals(run(m, ZERO_DIVIDE + "dfe0 d93b dbe2 d9e8"), [
    VECTOR.UD,
    AT + 8,
  ]);
  assertEquals(m.get("RAX") & 0xffffn, 0xb084n);
});

Deno.test("without CR0.NE an error raises nothing", () => {
  assertEquals(run(machine(0n), ZERO_DIVIDE + "d9e8"), [VECTOR.UD, AT + 2]);
});

Deno.test("unmasking a flag that is set makes it an error", () => {
  // 1 / 0 masked, then FLDCW with ZE unmasked.
  const program = "dbe3 d9e8 d9ee def9 66c7037b03 d92b";
  assertEquals(run(machine(), program + "9b"), [VECTOR.MF, 15]);
});

Deno.test("FNSTENV names the instruction and its operand, and masks errors", () => {
  const m = machine();
  // FLD dword [RBX] at offset 2, FNSTENV [RBX].
  assertEquals(run(m, "dbe3 d903 d933"), [VECTOR.UD, 6]);
  const word = (n: number) => m.view.getUint32(DATA + 4 * n, true);
  assertEquals(word(0), 0xffff037f);
  assertEquals(word(1), 0xffff3800);
  assertEquals(word(3), CODE + 2);
  assertEquals(word(4) >>> 24, 1);
  assertEquals(word(5), DATA);
});

Deno.test("a store that an error forbids leaves memory and the stack", () => {
  const m = machine();
  // FNINIT, FLDCW with OE unmasked, FLD m80 [RBX+16], FSTP dword [RBX+32], FNSTSW.
  m.view.setBigUint64(DATA + 16, 1n << 63n, true);
  m.view.setUint16(DATA + 24, 0x7ffe, true);
  m.view.setUint32(DATA + 32, 0x12345678, true);
  const program = "dbe3 66c7037703 d92b db6b10 d95b20 dfe0";
  assertEquals(run(m, program), [VECTOR.UD, 17]);
  assertEquals(m.view.getUint32(DATA + 32, true), 0x12345678);
  assertEquals(m.get("RAX") & 0xffffn, 0xb888n);
});
