// The shared libraries that programs of Debian packages need: in a guest those of the
// packages that are named, on the host those of packages that nobody installed.

import { debianPackage, GuestError } from "../../tests/guests/debian.ts";
import { run } from "../../tests/guests/run.ts";

/** Debian's architectures and what their libraries' directories are called. */
const TRIPLETS: Readonly<Record<string, string>> = {
  amd64: "x86_64-linux-gnu",
  i386: "i386-linux-gnu",
};

/** A file of a package, and where it belongs. */
export interface PackagedFile {
  /** where it is now */
  readonly from: string;
  /** where it belongs, without a slash before it */
  readonly path: string;
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

/** Names of the libraries that a program or library asks for. */
async function needs(path: string): Promise<string[]> {
  const text = await run("objdump", ["-p", path]);
  return [...text.matchAll(/^ +NEEDED +(\S+)$/gm)].map((match) => match[1]!);
}

/** The directories of an unpacked package that hold libraries. */
function libraryDirs(root: string, architecture: string): string[] {
  const triplet = TRIPLETS[architecture];
  return [`${root}/lib/${triplet}`, `${root}/usr/lib/${triplet}`];
}

/**
 * The libraries of a program, those of libraries as well.
 *
 * @param program its path
 * @param roots packages, unpacked, that hold them all
 * @throws {GuestError} where one does not
 */
export async function librariesOf(
  program: string,
  roots: readonly string[],
  architecture: string,
): Promise<PackagedFile[]> {
  const found = new Map<string, PackagedFile>();
  const dirs = roots.flatMap((root) => libraryDirs(root, architecture));
  const programs = [program];
  for (const one of programs) {
    for (const name of await needs(one)) {
      if (found.has(name)) continue;
      const from = dirs.map((dir) => `${dir}/${name}`).find(isFile);
      if (from === undefined) throw new GuestError(`No package holds ${name}`);
      found.set(name, { from, path: `lib/${TRIPLETS[architecture]}/${name}` });
      programs.push(from);
    }
  }
  return [...found.values()];
}

// --- On the host -------------------------------------------------------------

async function missing(path: string, dirs: readonly string[]) {
  const { stdout } = await new Deno.Command("ldd", {
    args: [path],
    env: { LC_ALL: "C", LD_LIBRARY_PATH: dirs.join(":") },
    stderr: "null",
  }).output();
  const text = new TextDecoder().decode(stdout);
  return [...text.matchAll(/^\s*(\S+) => not found$/gm)].map((m) => m[1]!);
}

async function dependencies(name: string): Promise<string[]> {
  const kinds = ["recommends", "suggests", "conflicts", "breaks", "replaces"];
  const text = await run("apt-cache", [
    ...["depends", "--recurse", "--no-enhances"],
    ...kinds.map((kind) => `--no-${kind}`),
    name,
  ]);
  return [...new Set(text.match(/^lib[^\s:]+$/gm) ?? [])];
}

function letters(text: string): string {
  return text.toLowerCase().replace(/[^a-z0-9]/g, "");
}

// Debian names a library's package after it: libgtk-3.so.0 is in libgtk-3-0.
function packageOf(library: string, packages: readonly string[]) {
  const [stem = "", version = ""] = library.split(".so");
  const whole = letters(stem + version);
  return packages.find((name) => letters(name.replace(/t64$/, "")) === whole) ??
    packages.toSorted((a, b) => a.length - b.length)
      .find((name) => letters(name).startsWith(letters(stem)));
}

/**
 * Directories of libraries that this host lacks for a program, from packages that its
 * own depends on; empty where it has them all.
 *
 * @param path the program
 * @param name its package
 * @throws {GuestError} where packages do not have them
 */
export async function hostLibraries(
  path: string,
  name: string,
  progress: (message: string) => void,
): Promise<string[]> {
  const dirs: string[] = [];
  const taken = new Set<string>();
  let packages: string[] | undefined;
  for (;;) {
    const lacks = await missing(path, dirs);
    if (lacks.length === 0) return dirs;
    packages ??= await dependencies(name);
    const wanted = new Set(lacks.map((one) => packageOf(one, packages!)));
    const fresh = [...wanted].filter((one) => one && !taken.has(one));
    if (fresh.length === 0) throw new GuestError(`No package has ${lacks}`);
    for (const one of fresh as string[]) {
      taken.add(one);
      const root = await debianPackage(one, progress);
      dirs.push(...libraryDirs(root, "amd64"));
    }
  }
}
