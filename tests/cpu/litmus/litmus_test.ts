// The memory order between vCPUs, in each tier: see `main.ts`, which runs in a process of
// its own, since the environment chooses the tier. LITMUS_ROUNDS=1000000 runs longer
// than the default.

import { assertEquals } from "@std/assert";
import { LITMUS } from "./tests.ts";

const ROUNDS = Deno.env.get("LITMUS_ROUNDS") ?? "1000";
const MAIN = new URL("main.ts", import.meta.url).pathname;

for (const tier of ["off", "", "always"]) {
  Deno.test(`no outcome is forbidden with BHYVE_JIT=${tier}`, async () => {
    const { code, stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", MAIN, ROUNDS],
      env: { BHYVE_JIT: tier },
      stdin: "null",
      stderr: "inherit",
    }).output();
    const text = new TextDecoder().decode(stdout);
    const good = text.trimEnd().split("\n").map((line) => {
      const [name, verdict] = line.split(": ");
      return verdict?.startsWith("ok ") ? name : line;
    });
    assertEquals(good, LITMUS.map(({ name }) => name), text);
    assertEquals(code, 0);
    if (Number(ROUNDS) > 10_000) console.log(text);
  });
}
