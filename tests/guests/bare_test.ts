// The kernels of our own are built, and are what loaders take them for.

import { assertEquals } from "@std/assert";
import { kernelKind } from "../../vmm/loader/mod.ts";
import { bareKernel } from "./bare.ts";

const KINDS = [
  ["multiboot", "multiboot"],
  ["multiboot2", "multiboot2"],
  ["freebsd", "elf"],
  ["module", undefined],
] as const;

for (const [name, kind] of KINDS) {
  Deno.test(`bareKernel() builds ${name}`, async () => {
    const path = await bareKernel(name);
    const bytes = await Deno.readFile(path);
    assertEquals(kernelKind({ name: path, bytes }), kind);
  });
}
