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

async function firmware(root: string, progress: Progress): Promise<string[]> {
  if (root === "") return [];
  const dirs = [`${root}/usr/share/qemu`];
  for (const name of FIRMWARE) {
    const files = await debianPackage(name, progress);
    dirs.push(`${files}/usr/share/qemu`, `${files}/usr/share/seabios`);
  }
  return dirs.flatMap((dir) => ["-L", dir]);
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
  return {
    command: path,
    env,
    args: [
      ...await firmware(root, progress),
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
