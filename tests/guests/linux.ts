// A small Linux guest from Debian packages alone: the packaged kernel, unchanged,
// and an initramfs with busybox that comes up with a shell on its console.

import { cacheDir } from "./cache.ts";
import { cpioArchive, type CpioEntry, gzip } from "./cpio.ts";
import { debianPackage, GuestError, type Progress } from "./debian.ts";

/** The files of a guest. */
export interface LinuxGuest {
  /** path of the kernel, a bzImage */
  readonly kernel: string;
  /** path of the initramfs */
  readonly initrd: string;
}

const INIT = `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root TERM=vt100
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
read up rest </proc/uptime
echo "GUEST-UP $up"
for word in $(cat /proc/cmdline); do
	case $word in
	guest.run=*) sh -c "$(echo "\${word#guest.run=}" | tr , ' ')" ;;
	esac
done
setsid cttyhack sh
poweroff -f
`;

/** Words of a kernel's modules that the initramfs carries, in loading order. */
const MODULES = ["virtio_blk", "virtio_pci", "virtio_rng", "ext4"];

function dependencies(tree: string): Map<string, string[]> {
  const text = Deno.readTextFileSync(`${tree}/modules.dep`);
  return new Map(
    text.trim().split("\n").map((line) => {
      const [path, rest] = line.split(":");
      return [path!, rest!.trim().split(" ").filter((p) => p !== "")];
    }),
  );
}

function moduleName(path: string): string {
  return path.replace(/.*\//, "").replace(/\.ko.*$/, "").replaceAll("-", "_");
}

// The named modules and all that they depend on, by path.
async function modulePaths(root: string, version: string): Promise<string[]> {
  const tree = `${root}/lib/modules/${version}`;
  await depmod(root, version);
  const all = dependencies(tree);
  const found = [...all].filter(([path]) => MODULES.includes(moduleName(path)));
  return [...new Set(found.flatMap(([path, needs]) => [path, ...needs]))];
}

async function depmod(root: string, version: string): Promise<void> {
  const busybox = `${await debianPackage("busybox-static")}/bin/busybox`;
  const { success } = await new Deno.Command(busybox, {
    args: ["depmod", "-b", root, version],
  }).output();
  if (!success) throw new GuestError(`Cannot run depmod on ${root}`);
}

async function moduleEntries(
  root: string,
  version: string,
): Promise<CpioEntry[]> {
  const tree = `lib/modules/${version}`;
  const paths = await modulePaths(root, version);
  const files = [...paths, "modules.builtin"].map((path) => `${tree}/${path}`);
  const lines = Deno.readTextFileSync(`${root}/${tree}/modules.dep`)
    .split("\n").filter((line) => paths.includes(line.split(":")[0]!));
  const dep = new TextEncoder().encode(lines.join("\n") + "\n");
  return [
    ...directoriesOf(files),
    ...files.map((path): CpioEntry => ({
      path,
      kind: "file",
      data: Deno.readFileSync(`${root}/${path}`),
    })),
    { path: `${tree}/modules.dep`, kind: "file", data: dep },
  ];
}

function directoriesOf(paths: readonly string[]): CpioEntry[] {
  const all = new Set<string>();
  for (const path of paths) {
    const parts = path.split("/").slice(0, -1);
    parts.forEach((_, n) => all.add(parts.slice(0, n + 1).join("/")));
  }
  return [...all].sort().map((path) => ({ path, kind: "directory" }));
}

/**
 * Fetches and builds a guest; what is there already is kept.
 *
 * @param name the kernel's package
 */
export async function linuxGuest(
  name = "linux-image-cloud-amd64",
  progress: Progress = () => {},
): Promise<LinuxGuest> {
  const root = await debianPackage(name, progress);
  const busybox = await debianPackage("busybox-static", progress);
  const image = [...Deno.readDirSync(`${root}/boot`)].find((e) =>
    e.name.startsWith("vmlinuz-")
  );
  if (image === undefined) throw new GuestError(`${name} holds no kernel`);
  const kernel = `${root}/boot/${image.name}`;
  const key = await digest(`${INIT}${MODULES}${image.name}`);
  const initrd = `${cacheDir()}/initrd-${image.name}-${key}.img`;
  try {
    Deno.statSync(initrd);
  } catch {
    progress("building the initramfs");
    const version = image.name.slice("vmlinuz-".length);
    const bytes = await gzip(cpioArchive([
      ...["bin", "dev", "etc", "proc", "sys", "tmp", "mnt", "root"].map(
        (path): CpioEntry => ({ path, kind: "directory" }),
      ),
      { path: "sbin", kind: "link", to: "bin" },
      { path: "dev/console", kind: "device", major: 5, minor: 1 },
      {
        path: "bin/busybox",
        kind: "file",
        data: Deno.readFileSync(`${busybox}/bin/busybox`),
      },
      { path: "init", kind: "file", data: new TextEncoder().encode(INIT) },
      ...await moduleEntries(root, version),
    ]));
    const partial = `${initrd}.${Deno.pid}`;
    Deno.writeFileSync(partial, bytes);
    Deno.renameSync(partial, initrd);
  }
  return { kernel, initrd };
}

async function digest(text: string): Promise<string> {
  const hash = await crypto.subtle.digest(
    "SHA-256",
    new TextEncoder().encode(text),
  );
  return Array.from(
    new Uint8Array(hash).subarray(0, 6),
    (b) => b.toString(16).padStart(2, "0"),
  ).join("");
}

if (import.meta.main) {
  console.log(await linuxGuest(undefined, (m) => console.error(`${m} ...`)));
}
