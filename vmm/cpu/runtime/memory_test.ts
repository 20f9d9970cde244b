// Accesses that lie in two pages: both take a write before either is written.

import { assertEquals } from "@std/assert";
import { CR0, PageTables, PTE, TestMachine, testTiers } from "../testing.ts";
import { VECTOR } from "./traps.ts";

const CODE = 0x8000;
const DATA = 0x40_0000;
const OLD = 0x1122_3344_5566_7788n;
const WRITES = PTE.P | PTE.RW;

/** Stores to [RBX] of all sizes, to the stack, by a string, and changes in place. */
const STORES = ["668903", "8903", "488903", "50", "ab", "0103", "0f1103"]
  .concat(["f00103", "8703", "dd1b", "db3b"]);

testTiers("a store of which the second page faults writes nothing", () => {
  const machine = new TestMachine();
  const tables = new PageTables(machine, "long");
  tables.map(CODE, CODE, WRITES);
  tables.map(DATA, DATA, WRITES);
  const second = tables.map(DATA + 4096, DATA + 4096, PTE.P);
  const at = DATA + 4095;
  for (const [entry, error] of [[DATA + 4096 | PTE.P, 3], [0, 2]] as const) {
    tables.write(second, BigInt(entry));
    for (const store of STORES) {
      machine.enter("long", { tables, cr0: CR0.WP, cr4: 0x600 });
      machine.poke64(DATA + 4088, OLD);
      machine.poke(CODE, `dbe3 d9e8 ${store} 0f0b`);
      machine.set({ RIP: CODE, RAX: -1, RBX: at, RDI: at, RSP: at + 8 });
      const raised = machine.runToException();
      assertEquals(raised.vector, VECTOR.PF, store);
      assertEquals([raised.error, raised.cr2], [error, BigInt(DATA + 4096)]);
      assertEquals(machine.peek64(DATA + 4088), OLD, store);
    }
  }
});
