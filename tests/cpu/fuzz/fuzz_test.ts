// Fixed cases on the host's silicon and on the software CPU, threaded and compiled: what
// `deno task fuzz:cpu` does at length. Without x86-64 Linux there is no host to compare with; where
// there is, a runner that cannot be built is a failure.

import { assertEquals } from "@std/assert";
import { type Executor, NativeExecutor } from "../native/native.ts";
import { compareOutcomes } from "./compare.ts";
import { userModeCodes } from "./forms.ts";
import { type FuzzCase, Generator } from "./generator.ts";
import { describeMismatch } from "./report.ts";
import { createSoftwareExecutor, supportedCodes } from "./software.ts";

const SEED = 20261121;
/** A batch is what the two executors are ahead of each other. */
const BATCH = 1024;
const REPORTED = 10;

/** The first cases of the seed, `rounds` of each form. */
function fixedCases(rounds: number): FuzzCase[] {
  const testable = new Set(userModeCodes());
  const codes = supportedCodes().filter((code) => testable.has(code));
  const generator = new Generator({ seed: SEED, codes });
  const cases = Array.from(
    { length: generator.forms.length * rounds },
    (_, index) => generator.make(index),
  );
  generator.free();
  return cases;
}

async function mismatches(
  cases: readonly FuzzCase[],
  oracle: Executor,
  subject: Executor,
): Promise<string[]> {
  const found: string[] = [];
  for (let at = 0; at < cases.length; at += BATCH) {
    const batch = cases.slice(at, at + BATCH);
    const tests = batch.map(({ test }) => test);
    const [expected, actual] = await Promise.all([
      oracle.run(tests),
      subject.run(tests),
    ]);
    batch.forEach((test, n) => {
      // The host has no answer to what it cannot be let do.
      if (expected[n]!.vector < 0) return;
      const differences = compareOutcomes(test, expected[n]!, actual[n]!);
      if (differences.length === 0) return;
      found.push(describeMismatch(test, SEED, differences));
    });
  }
  return found;
}

function testTier(tier: string, compile: boolean, rounds: number): void {
  Deno.test({
    name: `the ${tier} software CPU does what the host's silicon does`,
    ignore: !NativeExecutor.isSupported(),
    fn: async () => {
      const oracle = await NativeExecutor.create();
      const subject = await createSoftwareExecutor({ compile });
      const found = await mismatches(fixedCases(rounds), oracle, subject);
      await oracle.close();
      await subject.close();
      assertEquals(found.slice(0, REPORTED), []);
    },
  });
}

testTier("threaded", false, 3);
testTier("compiled", true, 1);
