// The x87's instructions in regions on numbers of every kind: what a region does itself
// and what it leaves to handlers must end alike, C1 and the exceptions' flags as well.

import { assert, assertEquals } from "@std/assert";
import { CR4, TestMachine } from "../testing.ts";
import { FORCED_REGIONS, type RegionOptions } from "./limits.ts";
import { VECTOR } from "../runtime/traps.ts";

const CODE = 0x8000;
const DATA = 0x9000;
/** A round's operands, then what it leaves. */
const STRIDE = 0x80;
/** In a round's: a double, then two numbers of the x87. */
const PLACES = [0, 0x50, 0x58, 0x60, 0x68];
/** A number that is rounded up where it is stored in 64 bits, and where that goes. */
const LONG = 0x1_0000;
const UD2 = "0f0b";

/** Numbers as doubles, and others of the same kind as the x87 has them. */
const NUMBERS: readonly (readonly [bigint, bigint, bigint])[] = [
  [0x3ff8_0000_0000_0000n, 0xc000_0000_0000_0000n, 0x3fffn],
  [0xbfb9_9999_9999_999an, 0xcccc_cccc_cccc_cccdn, 0xbffbn],
  [0n, 0n, 0n],
  [1n << 63n, 0n, 0x8000n],
  [0x7ff0_0000_0000_0000n, 1n << 63n, 0x7fffn],
  [0xfff0_0000_0000_0000n, 1n << 63n, 0xffffn],
  [0x7e37_e43c_8800_759cn, 0xbf21_e440_03ac_dd2dn, 0x43e3n],
  [0x7fef_ffff_ffff_ffffn, ~0n, 0x7ffen],
  [1n, 1n, 0n],
  [0xc270_0000_0000_0000n, 1n << 63n, 0xc027n],
  [0x4008_0000_0000_0000n, 0xc000_0000_0000_0000n, 0x4000n],
  [0x7ff8_0000_0000_0001n, 0xc000_0000_0000_0001n, 0x7fffn],
  [0x7ff0_0000_0000_0001n, 0x8000_0000_0000_0001n, 0x7fffn],
  // No number at all.
  [0x3ff0_0000_0000_0000n, 0x4000_0000_0000_0000n, 0x3fffn],
];
const PAIRS = NUMBERS.flatMap((a) => NUMBERS.map((b) => [a, b] as const));

/** With ST(1), ST(0) and the double at [EBX] as operands; what is stored goes to [EBX + 30h]. */
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
    PAIRS.forEach(([[, ...a], [double, ...b]], n) =>
      [double, ...a, ...b].forEach((x, k) =>
        m.poke64(DATA + n * STRIDE + PLACES[k]!, x)
      )
    );
    m.poke64(LONG, 0x8000_0000_0000_07ffn);
    m.poke64(LONG + 8, 0x3fffn);
    // FLD [EBX + 50h]; FLD [EBX + 60h]; FLD [LONG]; FSTP [LONG + 10h], which sets C1
    const before = "db6b50 db6b60 db2d00000100 dd1d10000100";
    // FNSTSW [EBX + 10h]; FSTP [EBX + 40h]; FNSTSW [EBX + 12h]; FNINIT; SUB EBX, -STRIDE
    const after = "dd7b10 db7b40 dd7b12 dbe3 83eb80";
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
