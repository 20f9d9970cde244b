// Translations: programs that change page tables and drop what they must, in threaded
// and in compiled code, against single steps that know no translations. PAGING_PROGRAMS
// sets how many, PAGING_SEED from where; the default takes seconds.

import { assertEquals } from "@std/assert";
import {
  MOST_INSTRUCTIONS,
  type RegionOptions,
} from "../../../vmm/cpu/regions/limits.ts";
import { VECTOR } from "../../../vmm/cpu/runtime/traps.ts";
import { Prng } from "../fuzz/prng.ts";
import { type Kind, KINDS } from "./layout.ts";
import { ProgramMaker } from "./program.ts";
import { differences, PagingRunner } from "./runner.ts";

const PROGRAMS = Number(Deno.env.get("PAGING_PROGRAMS") ?? 8);
const SEED = Number(Deno.env.get("PAGING_SEED") ?? 1);

const EAGER = { again: 0, batch: 1, patience: 1, doublings: 0, share: 0 };
/** One for each program, in turn. */
const POLICIES: readonly Partial<RegionOptions>[] = [
  { ...EAGER, threshold: 3 },
  { ...EAGER, threshold: 3, inPlace: true },
  {
    ...EAGER,
    ...{ threshold: 2, blocks: 100, calls: 6, instructions: MOST_INSTRUCTIONS },
  },
];

for (const [name, kind] of Object.entries<Kind>(KINDS)) {
  for (const isUser of [false, true]) {
    const whose = isUser ? "the user's" : "the kernel's";
    Deno.test(`no translation outlives its flush: ${name}, ${whose}`, () => {
      const maker = new ProgramMaker(kind);
      const single = new PagingRunner(false);
      const threaded = new PagingRunner(false);
      const compiled = POLICIES.map((policy) => new PagingRunner(policy));
      let [steps, faults] = [0, 0];
      for (let n = 0; n < PROGRAMS; n++) {
        const random = new Prng(SEED, n);
        const program = maker.make(random, isUser);
        const expected = single.step(program);
        const where = `seed ${SEED}, program ${n}`;
        const slice = random.between(3000, 40_000);
        for (const runner of [threaded, compiled[n % compiled.length]!]) {
          const actual = runner.run(program, slice);
          const how = runner === threaded ? "threaded" : "compiled";
          assertEquals(differences(actual, expected), [], `${where}, ${how}`);
        }
        assertEquals(expected.vector, VECTOR.BP, where);
        steps += expected.steps;
        faults += expected.faults;
      }
      const regions = compiled.reduce(
        (sum, { machine }) => sum + machine.cpu.statistics.regions!.regions,
        0,
      );
      console.log(
        `${PROGRAMS} programs, ${steps} steps, ${faults} faults, ${regions} regions`,
      );
      // The programs must not be trivial.
      assertEquals(regions > PROGRAMS * 5, true);
      assertEquals(faults > PROGRAMS * 5 && faults < steps / 20, true);
    });
  }
}
