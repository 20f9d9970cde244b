// `deno task crossing [SCALE] [NAME]`: vCPUs that change each other's
// code and translations, in the real threads. A line a program; status 1 where one saw
// what may not be. BHYVE_JIT chooses what is compiled.

import { runCrossing } from "./program.ts";
import { crossings } from "./programs.ts";

const scale = Number(Deno.args[0] ?? 10);
if (!(scale > 0) || scale > 1e6) {
  console.error("SCALE is a number above 0");
  Deno.exit(2);
}
const wanted = Deno.args[1] ?? "";
let isGood = true;
for (const program of crossings(scale)) {
  if (!program.name.includes(wanted)) continue;
  const { errors, rounds, hasChanged } = await runCrossing(program);
  const verdict = errors > 0 ? `${errors} WRONG` : hasChanged ? "ok" : "IDLE";
  console.log(`${program.name}: ${verdict} in ${rounds} rounds`);
  isGood &&= verdict === "ok";
}
Deno.exit(isGood ? 0 : 1);
