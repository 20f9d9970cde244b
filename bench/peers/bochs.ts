// Bochs, with a processor that has long mode. It boots no kernel by itself: GRUB does,
// from a disc. It draws on a terminal, which script(1) lends it, and its serial port
// writes into a FIFO. Debian's has a debugger in it, which waits to be told to go on.

import { debianPackage, type Progress } from "../../tests/guests/debian.ts";
import { run } from "../../tests/guests/run.ts";
import type { Bits } from "./guest.ts";
import { hostProgram, unpackedProgram } from "./host_program.ts";
import {
  commandLine,
  type GuestFiles,
  type Launch,
  MEMORY_MIB,
  type Peer,
} from "./peer.ts";

const GRUB_MODULES = ["biosdisk", "iso9660", "linux", "normal"];

function grubConfig(append: string): string {
  return `linux /vmlinuz ${append}\ninitrd /initrd.img\nboot\n`;
}

async function runProgram(
  name: string,
  path: string,
  args: readonly string[],
  progress: Progress,
): Promise<void> {
  const { path: program, env } = await hostProgram(name, path, progress);
  const words = Object.entries(env).map(([key, value]) => `${key}=${value}`);
  await run("env", [...words, program, ...args]);
}

/** Makes a disc that boots a kernel. */
async function makeDisc(
  guest: GuestFiles,
  scratch: string,
  progress: Progress,
): Promise<string> {
  const tree = `${scratch}/disc`;
  await Deno.mkdir(`${tree}/grub`, { recursive: true });
  await Deno.copyFile(guest.kernel, `${tree}/vmlinuz`);
  await Deno.copyFile(guest.initrd, `${tree}/initrd.img`);
  await Deno.writeTextFile(
    `${tree}/grub/grub.cfg`,
    grubConfig(commandLine(guest)),
  );
  const pc = await debianPackage("grub-pc-bin", progress);
  await runProgram("grub-common", "usr/bin/grub-mkimage", [
    ...["-O", "i386-pc-eltorito", "-d", `${pc}/usr/lib/grub/i386-pc`],
    ...["-p", "/grub", "-o", `${tree}/grub/boot.img`, ...GRUB_MODULES],
  ], progress);
  await runProgram("genisoimage", "usr/bin/genisoimage", [
    ...["-quiet", "-R", "-b", "grub/boot.img", "-no-emul-boot"],
    ...["-boot-load-size", "4", "-boot-info-table"],
    ...["-o", `${scratch}/disc.iso`, tree],
  ], progress);
  return `${scratch}/disc.iso`;
}

function machine(disc: string, bios: string, vga: string, scratch: string) {
  return `config_interface: textconfig
display_library: term
plugin_ctrl: speaker=0, parallel=0, gameport=0
cpu: model=corei7_haswell_4770, count=1, ips=50000000
memory: guest=${MEMORY_MIB}, host=${MEMORY_MIB}
romimage: file=${bios}/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=${vga}
ata0-master: type=cdrom, path=${disc}, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=${scratch}/console
clock: sync=none
log: ${scratch}/log
panic: action=fatal
error: action=report
info: action=ignore
`;
}

/** The parts of Bochs as it lies in packages; their plugins are found by a path. */
async function unpackBochs(progress: Progress) {
  const { path, env, root } = await unpackedProgram(
    "bochs",
    "usr/bin/bochs-bin",
    progress,
  );
  const plugins = "usr/lib/x86_64-linux-gnu/bochs/plugins";
  const display = await unpackedProgram(
    "bochs-term",
    `${plugins}/libbx_term_gui.so`,
    progress,
  );
  const dirs = [root, display.root].map((one) => `${one}/${plugins}`);
  const libraries = [env, display.env].flatMap((one) =>
    one.LD_LIBRARY_PATH ?? []
  );
  return {
    path,
    share: `${root}/usr/share/bochs`,
    env: {
      LTDL_LIBRARY_PATH: dirs.join(":"),
      LD_LIBRARY_PATH: [...libraries, ...dirs].join(":"),
    },
  };
}

async function launch(
  guest: GuestFiles,
  scratch: string,
  progress: Progress,
): Promise<Launch> {
  const bochs = await unpackBochs(progress);
  const bios = await debianPackage("bochsbios", progress);
  const vgabios = await debianPackage("vgabios", progress);
  const vga = `${vgabios}/usr/share/vgabios/vgabios.bin`;
  const disc = await makeDisc(guest, scratch, progress);
  const config = `${scratch}/bochsrc`;
  await Deno.writeTextFile(config, machine(disc, bios, vga, scratch));
  await Deno.writeTextFile(`${scratch}/commands`, "c\n");
  await run("mkfifo", [`${scratch}/console`]);
  const command = `${bochs.path} -q -f ${config} -rc ${scratch}/commands`;
  return {
    command: "sh",
    args: [
      "-c",
      'cat "$0" & script -qec "$1" /dev/null >/dev/null; kill $!',
      `${scratch}/console`,
      command,
    ],
    env: { ...bochs.env, BXSHARE: bochs.share, TERM: "vt100" },
  };
}

/** Bochs. */
export function bochs(bits: Bits): Peer {
  return { name: `bochs${bits}`, bits, once: true, launch };
}
