// Repeated string instructions against a model: runs, overlaps, directions, pages that
// end; and what an interruption or a fault leaves.

import { assert, assertEquals } from "@std/assert";
import { EXIT_CODE } from "../exits.ts";
import { type ModeName, randomSource, TestMachine } from "../testing.ts";
import { VECTOR } from "../runtime/traps.ts";

const CODE = 0x8000;
const DATA = 0x2_0000;
const SIZE = 0x8000;
const DF = 0x400;
const UD2 = "0f0b";

function machineIn(mode: ModeName): TestMachine {
  const machine = new TestMachine({ size: 1 << 20 });
  machine.enter(mode);
  return machine;
}

function fillRandomly(machine: TestMachine, random: () => number): Uint8Array {
  const bytes = machine.memory.bytes.subarray(DATA, DATA + SIZE);
  for (let n = 0; n < SIZE; n++) bytes[n] = random();
  return bytes.slice();
}

interface Repetition {
  readonly width: 1 | 2 | 4;
  readonly down: boolean;
  readonly count: number;
  readonly from: number;
  readonly to: number;
}

// As the manuals have it: one element after another.
function modelMove(bytes: Uint8Array, r: Repetition): void {
  const step = r.down ? -r.width : r.width;
  for (let n = 0; n < r.count; n++) {
    const element = bytes.slice(r.from + n * step, r.from + n * step + r.width);
    bytes.set(element, r.to + n * step);
  }
}

function modelStore(bytes: Uint8Array, r: Repetition, value: number): void {
  const step = r.down ? -r.width : r.width;
  for (let n = 0; n < r.count; n++) {
    for (let byte = 0; byte < r.width; byte++) {
      bytes[r.to + n * step + byte] = value >>> (8 * byte);
    }
  }
}

const PROGRAMS = {
  movs: { 1: "f3a4", 2: "66f3a5", 4: "f3a5" },
  stos: { 1: "f3aa", 2: "66f3ab", 4: "f3ab" },
} as const;

function randomRepetition(random: () => number): Repetition {
  const width = ([1, 2, 4] as const)[random() % 3]!;
  const count = random() % 2 ? random() % 40 : random() % 1500;
  const to = 0x2000 + random() % 0x4000;
  const isNear = random() % 2 === 0;
  const from = isNear ? to + random() % 41 - 20 : 0x2000 + random() % 0x4000;
  return { width, down: random() % 2 === 0, count, from, to };
}

function runRepetition(
  machine: TestMachine,
  program: string,
  r: Repetition,
  value: number,
): void {
  machine.poke(CODE, program + UD2);
  machine.set({
    RIP: CODE,
    RCX: r.count,
    RSI: DATA + r.from,
    RDI: DATA + r.to,
    RAX: value,
    RFLAGS: r.down ? DF | 2 : 2,
  });
  assertEquals(machine.runToException(100_000).vector, VECTOR.UD);
  assertEquals(machine.get("RCX"), 0n);
}

for (const mode of ["protected32", "protected16"] as const) {
  Deno.test(`REP MOVS and REP STOS in ${mode}`, () => {
    const machine = machineIn(mode);
    const random = randomSource(0x5eed);
    // In 16-bit code the same bytes mean the other sizes and 64 KiB.
    const prefix = mode === "protected16" ? "6766" : "";
    if (prefix !== "") extendLimits(machine);
    for (let n = 0; n < 300; n++) {
      const r = randomRepetition(random);
      const operation = random() % 2 ? "movs" : "stos";
      const value = random() % 3 ? random() : 0x4141_4141;
      const expected = fillRandomly(machine, random);
      if (operation === "movs") modelMove(expected, r);
      else modelStore(expected, r, value);
      const program = encode(PROGRAMS[operation][r.width], prefix);
      runRepetition(machine, program, r, value);
      const moved = BigInt(r.count * r.width) * (r.down ? -1n : 1n);
      assertEquals(machine.get("RDI"), BigInt(DATA + r.to) + moved);
      const actual = machine.memory.bytes.slice(DATA, DATA + SIZE);
      assert(
        actual.every((byte, at) => byte === expected[at]),
        `${operation} ${JSON.stringify(r)}`,
      );
    }
  });
}

