// Alignment checks (Intel SDM vol. 3, 6.15): what must be aligned to what, and that
// limits and canonical addresses come before, pages after, as on AMD's processors.

import { assertEquals } from "@std/assert";
import {
  CR0,
  CR4,
  type EnterOptions,
  PageTables,
  PTE,
  TestMachine,
  testTiers,
} from "../testing.ts";
import { VECTOR } from "./traps.ts";

const { P, RW, US } = PTE;
const CODE = 0x8000;
const DATA = 0x40_0000;
const MISSING = 0x80_0000n;
const TABLES = 0x10_0000;
const UD2 = "0f0b";
const AC = 0x40000;
/** Instructions with the operand [RBX]. */
const MOV = "8b03";
const MOV_WORD = "668b03";
const ADD_LOCKED = "f00103";
const MOVUPS = "0f1003";
const MOVUPS_STORE = "0f1103";
const FLD80 = "db2b";
const FSTP80 = "db3b";
const FLDENV = "d923";
const FLDENV16 = "66d923";
const FNSAVE = "dd33";
const FRSTOR = "dd23";
const FXSAVE = "0fae03";
const FXRSTOR = "0fae0b";
/** Its operand is [RDI]. */
const MASKMOVDQU = "660ff7c1";
const PUSH = "50";
const POP = "58";
/** To RBX. */
const CALL = "ffd3";

type Row = readonly [program: string, at: number | bigint, vector: number];

function mapped(kind: "legacy" | "long", machine: TestMachine): PageTables {
  const tables = new PageTables(machine, kind, TABLES);
  tables.map(CODE, CODE, P | RW | US);
  tables.map(DATA, DATA, P | RW | US);
  return tables;
}

// User code with every address register at `at`; #UD ends what raises nothing.
function check(kind: "legacy" | "long", rows: readonly Row[]): void {
  const machine = new TestMachine();
  const options: EnterOptions = {
    tables: mapped(kind, machine),
    cpl: 3,
    cr0: CR0.AM,
    cr4: CR4.OSFXSR,
    flags: AC | 2,
  };
  for (const [program, at, vector] of rows) {
    machine.enter(kind === "long" ? "long" : "protected32", options);
    machine.poke(CODE, program + UD2);
    machine.set({ RIP: CODE, RBX: at, RDI: at, RSP: at, RBP: at });
    const raised = machine.runToException();
    assertEquals(raised.vector, vector, `${program} at ${at.toString(16)}`);
  }
}

testTiers("alignment is checked after the limit and before pages", () => {
  check("legacy", [
    [MOV, DATA, VECTOR.UD],
    [MOV, DATA + 2, VECTOR.AC],
    [MOV_WORD, DATA + 2, VECTOR.UD],
    [MOV, MISSING, VECTOR.PF],
    [MOV, MISSING + 1n, VECTOR.AC],
    [MOV, 0xffff_fffd, VECTOR.GP],
    [ADD_LOCKED, 0xffff_fffd, VECTOR.GP],
    [POP, 0xffff_fffe, VECTOR.SS],
    [PUSH, 2, VECTOR.SS],
    [PUSH, 0, VECTOR.PF],
    [PUSH, DATA + 10, VECTOR.AC],
  ]);
});

testTiers("alignment is checked after canonical addresses", () => {
  check("long", [
    [MOV, 0x7fff_ffff_fffdn, VECTOR.GP],
    [MOV, 0x7fff_ffff_fff9n, VECTOR.AC],
    [MOV, 0x8000_0000_0001n, VECTOR.GP],
    [POP, 0x7fff_ffff_fffdn, VECTOR.SS],
    [MOVUPS, 0x7fff_ffff_fff1n, VECTOR.GP],
    // The first eight bytes are looked at before the last two.
    [FSTP80, 0x7fff_ffff_fff7n, VECTOR.AC],
    [FXSAVE, 0x7fff_ffff_fffdn, VECTOR.GP],
  ]);
});

testTiers(
  "in 64-bit mode the base register tells #SS from #GP, no prefix does",
  () => {
    const bad = 0x8000_0000_0000n;
    check("long", [
      ["8b03", bad, VECTOR.GP],
      ["368b03", bad, VECTOR.GP],
      ["8b4500", bad, VECTOR.SS],
      ["3e8b4500", bad, VECTOR.SS],
      ["268b0424", bad, VECTOR.SS],
      ["658b4500", bad, VECTOR.GP],
    ]);
  },
);

testTiers("a near call checks its stack before its target", () => {
  const far = 0x8000_0000_0000n;
  const rows: readonly [sp: bigint, vector: number][] = [
    [BigInt(DATA + 16), VECTOR.GP],
    [BigInt(DATA + 17), VECTOR.AC],
    [MISSING, VECTOR.PF],
    [far + 16n, VECTOR.SS],
  ];
  for (const [sp, vector] of rows) {
    const machine = new TestMachine();
    const tables = mapped("long", machine);
    machine.enter("long", { tables, cpl: 3, cr0: CR0.AM, flags: AC | 2 });
    machine.poke(CODE, CALL + UD2);
    machine.set({ RIP: CODE, RBX: far, RSP: sp });
    assertEquals(machine.runToException().vector, vector, sp.toString(16));
    assertEquals(machine.get("RSP"), sp);
  }
});

testTiers("vectors have to be aligned to 16 bytes, masked stores to 8", () => {
  check("long", [
    [MOVUPS, DATA + 16, VECTOR.UD],
    [MOVUPS, DATA + 8, VECTOR.AC],
    [MOVUPS, MISSING + 8n, VECTOR.AC],
    [MOVUPS_STORE, DATA + 8, VECTOR.AC],
    [MASKMOVDQU, DATA + 8, VECTOR.UD],
    [MASKMOVDQU, DATA + 4, VECTOR.AC],
  ]);
});

testTiers("numbers of 10 bytes have to be aligned to 8", () => {
  check("long", [
    [FLD80, DATA + 8, VECTOR.UD],
    [FLD80, DATA + 4, VECTOR.AC],
    [FSTP80, DATA + 8, VECTOR.UD],
    [FSTP80, MISSING + 4n, VECTOR.AC],
  ]);
});

testTiers("of an image of the x87 the first word has to be aligned", () => {
  check("long", [
    [FLDENV, DATA + 4, VECTOR.UD],
    [FLDENV, MISSING + 2n, VECTOR.AC],
    [FLDENV16, DATA + 2, VECTOR.UD],
    [FLDENV16, DATA + 1, VECTOR.AC],
    [FRSTOR, DATA + 4, VECTOR.UD],
    [FRSTOR, DATA + 2, VECTOR.AC],
    [FNSAVE, DATA + 4, VECTOR.UD],
    [FXSAVE, DATA, VECTOR.UD],
    [FXSAVE, DATA + 4, VECTOR.GP],
    [FXSAVE, DATA + 2, VECTOR.AC],
    [FXRSTOR, MISSING + 4n, VECTOR.GP],
  ]);
});
