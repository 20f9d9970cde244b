// Which instructions share a handler, and what the runtime module tells of it.

import { assert, assertEquals } from "@std/assert";
import {
  getRuntimeTable,
  handlerKey,
  LateHandlers,
  runtimeBytes,
} from "./handlers.ts";
import type { Definition } from "./form.ts";
import { FORMS } from "./forms/by_code.ts";
import { IMPORT_MODULE, RAM_MAX_PAGES } from "./cpu_module.ts";
import { HANDLER_TYPE } from "./record.ts";
import { PLAIN, type Shape } from "./shape.ts";
import { createStateMemory } from "./state.ts";
import * as steps from "./steps.ts";
import { createMemory64, createTag, FunctionTable } from "./wasm/mod.ts";

const { handlers } = getRuntimeTable();

// The names of what has the handler of a definition.
function sharing(definition: Definition, shape: Partial<Shape> = {}): string[] {
  const index = handlers.get(handlerKey(definition, { ...PLAIN, ...shape }));
  assert(index !== undefined, `${definition.name} is common`);
  return [...handlers].filter(([, other]) => other === index)
    .map(([key]) => key.replace(/\|.*/, "")).sort();
}

function named(name: string): Definition {
  return FORMS.values().find((form) => form.name === name)!;
}

Deno.test("what does the same by its record has one handler", () => {
  assertEquals(sharing(named("Je_rel8_64")), ["Je_rel32_64", "Je_rel8_64"]);
  assertEquals(
    sharing(named("Add_rm64_r64")),
    ["Add_r64_rm64", "Add_rm64_r64"],
  );
  assertEquals(
    sharing(named("Add_rm64_r64"), { memory: "base" }),
    ["Add_rm64_r64"],
  );
});

Deno.test("what is told by its definition has a handler of its own", () => {
  const told = [
    ...[steps.STALE, steps.LINK, steps.LOOKUP, steps.PROFILE, steps.EA_FLAT],
    ...[steps.EA_BASED, steps.EA_BASED_CHECKED, steps.EA_CHECKED],
    ...[named("Call_rel32_64"), named("Retnq")],
  ];
  for (const one of told) assertEquals(sharing(one), [one.name]);
});

Deno.test("what ends a block shares no handler with what does not", () => {
  const ends = new Map<number, boolean>();
  for (const definition of [...FORMS.values(), steps.FALL, steps.NOTHING]) {
    const index = handlers.get(handlerKey(definition, PLAIN));
    if (index === undefined) continue;
    assertEquals(ends.get(index) ?? definition.ends, definition.ends);
    ends.set(index, definition.ends);
  }
  assert(ends.size > 500);
});

Deno.test("the runtime module is the same whenever it is built", () => {
  assertEquals(runtimeBytes(), runtimeBytes());
});

// Puts a module's handlers into a table; nothing of it is called.
function install(module: WebAssembly.Module, { table }: FunctionTable): void {
  const imports: WebAssembly.ModuleImports = {
    state: createStateMemory(),
    ram: createMemory64(1, RAM_MAX_PAGES),
    table,
    trap: createTag(["i32"]) as unknown as WebAssembly.ImportValue,
  };
  for (const { kind, name } of WebAssembly.Module.imports(module)) {
    if (kind === "function") imports[name] = () => {};
  }
  new WebAssembly.Instance(module, { [IMPORT_MODULE]: imports });
}

Deno.test("handlers that come one by one are built again together", () => {
  const late = new LateHandlers();
  const table = new FunctionTable(HANDLER_TYPE, 64);
  assertEquals(late.build(), undefined);
  const firsts = new Set<unknown>();
  const replaced: number[] = [];
  for (let n = 0; n < 64; n++) {
    late.add(n, { definition: steps.NOTHING, shape: PLAIN });
    install(late.build()!, table);
    const first = table.table.get(0);
    if (!firsts.has(first)) replaced.push(n + 1);
    firsts.add(first);
    assertEquals(late.build(), undefined);
  }
  assertEquals(replaced, [1, 32, 64]);
});
