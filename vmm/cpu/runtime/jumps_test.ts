// Where RIPs lead, in code segments that are not flat: the same RIP in another segment is
// other code (Intel SDM vol. 3, 3.4), and a smaller limit ends it earlier.

import { assertEquals } from "@std/assert";
import { MAX_INSTRUCTIONS } from "../block_decoder.ts";
import { REGISTER } from "../registers.ts";
import { segment } from "../system_testing.ts";
import { TestMachine } from "../testing.ts";
import { VECTOR } from "./traps.ts";

const ROUNDS = 1000;
const UD2 = "0f0b";
/** Descriptors, and the selector of a segment that ends within the code. */
const GDT = 0x3000;
const GDTR = { base: BigInt(GDT), limit: 0xff, access: 0 };
const SMALL = 0x18;
const START = 0x1000;
const END = START + 7;
/** CS of the first segment in real mode, and what they are apart. */
const FIRST = 0x1000;
const APART = 0x100;

// A number of 16 bits as it lies in memory.
function word(value: number): string {
  const text = value.toString(16).padStart(4, "0");
  return text.slice(2) + text.slice(0, 2);
}

// So many segments, with code at the same offset that leads to the next.
function machineWith(segments: number, compile: boolean): TestMachine {
  const machine = new TestMachine({ compile });
  for (let n = 0; n < segments; n++) {
    const cs = FIRST + (n + 1) % segments * APART;
    const next = `ea 0000 ${word(cs)}`;
    // inc bx; jmp; or inc cx; cmp cx, ROUNDS; jb over ud2; jmp
    const isLast = n === segments - 1;
    const last = `41 81f9 ${word(ROUNDS)} 7202 ${UD2} ${next}`;
    machine.poke((FIRST + n * APART) * 16, isLast ? last : `43 ${next}`);
  }
  machine.enter("real");
  machine.set({ RIP: 0, CS: FIRST, RBX: 0, RCX: 0 });
  const cs = machine.cpu.getDescriptor(REGISTER.CS);
  const base = BigInt(FIRST * 16);
  machine.cpu.setDescriptor(REGISTER.CS, { ...cs, base });
  return machine;
}

for (const compile of [false, true]) {
  const how = compile ? "compiled" : "threaded";
  // More than the jump cache tells apart at a time are the last.
  for (const segments of [2, 3, 70]) {
    Deno.test(`${segments} segments with code at one RIP, ${how}`, () => {
      const machine = machineWith(segments, compile);
      const { vector } = machine.runToException(1_000_000);
      assertEquals(vector, VECTOR.UD);
      const others = (segments - 1) * ROUNDS;
      assertEquals(machine.get("RCX"), BigInt(ROUNDS));
      assertEquals(machine.get("RBX"), BigInt(others & 0xffff));
    });
  }

  Deno.test(`a smaller limit of the same code is kept, ${how}`, () => {
    const machine = new TestMachine({ compile });
    machine.enter("protected16");
    machine.cpu.setDescriptor(REGISTER.GDTR, GDTR);
    machine.poke64(
      GDT + SMALL,
      segment({ access: 0x9b, limit: END, flags: 0 }),
    );
    // INC BX, fifteen NOPs and a jump to the same in the other segment.
    machine.poke(
      START,
      `43 ${"90".repeat(15)} ea ${word(START)} ${word(SMALL)}`,
    );
    machine.set({ RIP: START, RBX: 0 });
    const { vector, rip } = machine.runToException();
    assertEquals([vector, rip], [VECTOR.GP, BigInt(END + 1)]);
    assertEquals([machine.get("CS"), machine.get("RBX")], [BigInt(SMALL), 2n]);
  });

  Deno.test(`a smaller limit between blocks is kept, ${how}`, () => {
    // Regions of what ran often, so that more than the first block is known then.
    const often = { threshold: 50, insistent: 0, again: 0, batch: 1, share: 0 };
    const machine = new TestMachine({ compile: compile && often });
    machine.enter("protected16");
    machine.cpu.setDescriptor(REGISTER.GDTR, GDTR);
    const limit = START + MAX_INSTRUCTIONS - 1;
    machine.poke64(GDT + SMALL, segment({ access: 0x9b, limit, flags: 0 }));
    // A block of NOPs; inc bx; dec si; jnz to the first; a jump to the other segment.
    const code = `${"90".repeat(MAX_INSTRUCTIONS)} 43 4e 75bc`;
    machine.poke(START, `${code} ea ${word(START)} ${word(SMALL)}`);
    machine.set({ RIP: START, RBX: 0, RSI: 200 });
    const { vector, rip } = machine.runToException(50_000);
    assertEquals([vector, rip], [VECTOR.GP, BigInt(limit + 1)]);
    assertEquals(machine.get("RBX"), 200n);
    assertEquals(
      machine.cpu.statistics.regions?.blocks,
      compile ? 2 : undefined,
    );
  });
}
