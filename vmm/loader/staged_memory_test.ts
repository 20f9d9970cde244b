// Staged memory: ranges keep what is written, and reach a machine all at once.

import { assertEquals, assertThrows } from "@std/assert";
import { TestMemory } from "./_testing.ts";
import { LoaderError } from "./file.ts";
import { GuestRam } from "./guest_ram.ts";
import { StagedMemory } from "./staged_memory.ts";

const GIB = 2 ** 30;

Deno.test("Ranges of a large machine take only their own space", () => {
  const staged = new StagedMemory({ lowmem: 3 * GIB, highmem: 61 * GIB });
  const ram = new GuestRam(staged);
  ram.put("low", 0x1000, Uint8Array.of(1, 2));
  ram.put("high", 3 * GIB - 2, Uint8Array.of(3, 4));
  assertEquals([...staged.view(0x1000, 2)!], [1, 2]);
  assertEquals([...staged.view(3 * GIB - 1, 1)!], [4]);
  assertEquals(staged.view(3 * GIB - 1, 2), undefined);
  assertEquals(staged.view(4 * GIB, 1), undefined);
  assertEquals(staged.size, 4);
  assertEquals(staged.view(-1, 1), undefined);
});

Deno.test("Everything reaches the machine, over what was there", () => {
  const staged = new StagedMemory({ lowmem: 0x10000, highmem: 0 });
  staged.view(0x2000, 4)!.set([1, 2, 0, 4]);
  staged.view(0x8000, 2)!.set([9, 9]);
  staged.view(0x2001, 1)!.set([7]);
  const memory = new TestMemory(0x10000);
  memory.bytes.fill(0xff);
  staged.applyTo(memory);
  assertEquals([...memory.bytes.slice(0x2000, 0x2005)], [1, 7, 0, 4, 0xff]);
  assertEquals(memory.bytes[0x8001], 9);
  assertThrows(
    () => staged.applyTo(new TestMemory(0x8001)),
    LoaderError,
    "the machine has no memory there",
  );
});

Deno.test("A range that crosses an earlier one is refused", () => {
  const staged = new StagedMemory({ lowmem: 0x10000, highmem: 0 });
  staged.view(0x2000, 0x100);
  for (const [gpa, length] of [[0x1fff, 2], [0x20ff, 2], [0x1000, 0x3000]]) {
    assertThrows(() => staged.view(gpa!, length!), LoaderError, "is at 0x2000");
  }
});
