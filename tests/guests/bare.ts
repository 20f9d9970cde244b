// Small kernels of our own, in `bare/`, for what no packaged guest shows: they tell on
// COM1 what they were given. Built by gcc and ld, which must be there.

import { cached, digest } from "./cache.ts";
import { run } from "./run.ts";

const SOURCES = new URL("bare/", import.meta.url).pathname;
const COMPILER = Deno.build.arch === "x86_64" ? "gcc" : "x86_64-linux-gnu-gcc";
const FREESTANDING = [
  ...["-O1", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-fno-pic"],
  ...["-fno-stack-protector", "-fno-asynchronous-unwind-tables"],
  ...["-fcf-protection=none", "-mgeneral-regs-only", "-mno-red-zone"],
];
const LINKED = [
  ...["-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none"],
  ...["-Wl,-z,max-page-size=4096", "-Wl,-z,noexecstack"],
];
const FLAT = [...LINKED, "-m32", "-Wl,-m,elf_i386", `-Wl,-T,${SOURCES}flat.ld`];
// Casts between pointers and numbers of 32 bits are what these kernels do.
const KERNEL_MODEL = ["-m64", "-mcmodel=kernel"];

/** The kernels by name, with what the compiler is told. */
const KERNELS = {
  multiboot: FLAT,
  multiboot2: FLAT,
  freebsd: [...LINKED, ...KERNEL_MODEL, `-Wl,-T,${SOURCES}freebsd.ld`],
  module: [...KERNEL_MODEL, "-c"],
} as const;

/** Names of kernels; `module` is one for `freebsd`. */
export type BareKernel = keyof typeof KERNELS;

async function sourcesDigest(): Promise<string> {
  const names = [...Deno.readDirSync(SOURCES)].map((e) => e.name).sort();
  const texts = names.map((name) => Deno.readTextFileSync(`${SOURCES}${name}`));
  return await digest(COMPILER, JSON.stringify(KERNELS), ...names, ...texts);
}

/**
 * The path of a kernel, built where it is not yet.
 *
 * @throws {GuestError} where the compiler is missing or fails
 */
export async function bareKernel(name: BareKernel): Promise<string> {
  const key = await sourcesDigest();
  return await cached(`${name}-${key}`, async (partial) => {
    const flags = [...FREESTANDING, ...KERNELS[name]];
    await run(COMPILER, [...flags, "-o", partial, `${SOURCES}${name}.c`]);
  });
}
