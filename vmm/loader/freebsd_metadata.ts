// What FreeBSD's loader tells a kernel: records about every loaded file (metadata.h,
// linker.h), the memory map, boot flags, and the environment.

import { ByteWriter } from "../firmware/bytes.ts";
import { E820_TYPE } from "../firmware/e820.ts";
import type { LoaderVariables } from "./loader_conf.ts";
import type { LoaderMemory } from "./guest_ram.ts";
import { cString } from "./text.ts";

const MODINFO = {
  END: 0,
  NAME: 1,
  TYPE: 2,
  ADDR: 3,
  SIZE: 4,
  ARGS: 6,
} as const;
const IS_METADATA = 0x8000;

/** Records that only some files have. */
export const METADATA = {
  ELFHDR: 0x2,
  SSYM: 0x3,
  ESYM: 0x4,
  DYNAMIC: 0x5,
  ENVP: 0x6,
  HOWTO: 0x7,
  KERNEND: 0x8,
  SHDR: 0x9,
  SMAP: 0x1001,
  MODULEP: 0x1006,
} as const;

/** A record: its number in `METADATA` and its data. */
export type MetadataRecord = readonly [type: number, data: Uint8Array];

/** A file in memory, as the kernel is told of it. */
export interface LoadedFile {
  /** its path */
  readonly name: string;
  /** `elf kernel`, `elf obj module`, or a preloaded file's type */
  readonly type: string;
  readonly args?: string;
  readonly address: number;
  readonly size: number;
  readonly metadata: readonly MetadataRecord[];
}

/** The data of a record that is one 64-bit number. */
export function quad(value: number): Uint8Array {
  return new ByteWriter().u64(value).finish();
}

function record(writer: ByteWriter, type: number, data: Uint8Array): void {
  writer.u32(type).u32(data.length).bytes(data).align(8);
}

/** The block with the records of all files. */
export function metadataBlock(files: readonly LoadedFile[]): Uint8Array {
  const writer = new ByteWriter();
  for (const { name, type, args, address, size, metadata } of files) {
    record(writer, MODINFO.NAME, cString(name));
    record(writer, MODINFO.TYPE, cString(type));
    if (args !== undefined) record(writer, MODINFO.ARGS, cString(args));
    record(writer, MODINFO.ADDR, quad(address));
    record(writer, MODINFO.SIZE, quad(size));
    for (const [number, data] of metadata) {
      record(writer, IS_METADATA | number, data);
    }
  }
  record(writer, MODINFO.END, new Uint8Array(0));
  return writer.finish();
}

const BASE_MEMORY = 640 * 1024;
const MIB = 2 ** 20;
const HIGH = 2 ** 32;

/** The memory map as bhyve's loader gives it: entries of 20 bytes. */
export function memoryMap(
  { lowmem, highmem }: Pick<LoaderMemory, "lowmem" | "highmem">,
): Uint8Array {
  const ranges: (readonly [number, number])[] = [
    [0, BASE_MEMORY],
    [MIB, lowmem - MIB],
    ...(highmem > 0 ? [[HIGH, highmem] as const] : []),
  ];
  const writer = new ByteWriter();
  for (const [base, length] of ranges) {
    writer.u64(base).u64(length).u32(E820_TYPE.RAM);
  }
  return writer.finish();
}

/** Boot flags (reboot.h): value, letter of the kernel's options, variable. */
const BOOT_FLAGS: readonly (readonly [number, string, string])[] = [
  [0x1, "a", "boot_askname"],
  [0x2, "s", "boot_single"],
  [0x20, "r", "boot_dfltroot"],
  [0x40, "d", "boot_ddb"],
  [0x800, "v", "boot_verbose"],
  [0x1000, "h", "boot_serial"],
  [0x2000, "C", "boot_cdrom"],
  [0x8000, "g", "boot_gdb"],
  [0x1_0000, "m", "boot_mute"],
  [0x10_0000, "p", "boot_pause"],
  [0x2000_0000, "D", "boot_multicons"],
];

/** The boot flags that variables and the kernel's options ask for. */
export function howto(variables: LoaderVariables, options: string): number {
  const letters = options.split(/\s+/).filter((word) => word.startsWith("-"))
    .join("");
  const isSet = (variable: string) => {
    const value = variables.get(variable);
    return value !== undefined && value.toUpperCase() !== "NO";
  };
  return BOOT_FLAGS
    .filter(([, letter, variable]) =>
      letters.includes(letter) || isSet(variable)
    )
    .reduce((flags, [value]) => flags | value, 0);
}

/** The environment block: `name=value` texts, and an empty one at the end. */
export function environmentBlock(variables: LoaderVariables): Uint8Array {
  const writer = new ByteWriter();
  for (const [name, value] of variables) {
    writer.bytes(cString(`${name}=${value}`));
  }
  return writer.u8(0).finish();
}
