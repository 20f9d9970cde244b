// The compiled tier seen from outside: what is compiled, when, and what becomes of it
// when its code changes. What regions compute is the business of `tests/cpu/`.

import { assert, assertEquals } from "@std/assert";
import { createStateMemory } from "../state.ts";
import { PageTables, TestMachine } from "../testing.ts";
import { VECTOR } from "../runtime/traps.ts";
import { Customer } from "./customer.ts";
import type { RegionOptions } from "./limits.ts";
import { mailMemory } from "./mail.ts";
import type { BatchPlan } from "./plan.ts";
import type { RegionStatistics } from "./tier.ts";

const CODE = 0x8000;
const UD2 = "0f0b";
const EAGER = {
  ...{ threshold: 4, insistent: 4 },
  ...{ batch: 1, patience: 1, doublings: 0 },
};

function machineWith(
  compile: boolean | Partial<RegionOptions>,
  program: string,
): TestMachine {
  const machine = new TestMachine({ compile });
  machine.enter("protected32");
  machine.poke(CODE, program + UD2);
  machine.set({ RIP: CODE, RSP: 0x7000, RAX: 0, RCX: 10_000 });
  return machine;
}

function regionsOf(machine: TestMachine): number {
  return machine.cpu.statistics.regions?.regions ?? 0;
}

// ADD EAX, 3; LOOP.
const LOOP = "83c003 e2fb";

Deno.test("a loop is compiled, and counts as it did", () => {
  const machine = machineWith(EAGER, LOOP);
  assertEquals(machine.runToException(100_000).vector, VECTOR.UD);
  assertEquals(machine.get("RAX"), 30_000n);
  assert(regionsOf(machine) >= 1);
});

Deno.test("a run stops after as many instructions as it was told", () => {
  for (const limit of [5000, 7777, 12_345]) {
    const machine = machineWith(EAGER, LOOP);
    machine.run(limit);
    assertEquals(machine.get("RAX"), BigInt(Math.ceil(limit / 2)) * 3n);
  }
});

Deno.test("nothing is compiled where the tier is off", () => {
  const machine = machineWith(false, LOOP);
  machine.runToException(100_000);
  assertEquals(machine.cpu.statistics.regions, undefined);
});

Deno.test("a region whose code changes is dropped, and made again", () => {
  const machine = machineWith(EAGER, LOOP);
  machine.runToException(100_000);
  const before = regionsOf(machine);
  machine.poke(CODE + 2, "05");
  assertEquals(machine.cpu.statistics.regions?.dropped, before);
  machine.set({ RIP: CODE, RAX: 0, RCX: 10_000 });
  machine.runToException(100_000);
  assertEquals(machine.get("RAX"), 50_000n);
  assert(regionsOf(machine) > before);
});

Deno.test("an observer is told of every module, and what is counted agrees", () => {
  const told: RegionStatistics[] = [];
  const machine = new TestMachine({
    compile: EAGER,
    compiled: (statistics) => told.push(statistics),
  });
  machine.enter("protected32");
  machine.poke(CODE, LOOP + LOOP + UD2);
  machine.set({ RIP: CODE, RSP: 0x7000, RAX: 0, RCX: 10_000 });
  machine.run(5000);
  const { regions, lookups, hot, emptied } = machine.cpu.statistics;
  assertEquals(told.map(({ modules }) => modules), [1]);
  assertEquals(told[0], { ...regions!, milliseconds: told[0]!.milliseconds });
  assertEquals([regions?.late, regions?.failed, emptied], [0, 0, 0]);
  assert(lookups >= 1 && hot >= 1);
  assertEquals(regions?.live, 1);
  machine.poke(CODE + 2, "05");
  assertEquals(machine.cpu.statistics.regions?.live, 0);
});

/** Refuses its first batch. */
class Refusing extends Customer {
  #asked = 0;

