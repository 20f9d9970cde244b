// Code and translations that another vCPU changes, in each tier: see `main.ts`, which
// runs in a process of its own, since the environment chooses the tier. CROSSING_SCALE=20
// runs longer than the default.

import { assert, assertEquals } from "@std/assert";
import { crossings } from "./programs.ts";

const SCALE = Deno.env.get("CROSSING_SCALE") ?? "0.05";
const MAIN = new URL("main.ts", import.meta.url).pathname;
// Small regions first, and soon large ones; however often code was dropped.
const EAGER = "threshold=4,insistent=4,again=20,batch=1,doublings=0,patience=0";

// A number of the log's sums of each vCPU, added up.
function sumOf(log: string, name: string): number {
  const found = log.matchAll(new RegExp(`in all.* (\\d+) ${name}`, "g"));
  return [...found].reduce((sum, [, count]) => sum + Number(count), 0);
}

for (const tier of ["off", "always", `sync,${EAGER}`, EAGER]) {
  Deno.test(`vCPUs change each other's code with BHYVE_JIT=${tier}`, async () => {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", MAIN, SCALE],
      env: { BHYVE_JIT: `${tier},log` },
      stdin: "null",
    }).output();
    const text = new TextDecoder().decode(stdout);
    const log = new TextDecoder().decode(stderr);
    const good = text.trimEnd().split("\n").map((line) => {
      const [name, verdict] = line.split(": ");
      return verdict?.startsWith("ok ") ? name : line;
    });
    const wanted = crossings(1).map(({ name }) => name);
    assertEquals(good, wanted, `${text}${log}`);
    assertEquals(code, 0);
    const isCompiled = tier !== "off";
    assertEquals(sumOf(log, "regions of") > 0, isCompiled);
    // Code changed after it was compiled, or meanwhile.
    const changed = sumOf(log, "dropped") + sumOf(log, "late");
    assert(!isCompiled || changed > 0, log);
  });
}
