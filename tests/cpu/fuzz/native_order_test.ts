// The host CPU agrees with itself whatever the order of the cases: nothing leaks from one case to
// the next, and no generated case depends on more than its own state.

import { assertEquals } from "@std/assert";
import { NativeExecutor } from "../native/native.ts";
import { compareOutcomes } from "./compare.ts";
import { userModeCodes } from "./forms.ts";
import { Generator } from "./generator.ts";
import { describeMismatch } from "./report.ts";

const CASES = 6000;
/** Of all cases, those that end in a fault at once teach least. */
const MOST_FAULTS = 0.15;

Deno.test({
  name:
    "NativeExecutor gives the same outcomes in reverse order, most of them without a fault",
  ignore: !NativeExecutor.isSupported(),
  fn: async () => {
    const seed = 11;
    const generator = new Generator({ seed, codes: userModeCodes() });
    const cases = Array.from(
      { length: CASES },
      (_, index) => generator.make(index),
    );
    generator.free();
    const tests = cases.map(({ test }) => test);
    const executor = await NativeExecutor.create();
    const forward = await executor.run(tests);
    const backward = (await executor.run(tests.toReversed())).reverse();
    await executor.close();
    const mismatches = cases.flatMap((test, index) => {
      const differences = compareOutcomes(
        test,
        forward[index]!,
        backward[index]!,
      );
      return differences.length > 0
        ? [describeMismatch(test, seed, differences)]
        : [];
    });
    assertEquals(mismatches, []);
    const faults = forward.filter(({ vector }) => vector !== 3).length;
    assertEquals(
      faults < CASES * MOST_FAULTS,
      true,
      `${faults} of ${CASES} cases fault`,
    );
    assertEquals(forward.filter(({ vector }) => vector < 0).length, 0);
  },
});
