// The guest of the benchmark, from Debian packages: the packaged kernel, unchanged, and
// an initramfs with busybox, guestbench and the programs that it runs besides.

import { cached, digest } from "../../tests/guests/cache.ts";
import { cpioArchive, type CpioEntry, gzip } from "../../tests/guests/cpio.ts";
import {
  debianPackage,
  GuestError,
  type Progress,
} from "../../tests/guests/debian.ts";
import { directoriesOf } from "../../tests/guests/modules.ts";
import { run } from "../../tests/guests/run.ts";
import { librariesOf, type PackagedFile } from "./libraries.ts";

/** How wide a guest's registers are. */
export type Bits = 32 | 64;

interface Kind {
  readonly architecture: "amd64" | "i386";
  readonly kernel: string;
  /** the dynamic linker, which programs name by this path */
  readonly linker: string;
}

// Not the kernel with PAE, which v86 does not boot.
const KINDS: Readonly<Record<Bits, Kind>> = {
  64: {
    architecture: "amd64",
    kernel: "linux-image-cloud-amd64",
    linker: "lib64/ld-linux-x86-64.so.2",
  },
  32: {
    architecture: "i386",
    kernel: "linux-image-686",
    linker: "lib/ld-linux.so.2",
  },
};

/** Programs of the guest, by package. */
const PROGRAMS: readonly (readonly [name: string, path: string])[] = [
  ["lua5.4", "usr/bin/lua5.4"],
  ["xz-utils", "usr/bin/xz"],
  ["tcc", "usr/bin/tcc"],
];
/** Packages that have their libraries. */
const LIBRARIES = ["libc6", "libreadline8", "libtinfo6", "liblzma5"];
const SCRIPTS = ["work.lua", "text.lua", "source.lua"];
const DIRECTORIES = ["dev", "proc", "sys", "tmp", "root"];

function source(name: string): string {
  return Deno.readTextFileSync(new URL(`guest/${name}`, import.meta.url));
}

function file(path: string, data: Uint8Array | string): CpioEntry {
  const bytes = typeof data === "string"
    ? new TextEncoder().encode(data)
    : data;
  return { path, kind: "file", data: bytes };
}

// What a compiler of the host needs for 32-bit programs, where it has only its own.
async function flags32(progress: Progress): Promise<string[]> {
  const version = (await run("gcc", ["-dumpversion"])).trim().split(".")[0];
  const libc = await debianPackage("libc6-dev:i386", progress);
  const gcc = await debianPackage(`libgcc-${version}-dev:i386`, progress);
  const dirs = [
    `${libc}/usr/lib/i386-linux-gnu/`,
    `${gcc}/usr/lib/gcc/i686-linux-gnu/${version}/`,
  ];
  const headers = [libc, await debianPackage("linux-libc-dev:i386", progress)]
    .map((root) => `${root}/usr/include`)
    .flatMap((include) => [`${include}/i386-linux-gnu`, include]);
  return [
    "-m32",
    ...headers.flatMap((include) => ["-isystem", include]),
    ...dirs.flatMap((dir) => ["-B", dir, `-L${dir}`]),
  ];
}

async function guestbench(bits: Bits, progress: Progress) {
  progress(`compiling guestbench for ${bits} bits`);
  const dir = await Deno.makeTempDir({ prefix: "bhyve-bench-" });
  try {
    const output = `${dir}/guestbench`;
    const input = `${dir}/guestbench.c`;
    await Deno.writeTextFile(input, source("guestbench.c"));
    const flags = bits === 32 ? await flags32(progress) : ["-m64"];
    await run("gcc", ["-O2", ...flags, "-static", "-o", output, input]);
    return await Deno.readFile(output);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

async function programs(kind: Kind, progress: Progress): Promise<CpioEntry[]> {
  const { architecture, linker } = kind;
  const unpack = (name: string) =>
    debianPackage(`${name}:${architecture}`, progress);
  const roots: string[] = [];
  for (const name of LIBRARIES) roots.push(await unpack(name));
  const files: PackagedFile[] = [{
    from: `${roots[0]}/${linker}`,
    path: linker,
  }];
  for (const [name, path] of PROGRAMS) {
    const from = `${await unpack(name)}/${path}`;
    files.push({ from, path });
    files.push(...await librariesOf(from, roots, architecture));
  }
  const byPath = new Map(files.map(({ from, path }) => [path, from]));
  // The linker is a link to an absolute path, which is inside the package.
  return [...byPath].map(([path, from]) =>
    file(path, readInside(roots[0]!, from))
  );
}

function readInside(root: string, path: string): Uint8Array {
  const { isSymlink } = Deno.lstatSync(path);
  const to = isSymlink ? Deno.readLinkSync(path) : "";
  return Deno.readFileSync(to.startsWith("/") ? root + to : path);
}

async function initramfs(bits: Bits, progress: Progress): Promise<Uint8Array> {
  const kind = KINDS[bits];
  const name = `busybox-static:${kind.architecture}`;
  const busybox = `${await debianPackage(name, progress)}/bin/busybox`;
  const files = [
    file("init", source("init")),
    file("bin/busybox", await Deno.readFile(busybox)),
    file("bin/guestbench", await guestbench(bits, progress)),
    ...SCRIPTS.map((script) => file(script, source(script))),
    ...await programs(kind, progress),
  ];
  const paths = files.map(({ path }) => path);
  return await gzip(cpioArchive([
    ...DIRECTORIES.map((path): CpioEntry => ({ path, kind: "directory" })),
    ...directoriesOf(paths),
    { path: "sbin", kind: "link", to: "bin" },
    { path: "dev/console", kind: "device", major: 5, minor: 1 },
    ...files,
  ]));
}

async function kernelOf(kind: Kind, progress: Progress): Promise<string> {
  const root = await debianPackage(
    `${kind.kernel}:${kind.architecture}`,
    progress,
  );
  const image = [...Deno.readDirSync(`${root}/boot`)]
    .find(({ name }) => name.startsWith("vmlinuz-"));
  if (image === undefined) throw new GuestError(`No kernel in ${kind.kernel}`);
  return `${root}/boot/${image.name}`;
}

/**
 * The directory that holds the guest's `vmlinuz` and `initrd.img`.
 *
 * @throws {GuestError} where it cannot be built
 */
export async function benchGuestDir(
  bits: Bits,
  progress: Progress,
): Promise<string> {
  const kind = KINDS[bits];
  const kernel = await kernelOf(kind, progress);
  const sources = ["init", "guestbench.c", ...SCRIPTS].map(source);
  const key = await digest(kernel, ...sources, ...PROGRAMS.flat());
  return await cached(`bench-${kind.architecture}-${key}`, async (path) => {
    await Deno.mkdir(path);
    await Deno.copyFile(kernel, `${path}/vmlinuz`);
    await Deno.writeFile(`${path}/initrd.img`, await initramfs(bits, progress));
  });
}
