import { assertEquals } from "@std/assert";
import { BlockMap } from "./block_map.ts";

interface Item {
  readonly offset: number;
  readonly mode: number;
  next: Item | undefined;
}

function item(offset: number, mode: number): Item {
  return { offset, mode, next: undefined };
}

Deno.test("many blocks are found by offset and mode, until they are removed", () => {
  const map = new BlockMap<Item>();
  const items: Item[] = [];
  for (let n = 0; n < 100_000; n++) {
    items.push(item(n * 163_841, n % 5), item(n * 163_841, 5 + n % 7));
  }
  for (const each of items) map.add(each);
  for (const each of items) {
    assertEquals(map.get(each.offset, each.mode) === each, true);
  }
  items.forEach((each, n) => n % 3 === 0 && map.delete(each));
  items.forEach((each, n) => {
    const found = map.get(each.offset, each.mode);
    assertEquals(found === (n % 3 === 0 ? undefined : each), true);
  });
});

Deno.test("what is not there is not removed, nor what is like it", () => {
  const map = new BlockMap<Item>();
  const here = item(4096, 2);
  map.add(here);
  map.delete(item(4096, 2));
  assertEquals(map.get(4096, 2) === here, true);
  assertEquals(map.get(4096, 3), undefined);
});

Deno.test("an emptied map has nothing", () => {
  const map = new BlockMap<Item>();
  map.add(item(4096, 2));
  map.clear();
  assertEquals(map.get(4096, 2), undefined);
});
