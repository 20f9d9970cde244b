// Kinds of kernels, what each loader is given, and what is said of other files.

import { assertEquals, assertThrows } from "@std/assert";
import { REGISTER } from "../vmm/cpu/registers.ts";
import { ByteWriter } from "../vmm/firmware/bytes.ts";
import { lookUp, makeElf, TestMemory } from "../vmm/loader/_testing.ts";
import { LoaderError } from "../vmm/loader/mod.ts";
import { KERNEL, MODULE } from "./_testing.ts";
import { fileKind } from "./file_kind.ts";
import { type BootKind, kindName, kindOf, loadKernel } from "./kernel.ts";

const MIB = 2 ** 20;
const CODE = new Uint8Array(64).fill(0x90);

/** An ELF file for i386 whose first bytes are a boot header. */
function withHeader(header: Uint8Array): Uint8Array {
  const segment = { paddr: 0x10_0000n, bytes: header };
  return makeElf({ bits: 32, entry: 0x10_0000n, segments: [segment] });
}

const MULTIBOOT = withHeader(
  new ByteWriter().u32(0x1bad_b002).u32(0).u32(2 ** 32 - 0x1bad_b002).finish(),
);
const MULTIBOOT2 = withHeader(
  new ByteWriter().u32(0xe852_50d6).u32(0).u32(24)
    .u32(2 ** 32 - (0xe852_50d6 + 24)).u32(0).u32(8).finish(),
);
const NOTE = new ByteWriter().u32(4).u32(4).u32(18).text("Xen").u8(0)
  .u32(0x10_0010).finish();
const PVH = makeElf({
  segments: [
    { type: 4, paddr: 0n, bytes: NOTE },
    { paddr: 0x10_0000n, bytes: CODE },
  ],
});
const VMLINUX = makeElf({
  bits: 32,
  entry: 0x10_0000n,
  segments: [{ paddr: 0x10_0000n, vaddr: 0xc010_0000n, bytes: CODE }],
});

function bzImage(): Uint8Array {
  const bytes = new Uint8Array(4096);
  const view = new DataView(bytes.buffer);
  bytes[0x1f1] = 1;
  view.setUint32(0x1f4, 0xc0, true);
  view.setUint16(0x1fe, 0xaa55, true);
  bytes[0x201] = 0x6a;
  view.setUint32(0x202, 0x5372_6448, true);
  view.setUint16(0x206, 0x204, true);
  bytes[0x211] = 1;
  view.setUint32(0x214, 0x10_0000, true);
  view.setUint32(0x22c, 0x37ff_ffff, true);
  return bytes;
}

const KERNELS: readonly [BootKind, Uint8Array, string][] = [
  ["freebsd", KERNEL, "FreeBSD kernel"],
  ["multiboot", MULTIBOOT, "Multiboot kernel"],
  ["multiboot2", MULTIBOOT2, "Multiboot 2 kernel"],
  ["pvh", PVH, "PVH kernel"],
  ["elf", VMLINUX, "Linux vmlinux"],
  ["bzimage", bzImage(), "Linux bzImage"],
];

for (const [kind, bytes, name] of KERNELS) {
  Deno.test(`A ${name} is known, and loaded with disk and command line`, () => {
    const kernel = { name: "kernel", bytes };
    assertEquals(kindOf(kernel), kind);
    assertEquals(kindName(kind), name);
    const memory = new TestMemory(16 * MIB);
    const initrd = new TextEncoder().encode("the RAM disk's content");
    const state = loadKernel(memory, kind, {
      kernel,
      initrd: { name: "initrd", bytes: initrd },
      commandLine: "an=argument",
      environment: [],
    });
    assertEquals(typeof lookUp(state).register(REGISTER.RIP), "bigint");
    const text = new TextDecoder("latin1").decode(memory.bytes);
    assertEquals(text.includes("the RAM disk's content"), true);
    assertEquals(text.includes("an=argument\0"), true);
  });
}

Deno.test("FreeBSD kernels are known by interpreter, ABI and address", () => {
  const bytes = makeElf({
    segments: [
      { type: 4, paddr: 0n, bytes: NOTE },
      { type: 3, paddr: 0n, bytes: new TextEncoder().encode("/red/herring\0") },
      { paddr: 0x10_0000n, bytes: CODE },
    ],
  });
  assertEquals(kindOf({ name: "kernel", bytes }), "freebsd");
  const marked = makeElf({ segments: [{ paddr: 0x10_0000n, bytes: CODE }] });
  marked[7] = 9;
  assertEquals(kindOf({ name: "kernel", bytes: marked }), "freebsd");
  const linked = makeElf({
    segments: [{ paddr: 0xffff_ffff_8020_0000n, bytes: CODE }],
  });
  assertEquals(kindOf({ name: "kernel", bytes: linked }), "freebsd");
});

Deno.test("Files that are no kernels are refused for what they are", () => {
  const interpreter = {
    type: 3,
    paddr: 0n,
    bytes: new TextEncoder().encode("/lib/ld.so\0"),
  };
  const code = { paddr: 0x40_0000n, bytes: CODE };
  const freeBsdProgram = makeElf({ segments: [interpreter, code] });
  freeBsdProgram[7] = 9;
  const rows: [Uint8Array, string][] = [
    [makeElf({ segments: [interpreter, code] }), "a program that /lib/ld.so"],
    [freeBsdProgram, "a program that /lib/ld.so runs"],
    [makeElf({ segments: [code] }), "an ELF program"],
    [MODULE, "an ELF object file"],
    [makeElf({ type: 4, segments: [code] }), "an ELF file"],
    [makeElf({ machine: 183 }), "it is for machine 183"],
    [new Uint8Array(0), "an empty file"],
    [new Uint8Array(1000), "unknown data"],
    [Uint8Array.of(0x1f, 0x8b, 8), "a gzip file"],
  ];
  for (const [bytes, message] of rows) {
    assertThrows(() => kindOf({ name: "k", bytes }), LoaderError, message);
  }
});

Deno.test("fileKind() knows files by how they begin", () => {
  const text = (content: string) =>
    Uint8Array.from(content, (character) => character.charCodeAt(0));
  const padded = (at: number, content: string) => {
    const bytes = new Uint8Array(at + content.length);
    bytes.set(text(content), at);
    return bytes;
  };
  const rows: [Uint8Array, string][] = [
    [text("\xfd7zXZ\0"), "an xz file"],
    [text("070701"), "a cpio archive"],
    [text("MZ\x90"), "a program for Windows or EFI"],
    [text("Hello,\nworld\n"), "a text file"],
    [text("Hello\0"), "unknown data"],
    [padded(257, "ustar"), "a tar archive"],
    [padded(510, "\x55\xaa"), "a disk image or boot sector"],
    [padded(0x8001, "CD001"), "an ISO 9660 disk image"],
  ];
  for (const [bytes, kind] of rows) {
    assertEquals(fileKind({ name: "", bytes }), kind);
  }
});
