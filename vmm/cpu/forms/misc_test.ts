// What the fuzzer cannot compare with silicon: exits of PAUSE, the time stamp, random
// numbers, control bits that refuse instructions, faults of division.

import { assertEquals } from "@std/assert";
import { CAPABILITY } from "../cpu.ts";
import { EXIT_CODE } from "../exits.ts";
import { CR4, PageTables, TestMachine } from "../testing.ts";
import { VECTOR } from "../runtime/traps.ts";

const CODE = 0x8000;
const UD2 = "0f0b";

function longMachine(
  options: { readonly cpl?: number; readonly cr4?: number } = {},
  machine = new TestMachine(),
): TestMachine {
  const tables = new PageTables(machine, "long");
  tables.map(0, 0, 7, 1 << 21);
  machine.enter("long", { tables, ...options });
  return machine;
}

function vectorOf(machine: TestMachine, program: string): number {
  machine.poke(CODE, program + UD2);
  machine.set({ RIP: CODE });
  const { vector, rip } = machine.runToException();
  // UD2 behind the program is the end, not a refusal.
  return vector === VECTOR.UD && rip > BigInt(CODE) ? -1 : vector;
}

Deno.test("PAUSE exits where that is asked for", () => {
  const machine = longMachine();
  machine.poke(CODE, "f390 f390" + UD2);
  machine.set({ RIP: CODE });
  machine.cpu.setCapability(CAPABILITY.PAUSE_EXIT, 1);
  const exit = machine.run();
  assertEquals([exit.code, exit.rip], [EXIT_CODE.PAUSE, BigInt(CODE + 2)]);
  machine.cpu.setCapability(CAPABILITY.PAUSE_EXIT, 0);
  assertEquals(machine.runToException().rip, BigInt(CODE + 4));
});

Deno.test("RDTSC, RDRAND and RDSEED answer what the host has", () => {
  const machine = new TestMachine({
    readTsc: () => 0x1234_5678_9abcn,
    random: () => 0xfedc_ba98_7654_3210n,
  });
  longMachine({}, machine);
  assertEquals(vectorOf(machine, "0f31"), -1);
  assertEquals(machine.get("RAX"), 0x5678_9abcn);
  assertEquals(machine.get("RDX"), 0x1234n);
  assertEquals(vectorOf(machine, "f9 480fc7f0 660fc7fb"), -1);
  assertEquals(machine.get("RAX"), 0xfedc_ba98_7654_3210n);
  assertEquals(machine.get("RBX") & 0xffffn, 0x3210n);
  assertEquals(machine.get("RFLAGS") & 0x8d5n, 1n);
});

Deno.test("CR4 refuses RDTSC and the bases", () => {
  assertEquals(vectorOf(longMachine({ cr4: CR4.TSD }), "0f31"), -1);
  const user = longMachine({ cpl: 3, cr4: CR4.TSD });
  assertEquals(vectorOf(user, "0f31"), VECTOR.GP);
  assertEquals(vectorOf(longMachine(), "f3480faec0"), VECTOR.UD);
  const allowed = longMachine({ cr4: CR4.FSGSBASE });
  allowed.set({ RAX: 1n << 47n });
  assertEquals(vectorOf(allowed, "f3480faed0"), VECTOR.GP);
  allowed.set({ RAX: 0x7fff_ffff_f000n });
  assertEquals(vectorOf(allowed, "f3480faed0 f3480faec3"), -1);
  assertEquals(allowed.get("RBX"), 0x7fff_ffff_f000n);
});

Deno.test("128-bit division reaches its limits", () => {
  const cases: readonly (readonly [string, bigint, bigint, bigint, boolean])[] =
    [
      // program, RDX, RAX, RBX, whether it divides
      ["48f7f3", 1n, 0n, 2n, true],
      ["48f7f3", 2n, 0n, 2n, false],
      ["48f7f3", 0n, 5n, 0n, false],
      ["48f7fb", -1n, -(2n ** 63n), -1n, false],
      ["48f7fb", -1n, 0n, 2n, true],
      ["48f7fb", 0n, 2n ** 63n, 1n, false],
      ["48f7fb", 0n, 2n ** 63n, -1n, true],
    ];
  for (const [program, high, low, divisor, divides] of cases) {
    const machine = longMachine();
    machine.set({ RDX: high, RAX: low, RBX: divisor });
    const expected = divides ? -1 : VECTOR.DE;
    assertEquals(vectorOf(machine, program), expected);
    if (!divides) continue;
    const signed = program === "48f7fb";
    const wrap = signed ? BigInt.asIntN : BigInt.asUintN;
    const dividend = wrap(128, high << 64n | BigInt.asUintN(64, low));
    const quotient = BigInt.asUintN(64, dividend / divisor);
    assertEquals(machine.get("RAX"), quotient);
    const remainder = BigInt.asUintN(64, dividend % divisor);
    assertEquals(machine.get("RDX"), remainder);
  }
});

Deno.test("CMPXCHG16B compares both halves", () => {
  const machine = longMachine();
  const at = 0x9000;
  for (const [low, high] of [[1n, 2n], [9n, 2n], [1n, 9n]] as const) {
    machine.poke64(at, low);
    machine.poke64(at + 8, high);
    machine.set({ RAX: 1, RDX: 2, RBX: 3, RCX: 4, RSI: at });
    assertEquals(vectorOf(machine, "f0480fc70e"), -1);
    const equal = low === 1n && high === 2n;
    const stored = [machine.peek64(at), machine.peek64(at + 8)];
    assertEquals(stored, equal ? [3n, 4n] : [low, high]);
    assertEquals(machine.get("RFLAGS") & 0x40n, equal ? 0x40n : 0n);
    assertEquals(machine.get("RAX"), low);
    assertEquals(machine.get("RDX"), high);
  }
  machine.set({ RSI: at + 8 });
  assertEquals(vectorOf(machine, "f0480fc70e"), VECTOR.GP);
});