  protected override compile(batch: BatchPlan): Uint8Array<ArrayBuffer> {
    if (this.#asked++ === 0) throw new Error("refused");
    return super.compile(batch);
  }
}

Deno.test("what was not compiled is asked for when it is hot again", () => {
  const state = createStateMemory();
  const mail = mailMemory(new SharedArrayBuffer(4));
  const buffer = state.buffer as SharedArrayBuffer;
  const customer = new Refusing({ state: buffer, mail });
  const machine = new TestMachine({ compile: EAGER, state, compiler: mail });
  machine.enter("protected32");
  machine.poke(CODE, LOOP + UD2);
  machine.set({ RIP: CODE, RSP: 0x7000, RAX: 0, RCX: 100_000 });
  const known: number[] = [];
  for (let n = 0; n < 2; n++) {
    machine.run(5000);
    customer.serve();
    known.push(regionsOf(machine));
  }
  machine.run(5000);
  assertEquals([...known, regionsOf(machine)], [0, 0, 1]);
  assertEquals(machine.cpu.statistics.regions?.failed, 1);
});

Deno.test("while the compiler has work, a block waits until it is hotter", () => {
  const state = createStateMemory();
  const mail = mailMemory(new SharedArrayBuffer(4));
  const buffer = state.buffer as SharedArrayBuffer;
  const customer = new Customer({ state: buffer, mail });
  const compile = { ...EAGER, insistent: 64 };
  const machine = new TestMachine({ compile, state, compiler: mail });
  machine.enter("protected32");
  const other = CODE + 0x100;
  machine.poke(CODE, LOOP + UD2);
  machine.poke(other, LOOP + UD2);
  const run = (RIP: number, RCX: number) => {
    machine.set({ RIP, RSP: 0x7000, RAX: 0, RCX });
    machine.runToException(10_000);
  };
  run(CODE, 100);
  run(other, 10);
  customer.serve();
  run(CODE, 100);
  assertEquals(regionsOf(machine), 1);
  assertEquals(machine.cpu.statistics.hot, 2);
  run(other, 100);
  customer.serve();
  run(other, 100);
  assertEquals(regionsOf(machine), 2);
});

// ADD EAX, 3; JMP on; ADD EAX, 5; LOOP: two blocks.
const CHAIN = "83c003 eb00 83c005 e2f6";
const SECOND = CODE + 5;

Deno.test("what a region will have is not compiled for itself before it runs so", () => {
  const state = createStateMemory();
  const mail = mailMemory(new SharedArrayBuffer(4));
  const buffer = state.buffer as SharedArrayBuffer;
  const customer = new Customer({ state: buffer, mail });
  const compile = { ...EAGER, insistent: 1, batch: 8 };
  const machine = new TestMachine({ compile, state, compiler: mail });
  machine.enter("protected32");
  machine.poke(CODE, CHAIN + UD2);
  const run = (RIP: number, RCX: number) => {
    machine.set({ RIP, RSP: 0x7000, RAX: 0, RCX });
    machine.runToException(100_000);
    customer.serve();
  };
  const compiled = () => {
    const { regions, blocks } = machine.cpu.statistics.regions!;
    return [regions, blocks];
  };
  for (let n = 0; n < 3; n++) run(CODE, 1000);
  assertEquals(machine.get("RAX"), 8000n);
  assertEquals(compiled(), [1, 2]);
  for (let n = 0; n < 20; n++) run(SECOND, 1);
  run(CODE, 1000);
  assertEquals(compiled(), [2, 3]);
});

Deno.test("a loop that overwrites its own next instruction sees it at once", () => {
  // INC BYTE [ADD's immediate]; ADD EAX, 0; LOOP.
  const machine = machineWith(EAGER, "fe05 08800000 83c000 e2f5");
  machine.set({ RCX: 1000 });
  machine.runToException(100_000);
  let expected = 0n;
  for (let n = 1; n <= 1000; n++) expected += BigInt.asIntN(8, BigInt(n));
  assertEquals(BigInt.asIntN(32, machine.get("RAX")), expected);
});

Deno.test("what a device writes while its port is accessed is seen at once", () => {
  // OUT DX, AL or IN AL, DX; MOV EBX, 0: its immediate counts what was accessed.
  for (const access of ["ee", "ec"]) {
    let count = 0;
    const touch = () => {
      const { memory } = machine;
      memory.bytes[CODE + 2] = ++count;
      memory.dropCode(CODE + 2, 1);
      return 1;
    };
    const bus = { readPort: touch, writePort: () => touch() === 1 };
    const machine: TestMachine = new TestMachine({ compile: true, bus });
    machine.enter("protected32");
    machine.poke(CODE, `${access} bb00000000 e2f8 ${UD2}`);
    machine.set({ RIP: CODE, RCX: 2, RDX: 0x10 });
    machine.runToException(10_000);
    assertEquals(machine.get("RBX"), 2n, access);
    assert(regionsOf(machine) >= 1);
  }
});

Deno.test("code that is dropped goes on at zero after the top of 32-bit addresses", () => {
  for (const compile of [false, true]) {
    const machine = new TestMachine({ compile });
    const tables = new PageTables(machine, "legacy", 0x60_0000);
    const top = 0xffff_f000;
    tables.map(top, 0x9000);
    tables.map(0, 0xa000);
    tables.map(CODE, CODE);
    machine.enter("protected32", { tables });
    // FNINIT; FLD1; JMP to a FSTP over code in another page, which ends at the top.
    machine.poke(0x9000, "dbe3 d9e8 e9f10f0000");
    machine.poke(0x9ffa, "db3d 00800000");
    machine.poke(0xa000, UD2);
    machine.poke(CODE, "ebfe");
    machine.set({ RIP: CODE });
    machine.run(3000);
    machine.set({ RIP: top });
    assertEquals(machine.runToException(3000).rip, 0n);
    assertEquals(machine.peek64(CODE), 1n << 63n);
  }
});

Deno.test("a fault in a region leaves registers and flags as they were then", () => {
  // INC EAX; ADD EDI, EAX; DIV EBX; MOV EDX, 0; DEC EBX; JMP: EBX becomes 0.
  const program = "40 01c7 f7f3 ba00000000 4b ebf3";
  const machine = machineWith(EAGER, program);
  machine.set({ RBX: 0x1000, RDX: 0 });
  const raised = machine.runToException(100_000);
  assertEquals(raised.vector, VECTOR.DE);
  assert(regionsOf(machine) >= 1);
  const threaded = machineWith(false, program);
  threaded.set({ RBX: 0x1000, RDX: 0 });
  assertEquals(raised, threaded.runToException(100_000));
  for (const name of ["RAX", "RDI", "RBX", "RFLAGS", "RIP"] as const) {
    assertEquals(machine.get(name), threaded.get(name), name);
  }
});

Deno.test("a region that is entered often is compiled again, with what it calls", () => {
  // L: CALL F; LOOP L; UD2. F: ADD EAX, 3; TEST EAX, 1; JZ R; NOP. R: RET.
  const program = "e804000000 e2f9 0f0b 83c003 a901000000 7401 90 c3";
  const small = { blocks: 1, instructions: 64, calls: 0, inPlace: true };
  const machine = machineWith({ ...EAGER, small, again: 100 }, program);
  assertEquals(machine.runToException(100_000).vector, VECTOR.UD);
  assertEquals(machine.get("RAX"), 30_000n);
  const { regions, live } = machine.cpu.statistics.regions!;
  assert(regions > live, `${regions} regions, of which ${live} live`);
});

Deno.test("a region that loops for long is compiled again, with registers in locals", () => {
  const small = { blocks: 1, instructions: 64, calls: 0, inPlace: true };
  const machine = machineWith({ ...EAGER, small }, LOOP);
  const loops = 1_000_000;
  machine.set({ RCX: loops });
  assertEquals(machine.runToException(4 * loops).vector, VECTOR.UD);
  assertEquals(machine.get("RAX"), 3n * BigInt(loops));
  const { regions, live } = machine.cpu.statistics.regions!;
  assert(regions > live, `${regions} regions, of which ${live} live`);
});
