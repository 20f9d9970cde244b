// Locked instructions: atomic where they are aligned, on a locked bus elsewhere, and
// never with the bus still locked once they were left (Intel SDM vol. 3, 9.1.2).

import { assertEquals } from "@std/assert";
import { EXIT_CODE } from "./exits.ts";
import { GuestMemory } from "./guest_memory.ts";
import { PageTables, PTE, TestMachine } from "./testing.ts";
import { VECTOR } from "./runtime/traps.ts";

const CODE = 0x8000;
/** Two pages, of which the frames do not adjoin. */
const DATA = 0x10_000;
const FRAMES = [0x20_000, 0x40_000] as const;
/** Maps to nothing. */
const DEVICE = 0x30_000;
const BEYOND = 0x200_0000;
const FLAGS = PTE.P | PTE.RW;
const UD2 = "0f0b";
/** lock add [rbx], rcx */
const LOCK_ADD = "f0 48 01 0b";
const SIZE = 16 << 20;

interface Machine {
  readonly machine: TestMachine;
  /** What the bus lock was told. */
  readonly bus: boolean[];
}

function make(second: number = FLAGS): Machine {
  const memory = new GuestMemory(SIZE);
  const bus: boolean[] = [];
  memory.lockBus = (take) => void bus.push(take);
  memory.map({ gpa: 0, length: SIZE, offset: 0, writable: true });
  const machine = new TestMachine({ memory });
  const tables = new PageTables(machine, "long");
  tables.map(CODE, CODE, FLAGS);
  tables.map(DATA, FRAMES[0], FLAGS);
  tables.map(DATA + 4096, FRAMES[1], second);
  tables.map(DEVICE, BEYOND, FLAGS);
  machine.enter("long", { tables });
  machine.poke(CODE, LOCK_ADD + UD2);
  machine.set({ RIP: CODE, RCX: 0x0102_0304_0506_0708n });
  return { machine, bus };
}

Deno.test("a locked update of aligned memory needs no bus lock", () => {
  const { machine, bus } = make();
  machine.poke64(FRAMES[0] + 8, 1n);
  machine.set({ RBX: DATA + 8 });
  assertEquals(machine.runToException().vector, VECTOR.UD);
  assertEquals(machine.peek64(FRAMES[0] + 8), 0x0102_0304_0506_0709n);
  assertEquals(bus, []);
});

Deno.test("a locked update of unaligned memory locks the bus", () => {
  const { machine, bus } = make();
  machine.poke64(FRAMES[0] + 3, 0xffn);
  machine.set({ RBX: DATA + 3 });
  assertEquals(machine.runToException().vector, VECTOR.UD);
  assertEquals(machine.peek64(FRAMES[0] + 3), 0x0102_0304_0506_0807n);
  assertEquals(bus, [true, false]);
});

Deno.test("a locked update reaches across two pages", () => {
  for (let before = 1; before < 8; before++) {
    const { machine, bus } = make();
    const bits = BigInt(8 * before);
    machine.poke64(FRAMES[0] + 4096 - before, -1n);
    machine.poke64(FRAMES[1], -1n);
    machine.set({ RBX: DATA + 4096 - before });
    assertEquals(machine.runToException().vector, VECTOR.UD);
    const sum = 0x0102_0304_0506_0707n;
    const low = machine.peek64(FRAMES[0] + 4096 - before);
    const high = machine.peek64(FRAMES[1]);
    assertEquals(BigInt.asUintN(8 * before, low), sum & ((1n << bits) - 1n));
    assertEquals(BigInt.asUintN(64 - 8 * before, high), sum >> bits);
    assertEquals(bus, [true, false]);
  }
});

Deno.test("a locked update that faults leaves the bus and memory alone", () => {
  const { machine, bus } = make(PTE.P);
  // Supervisors may write where CR0.WP is clear.
  machine.set({ CR0: machine.get("CR0") | 0x10000n, RBX: DATA + 4093 });
  machine.poke64(FRAMES[0] + 4088, 7n);
  const { vector, cr2 } = machine.runToException();
  assertEquals([vector, cr2], [VECTOR.PF, BigInt(DATA + 4096)]);
  assertEquals(machine.peek64(FRAMES[0] + 4088), 7n);
  assertEquals(bus, []);
});

Deno.test("a locked update of device memory leaves without the bus locked", () => {
  const { machine, bus } = make();
  machine.set({ RBX: DEVICE + 4 });
  const exit = machine.run();
  assertEquals([exit.code, bus], [EXIT_CODE.INST_EMUL, []]);
});
