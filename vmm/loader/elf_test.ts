// ELF files: segments in memory, entry points, notes, and what is refused.

import { assertEquals, assertThrows } from "@std/assert";
import { findNote, loadSegments, parseElf, physicalEntry } from "./elf.ts";
import { LoaderError } from "./file.ts";
import { GuestRam } from "./guest_ram.ts";
import { damaged, makeElf, TestMemory } from "./_testing.ts";

const MIB = 2 ** 20;
const CODE = Uint8Array.of(1, 2, 3, 4);

function file(bytes: Uint8Array) {
  return { name: "kernel", bytes };
}

for (const bits of [32, 64] as const) {
  Deno.test(`loadSegments() places the segments of ELF${bits} files`, () => {
    const segment = { paddr: 0x20_0000n, bytes: CODE, memorySize: 16 };
    const other = { paddr: 0x30_0000n, bytes: CODE, vaddr: 0xc030_0000n };
    const elf = parseElf(file(makeElf({
      bits,
      entry: 0xc030_0002n,
      segments: [segment, other],
    })));
    const memory = new TestMemory(4 * MIB);
    memory.bytes.fill(0xff);
    assertEquals(loadSegments(new GuestRam(memory), elf), {
      start: 0x20_0000,
      end: 0x30_0004,
    });
    assertEquals([...memory.bytes.subarray(0x20_0000, 0x20_0011)], [
      ...CODE,
      ...Array.from({ length: 12 }, () => 0),
      0xff,
    ]);
    assertEquals(physicalEntry(elf), 0x30_0002);
  });
}

Deno.test("physicalEntry() keeps a physical one and refuses one in no segment", () => {
  const segments = [{ paddr: 0x20_0000n, vaddr: 0x1000n, bytes: CODE }];
  const at = (entry: bigint) =>
    physicalEntry(parseElf(file(makeElf({ segments, entry }))));
  assertEquals(at(0x20_0001n), 0x20_0001);
  assertEquals(at(0x1001n), 0x20_0001);
  assertThrows(() => at(0x9999n), LoaderError, "no segment has the entry");
});

Deno.test("findNote() finds a note by owner and type", () => {
  const note = Uint8Array.of(
    ...[4, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 0x47, 0x4e, 0x55, 0, 9, 9, 0, 0],
    ...[4, 0, 0, 0, 4, 0, 0, 0, 18, 0, 0, 0, 0x58, 0x65, 0x6e, 0, 1, 2, 3, 4],
  );
  const segments = [{ type: 4, paddr: 0n, bytes: note }];
  const elf = parseElf(file(makeElf({ segments })));
  assertEquals([...findNote(elf, "Xen", 18)!], [1, 2, 3, 4]);
  assertEquals([...findNote(elf, "GNU", 5)!], [9, 9]);
  assertEquals(findNote(elf, "Xen", 17), undefined);
});

Deno.test("Files that are no ELF for x86 are refused by name", () => {
  const rows: [Uint8Array, string][] = [
    [
      new Uint8Array(0),
      "Cannot load kernel as ELF: the ELF header is truncated",
    ],
    [new Uint8Array(100), "expected it to begin with 0x7f, ELF"],
    [makeElf({ machine: 183 }), "it is for machine 183, expected x86-64"],
    [makeElf({}).with(5, 2), "expected a little-endian file"],
    [
      makeElf({ segments: [{ paddr: 0n, bytes: CODE, memorySize: 2 }] }),
      "4 bytes in the file and 2 in memory",
    ],
    [
      makeElf({ segments: [{ paddr: 0n, bytes: CODE }] }).with(54, 9),
      "have 9 bytes each",
    ],
  ];
  for (const [bytes, message] of rows) {
    assertThrows(() => parseElf(file(bytes)), LoaderError, message);
  }
});

Deno.test("Segments outside memory, over each other or over tables are refused", () => {
  const load = (...places: [bigint, number][]) => {
    const segments = places.map(([paddr, memorySize]) => ({
      paddr,
      bytes: CODE,
      memorySize,
    }));
    const elf = parseElf(file(makeElf({ segments })));
    loadSegments(new GuestRam(new TestMemory(4 * MIB)), elf);
  };
  assertThrows(() => load(), LoaderError, "no loadable segment");
  assertThrows(() => load([0x40_0000n, 8]), LoaderError, "low memory ends");
  assertThrows(() => load([0n, 2 ** 50]), LoaderError, "low memory ends");
  assertThrows(() => load([2n ** 64n - 1n, 8]), LoaderError, "low memory ends");
  assertThrows(() => load([0xf_0000n, 8]), LoaderError, "firmware's area");
  assertThrows(
    () => load([0x20_0000n, 8], [0x20_0004n, 8]),
    LoaderError,
    "a segment of kernel is at 0x200000-0x200008",
  );
});

Deno.test("Damaged files are refused or loaded, nothing else", () => {
  const bytes = makeElf({
    entry: 0x20_0000n,
    segments: [
      { paddr: 0x20_0000n, bytes: CODE },
      { type: 4, paddr: 0n, bytes: new Uint8Array(40) },
    ],
    sections: [{ type: 0 }, { type: 3, bytes: CODE }],
  });
  let refused = 0;
  for (const copy of damaged(bytes)) {
    try {
      const elf = parseElf(file(copy));
      findNote(elf, "Xen", 18);
      loadSegments(new GuestRam(new TestMemory(4 * MIB)), elf);
    } catch (error) {
      if (!(error instanceof LoaderError)) throw error;
      refused++;
    }
  }
  assertEquals(refused > 100, true);
});

Deno.test("putHigh() goes below what is in the way", () => {
  const ram = new GuestRam(new TestMemory(4 * MIB));
  assertEquals(ram.putHigh("a", new Uint8Array(5000)), 4 * MIB - 8192);
  assertEquals(ram.putHigh("b", CODE), 4 * MIB - 12288);
  assertEquals(ram.putHigh("c", CODE, { limit: 0x20_0000 }), 0x1f_f000);
  assertThrows(
    () => ram.putHigh("d", new Uint8Array(4 * MIB)),
    LoaderError,
    "not enough free memory",
  );
});
