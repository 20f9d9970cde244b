// System management BIOS tables (DMTF DSP0134, SMBIOS 2.6): what the machine
// calls itself. The entry point is at 0xF1000 and the structures follow it.

import { md5 } from "../md5.ts";
import { ByteWriter, checksum8, FirmwareError } from "./bytes.ts";
import { type MachineDescription, PLATFORM } from "./description.ts";

const ENTRY_BYTES = 0x1f;
const TABLE = PLATFORM.SMBIOS + 0x20;
const MOST_BYTES = PLATFORM.ACPI - TABLE;
const HANDLE = { CHASSIS: 3, MEMORY_ARRAY: 0x100 } as const;

/** Every text of the tables by its configuration key, and its default. */
export const SMBIOS_DEFAULTS = {
  "bios.vendor": "BHYVE",
  "bios.version": "14.0",
  "bios.release_date": "10/17/2021",
  "system.manufacturer": "FreeBSD",
  "system.product_name": "BHYVE",
  "system.version": "1.0",
  "system.serial_number": "None",
  "system.sku": "None",
  "system.family_name": "Virtual Machine",
  "board.manufacturer": "FreeBSD",
  "board.product_name": "BHYVE",
  "board.version": "1.0",
  "board.serial_number": "None",
  "board.asset_tag": "None",
  "board.location": "None",
  "chassis.manufacturer": "FreeBSD",
  "chassis.version": "1.0",
  "chassis.serial_number": "None",
  "chassis.asset_tag": "None",
  "chassis.sku": "None",
} as const;

/** A configuration key of one of the texts. */
export type SmbiosKey = keyof typeof SMBIOS_DEFAULTS;

/** What the tables say besides the memory. */
export interface SmbiosOptions {
  /** the system's UUID, 16 bytes as the table has them */
  readonly uuid: Uint8Array;
  readonly sockets: number;
  /** of a socket */
  readonly cores: number;
  /** of a core */
  readonly threads: number;
  /** texts other than the defaults */
  readonly texts?: Partial<Record<SmbiosKey, string>>;
}

/**
 * Bytes of a UUID's text, with its first three fields little-endian.
 *
 * @throws {FirmwareError} where it is not 8-4-4-4-12 hexadecimal digits
 */
export function parseUuid(text: string): Uint8Array<ArrayBuffer> {
  if (!/^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/i.test(text)) {
    throw new FirmwareError(
      `Cannot use UUID "${text}": expected xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`,
    );
  }
  const digits = text.replaceAll("-", "");
  const order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
  return Uint8Array.from(
    order,
    (n) => parseInt(digits.slice(2 * n, 2 * n + 2), 16),
  );
}

/** The UUID of a machine that was given none: MD5, version 3 (RFC 4122, 4.3). */
export function derivedUuid(
  vmname: string,
  hostname: string,
): Uint8Array<ArrayBuffer> {
  const bytes = md5(vmname + hostname);
  bytes[7] = (bytes[7]! & 0x0f) | 0x30;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return bytes;
}

/** One structure: its formatted area is built field by field, texts by number. */
class Structure {
  readonly area = new ByteWriter();
  readonly #texts: string[] = [];

  constructor(readonly type: number, readonly handle: number) {}

