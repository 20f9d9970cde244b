// QEMU's TCG: one thread, one processor, the guest's kernel loaded by itself.

import { debianPackage, type Progress } from "../../tests/guests/debian.ts";
import type { Bits } from "./guest.ts";
import { hostProgram } from "./host_program.ts";
import {
  commandLine,
  type GuestFiles,
  type Launch,
  MEMORY_MIB,
  type Peer,
} from "./peer.ts";

/** Packages that have the firmware of a QEMU that is not installed. */
const FIRMWARE = ["seabios", "qemu-system-data", "ipxe-qemu"];

type Setting = Pick<Launch, "args"> & { readonly env: Record<string, string> };

/** What a QEMU needs that lies in packages: its firmware, and TCG, a module. */
async function settingOf(root: string, progress: Progress): Promise<Setting> {
  if (root === "") return { args: [], env: {} };
  const dirs: string[] = [];
  for (const name of FIRMWARE) {
    const files = await debianPackage(name, progress);
    dirs.push(`${files}/usr/share/qemu`, `${files}/usr/share/seabios`);
  }
  const common = await debianPackage("qemu-system-common", progress);
  return {
    args: [`${root}/usr/share/qemu`, ...dirs].flatMap((dir) => ["-L", dir]),
    env: { QEMU_MODULE_DIR: `${common}/usr/lib/x86_64-linux-gnu/qemu` },
  };
}

async function launch(
  guest: GuestFiles,
  _scratch: string,
  progress: Progress,
): Promise<Launch> {
  const { path, env, root } = await hostProgram(
    "qemu-system-x86",
    "usr/bin/qemu-system-x86_64",
    progress,
  );
  const setting = await settingOf(root, progress);
  return {
    command: path,
    env: { ...env, ...setting.env },
    args: [
      ...setting.args,
      ...["-accel", "tcg,thread=single", "-smp", "1", "-m", `${MEMORY_MIB}`],
      ...["-nographic", "-nic", "none", "-no-reboot"],
      ...["-kernel", guest.kernel, "-initrd", guest.initrd],
      ...["-append", commandLine(guest)],
    ],
  };
}

/** QEMU. */
export function qemu(bits: Bits): Peer {
  return { name: `qemu${bits}`, bits, launch };
}
