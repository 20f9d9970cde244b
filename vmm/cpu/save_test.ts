// Saving and restoring: the same future from any instruction boundary, plain data,
// and a refusal of every state that is not ours.

import { assertEquals, assertThrows } from "@std/assert";
import { CpuError } from "./exits.ts";
import type { CpuState } from "./save.ts";
import {
  CR4,
  EFER,
  type ModeName,
  PageTables,
  type PagingName,
  PTE,
  randomSource,
  TestMachine,
} from "./testing.ts";

const CODE = 0x1000;
const DATA = 0x8000;
const MODES: readonly (readonly [ModeName, PagingName])[] = [
  ["real", "none"],
  ["protected16", "none"],
  ["protected32", "legacy"],
  ["protected32", "pae"],
  ["long", "long"],
];

/** What a program consists of: forms that rarely fault, of every unit. */
const SNIPPETS: readonly string[] = [
  ...["01d8", "29c8", "11d1", "19c3", "31c2", "21d8", "09ca", "39c8", "f7d8"],
  ...["d1e0", "c1e803", "d1d2", "0fafc3", "f7e1", "f7e9", "0fbcc2", "0fa3c8"],
  ...["6690", "90", "f8", "f9", "f5", "fc", "fd", "9c9d", "50", "58", "5359"],
  ...["890424", "8b1424", "870c24", "0fc8", "98", "99", "0fb6c3", "0fbec1"],
  ...["dbe3", "d9e8", "d9eb", "dec1", "d9c9", "ddd8", "d9fa", "dbe3d9ee"],
  ...["660f6ec0", "660ffec8", "0f58c1", "f20f59d1", "660fefd2", "0f5ec8"],
  ...["660f7ec8", "f30f2ac0", "f20f2cc2", "0fc6c11b", "660f73d808"],
  ...["0f6ec0", "0ffec8", "0f77", "0fa2", "0f31"],
];

function program(random: () => number): string {
  let text = "";
  for (let n = 0; n < 1500; n++) {
    text += SNIPPETS[random() % SNIPPETS.length]!;
    // Now and then a short jump over a byte that is no instruction.
    if (random() % 20 === 0) text += "eb01cc";
  }
  return text;
}

function machineFor(mode: ModeName, paging: PagingName): TestMachine {
  let numbers = 1n;
  const machine = new TestMachine({
    size: 1 << 20,
    readTsc: () => 1_000_000n,
    random: () => numbers++,
  });
  const options = { cr4: CR4.OSFXSR | CR4.OSXMMEXCPT, efer: EFER.NXE };
  if (paging === "none") {
    machine.enter(mode, options);
    return machine;
  }
  const tables = new PageTables(machine, paging, 0x8_0000);
  for (let at = 0; at < 0x1_0000; at += 4096) {
    tables.map(at, at, PTE.P | PTE.RW);
  }
  machine.enter(mode, { ...options, tables });
  return machine;
}

function start(machine: TestMachine, seed: number): void {
  const random = randomSource(seed);
  machine.poke(CODE, program(random));
  machine.set({ RIP: CODE, RSP: DATA + 0x800 });
  for (const name of ["RAX", "RBX", "RCX", "RDX"] as const) {
    machine.set({ [name]: random() });
  }
}

/** A machine with the same memory and nothing else in common. */
function twin(machine: TestMachine): TestMachine {
  const copy = machineFor("real", "none");
  copy.memory.bytes.set(machine.memory.bytes);
  return copy;
}

function throughJson(state: CpuState): CpuState {
  return JSON.parse(JSON.stringify(state));
}

for (const [mode, paging] of MODES) {
  Deno.test(`a state of ${mode}, paging ${paging}, has one future`, () => {
    for (let seed = 1; seed <= 12; seed++) {
      const first = machineFor(mode, paging);
      start(first, seed);
      first.run(seed * 97 % 1000);
      const saved = first.cpu.save();
      const second = twin(first);
      second.cpu.exceptionExits = first.cpu.exceptionExits;
      second.cpu.restore(throughJson(saved));
      assertEquals(second.cpu.save(), saved);
      // One goes in blocks, the other by single steps.
      const exits = [first.run(600), stepwise(second, 600)];
      assertEquals(exits[1], exits[0], `seed ${seed}`);
      assertEquals(second.cpu.save(), first.cpu.save(), `seed ${seed}`);
      assertEquals(second.memory.bytes, first.memory.bytes, `seed ${seed}`);
    }
  });
}

function stepwise(machine: TestMachine, instructions: number) {
  for (let n = 0; n < instructions - 1; n++) {
    const exit = machine.run(1);
    if (exit.code !== 2) return exit;
  }
  return machine.run(1);
}

Deno.test("save() at every boundary of a program restores there", () => {
  const first = machineFor("long", "long");
  start(first, 99);
  const second = twin(first);
  for (let n = 0; n < 300; n++) {
    second.cpu.restore(throughJson(first.cpu.save()));
    second.memory.bytes.set(first.memory.bytes);
    first.run(1);
    second.run(1);
    assertEquals(second.cpu.save(), first.cpu.save());
  }
});

