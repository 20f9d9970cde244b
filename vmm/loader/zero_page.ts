// Linux' boot parameters, the "zero page" (Documentation/arch/x86/zero-page.rst and
// boot.rst, protocol 2.15): the setup header with a loader's answers, and the map.

import type { E820Entry } from "../firmware/e820.ts";

/** Offset of the setup header, in a bzImage and in the zero page. */
export const SETUP_HEADER = 0x1f1;

/** Offsets of the setup header's fields. */
export const FIELD = {
  SETUP_SECTORS: 0x1f1,
  SYSTEM_SIZE: 0x1f4,
  VIDEO_MODE: 0x1fa,
  BOOT_FLAG: 0x1fe,
  JUMP: 0x200,
  MAGIC: 0x202,
  VERSION: 0x206,
  LOADER_TYPE: 0x210,
  LOAD_FLAGS: 0x211,
  CODE32_START: 0x214,
  INITRD_ADDRESS: 0x218,
  INITRD_SIZE: 0x21c,
  COMMAND_LINE: 0x228,
  INITRD_MAX: 0x22c,
  ALIGNMENT: 0x230,
  RELOCATABLE: 0x234,
  EXTENDED_FLAGS: 0x236,
  COMMAND_LINE_SIZE: 0x238,
  PREFERRED_ADDRESS: 0x258,
  INIT_SIZE: 0x260,
  /** behind the last byte that a header can have */
  END: 0x290,
} as const;

const RSDP = 0x070;
const MAP_COUNT = 0x1e8;
const MAP = 0x2d0;
const MAP_MAX = 128;
const PAGE = 4096;
/** A loader without a number of its own. */
const UNKNOWN_LOADER = 0xff;
const NORMAL_VGA = 0xffff;

/** What the zero page says. */
export interface ZeroPage {
  /** the setup header from 0x1f1 on */
  readonly header: Uint8Array;
  readonly map: readonly E820Entry[];
  /** guest-physical address */
  readonly commandLine: number;
  /** guest-physical address of ACPI's root pointer */
  readonly rsdp: number;
  readonly ramDisk?: { readonly address: number; readonly length: number };
}

/** The bytes of a zero page. */
export function zeroPage(page: ZeroPage): Uint8Array {
  const bytes = new Uint8Array(PAGE);
  const view = new DataView(bytes.buffer);
  bytes.set(page.header, SETUP_HEADER);
  view.setUint8(FIELD.LOADER_TYPE, UNKNOWN_LOADER);
  view.setUint16(FIELD.VIDEO_MODE, NORMAL_VGA, true);
  view.setUint32(FIELD.COMMAND_LINE, page.commandLine, true);
  view.setUint32(FIELD.INITRD_ADDRESS, page.ramDisk?.address ?? 0, true);
  view.setUint32(FIELD.INITRD_SIZE, page.ramDisk?.length ?? 0, true);
  view.setBigUint64(RSDP, BigInt(page.rsdp), true);
  const map = page.map.slice(0, MAP_MAX);
  view.setUint8(MAP_COUNT, map.length);
  for (const [n, { base, length, type }] of map.entries()) {
    view.setBigUint64(MAP + 20 * n, BigInt(base), true);
    view.setBigUint64(MAP + 20 * n + 8, BigInt(length), true);
    view.setUint32(MAP + 20 * n + 16, type, true);
  }
  return bytes;
}
