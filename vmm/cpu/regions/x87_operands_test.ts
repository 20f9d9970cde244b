// The x87's instructions in regions on numbers of every kind: what a region does itself
// and what it leaves to handlers must end alike, C1 and the exceptions' flags as well.

import { assert, assertEquals } from "@std/assert";
import { CR4, TestMachine } from "../testing.ts";
import { FORCED_REGIONS, type RegionOptions } from "./limits.ts";
import { VECTOR } from "../runtime/traps.ts";

const CODE = 0x8000;
const DATA = 0x9000;
/** A round's operands, then what it leaves. */
const STRIDE = 0x50;
/** A number that is rounded up where it is stored in 64 bits, and where that goes. */
const LONG = 0xd000;
const UD2 = "0f0b";

const NUMBERS = [1.5, -0.1, 0, -0, Infinity, -Infinity, 1e300, 2 ** -1050]
  .concat([-(2 ** 40), 3]).map((x) => {
    const view = new DataView(new ArrayBuffer(8));
    view.setFloat64(0, x, true);
    return view.getBigUint64(0, true);
  }).concat([0x7ff8_0000_0000_0001n, 0x7ff0_0000_0000_0001n]);
const PAIRS = NUMBERS.flatMap((a) => NUMBERS.map((b) => [a, b] as const));

/** With ST(1), ST(0) and [EBX] as operands; what is stored goes to [EBX + 30h]. */
const GROUPS: Readonly<Record<string, readonly string[]>> = {
  "ST(0) and ST(1)": ["d8c1", "d8c9", "d8e1", "d8e9", "d8f1", "d8f9"],
  "ST(1) and ST(0)": ["dcc1", "dcc9", "dce1", "dce9", "dcf1", "dcf9"],
  "and a pop": ["dec1", "dec9", "dee1", "dee9", "def1", "def9"],
  "a double": ["dc03", "dc0b", "dc23", "dc2b", "dc33", "dc3b"],
  "a single": ["d84304", "d84b04", "d86304", "d86b04", "d87304", "d87b04"],
  comparisons: ["d8d1", "d8d9", "ded9", "dde1", "dae9", "dc13", "d85b04"],
  // LAHF; MOV [EBX + 28h], AH
  "comparisons for RFLAGS": ["dbf1", "dff1", "dbe9", "dfe9"]
    .map((code) => `${code} 9f 886328`),
  loads: ["d9c1", "d9e8", "d9ee", "dd03", "d94304", "db4304", "df4306", "df2b"],
  moves: ["d9c9", "d9e0", "d9e1", "ddd1", "ddd9", "ddd8"],
  stores: ["dd5330", "d95330", "db7b30", "d95b30"],
  "integers stored": ["db5330", "df5330", "df7b30", "db4b30", "df4b30"]
    .concat(["dd4b30"]),
};

/** A machine for instruction after instruction. */
class Bench {
  readonly machine: TestMachine;

  constructor(compile: false | RegionOptions) {
    this.machine = new TestMachine({ compile });
    this.machine.enter("protected32", { cr4: CR4.OSFXSR });
  }

  /** What the instruction leaves of every pair. */
  run(code: string): Uint8Array {
    const m = this.machine;
    m.memory.bytes.fill(0, DATA, LONG);
    PAIRS.forEach((pair, n) =>
      pair.forEach((x, k) => m.poke64(DATA + n * STRIDE + 8 * k, x))
    );
    m.poke64(LONG, 0x8000_0000_0000_07ffn);
    m.poke64(LONG + 8, 0x3fffn);
    // FLD [EBX]; FLD [EBX + 8]; FLD [LONG]; FSTP [LONG + 10h], which sets C1
    const before = "dd03 dd4308 db2d00d00000 dd1d10d00000";
    // FNSTSW [EBX + 10h]; FSTP [EBX + 40h]; FNSTSW [EBX + 12h]; FNINIT; ADD EBX, STRIDE
    const after = "dd7b10 db7b40 dd7b12 dbe3 83c350";
    const body = `${before} ${code} ${after}`;
    const back = 256 - 2 - body.replaceAll(" ", "").length / 2;
    m.poke(CODE, `dbe3 ${body} e2 ${back.toString(16)} ${UD2}`);
    m.set({ RIP: CODE, RBX: DATA, RCX: PAIRS.length, RAX: 0, RSP: 0x7000 });
    assertEquals(m.runToException(100_000).vector, VECTOR.UD);
    return m.memory.bytes.slice(DATA, DATA + PAIRS.length * STRIDE);
  }

  get regions(): number {
    return this.machine.cpu.statistics.regions?.regions ?? 0;
  }
}

for (const [name, codes] of Object.entries(GROUPS)) {
  Deno.test(`the x87 ends alike in regions: ${name}`, () => {
    const threaded = new Bench(false);
    const regions = [false, true].map((inPlace) =>
      new Bench({ ...FORCED_REGIONS, inPlace })
    );
    for (const code of codes) {
      const expected = threaded.run(code);
      for (const bench of regions) {
        const before = bench.regions;
        assertEquals(bench.run(code), expected, code);
        assert(bench.regions > before);
      }
    }
  });
}
