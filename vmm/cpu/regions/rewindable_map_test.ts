import { assertEquals } from "@std/assert";
import { RewindableMap } from "./rewindable_map.ts";

function contents(map: RewindableMap<string, number>): unknown {
  return ["a", "b", "c"].map((key) => map.get(key)).concat(map.size);
}

Deno.test("a map goes back to what it was at each mark", () => {
  const map = new RewindableMap<string, number>();
  map.set("a", 1);
  const first = map.mark();
  map.set("a", 2);
  map.set("b", 3);
  const second = map.mark();
  map.clear();
  map.set("c", 4);
  map.delete("c");
  map.delete("never");
  assertEquals(contents(map), [undefined, undefined, undefined, 0]);
  map.rewind(second);
  assertEquals(contents(map), [2, 3, undefined, 2]);
  map.set("b", 5);
  map.rewind(second);
  map.rewind(second);
  assertEquals(contents(map), [2, 3, undefined, 2]);
  map.rewind(first);
  assertEquals(contents(map), [1, undefined, undefined, 1]);
  assertEquals([...map.values()], [1]);
  map.rewind(0);
  assertEquals(map.size, 0);
});
