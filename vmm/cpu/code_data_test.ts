// Data that lies in pages with code: writes to it are made without a word to anybody where
// no other thread holds code of the page, and code beside it is watched all the same.

import { assertEquals } from "@std/assert";
import { createSharedCode, SharedCode } from "./shared_code.ts";
import { PageTables, PTE, TestMachine, testTiers } from "./testing.ts";
import { VECTOR } from "./runtime/traps.ts";

const CODE = 0x8000;
const NEXT = 0x9000;
const FLAGS = PTE.P | PTE.RW;
const UD2 = "0f0b";
// call rbp
const CALL = "ffd5";

// @param after where the page after NEXT is
function longMachine(after = NEXT + 4096): TestMachine {
  const machine = new TestMachine();
  const tables = new PageTables(machine, "long");
  for (let at = CODE; at < CODE + 0x8000; at += 4096) tables.map(at, at, FLAGS);
  tables.map(NEXT + 4096, after, FLAGS);
  machine.enter("long", { tables });
  return machine;
}

// Counts what TypeScript is told of writes to pages with code.
function countDrops({ memory }: TestMachine): () => number {
  let count = 0;
  const { dropCode } = memory;
  memory.dropCode = (...range) => {
    count++;
    dropCode.apply(memory, range);
  };
  return () => count;
}

/** mov ecx, 1000; L: inc dword [rbx]; dec ecx; jnz L; ud2 */
const COUNT_UP = `b9e8030000 ff03 ffc9 75fa ${UD2}`;

testTiers("data beside code in a page does not disturb it", () => {
  const machine = longMachine();
  const drops = countDrops(machine);
  machine.poke(CODE, COUNT_UP);
  machine.set({ RIP: CODE, RBX: CODE + 0x800 });
  const before = drops();
  assertEquals(machine.runToException().vector, VECTOR.UD);
  assertEquals(machine.peek32(CODE + 0x800), 1000);
  const { blocks } = machine.cpu.statistics;
  assertEquals(blocks < 20, true, `${blocks} blocks were decoded`);
  assertEquals(drops() - before, 1, "the first write tells where code is");
});

testTiers(
  "data beside code is told of where another engine may hold the code",
  () => {
    const machine = longMachine();
    const other = new TestMachine({
      memory: machine.memory,
      cpuid: { vcpu: 1 },
    });
    const drops = countDrops(machine);
    machine.poke(CODE, COUNT_UP);
    machine.set({ RIP: CODE, RBX: CODE + 0x800 });
    machine.runToException();
    assertEquals(drops() >= 1000, true);
    assertEquals(other.cpu.statistics.blocks, 0);
  },
);

testTiers(
  "data beside code is told of where another thread holds the code",
  () => {
    const machine = longMachine();
    const { memory } = machine;
    const buffers = createSharedCode(memory.common);
    const peers = {
      count: 2,
      isRunning: () => false,
      kick: () => {},
      whileParked: (wait: () => void) => wait(),
    };
    memory.shareCode(new SharedCode(buffers, 0, peers));
    const other = new SharedCode(buffers, 1, peers);
    const dropped: number[] = [];
    other.connect({
      protectPage: () => {},
      dropPage: (page) => dropped.push(page),
      protectAll: () => {},
    });
    machine.poke(CODE, COUNT_UP);
    const run = (instructions: number) => {
      machine.cpu.run(undefined, { instructions });
      other.drain();
      return dropped.splice(0);
    };
    const page = CODE / 4096;
    machine.set({ RIP: CODE, RBX: CODE + 0x800 });
    assertEquals(run(1100), []);
    other.claim(page);
    other.decoded();
    assertEquals(run(1100), [page]);
    // It has let go.
    assertEquals(run(100), []);
    assertEquals(machine.peek32(CODE + 0x800) > 700, true);
  },
);

testTiers("code that is decoded beside data is watched from then on", () => {
  const machine = longMachine();
  // mov byte [rbp + 100h], 1; call rbp; inc byte [rbx]; call rbp; ud2
  const program = `c6850001000001 ${CALL} fe03 ${CALL} ${UD2}`;
  machine.poke(NEXT, `b811000000 01c6 c3`); // mov eax, 11h; add esi, eax; ret
  machine.poke(NEXT + 0x400, `b833000000 01c6 c3`);
  for (const [victim, sum] of [[NEXT, 0x23n], [NEXT + 0x400, 0x67n]] as const) {
    machine.poke(CODE, program);
    machine.set({ RIP: CODE, RSP: CODE + 0x7000, RSI: 0 });
    machine.set({ RBP: victim, RBX: victim + 1 });
    assertEquals(machine.runToException().vector, VECTOR.UD);
    assertEquals(machine.get("RSI"), sum);
  }
});

// "mov eax, 0; ret" with so many bytes in the first page: its immediate's byte `at` grows.
function crossing(after: number, before: number, at: number): bigint {
  // inc byte [rbx]; call rbp; add esi, eax
  const turn = `fe03 ${CALL} 01c6`;
  // mov byte [rbp + 200h], 1; mov byte [rbp - 200h], 1
  const data = "c6850002000001 c68500feffff01";
  const machine = longMachine(after);
  const victim = "b800000000c3";
  const start = NEXT + 4096 - before;
  machine.poke(start, victim.slice(0, 2 * before));
  machine.poke(after, victim.slice(2 * before));
  machine.poke(CODE, `${CALL} ${data} ${turn} ${data} ${turn} ${UD2}`);
  machine.set({ RIP: CODE, RSP: CODE + 0x7000, RSI: 0 });
  machine.set({ RBP: start, RBX: start + at });
  assertEquals(machine.runToException().vector, VECTOR.UD);
  return machine.get("RSI") >> BigInt(8 * at - 8);
}

testTiers("an instruction across pages is watched in both, among data", () => {
  for (let before = 1; before < 5; before++) {
    for (const at of [1, 4]) {
      assertEquals(crossing(NEXT + 4096, before, at), 3n);
      assertEquals(crossing(NEXT, before, at), 3n, "a page after itself");
    }
  }
});

testTiers(
  "a store is told of where it may touch code, and nowhere else",
  () => {
    const machine = longMachine();
    const drops = countDrops(machine);
    // Ten bytes of code: mov eax, 11h; nop; nop; nop; nop; ret
    const code = NEXT + 0x403;
    // call rbp; mov byte [rbp + 100h], 1; mov [rbx], rcx; ud2
    const program = `${CALL} c6850001000001 48890b ${UD2}`;
    const told = (at: number) => {
      machine.poke(code, "b811000000 90909090 c3");
      machine.poke(CODE, program);
      machine.set({ RIP: CODE, RSP: CODE + 0x7000, RBP: code, RBX: at });
      const before = drops();
      assertEquals(machine.runToException().vector, VECTOR.UD);
      return drops() - before;
    };
    told(code + 0x200);
    for (let at = code - 24; at < code + 24; at++) {
      const isNear = at + 7 >> 3 >= code >> 3 && at >> 3 <= code + 9 >> 3;
      assertEquals(told(at), isNear ? 1 : 0, `${at - code}`);
    }
  },
);
