// Declared state: initial values, copies, refusal of hostile snapshots.

import { assertEquals, assertNotStrictEquals, assertThrows } from "@std/assert";
import {
  flag,
  oneOf,
  queue,
  record,
  StateError,
  StateSchema,
  table,
  u16,
  u8,
} from "./state.ts";

const schema = new StateSchema("thing", 2, {
  level: flag(true),
  mode: oneOf(["idle", "busy"], "idle"),
  fifo: queue(u8(), 2),
  vectors: table(record({ address: u16(7) }), 2),
});

Deno.test("StateSchema gives fresh initial values", () => {
  const state = schema.initial();
  assertEquals(state, {
    level: true,
    mode: "idle",
    fifo: [],
    vectors: [{ address: 7 }, { address: 7 }],
  });
  assertNotStrictEquals(schema.initial().fifo, state.fifo);
});

Deno.test("StateSchema saves copies that restore", () => {
  const state = schema.initial();
  state.fifo.push(3);
  const saved = schema.save(state);
  state.fifo.push(4);
  assertEquals(schema.restore(saved).fifo, [3]);
  assertEquals(
    schema.restore(JSON.parse(JSON.stringify(saved))),
    schema.restore(saved),
  );
});

Deno.test("StateSchema refuses what does not fit", () => {
  const saved = schema.save(schema.initial());
  const bad = [
    { ...saved, kind: "other" },
    { ...saved, version: 1 },
    { ...saved, level: 1 },
    { ...saved, mode: "gone" },
    { ...saved, fifo: [1, 2, 3] },
    { ...saved, fifo: [256] },
    { ...saved, fifo: [0.5] },
    { ...saved, vectors: [{ address: 7 }] },
    { ...saved, vectors: [{ address: 7 }, null] },
    { ...saved, vectors: [{ address: 7 }, { address: 7, more: 1 }] },
    { ...saved, extra: 1 },
    { kind: "thing", version: 2 },
  ];
  for (const state of bad) {
    assertThrows(() => schema.restore(state), StateError);
  }
});
