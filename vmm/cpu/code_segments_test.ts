// Code segments whose offsets mean other code, or that end elsewhere: what was found of one
// does not hold for another (Intel SDM vol. 3, 3.4.3).

import { assertEquals } from "@std/assert";
import { EXIT_CODE } from "./exits.ts";
import { REGISTER } from "./registers.ts";
import { FORCED_REGIONS } from "./regions/limits.ts";
import { VECTOR } from "./runtime/traps.ts";
import { TestMachine } from "./testing.ts";

const REGIONS = { ...FORCED_REGIONS, threshold: 2 };
const TIERS = [false, REGIONS, { ...REGIONS, inPlace: true }];
const CODE = 0x8000;

Deno.test("far jumps between segments find each one's code at the same offset", () => {
  for (const compile of TIERS) {
    const machine = new TestMachine({ compile });
    machine.enter("real");
    // 1000:10 INC BX; JMP 2000:10. 2000:10 ADD BX, 2; CMP BX, 1000h; JAE; JMP 1000:10; HLT.
    machine.poke(0x1_0010, "43 ea10000020");
    machine.poke(0x2_0010, "83c302 81fb0010 7305 ea10000010 f4");
    machine.poke(CODE, "ea10000010");
    machine.set({ RIP: CODE, RBX: 0 });
    assertEquals(machine.run(50_000).code, EXIT_CODE.HLT);
    assertEquals(machine.get("RBX"), 4098n);
  }
});

Deno.test("code that another segment reaches is beyond the limit of this one", () => {
  for (const compile of TIERS) {
    const machine = new TestMachine({ compile });
    machine.enter("protected32");
    // No mode of flat segments: these have no limit.
    const es = machine.cpu.getDescriptor(REGISTER.ES);
    machine.cpu.setDescriptor(REGISTER.ES, { ...es, base: 16n });
    // JMP to INC EAX, four times; UD2.
    machine.poke(CODE, "e9fb000000");
    machine.poke(CODE + 0x100, "40404040 0f0b");
    const end = () => {
      machine.set({ RIP: CODE, RAX: 0 });
      const { vector, rip } = machine.runToException();
      return [vector, Number(rip) - CODE, Number(machine.get("RAX"))];
    };
    for (let n = 0; n < 6; n++) assertEquals(end(), [VECTOR.UD, 0x104, 4]);
    const cs = machine.cpu.getDescriptor(REGISTER.CS);
    machine.cpu.setDescriptor(REGISTER.CS, { ...cs, limit: CODE + 0x101 });
    assertEquals(end(), [VECTOR.GP, 0x102, 2]);
  }
});
