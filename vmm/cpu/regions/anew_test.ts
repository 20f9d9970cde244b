// Where an access of a region is not one to plain RAM, the instruction's handler begins
// with it anew: what it did until then must not be seen, or be the same a second time.

import { assert, assertEquals } from "@std/assert";
import { TestMachine } from "../testing.ts";
import { FORCED_REGIONS, type RegionOptions } from "./limits.ts";

const CODE = 0x8000;
const DATA = 0x9000;
const PAGE_END = 0xa000;
const TIERS = [true, { ...FORCED_REGIONS, inPlace: true }];
// UD2; more than what single steps keep a limit by.
const END = "0f0b";
const LIMIT = 10_000;

type Registers = Parameters<TestMachine["set"]>[0];

/** Runs a program twice, with a port that counts: what it leaves in memory. */
function left(
  compile: boolean | RegionOptions,
  program: string,
  registers: Registers,
): { data: Uint8Array; reads: number } {
  let reads = 0;
  const readPort = () => ++reads;
  const m = new TestMachine({ compile, bus: { readPort } });
  m.enter("protected32");
  m.poke(CODE, program + END);
  for (let at = DATA; at < DATA + 0x2000; at += 4) m.poke32(at, at);
  for (let n = 0; n < 2; n++) {
    m.set({ RIP: CODE, RSP: DATA + 0x800, ...registers });
    m.runToException(LIMIT);
  }
  const { regions } = m.cpu.statistics;
  if (compile !== false) assert(regions!.regions > 0);
  return { data: m.memory.bytes.slice(CODE, DATA + 0x2000), reads };
}

function assertSame(program: string, registers: Registers): void {
  const threaded = left(false, program, registers);
  for (const tier of TIERS) {
    assertEquals(left(tier, program, registers), threaded);
  }
}

Deno.test("INS reads its port once, wherever it writes", () => {
  for (const at of [DATA, PAGE_END - 2, PAGE_END - 6, CODE + 0x800]) {
    // INSD; REP INSD.
    assertSame("6d", { RDI: at, RDX: 0x10 });
    assertSame("f36d", { RDI: at, RDX: 0x10, RCX: 4 });
  }
});

Deno.test("ENTER copies pointers that it overwrites as others do", () => {
  for (let above = 2; above <= 30; above += 4) {
    for (const below of [4, 8, 12, 16]) {
      const RSP = PAGE_END + above;
      // ENTER 0, 8.
      assertSame("c8000008", { RSP, RBP: RSP - below });
    }
  }
});