  /** Adds a reference to a text; an empty one has number 0. */
  text(text: string): this {
    if (text !== "") this.#texts.push(text);
    this.area.u8(text === "" ? 0 : this.#texts.length);
    return this;
  }

  finish(): Uint8Array {
    const area = this.area.finish();
    const writer = new ByteWriter().u8(this.type).u8(4 + area.length)
      .u16(this.handle).bytes(area);
    const encoder = new TextEncoder();
    for (const text of this.#texts) writer.bytes(encoder.encode(text)).u8(0);
    if (this.#texts.length === 0) writer.u8(0);
    return writer.u8(0).finish();
  }
}

type Texts = (key: SmbiosKey) => string;

// ISA, PCI, shadowing, boot from CD, EDD
const BIOS_FEATURES = 1 << 4 | 1 << 7 | 1 << 12 | 1 << 15 | 1 << 19;
const SUPPORTS_ACPI = 1 << 0;
const BOOT_SPECIFICATION = 1 << 0;
const VIRTUAL_MACHINE = 1 << 4;

function bios(text: Texts): Structure {
  const s = new Structure(0, 0);
  s.text(text("bios.vendor")).text(text("bios.version")).area.u16(0xf000);
  s.text(text("bios.release_date")).area.u8(0).u64(BIOS_FEATURES)
    .u8(SUPPORTS_ACPI).u8(BOOT_SPECIFICATION | VIRTUAL_MACHINE)
    .u8(0).u8(0).u8(0xff).u8(0xff); // releases: unknown
  return s;
}

const WAKE_BY_SWITCH = 6;

function system(text: Texts, uuid: Uint8Array): Structure {
  const s = new Structure(1, 1);
  s.text(text("system.manufacturer")).text(text("system.product_name"))
    .text(text("system.version")).text(text("system.serial_number"))
    .area.bytes(uuid).u8(WAKE_BY_SWITCH);
  return s.text(text("system.sku")).text(text("system.family_name"));
}

const HOSTING_BOARD = 1;
const MOTHERBOARD = 0x0a;

function board(text: Texts): Structure {
  const s = new Structure(2, 2);
  s.text(text("board.manufacturer")).text(text("board.product_name"))
    .text(text("board.version")).text(text("board.serial_number"))
    .text(text("board.asset_tag")).area.u8(HOSTING_BOARD);
  s.text(text("board.location")).area.u16(HANDLE.CHASSIS).u8(MOTHERBOARD).u8(0);
  return s;
}

const UNKNOWN = 2;
const SAFE = 3;

function chassis(text: Texts): Structure {
  const s = new Structure(3, HANDLE.CHASSIS);
  s.text(text("chassis.manufacturer")).area.u8(UNKNOWN);
  s.text(text("chassis.version")).text(text("chassis.serial_number"))
    .text(text("chassis.asset_tag"))
    .area.u8(SAFE).u8(SAFE).u8(SAFE).u8(UNKNOWN).u32(0).zeros(4);
  return s.text(text("chassis.sku"));
}

const CENTRAL_PROCESSOR = 3;
const OTHER = 1;
const POPULATED_ENABLED = 0x41;
const NO_CACHE = 0xffff;
const IS_64_BIT = 1 << 2;
/** A count that 8 bits cannot hold is given as 0: unknown. */
const MOST_COUNTED = 254;

function counted(count: number): number {
  return count > MOST_COUNTED ? 0 : count;
}

function processor(socket: number, options: SmbiosOptions): Structure {
  const s = new Structure(4, 4 + socket);
  s.text(`CPU #${socket}`).area.u8(CENTRAL_PROCESSOR).u8(OTHER);
  s.text("").area.u64(0);
  s.text("").area.u8(0).u16(0).u16(0).u16(0).u8(POPULATED_ENABLED).u8(OTHER)
    .u16(NO_CACHE).u16(NO_CACHE).u16(NO_CACHE);
  s.text("None").text("None").text("None").area
    .u8(counted(options.cores)).u8(counted(options.cores))
    .u8(counted(options.cores * options.threads)).u16(IS_64_BIT).u16(OTHER);
  return s;
}

const ON_BOARD = 3;
const SYSTEM_MEMORY = 3;
const NO_ECC = 3;
const CAPACITY_IS_EXTENDED = 0x8000_0000;
const NO_ERROR = 0xfffe;

function memoryArray(total: number, devices: number): Structure {
  const s = new Structure(16, HANDLE.MEMORY_ARRAY);
  s.area.u8(ON_BOARD).u8(SYSTEM_MEMORY).u8(NO_ECC).u32(CAPACITY_IS_EXTENDED)
    .u16(NO_ERROR).u16(devices).u64(total);
  return s;
}

/** What a size of 16 bits cannot say, in MiB, is in the extended size. */
const SIZE_IS_EXTENDED = 0x7fff;
const SIZE_IN_KILOBYTES = 0x8000;

/** The size field of a memory device and its extended size (7.18.5). */
export function memorySizeFields(bytes: number): readonly [number, number] {
  const kilobytes = Math.floor(bytes / 1024);
  const megabytes = Math.floor(kilobytes / 1024);
  if (kilobytes <= 0x7fff) return [SIZE_IN_KILOBYTES | kilobytes, 0];
  if (megabytes < SIZE_IS_EXTENDED) return [megabytes, 0];
  return [SIZE_IS_EXTENDED, megabytes];
}

function memoryDevice(total: number): Structure {
  const s = new Structure(17, 0x110);
  const [size, extended] = memorySizeFields(total);
  s.area.u16(HANDLE.MEMORY_ARRAY).u16(NO_ERROR).u16(64).u16(64).u16(size)
    .u8(UNKNOWN).u8(0);
  s.text("").text("").area.u8(UNKNOWN).u16(0).u16(0);
  s.text("").text("").text("").text("").area.u8(0).u32(extended).u16(0);
  return s;
}

/** Addresses that do not fit in KiB are in the extended fields. */
const ADDRESS_IS_EXTENDED = 0xffff_ffff;

function mappedAddress(
  handle: number,
  start: number,
  length: number,
): Structure {
  const s = new Structure(19, handle);
  const first = start / 1024;
  const last = (start + length) / 1024 - 1;
  const fits = last < ADDRESS_IS_EXTENDED;
  s.area.u32(fits ? first : ADDRESS_IS_EXTENDED)
    .u32(fits ? last : ADDRESS_IS_EXTENDED)
    .u16(HANDLE.MEMORY_ARRAY).u8(1)
    .u64(fits ? 0 : start).u64(fits ? 0 : start + length - 1);
  return s;
}

function bootStatus(): Structure {
  const s = new Structure(32, 0x200);
  s.area.zeros(6).u8(0);
  return s;
}

function structures(
  machine: MachineDescription,
  options: SmbiosOptions,
): Structure[] {
  const text: Texts = (key) => options.texts?.[key] ?? SMBIOS_DEFAULTS[key];
  const { lowmem, highmem } = machine;
  const total = lowmem + highmem;
  return [
    bios(text),
    system(text, options.uuid),
    board(text),
    chassis(text),
    ...Array.from(
      { length: options.sockets },
      (_, n) => processor(n, options),
    ),
    memoryArray(total, highmem > 0 ? 2 : 1),
    memoryDevice(total),
    mappedAddress(0x120, 0, lowmem),
    ...(highmem > 0 ? [mappedAddress(0x121, PLATFORM.HIGHMEM, highmem)] : []),
    bootStatus(),
    new Structure(127, 0x201),
  ];
}

interface Sizes {
  readonly count: number;
  readonly bytes: number;
  readonly largest: number;
}

function entryPoint({ count, bytes, largest }: Sizes): Uint8Array {
  const entry = new ByteWriter().text("_SM_").u8(0).u8(ENTRY_BYTES).u8(2).u8(6)
    .u16(largest).u8(0).zeros(5).text("_DMI_").u8(0).u16(bytes).u32(TABLE)
    .u16(count).u8(0x26).finish();
  entry[0x15] = checksum8(entry.subarray(0x10));
  entry[4] = checksum8(entry);
  return entry;
}

/**
 * The entry point and the structures, for 0xF1000 on.
 *
 * @throws {FirmwareError} where they do not fit below the ACPI tables
 */
export function smbios(
  machine: MachineDescription,
  options: SmbiosOptions,
): Uint8Array<ArrayBuffer> {
  const list = structures(machine, options).map((s) => s.finish());
  const bytes = list.reduce((sum, s) => sum + s.length, 0);
  if (bytes > MOST_BYTES) {
    throw new FirmwareError(
      `Cannot make SMBIOS tables of ${bytes} bytes: expected at most ${MOST_BYTES}; use fewer sockets or shorter texts`,
    );
  }
  const largest = Math.max(...list.map((s) => s.length));
  const writer = new ByteWriter()
    .bytes(entryPoint({ count: list.length, bytes, largest }))
    .zeros(TABLE - PLATFORM.SMBIOS - ENTRY_BYTES);
  for (const s of list) writer.bytes(s);
  return writer.finish();
}
