// Devices that write guest memory while an instruction of a region uses a port: the code
// that follows may be another then.

import { assert, assertEquals } from "@std/assert";
import type { DeviceBus } from "../cpu.ts";
import { VECTOR } from "../runtime/traps.ts";
import { TestMachine } from "../testing.ts";

const CODE = 0x1000;
const UD2 = "0f0b";
/** Accesses to the port until the device writes. */
const ACCESSES = 500;

// A device that puts UD2 behind the instruction that uses it.
function machineFor(program: string): TestMachine {
  let count = 0;
  const write = () => {
    if (++count === ACCESSES) machine.poke(CODE + 1, UD2);
  };
  const bus: DeviceBus = {
    readPort: () => {
      write();
      return 0;
    },
    writePort: () => {
      write();
      return true;
    },
  };
  const machine = new TestMachine({ compile: true, bus });
  machine.enter("protected32");
  machine.poke(CODE, program);
  machine.set({ RIP: CODE, RBX: 0, RCX: 2 * ACCESSES, RDX: 0x60 });
  return machine;
}

// in al, dx, or out dx, al; inc ebx; nop; loop
for (const [name, opcode] of [["reads", "ec"], ["writes", "ee"]] as const) {
  Deno.test(`A device that ${name} replaces the code behind it`, () => {
    const machine = machineFor(`${opcode} 43 90 e2fb`);
    const { vector, rip } = machine.runToException();
    assertEquals(vector, VECTOR.UD);
    assertEquals(rip, BigInt(CODE + 1));
    assertEquals(machine.get("RBX"), BigInt(ACCESSES - 1));
    assert(machine.cpu.statistics.regions?.regions);
  });
}
