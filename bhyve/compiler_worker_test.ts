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

Deno.test("a thread that waits for work ends with its machine", async () => {
  const program = new URL("_ended_compiler.ts", import.meta.url).pathname;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", program],
    env: { BHYVE_JIT: "" },
  }).spawn();
  const limit = setTimeout(() => child.kill("SIGKILL"), 60_000);
  const { success } = await child.status;
  clearTimeout(limit);
  assertEquals(success, true);
});
