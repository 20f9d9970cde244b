// Multiboot 1, Multiboot 2 and PVH: headers, information, refusals.

import { assertEquals, assertThrows } from "@std/assert";
import { REGISTER } from "../cpu/registers.ts";
import { ByteWriter } from "../firmware/bytes.ts";
import { LoaderError } from "./file.ts";
import { kernelKind } from "./mod.ts";
import { loadMultiboot } from "./multiboot.ts";
import { loadMultiboot2 } from "./multiboot2.ts";
import { loadPvh } from "./pvh.ts";
import { damaged, lookUp, makeElf, TestMemory } from "./_testing.ts";

const MIB = 2 ** 20;
const INFO = 0x2_0000;

function header1(flags: number, ...more: number[]): Uint8Array {
  const magic = 0x1bad_b002;
  const writer = new ByteWriter().u32(magic).u32(flags)
    .u32(-(magic + flags) >>> 0);
  for (const value of more) writer.u32(value);
  return writer.zeros(16).finish();
}

function header2(tags: Uint8Array): Uint8Array {
  const magic = 0xe852_50d6;
  const length = 16 + tags.length;
  return new ByteWriter().u32(magic).u32(0).u32(length)
    .u32(-(magic + length) >>> 0).bytes(tags).zeros(16).finish();
}

const END_TAG = new ByteWriter().u32(0).u32(8).finish();

function elf(bytes: Uint8Array): Uint8Array {
  const segments = [{ paddr: 0x10_0000n, bytes }];
  return makeElf({ bits: 32, entry: 0x10_0004n, segments });
}

const MODULES = [
  { file: { name: "one", bytes: Uint8Array.of(1, 2) } },
  { file: { name: "two", bytes: Uint8Array.of(3) }, text: "two args" },
];

type Loader = typeof loadMultiboot;

function load(loader: Loader, bytes: Uint8Array) {
  const memory = new TestMemory(8 * MIB);
  const kernel = { name: "kernel", bytes };
  const boot = { kernel, modules: MODULES, commandLine: "a b" };
  return { memory, ...lookUp(loader(memory, boot)) };
}

Deno.test("loadMultiboot() loads an ELF file and tells it of modules", () => {
  const { memory, register, descriptor } = load(loadMultiboot, elf(header1(3)));
  assertEquals(register(REGISTER.RIP), 0x10_0004n);
  assertEquals(register(REGISTER.RAX), 0x2bad_b002n);
  assertEquals(register(REGISTER.RBX), BigInt(INFO));
  assertEquals(register(REGISTER.CR0), 0x31n);
  assertEquals(descriptor(REGISTER.CS)!.access, 0xc09b);
  assertEquals(memory.u32(INFO), 0b10_0100_1101);
  assertEquals([memory.u32(INFO + 4), memory.u32(INFO + 8)], [640, 7168]);
  assertEquals(memory.text(memory.u32(INFO + 16)), "a b");
  const list = memory.u32(INFO + 24);
  assertEquals(memory.u32(INFO + 20), 2);
  const start = memory.u32(list + 16);
  assertEquals(memory.u32(list + 20), start + 1);
  assertEquals(memory.bytes[start], 3);
  assertEquals(memory.text(memory.u32(list + 8)), "one");
  assertEquals(memory.text(memory.u32(list + 24)), "two args");
  assertEquals(memory.u32(INFO + 44), 48);
  const map = memory.u32(INFO + 48);
  assertEquals([memory.u32(map), memory.u64(map + 12)], [20, 0xa_0000]);
  assertEquals(memory.text(memory.u32(INFO + 64)), "bhyve");
});

Deno.test("loadMultiboot() takes the addresses of a header", () => {
  const bytes = new ByteWriter().zeros(8)
    .bytes(header1(0x1_0000, 0x20_0008, 0x20_0004, 0, 0x20_1000, 0x20_0010))
    .u8(0x55).finish();
  const { memory, register } = load(loadMultiboot, bytes);
  assertEquals(register(REGISTER.RIP), 0x20_0010n);
  assertEquals(memory.u32(0x20_0008), 0x1bad_b002);
  assertEquals(memory.bytes[0x20_0000 + bytes.length - 1], 0x55);
});

Deno.test("loadMultiboot2() loads an ELF file and gives tags", () => {
  const { memory, register } = load(loadMultiboot2, elf(header2(END_TAG)));
  assertEquals(register(REGISTER.RIP), 0x10_0004n);
  assertEquals(register(REGISTER.RAX), 0x36d7_6289n);
  const end = INFO + memory.u32(INFO);
  const tags = new Map<number, number>();
  for (let at = INFO + 8; at < end;) {
    tags.set(memory.u32(at), at);
    at += Math.ceil(memory.u32(at + 4) / 8) * 8;
  }
  assertEquals([...tags.keys()], [1, 2, 3, 4, 6, 0]);
  assertEquals(memory.text(tags.get(1)! + 8), "a b");
  assertEquals(memory.text(tags.get(3)! + 16), "two args");
  assertEquals(memory.u32(tags.get(6)! + 8), 24);
  assertEquals(memory.u64(tags.get(6)! + 16 + 8), 0xa_0000);
});

