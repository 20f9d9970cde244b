// An ext4 root file system for a Linux guest, made by mkfs.ext4 of e2fsprogs: busybox
// as init, which comes up with a shell on the console and shuts down in order.

import { cached, digest } from "./cache.ts";
import { debianPackage, type Progress } from "./debian.ts";
import { run } from "./run.ts";

/** What the guest says when its root file system is writable. */
export const DISK_UP = "DISK-UP";

const FILES: Readonly<Record<string, string>> = {
  "etc/inittab": `::sysinit:/etc/rc
console::respawn:/etc/console
::shutdown:/etc/down
`,
  "etc/rc": `#!/bin/sh
mount -o remount,rw /
acpid -l /dev/null
echo ${DISK_UP}
`,
  "etc/console": `#!/bin/sh
export PATH=/bin HOME=/root TERM=vt100
exec cttyhack sh
`,
  "etc/down": `#!/bin/sh
echo DISK-DOWN
sync
mount -o remount,ro /
`,
  "etc/acpi/PWRF/00000080": `#!/bin/sh
echo GUEST-POWER-BUTTON >/dev/console
poweroff
`,
};
const DIRECTORIES = ["bin", "dev", "mnt", "proc", "root", "sys", "tmp"];
const SIZE = "64M";

async function fill(root: string, progress: Progress): Promise<void> {
  const guest = await debianPackage("busybox-static:amd64", progress);
  const host = await debianPackage("busybox-static", progress);
  for (const path of DIRECTORIES) await Deno.mkdir(`${root}/${path}`);
  await Deno.copyFile(`${guest}/bin/busybox`, `${root}/bin/busybox`);
  const applets = await run(`${host}/bin/busybox`, ["--list"]);
  for (const name of applets.trim().split("\n")) {
    if (name !== "busybox") {
      await Deno.symlink("busybox", `${root}/bin/${name}`);
    }
  }
  for (const [path, content] of Object.entries(FILES)) {
    const file = `${root}/${path}`;
    await Deno.mkdir(file.slice(0, file.lastIndexOf("/")), { recursive: true });
    await Deno.writeTextFile(file, content, { mode: 0o755 });
  }
}

/** The path of the image. It is shared: a machine is given a copy. */
export async function ext4Image(
  progress: Progress = () => {},
): Promise<string> {
  const key = await digest(JSON.stringify(FILES), ...DIRECTORIES, SIZE);
  return await cached(`root-${key}.ext4`, async (partial) => {
    progress("building the root file system");
    const root = await Deno.makeTempDir({ prefix: "bhyve-root-" });
    try {
      await fill(root, progress);
      const options = ["-q", "-F", "-E", "root_owner=0:0", "-d", root];
      await run("mkfs.ext4", [...options, partial, SIZE]);
    } finally {
      await Deno.remove(root, { recursive: true });
    }
  });
}
