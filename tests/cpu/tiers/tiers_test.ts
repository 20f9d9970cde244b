// The third mode: the tiers against each other on programs with loops, calls, code that
// is overwritten, and faults. TIERS_PROGRAMS sets how many; the default takes seconds.

import { assertEquals } from "@std/assert";
import {
  MOST_INSTRUCTIONS,
  type RegionOptions,
} from "../../../vmm/cpu/regions/limits.ts";
import { Prng } from "../fuzz/prng.ts";
import { differences, fuelOf, ProgramRunner } from "./pair.ts";
import { ProgramMaker } from "./program.ts";

const PROGRAMS = Number(Deno.env.get("TIERS_PROGRAMS") ?? 150);
const SEED = Number(Deno.env.get("TIERS_SEED") ?? 1);

const EAGER = { again: 0, batch: 1, patience: 1, doublings: 0, share: 0 };
const POLICIES: Readonly<Record<string, Partial<RegionOptions>>> = {
  "single blocks": { ...EAGER, threshold: 1, blocks: 1 },
  "everything that ran": { ...EAGER, threshold: 3 },
  "everything that ran, registers in memory": {
    ...EAGER,
    threshold: 3,
    inPlace: true,
  },
  "as large as regions may be": {
    ...EAGER,
    ...{ threshold: 2, blocks: 100, calls: 6, instructions: MOST_INSTRUCTIONS },
  },
  "what is hot, small and then large": {
    ...EAGER,
    threshold: 10,
    again: 20,
    batch: 4,
    share: 1 / 8,
  },
};

const CASES = Object.entries(POLICIES).flatMap(([name, policy]) =>
  [64, 32].map((bits) => [`${bits}-bit, ${name}`, policy, bits === 64] as const)
);

for (const [name, policy, isWide] of CASES) {
  Deno.test(`random programs end alike on both tiers: ${name}`, () => {
    const random = new Prng(SEED);
    const maker = new ProgramMaker(random, isWide);
    const threaded = new ProgramRunner(false);
    const compiled = new ProgramRunner(policy);
    let blocks = 0;
    let ended = 0;
    for (let n = 0; n < PROGRAMS; n++) {
      const program = maker.make();
      const expected = threaded.run(program);
      const slice = random.between(1500, 8000);
      const actual = compiled.run(program, slice);
      const found = differences(actual, expected);
      assertEquals(found, [], `seed ${SEED}, program ${n}`);
      if (expected === undefined) continue;
      ended++;
      const left = expected.registers[fuelOf(isWide)];
      blocks += program.fuel - Number(BigInt(`0x${left}`));
    }
    const { regions } = compiled.machine.cpu.statistics;
    console.log(
      `${ended} programs of ${PROGRAMS}, ${blocks} blocks, ${regions?.regions} regions`,
    );
    // The programs must not be trivial: most end, having run and compiled something.
    assertEquals(ended > PROGRAMS / 2, true);
    assertEquals(regions!.regions > PROGRAMS / 2, true);
  });
}
