// Regions go on in other pages only where translations still lead to the code there.

import { assertEquals } from "@std/assert";
import { VECTOR } from "../runtime/traps.ts";
import { PageTables, PTE, TestMachine, testTiers } from "../testing.ts";

const CODE = 0x8000;
const FUNCTION = 0x40_1000;
const FRAMES = [0x9000, 0xa000] as const;
const WRITES = PTE.P | PTE.RW;

/** Bodies of loops, with what FUNCTION begins with and ends with. */
const PROGRAMS: Readonly<Record<string, readonly [string, string]>> = {
  // call FUNCTION
  "a call": ["e8fb8f3f00", "c3"],
  // jmp FUNCTION; which jumps back
  "jumps there and back": ["e9fb8f3f00", "e9fb6fc0ff"],
};

for (const [what, [body, end]] of Object.entries(PROGRAMS)) {
  testTiers(
    `a region does not follow ${what} to code that is not there`,
    () => {
      const machine = new TestMachine();
      const tables = new PageTables(machine, "long");
      tables.map(CODE, CODE, WRITES);
      tables.map(0x7000, 0x7000, WRITES);
      const entry = tables.map(FUNCTION, FRAMES[0], WRITES);
      // ... dec ecx; jnz; ud2
      machine.poke(CODE, `${body} ffc9 75f7 0f0b`);
      // add eax, 1 or add eax, 100h
      machine.poke(FRAMES[0], `0501000000 ${end}`);
      machine.poke(FRAMES[1], `0500010000 ${end}`);
      const run = (frame: number) => {
        tables.write(entry, BigInt(frame === 0 ? 0 : frame | WRITES));
        machine.enter("long", { tables });
        machine.set({ RIP: CODE, RSP: 0x8000, RAX: 0, RCX: 1000 });
        const { vector } = machine.runToException(100_000);
        return [vector, Number(machine.get("RAX"))];
      };
      assertEquals(run(FRAMES[0]), [VECTOR.UD, 1000]);
      assertEquals(run(FRAMES[1]), [VECTOR.UD, 1000 << 8]);
      assertEquals(run(0), [VECTOR.PF, 0]);
      assertEquals(run(FRAMES[0]), [VECTOR.UD, 1000]);
    },
  );
}
