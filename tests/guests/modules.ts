// A packaged kernel's modules for an initramfs: those named, what they depend on,
// and the index that modprobe reads.

import type { CpioEntry } from "./cpio.ts";
import { debianPackage } from "./debian.ts";
import { run } from "./run.ts";

type Dependencies = ReadonlyMap<string, readonly string[]>;

function moduleName(path: string): string {
  return path.replace(/.*\//, "").replace(/\.ko.*$/, "").replaceAll("-", "_");
}

function parseDependencies(text: string): Dependencies {
  return new Map(
    text.trim().split("\n").map((line) => {
      const [path, rest] = line.split(":");
      return [path!, rest!.trim().split(" ").filter((p) => p !== "")];
    }),
  );
}

// A package has no index: it is made where the package is installed.
async function indexModules(root: string, version: string): Promise<string> {
  const busybox = `${await debianPackage("busybox-static")}/bin/busybox`;
  await run(busybox, ["depmod", "-b", root, version]);
  return await Deno.readTextFile(`${root}/lib/modules/${version}/modules.dep`);
}

/** The directories above some paths. */
export function directoriesOf(paths: readonly string[]): CpioEntry[] {
  const all = new Set<string>();
  for (const path of paths) {
    const parts = path.split("/").slice(0, -1);
    parts.forEach((_, n) => all.add(parts.slice(0, n + 1).join("/")));
  }
  return [...all].sort().map((path) => ({ path, kind: "directory" }));
}

/**
 * The named modules of a kernel as an initramfs needs them. A name that the kernel
 * has built in is passed over.
 *
 * @param root where the kernel's package is unpacked
 */
export async function moduleEntries(
  root: string,
  version: string,
  names: readonly string[],
): Promise<CpioEntry[]> {
  const tree = `lib/modules/${version}`;
  const index = await indexModules(root, version);
  const wanted = [...parseDependencies(index)]
    .filter(([path]) => names.includes(moduleName(path)));
  const paths = [
    ...new Set(wanted.flatMap(([path, needs]) => [path, ...needs])),
  ];
  const lines = index.split("\n")
    .filter((line) => paths.includes(line.split(":")[0]!));
  const files = [...paths, "modules.builtin"].map((path) => `${tree}/${path}`);
  return [
    ...directoriesOf(files),
    ...files.map((path): CpioEntry => ({
      path,
      kind: "file",
      data: Deno.readFileSync(`${root}/${path}`),
    })),
    {
      path: `${tree}/modules.dep`,
      kind: "file",
      data: new TextEncoder().encode(`${lines.join("\n")}\n`),
    },
  ];
}
