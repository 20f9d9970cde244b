// `deno task litmus [ROUNDS]`: litmus tests on two vCPUs in the real
// threads. A line a test with how often each outcome came; status 1 where one came that
// is forbidden. BHYVE_JIT chooses the tier.

import { type Counts, runLitmus } from "./program.ts";
import { LITMUS, type Litmus } from "./tests.ts";

function verdict(test: Litmus, counts: Counts, rounds: number): string {
  const sum = Object.values(counts).reduce((all, count) => all + count, 0);
  if (sum !== rounds) return `ROUNDS LOST: ${sum}`;
  const bad = Object.keys(counts).filter((name) =>
    test.forbidden.includes(name) || !test.outcomes.includes(name)
  );
  return bad.length === 0 ? "ok" : `FORBIDDEN: ${bad.join(", ")}`;
}

const rounds = Number(Deno.args[0] ?? 100_000);
if (!Number.isInteger(rounds) || rounds < 2 || rounds > 1e9) {
  console.error("ROUNDS is a whole number from 2");
  Deno.exit(2);
}
const all = await runLitmus(LITMUS, rounds);
let isGood = true;
for (const [n, test] of LITMUS.entries()) {
  const counts = all[n]!;
  const text = verdict(test, counts, rounds);
  const list = Object.entries(counts).map(([name, c]) => `${name}: ${c}`);
  console.log(`${test.name}: ${text} (${list.join(", ")})`);
  isGood &&= text === "ok";
}
Deno.exit(isGood ? 0 : 1);
