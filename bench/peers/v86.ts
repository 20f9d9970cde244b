// v86, the npm package, in Node where that is installed, since it is the faster there,
// else in Deno; with Debian's SeaBIOS.

import { cached } from "../../tests/guests/cache.ts";
import { debianPackage, type Progress } from "../../tests/guests/debian.ts";
import { run, succeeds } from "../../tests/guests/run.ts";
import {
  commandLine,
  type GuestFiles,
  type Launch,
  MEMORY_MIB,
  type Peer,
} from "./peer.ts";

const VERSION = "0.5.462";
const MACHINE = new URL("v86_machine.js", import.meta.url).pathname;

function unpack(progress: Progress): Promise<string> {
  return cached(`v86-${VERSION}`, async (path) => {
    progress(`downloading v86 ${VERSION}`);
    await Deno.mkdir(path);
    await run("npm", ["pack", "--silent", `v86@${VERSION}`], path);
    await run("tar", ["-xzf", `v86-${VERSION}.tgz`], path);
  });
}

async function launch(
  guest: GuestFiles,
  _scratch: string,
  progress: Progress,
): Promise<Launch> {
  const build = `${await unpack(progress)}/package/build`;
  const seabios = `${await debianPackage(
    "seabios",
    progress,
  )}/usr/share/seabios`;
  const hasNode = await succeeds("node", ["--version"]).catch(() => false);
  if (!hasNode) progress("v86 runs in Deno, since Node is not installed");
  const settings = {
    library: `${build}/libv86.mjs`,
    code: `${build}/v86.wasm`,
    bios: `${seabios}/bios.bin`,
    vgaBios: `${seabios}/vgabios-stdvga.bin`,
    kernel: guest.kernel,
    initrd: guest.initrd,
    append: commandLine(guest),
    memory: MEMORY_MIB * 2 ** 20,
  };
  return {
    command: hasNode ? "node" : Deno.execPath(),
    args: [
      ...hasNode ? [] : ["run", "-A", "--no-config"],
      ...[MACHINE, JSON.stringify(settings)],
    ],
  };
}

/** v86, for guests of 32 bits alone. */
export function v86(): Peer {
  return { name: "v86", bits: 32, launch };
}
