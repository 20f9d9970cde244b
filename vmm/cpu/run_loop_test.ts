// How many instructions a run executes.

import { assertEquals } from "@std/assert";
import { FORCED_REGIONS } from "./regions/limits.ts";
import { createStateMemory } from "./state.ts";
import { EXIT_CODE } from "./exits.ts";
import { Kick } from "./kick.ts";
import { TestMachine } from "./testing.ts";

const CODE = 0x1000;

Deno.test("run() executes as many instructions as asked, though devices attend", () => {
  let writes = 0;
  const machine: TestMachine = new TestMachine({
    bus: {
      writePort: () => {
        writes++;
        machine.cpu.attend();
        return true;
      },
    },
  });
  machine.enter("real");
  machine.poke(CODE, "e680 41 ebfb"); // 1: out 0x80, al; inc cx; jmp 1b
  machine.set({ RIP: CODE, RCX: 0 });
  const exit = machine.cpu.run(undefined, { instructions: 30_000 });
  assertEquals(exit.code, EXIT_CODE.BOGUS);
  assertEquals([writes, machine.get("RCX")], [10_000, 10_000n]);
});

Deno.test("poll() is told whether anything called the processor", () => {
  const state = createStateMemory();
  const kick = new Kick(state);
  const calls: boolean[] = [];
  const machine: TestMachine = new TestMachine({
    state,
    poll: (isCalled) => {
      calls.push(isCalled);
      if (calls.length === 3) kick.kick();
      if (calls.length === 5) machine.cpu.attend();
    },
  });
  machine.enter("real");
  machine.poke(CODE, "ebfe"); // 1: jmp 1b
  machine.set({ RIP: CODE });
  machine.cpu.run(undefined, { instructions: 100_000 });
  assertEquals(calls.slice(0, 7), [
    true,
    false,
    false,
    true,
    false,
    true,
    false,
  ]);
  const count = calls.length;
  machine.cpu.run(undefined, { instructions: 100 });
  assertEquals(calls[count], true, "it has just begun to run");
});

Deno.test("run() stops after exactly as many instructions as asked", () => {
  const machine = new TestMachine();
  machine.enter("real");
  machine.poke(CODE, "41 41 41 41 ebfa"); // 1: inc cx, four times; jmp 1b
  for (const instructions of [0, 1, 4, 5, 127, 128, 129, 1000, 50_001]) {
    machine.set({ RIP: CODE, RCX: 0 });
    machine.cpu.run(undefined, { instructions });
    const turns = Math.floor(instructions / 5);
    const expected = 4 * turns + instructions % 5;
    assertEquals(Number(machine.get("RCX")), expected % 65536);
  }
});

Deno.test("run() is as exact where regions are as large as can be", () => {
  const compile = { ...FORCED_REGIONS, blocks: 1e6, instructions: 1e6 };
  const machine = new TestMachine({ compile });
  machine.enter("protected32");
  // inc ecx, 14 times; 1: jmp 1f; 1: ... and back.
  const blocks = 200;
  const back = (-(16 * blocks + 5) >>> 0).toString(16).match(/../g)!.reverse();
  const block = `${"41".repeat(14)} eb00`;
  machine.poke(CODE, block.repeat(blocks) + `e9${back.join("")}`);
  for (let instructions = 3000; instructions < 9000; instructions += 91) {
    machine.set({ RIP: CODE, RCX: 0 });
    machine.cpu.run(undefined, { instructions });
    const turns = Math.floor(instructions / (15 * blocks + 1));
    const rest = instructions % (15 * blocks + 1);
    const counted = 14 * Math.floor(rest / 15) + Math.min(rest % 15, 14);
    assertEquals(Number(machine.get("RCX")), 14 * turns * blocks + counted);
  }
});