Deno.test("loadMultiboot2() takes addresses and the entry tag", () => {
  const tags = new ByteWriter().u32(2).u32(24).u32(0x20_0000).u32(0x20_0000)
    .u32(0).u32(0x20_2000).u32(3).u32(12).u32(0x20_0040).u32(0)
    .bytes(END_TAG).finish();
  const { memory, register } = load(loadMultiboot2, header2(tags));
  assertEquals(register(REGISTER.RIP), 0x20_0040n);
  assertEquals(memory.u32(0x20_0000), 0xe852_50d6);
});

function pvhElf(note: Uint8Array): Uint8Array {
  const segments = [
    { paddr: 0x20_0000n, bytes: Uint8Array.of(0xf4) },
    { type: 4, paddr: 0n, bytes: note },
  ];
  return makeElf({ segments });
}

const NOTE = new ByteWriter().u32(4).u32(4).u32(18).text("Xen\0".slice(0, 3))
  .u8(0).u32(0x20_0000).finish();

Deno.test("loadPvh() starts at the note's entry point", () => {
  const memory = new TestMemory(8 * MIB);
  const state = loadPvh(memory, {
    kernel: { name: "kernel", bytes: pvhElf(NOTE) },
    modules: [{ name: "initrd", bytes: Uint8Array.of(9) }],
    commandLine: "x=y",
  });
  const { register } = lookUp(state);
  assertEquals(register(REGISTER.RIP), 0x20_0000n);
  assertEquals(register(REGISTER.RBX), BigInt(INFO));
  assertEquals(memory.u32(INFO), 0x336e_c578);
  assertEquals(memory.u32(INFO + 12), 1);
  assertEquals(memory.bytes[memory.u64(memory.u64(INFO + 16))], 9);
  assertEquals(memory.text(memory.u64(INFO + 24)), "x=y");
  assertEquals(memory.u64(INFO + 32), 0xf2400);
  const map = memory.u64(INFO + 40);
  assertEquals([memory.u32(INFO + 48), memory.u64(map + 8)], [2, 0xa_0000]);
});

Deno.test("kernelKind() tells them apart", () => {
  const kind = (bytes: Uint8Array) => kernelKind({ name: "k", bytes });
  assertEquals(kind(elf(header1(0))), "multiboot");
  assertEquals(kind(elf(header2(END_TAG))), "multiboot2");
  assertEquals(kind(pvhElf(NOTE)), "pvh");
});

Deno.test("What a kernel requires and is not there is refused", () => {
  const request = new ByteWriter().u16(1).u16(0).u32(12).u32(8).u32(0);
  const odd = new ByteWriter().u16(99).u16(0).u32(8);
  const short = new ByteWriter().u32(4).u32(4);
  const rows: [Loader, Uint8Array, string][] = [
    [loadMultiboot, new Uint8Array(64), "expected a header with 0x1badb002"],
    [loadMultiboot, elf(header1(8)), "requires features 0x8"],
    [loadMultiboot, header1(0), "expected it to begin with 0x7f, ELF"],
    [
      loadMultiboot,
      header1(0x1_0000, 0x20_0000, 0x20_0000, 0x10_0000, 0, 0),
      "the kernel is truncated",
    ],
    [loadMultiboot2, new Uint8Array(64), "expected a header with 0xe85250d6"],
    [loadMultiboot2, elf(header2(request.finish())), "information of type 8"],
    [loadMultiboot2, elf(header2(odd.finish())), "tag 99"],
    [loadMultiboot2, elf(header2(short.finish())), "a size of 4"],
    [(m, b) => loadPvh(m, { kernel: b.kernel }), elf(END_TAG), "a Xen note"],
  ];
  for (const [loader, bytes, message] of rows) {
    assertThrows(() => load(loader, bytes), LoaderError, message);
  }
  const optional = new ByteWriter().u16(99).u16(1).u32(8).bytes(END_TAG);
  load(loadMultiboot2, elf(header2(optional.finish())));
});

Deno.test("Damaged kernels are refused or loaded, nothing else", () => {
  const files: [Loader, Uint8Array][] = [
    [loadMultiboot, elf(header1(3))],
    [loadMultiboot, header1(0x1_0000, 0x20_0000, 0x20_0000, 0, 0, 0x20_0000)],
    [loadMultiboot2, elf(header2(END_TAG))],
    [(m, { kernel }) => loadPvh(m, { kernel }), pvhElf(NOTE)],
  ];
  const memory = new TestMemory(4 * MIB);
  for (const [loader, file] of files) {
    for (const bytes of damaged(file)) {
      try {
        loader(memory, { kernel: { name: "k", bytes } });
      } catch (error) {
        if (!(error instanceof LoaderError)) throw error;
      }
    }
  }
});
