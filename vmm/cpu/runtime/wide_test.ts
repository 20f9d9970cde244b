// CF and OF of products of 64 bits near the limit, where the lengths of the factors do
// not tell, against integers of any size.

import { assert, assertEquals } from "@std/assert";
import { PageTables, PTE, TestMachine } from "../testing.ts";

const CODE = 0x8000;
const CF_OF = 0x801n;
const CLEARED = 2;
/** imul rax, rbx; ud2 */
const PROGRAM = "480fafc3 0f0b";

function near(value: bigint): bigint[] {
  return [-2n, -1n, 0n, 1n, 2n].map((n) => value + n);
}

// Factors around powers of two and around what divides the limit.
function factors(): bigint[] {
  const powers = [0n, 1n, 30n, 31n, 32n, 33n, 61n, 62n, 63n].map((n) =>
    1n << n
  );
  const parts = [3n, 7n, 1000n, 4294967297n].map((n) => (1n << 63n) / n);
  const all = [...powers, ...parts].flatMap(near);
  return [...all, ...all.map((n) => -n)].filter((n) =>
    BigInt.asIntN(64, n) === n
  );
}

Deno.test("IMUL sets CF and OF where a product needs more than 64 bits", () => {
  const machine = new TestMachine();
  const tables = new PageTables(machine, "long", 0x10_0000);
  tables.map(CODE, CODE, PTE.P);
  machine.poke(CODE, PROGRAM);
  machine.enter("long", { tables });
  const seen = [0, 0];
  const all = factors();
  for (const a of all) {
    for (const b of all) {
      const [RAX, RBX] = [a, b].map((n) => BigInt.asUintN(64, n)) as [
        bigint,
        bigint,
      ];
      machine.set({ RIP: CODE, RAX, RBX, RFLAGS: CLEARED });
      machine.runToException();
      const isMore = BigInt.asIntN(64, a * b) !== a * b;
      const flags = machine.get("RFLAGS") & CF_OF;
      assertEquals(flags, isMore ? CF_OF : 0n, `${a} times ${b}`);
      seen[isMore ? 1 : 0]!++;
    }
  }
  assert(Math.min(...seen) > 500, `${seen} fit and did not`);
});
