// What bhyveload's tests share: a directory with a vmm root in it, the command run in
// this process, and a FreeBSD system that is made up.

import { makeElf } from "../vmm/loader/_testing.ts";
import { VmmRoot } from "../vmm/root/root.ts";
import { vmClose, type VmContext, vmOpen, vmReadGpa } from "../vmm/vmmapi.ts";
import { bhyveload } from "./command.ts";

/** A place for a test, with a vmm root. */
export interface Place {
  readonly directory: string;
  readonly root: VmmRoot;
}

/** Calls with a place that is removed afterwards. */
export async function inPlace(
  use: (place: Place) => void | Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "load" });
  try {
    const root = new VmmRoot(`${directory}/root`);
    await use({ directory: await Deno.realPath(directory), root });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** What a command did. */
export interface Outcome {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

/** Runs the command in this process. */
export async function load(
  { root }: Place,
  ...args: readonly string[]
): Promise<Outcome> {
  let [out, err] = ["", ""];
  const status = await bhyveload(args, {
    out: (text) => out += text,
    err: (text) => err += text,
    root: () => root,
  });
  return { status, out, err };
}

/** Every file and directory in a vmm root. */
export function nodesOf({ root }: Place): string[] {
  const { machines, deviceMemory, runtime } = root.paths;
  return [machines, deviceMemory, runtime].flatMap((path) => {
    try {
      return [...Deno.readDirSync(path)].map(({ name }) => name);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return [];
      throw error;
    }
  });
}

/** Does something with a machine that is there. */
export async function withMachine<T>(
  { root }: Place,
  name: string,
  use: (ctx: VmContext) => Promise<T>,
): Promise<T> {
  const ctx = await vmOpen(name, root);
  try {
    return await use(ctx);
  } finally {
    await vmClose(ctx);
  }
}

/** A short name for what is in a machine's low memory. */
export async function digestOf(
  place: Place,
  name: string,
  length: number,
): Promise<string> {
  const bytes = await withMachine(
    place,
    name,
    (ctx) => vmReadGpa(ctx, 0n, length),
  );
  const hash = await crypto.subtle.digest("SHA-256", new Uint8Array(bytes));
  return Array.from(
    new Uint8Array(hash),
    (byte) => byte.toString(16).padStart(2, "0"),
  ).join("");
}

const KERNBASE = 0xffff_ffff_8000_0000n;
const KERNEL_AT = 0x20_0000n;
/** Where the made-up kernel starts. */
export const KERNEL_ENTRY = KERNBASE + KERNEL_AT + 0x10n;

const STRINGS = new TextEncoder().encode("\0btext\0");
const SYMBOLS = new Uint8Array(48).fill(1);

/** A FreeBSD kernel as to its form. */
export const KERNEL: Uint8Array = makeElf({
  entry: KERNEL_ENTRY,
  segments: [{
    type: 3,
    paddr: 0n,
    bytes: new TextEncoder().encode("/red/herring\0"),
  }, {
    paddr: KERNEL_AT,
    vaddr: KERNBASE + KERNEL_AT,
    bytes: Uint8Array.from({ length: 70_000 }, (_, n) => n * 7),
    memorySize: 80_000,
  }],
  sections: [
    { type: 0 },
    { type: 2, bytes: SYMBOLS, link: 2 },
    { type: 3, bytes: STRINGS },
  ],
});

/** A module as to its form. */
export const MODULE: Uint8Array = makeElf({
  type: 1,
  nameSection: 3,
  sections: [
    { type: 0 },
    { type: 1, flags: 2, bytes: new Uint8Array(5000).fill(9), alignment: 16 },
    { type: 2, bytes: SYMBOLS, link: 3, alignment: 8 },
    { type: 3, bytes: STRINGS },
  ],
});

/** A FreeBSD system. */
export const SYSTEM = {
  "boot/kernel/kernel": KERNEL,
  "boot/kernel/if_made_up.ko": MODULE,
  "boot/defaults/loader.conf":
    'loader_conf_files="/boot/device.hints /boot/loader.conf"\n',
  "boot/device.hints": 'hint.uart.0.at="isa"\n',
  "boot/loader.conf": 'if_made_up_load="YES"\nboot_verbose="YES"\n',
  "boot/loader.conf.d/more.conf": 'kern.hz="100"\n',
  "etc/fstab": "/dev/vtbd0p2 / ufs rw 1 1\n",
};
