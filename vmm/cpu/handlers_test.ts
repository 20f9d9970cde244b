import { assertEquals } from "@std/assert";
import { COMMON_DEFINITIONS } from "./forms/mod.ts";
import {
  commonShapes,
  getRuntimeModule,
  handlerKey,
  handlersOf,
  runtimeBytes,
} from "./handlers.ts";

Deno.test("the runtime module tells what its handlers are", () => {
  const handlers = handlersOf(getRuntimeModule());
  const keys = COMMON_DEFINITIONS.flatMap((definition) =>
    commonShapes(definition).map((shape) => handlerKey(definition, shape))
  );
  assertEquals([...handlers.keys()], [...new Set(keys)]);
  assertEquals([...handlers.values()].at(-1), handlers.size - 1);
});

Deno.test("the runtime module is the same whenever it is built", () => {
  assertEquals(runtimeBytes(), runtimeBytes());
});
