import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import { CompilerWorker, startAhead } from "./compiler_worker.ts";

Deno.test("the runtime is built ahead, once for all machines", async () => {
  startAhead();
  const first = CompilerWorker.take(true);
  const runtime = await first.runtime;
  assert(runtime instanceof WebAssembly.Module);
  const second = CompilerWorker.take(true);
  assert(second !== first);
  assertStrictEquals(await second.runtime, runtime);
  first.end();
  second.end();
});

for (
  const [what, name] of [
    ["the compiling thread, which waits for work", "_ended_compiler.ts"],
    ["sleeping vCPUs", "_terminated_machine.ts"],
  ] as const
) {
  Deno.test(`threads end with their machine: ${what}`, () => endsItself(name));
}

async function endsItself(name: string): Promise<void> {
  const program = new URL(name, import.meta.url).pathname;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", program],
    env: { BHYVE_JIT: "" },
  }).spawn();
  const limit = setTimeout(() => child.kill("SIGKILL"), 60_000);
  const { success } = await child.status;
  clearTimeout(limit);
  assertEquals(success, true);
}
