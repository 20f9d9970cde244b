import { assert, assertStrictEquals } from "@std/assert";
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
