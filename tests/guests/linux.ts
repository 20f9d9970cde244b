// A small Linux guest from Debian packages alone: the packaged kernel, unchanged,
// and an initramfs with busybox. It comes up with a shell on its console, or goes on
// to the root file system that the kernel's command line names.
//
//   guest.run=COMMAND,WORDS    runs a command before the shell
//   guest.root=/dev/vda        goes on to the init of this ext4 file system

import { cached, digest } from "./cache.ts";
import { cpioArchive, type CpioEntry, gzip } from "./cpio.ts";
import { debianPackage, GuestError, type Progress } from "./debian.ts";
import { moduleEntries } from "./modules.ts";

/** The files of a guest. */
export interface LinuxGuest {
  /** path of the kernel, a bzImage */
  readonly kernel: string;
  /** path of the initramfs */
  readonly initrd: string;
}

/** What the guest says when its init runs, with the seconds since its boot. */
export const GUEST_UP = "GUEST-UP";

const INIT = `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root TERM=vt100
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
read up rest </proc/uptime
echo "${GUEST_UP} $up"
modprobe -a button evdev
acpid -l /dev/null
for word in $(cat /proc/cmdline); do
	case $word in
	guest.run=*) sh -c "$(echo "\${word#guest.run=}" | tr , ' ')" ;;
	guest.root=*) root=\${word#guest.root=} ;;
	esac
done
if [ -n "$root" ]; then
	modprobe -a virtio_pci virtio_blk crc32c_generic ext4
	mount -t ext4 "$root" /mnt || exec sh
	killall acpid
	mount -o move /proc /mnt/proc
	mount -o move /sys /mnt/sys
	mount -o move /dev /mnt/dev
	exec switch_root /mnt /bin/init
fi
setsid cttyhack sh
poweroff -f
`;

/** Run by acpid when the power button is pressed. */
const POWER_BUTTON = `#!/bin/sh
echo GUEST-POWER-BUTTON >/dev/console
sync
poweroff -f
`;

const MODULES = [
  ...["virtio_blk", "virtio_pci", "virtio_rng", "ext4", "crc32c_generic"],
  ...["button", "evdev"],
];
const DIRECTORIES = [
  ...["bin", "dev", "etc", "etc/acpi", "etc/acpi/PWRF", "proc", "sys", "tmp"],
  ...["mnt", "root"],
];

interface Kernel {
  readonly root: string;
  readonly path: string;
  readonly version: string;
}

async function kernelOf(name: string, progress: Progress): Promise<Kernel> {
  const root = await debianPackage(name, progress);
  const image = [...Deno.readDirSync(`${root}/boot`)].find((e) =>
    e.name.startsWith("vmlinuz-")
  );
  if (image === undefined) throw new GuestError(`${name} holds no kernel`);
  const version = image.name.slice("vmlinuz-".length);
  return { root, path: `${root}/boot/${image.name}`, version };
}

function text(path: string, content: string): CpioEntry {
  return { path, kind: "file", data: new TextEncoder().encode(content) };
}

function userEntries(busybox: Uint8Array): CpioEntry[] {
  return [
    ...DIRECTORIES.map((path): CpioEntry => ({ path, kind: "directory" })),
    { path: "sbin", kind: "link", to: "bin" },
    { path: "dev/console", kind: "device", major: 5, minor: 1 },
    { path: "bin/busybox", kind: "file", data: busybox },
    text("init", INIT),
    text("etc/acpi/PWRF/00000080", POWER_BUTTON),
  ];
}

/**
 * Fetches and builds a guest; what is there already is kept.
 *
 * @param name the kernel's package, with `:i386` for that architecture
 */
export async function linuxGuest(
  name = "linux-image-cloud-amd64",
  progress: Progress = () => {},
): Promise<LinuxGuest> {
  const architecture = name.split(":")[1] ?? "amd64";
  const full = `${name.split(":")[0]}:${architecture}`;
  const { root, path, version } = await kernelOf(full, progress);
  const busybox = await debianPackage(
    `busybox-static:${architecture}`,
    progress,
  );
  const key = await digest(INIT, POWER_BUTTON, ...MODULES);
  const initrd = await cached(`initrd-${version}-${key}`, async (partial) => {
    progress("building the initramfs");
    const bytes = await gzip(cpioArchive([
      ...userEntries(await Deno.readFile(`${busybox}/bin/busybox`)),
      ...await moduleEntries(root, version, MODULES),
    ]));
    await Deno.writeFile(partial, bytes);
  });
  return { kernel: path, initrd };
}

if (import.meta.main) {
  console.log(
    await linuxGuest(Deno.args[0], (m) => console.error(`${m} ...`)),
  );
}