// Word operations lose their 66h in 16-bit code, double words get one.
function encode(program: string, prefix: string): string {
  if (prefix === "") return program;
  if (program.startsWith("66")) return "67" + program.slice(2);
  return (program.endsWith("a5") || program.endsWith("ab") ? "6766" : "67") +
    program;
}

function extendLimits(machine: TestMachine): void {
  for (const register of [22, 25] as const) {
    const descriptor = machine.cpu.getDescriptor(register);
    machine.cpu.setDescriptor(register, { ...descriptor, limit: 0xf_ffff });
  }
}

Deno.test("REPNE SCAS and REPE CMPS find what differs", () => {
  const machine = machineIn("protected32");
  const bytes = machine.memory.bytes;
  for (const at of [0, 1, 15, 4095, 4096, 9000]) {
    bytes.fill(0x20, DATA, DATA + SIZE);
    bytes[DATA + at] = 0;
    machine.poke(CODE, "f2ae" + UD2);
    machine.set({
      RIP: CODE,
      RCX: 0x4000,
      RDI: DATA,
      RAX: 0,
      RFLAGS: 2,
    });
    machine.runToException(100_000);
    assertEquals(machine.get("RDI"), BigInt(DATA + at + 1));
    assertEquals(machine.get("RCX"), BigInt(0x4000 - at - 1));
    assertEquals(machine.get("RFLAGS") & 0x40n, 0x40n);
    machine.poke(CODE, "f3a6" + UD2);
    bytes.fill(0x20, DATA + SIZE, DATA + 2 * SIZE);
    machine.set({ RIP: CODE, RCX: 0x4000, RSI: DATA, RDI: DATA + SIZE });
    machine.runToException(100_000);
    assertEquals(machine.get("RSI"), BigInt(DATA + at + 1));
    assertEquals(machine.get("RFLAGS") & 0x41n, 1n);
  }
});

Deno.test("a repetition of nothing changes nothing", () => {
  const machine = machineIn("protected32");
  machine.poke(CODE, "f3a6" + UD2);
  machine.set({ RIP: CODE, RCX: 0, RSI: 5, RDI: 7, RFLAGS: 0x8d7 });
  machine.runToException();
  assertEquals(machine.get("RSI"), 5n);
  assertEquals(machine.get("RFLAGS") & 0x8d5n, 0x8d5n);
});

Deno.test("a repetition stops in the middle and goes on", () => {
  const machine = machineIn("protected32");
  const total = 0x8_0000;
  machine.poke(CODE, "f3aa" + UD2);
  machine.set({ RIP: CODE, RCX: total, RDI: DATA, RAX: 0x5a });
  let stops = 0;
  for (;;) {
    const exit = machine.run(1500);
    if (exit.code === EXIT_CODE.EXCEPTION) break;
    assertEquals(exit.rip, BigInt(CODE));
    const done = total - Number(machine.get("RCX"));
    assertEquals(machine.get("RDI"), BigInt(DATA + done));
    assert(done > 0 && ++stops < 100);
  }
  assert(stops > 3);
  const end = DATA + total;
  assert(machine.memory.bytes.subarray(DATA, end).every((b) => b === 0x5a));
});

Deno.test("a fault leaves the elements before it done", () => {
  const machine = machineIn("protected32");
  machine.cpu.setDescriptor(22, {
    base: 0n,
    limit: DATA + 99,
    access: 0xc093,
  });
  machine.poke(CODE, "f3a5" + UD2);
  machine.set({ RIP: CODE, RCX: 100, RSI: 0x1000, RDI: DATA });
  const raised = machine.runToException();
  assertEquals(raised.vector, VECTOR.GP);
  assertEquals(raised.rip, BigInt(CODE));
  assertEquals(machine.get("RCX"), 75n);
  assertEquals(machine.get("RDI"), BigInt(DATA + 100));
});
