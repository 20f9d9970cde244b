// Linux kernels: what bzImage and vmlinux files put where, by made-up kernels.

import { assertEquals, assertThrows } from "@std/assert";
import { REGISTER } from "../cpu/registers.ts";
import { ByteWriter } from "../firmware/bytes.ts";
import { LoaderError } from "./file.ts";
import { type LinuxBoot, loadLinux } from "./linux.ts";
import { kernelKind } from "./mod.ts";
import { damaged, lookUp, makeElf, TestMemory } from "./_testing.ts";

const MIB = 2 ** 20;
const ZERO_PAGE = 0x2000;

interface Setup {
  readonly version?: number;
  readonly loadFlags?: number;
  readonly extended?: number;
  readonly preferred?: number;
  readonly initSize?: number;
  readonly units?: number;
}

function bzImage(setup: Setup = {}): Uint8Array {
  const payload = new Uint8Array(0x400).fill(0x90);
  const file = new ByteWriter().zeros(0x1f1).u8(1).u16(0)
    .u32(setup.units ?? payload.length / 16).u16(0).u16(0).u16(0).u16(0xaa55)
    .u16(0x66eb).text("HdrS").u16(setup.version ?? 0x20f).zeros(8)
    .u8(0).u8(setup.loadFlags ?? 1).u16(0).u32(0x10_0000).zeros(8)
    .zeros(8).u32(0).u32(0x7fff_ffff).u32(0x20_0000).u8(1).u8(21)
    .u16(setup.extended ?? 1).u32(2047).zeros(0x258 - 0x23c)
    .u64(setup.preferred ?? 0x100_0000).u32(setup.initSize ?? 0x10_0000);
  return file.zeros(0x400 - file.length).bytes(payload).finish();
}

function load(bytes: Uint8Array, rest: Partial<LinuxBoot> = {}, mib = 64) {
  const memory = new TestMemory(mib * MIB);
  const kernel = { name: "vmlinuz", bytes };
  const state = loadLinux(memory, { kernel, ...rest });
  return { memory, ...lookUp(state) };
}

Deno.test("A 64-bit bzImage starts at its 64-bit entry with a zero page", () => {
  const initrd = { name: "initrd", bytes: new Uint8Array(5000).fill(7) };
  const boot = { initrd, commandLine: "console=ttyS0" };
  const { memory, register, descriptor } = load(bzImage(), boot);
  assertEquals(register(REGISTER.RIP), 0x100_0200n);
  assertEquals(register(REGISTER.RSI), BigInt(ZERO_PAGE));
  assertEquals(register(REGISTER.CR0), 0x8000_0031n);
  assertEquals(register(REGISTER.EFER), 0x500n);
  assertEquals(descriptor(REGISTER.CS)!.access, 0xa09b);
  assertEquals(memory.bytes[0x100_0000], 0x90);
  assertEquals(memory.text(memory.u32(ZERO_PAGE + 0x228)), "console=ttyS0");
  const at = memory.u32(ZERO_PAGE + 0x218);
  assertEquals([at, memory.u32(ZERO_PAGE + 0x21c)], [64 * MIB - 8192, 5000]);
  assertEquals(memory.bytes[at + 4999], 7);
  assertEquals(memory.u64(ZERO_PAGE + 0x70), 0xf2400);
  assertEquals(memory.bytes[ZERO_PAGE + 0x210], 0xff);
  assertEquals(memory.bytes[ZERO_PAGE + 0x1e8], 2);
  assertEquals(
    [0, 8, 20, 28].map((n) => memory.u64(ZERO_PAGE + 0x2d0 + n)),
    [0, 0xa_0000, MIB, 63 * MIB],
  );
  // the GDT's descriptors and the identity map
  assertEquals(memory.u64(0x1010), 0x00af_9b00_0000_ffff);
  assertEquals(memory.u64(0x3000), 0x4003);
  assertEquals(memory.u64(0x4018), 0x8003);
  assertEquals(memory.u64(0x5008), 0x20_0083);
});

Deno.test("A bzImage without a 64-bit entry starts in protected mode", () => {
  for (const setup of [{ extended: 0 }, { version: 0x20a }]) {
    const { register, descriptor } = load(bzImage(setup));
    assertEquals(register(REGISTER.RIP), 0x100_0000n);
    assertEquals(register(REGISTER.CR0), 0x31n);
    assertEquals(descriptor(REGISTER.CS)!.access, 0xc09b);
    assertEquals(descriptor(REGISTER.DS)!.limit, 0xffff_ffff);
  }
});

Deno.test("A relocatable kernel goes low where its address does not fit", () => {
  const { register } = load(bzImage({ preferred: 0x800_0000 }));
  assertEquals(register(REGISTER.RIP), 0x20_0200n);
});

Deno.test("A vmlinux starts at its entry point", () => {
  const segments = [{
    paddr: 0x100_0000n,
    vaddr: 0xffff_ffff_8100_0000n,
    bytes: Uint8Array.of(1, 2, 3),
  }];
  const elf = makeElf({ entry: 0x100_0000n, segments });
  const { memory, register } = load(elf, { commandLine: "x" });
  assertEquals(register(REGISTER.RIP), 0x100_0000n);
  assertEquals(register(REGISTER.CR0), 0x8000_0031n);
  assertEquals(memory.u32(ZERO_PAGE + 0x202), 0x5372_6448);
  const small = makeElf({
    bits: 32,
    entry: 0x100_0000n,
    segments: [{ ...segments[0]!, vaddr: 0xc100_0000n }],
  });
  assertEquals(load(small).register(REGISTER.CR0), 0x31n);
});

Deno.test("kernelKind() knows both", () => {
  const kind = (bytes: Uint8Array) => kernelKind({ name: "k", bytes });
  assertEquals(kind(bzImage()), "bzimage");
  assertEquals(kind(makeElf({})), "elf");
  assertEquals(kind(new Uint8Array(600)), undefined);
  assertEquals(kind(new Uint8Array(0)), undefined);
});

Deno.test("Kernels that cannot be loaded are refused with the reason", () => {
  const bad: [Uint8Array, string][] = [
    [new Uint8Array(0), "the boot sector is truncated"],
    [new Uint8Array(1024), "expected 0xaa55"],
    [bzImage({ version: 0x202 }), "its boot protocol is 2.2"],
    [bzImage({ loadFlags: 0 }), "it is a zImage"],
    [bzImage({ units: 0x1000 }), "protected-mode kernel is truncated"],
    [bzImage({ units: 0 }), "protected-mode kernel is truncated"],
    [bzImage({ initSize: 0x7fff_ffff }), "Cannot place vmlinuz"],
    [bzImage().slice(0, 0x300), "truncated"],
  ];
  for (const [bytes, message] of bad) {
    assertThrows(() => load(bytes), LoaderError, message);
  }
  const long = { commandLine: "x".repeat(2048) };
  assertThrows(() => load(bzImage(), long), LoaderError, "command line");
  const initrd = { name: "initrd", bytes: new Uint8Array(64 * MIB) };
  assertThrows(() => load(bzImage(), { initrd }), LoaderError, "initrd");
});

Deno.test("Damaged kernels are refused or loaded, nothing else", () => {
  const memory = new TestMemory(32 * MIB);
  for (const bytes of damaged(bzImage())) {
    try {
      loadLinux(memory, { kernel: { name: "k", bytes } });
    } catch (error) {
      if (!(error instanceof LoaderError)) throw error;
    }
  }
});