Deno.test("a state can be cloned and sent as JSON", () => {
  const machine = machineFor("long", "long");
  start(machine, 5);
  machine.run(200);
  const saved = machine.cpu.save();
  assertEquals(structuredClone(saved), saved);
  assertEquals(throughJson(saved), saved);
});

Deno.test("events that wait are part of the state", () => {
  const first = machineFor("real", "none");
  first.cpu.exceptionExits = 0;
  // The vectors lead to CODE + 16 n: mov al, n; hlt
  for (const vector of [2, 6, 0x40]) {
    first.poke32(4 * vector, CODE + 16 * vector);
    const byte = vector.toString(16).padStart(2, "0");
    first.poke(CODE + 16 * vector, `b0${byte} f4`);
  }
  const cases: [(machine: TestMachine) => void, bigint][] = [
    [(m) => m.cpu.injectNmi(), 2n],
    [(m) => m.cpu.injectException(6), 6n],
    [(m) => m.cpu.injectInterrupt(0x40), 0x40n],
  ];
  for (const [inject, expected] of cases) {
    first.cpu.reset();
    first.set({ RIP: DATA, RSP: 0xf000, CS: 0 });
    first.enter("real");
    first.set({ RIP: DATA, RSP: 0xf000 });
    first.poke(DATA, "9090909090f4");
    inject(first);
    const second = twin(first);
    second.cpu.exceptionExits = 0;
    second.cpu.restore(throughJson(first.cpu.save()));
    second.run();
    assertEquals(second.get("RAX") & 0xffn, expected);
  }
});

Deno.test("the interrupt shadow is part of the state", () => {
  const first = machineFor("protected32", "none");
  // sti; nop
  first.poke(CODE, "fb 90 90 0f0b");
  first.set({ RIP: CODE });
  first.run(1);
  assertEquals(first.get("INTR_SHADOW"), 1n);
  const second = twin(first);
  second.cpu.restore(throughJson(first.cpu.save()));
  assertEquals(second.get("INTR_SHADOW"), 1n);
  second.run(1);
  assertEquals(second.get("INTR_SHADOW"), 0n);
});

Deno.test("MSRs are part of the state", () => {
  const first = machineFor("long", "long");
  const values: [number, bigint][] = [
    [0x277, 0x0606_0606_0606_0606n],
    [0x2ff, 0xc06n],
    [0xc000_0081, 0x23_0008_0000_0000n],
    [0xc000_0082, 0xffff_ffff_8100_0000n],
    [0xc000_0102, 0x1234n],
    [0xc000_0103, 3n],
  ];
  for (const [index, value] of values) first.cpu.setMsr(index, value);
  const second = twin(first);
  second.cpu.restore(throughJson(first.cpu.save()));
  for (const [index, value] of values) {
    assertEquals(second.cpu.getMsr(index), value, index.toString(16));
  }
});

Deno.test("restore() refuses states that are not ours, and changes nothing", () => {
  const machine = machineFor("long", "long");
  start(machine, 3);
  machine.run(50);
  const saved = machine.cpu.save();
  const { RIP: rip, ...fields } = saved.fields;
  const bad: [unknown, string][] = [
    [undefined, "kind"],
    [null, "kind"],
    [{}, "kind"],
    [{ ...saved, kind: "uart" }, 'kind "uart"'],
    [{ ...saved, version: 2 }, "version 2"],
    [{ ...saved, extra: 1 }, 'unknown part "extra"'],
    [{ ...saved, fields }, '"RIP" is missing'],
    [{ ...saved, fields: { ...saved.fields, YMM: "00" } }, '"YMM"'],
    [{ ...saved, fields: { ...saved.fields, RIP: "00" } }, '"RIP"'],
    [{ ...saved, fields: { ...saved.fields, RIP: `${rip}00` } }, '"RIP"'],
    [{ ...saved, fields: { ...saved.fields, RIP: "zz".repeat(8) } }, '"RIP"'],
    [{ ...saved, fields: { ...saved.fields, RIP: 5 } }, '"RIP"'],
    [{ ...saved, msrs: { ...saved.msrs, version: 9 } }, "version 9"],
    [{ ...saved, msrs: null }, "MSRs"],
    [{ ...saved, fields: null }, "fields"],
    [
      { ...saved, fields: { ...saved.fields, FPU_TOP: "08000000" } },
      '"FPU_TOP" as 8',
    ],
    [{ ...saved, fields: { ...saved.fields, CPL: "ffffffff" } }, '"CPL"'],
    [{ ...saved, nmi: "yes" }, "nmi"],
    [{ ...saved, injected: { vector: 1000, kind: 3, error: -1 } }, "injected"],
    [{ ...saved, injected: { vector: 3 } }, "injected"],
    [{ ...saved, pendingDebug: "1" }, "pendingDebug"],
  ];
  for (const [state, message] of bad) {
    assertThrows(
      () => machine.cpu.restore(state as CpuState),
      CpuError,
      message,
      JSON.stringify(state)?.slice(0, 80),
    );
    assertEquals(machine.cpu.save(), saved);
  }
});
