// The GUID partition table (UEFI Specification 2.10, section 5.3) of an image with
// sectors of 512 bytes: the first one, or its copy at the end where that is damaged.

import { type DiskImage, textAt } from "./image.ts";

/** Bytes of a sector in a disk image. */
export const SECTOR = 512;

/** An entry of the table that is in use. */
export interface GptEntry {
  /** its number, from 1 on */
  readonly index: number;
  /** the type's GUID, in small letters */
  readonly type: string;
  /** bytes from the image's start */
  readonly start: number;
  readonly length: number;
}

const SIGNATURE = "EFI PART";
/** Offsets in the header. */
const HEADER = {
  SIZE: 12,
  CRC: 16,
  SELF: 24,
  TABLE: 72,
  ENTRIES: 80,
  ENTRY_SIZE: 84,
  TABLE_CRC: 88,
} as const;
const HEADER_LEAST = 92;
const ENTRY_LEAST = 128;
/** Bytes of a table; the usual 128 entries take 16 KiB. */
const MOST_TABLE = 2 ** 20;
const UNUSED = "00000000-0000-0000-0000-000000000000";

const CRC_POLYNOMIAL = 0xedb8_8320;

/** The checksum of the table: CRC-32 of ISO 3309. */
export function crc32(bytes: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) {
      crc = crc & 1 ? (crc >>> 1) ^ CRC_POLYNOMIAL : crc >>> 1;
    }
  }
  return ~crc >>> 0;
}

function bytesOf(view: DataView, length: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, length);
}

function isHeader(header: DataView, sector: number): boolean {
  const size = header.getUint32(HEADER.SIZE, true);
  if (textAt(header, 0, 8) !== SIGNATURE) return false;
  if (size < HEADER_LEAST || size > SECTOR) return false;
  const covered = bytesOf(header, size).slice();
  covered.fill(0, HEADER.CRC, HEADER.CRC + 4);
  return crc32(covered) === header.getUint32(HEADER.CRC, true) &&
    header.getBigUint64(HEADER.SELF, true) === BigInt(sector);
}

/** A GUID's text: its first three fields are little-endian. */
function guidAt(view: DataView, at: number): string {
  const hex = (value: number, digits: number) =>
    value.toString(16).padStart(digits, "0");
  const tail = Array.from(
    { length: 8 },
    (_, n) => hex(view.getUint8(at + 8 + n), 2),
  ).join("");
  return [
    hex(view.getUint32(at, true), 8),
    hex(view.getUint16(at + 4, true), 4),
    hex(view.getUint16(at + 6, true), 4),
    tail.slice(0, 4),
    tail.slice(4),
  ].join("-");
}

function tableAt(image: DiskImage, sector: number): GptEntry[] | undefined {
  const header = image.peek(sector * SECTOR, SECTOR);
  if (header === undefined || !isHeader(header, sector)) return undefined;
  const count = header.getUint32(HEADER.ENTRIES, true);
  const size = header.getUint32(HEADER.ENTRY_SIZE, true);
  const at = Number(header.getBigUint64(HEADER.TABLE, true)) * SECTOR;
  if (size < ENTRY_LEAST || count * size > MOST_TABLE) return undefined;
  const table = image.peek(at, count * size);
  if (table === undefined) return undefined;
  const crc = header.getUint32(HEADER.TABLE_CRC, true);
  if (crc32(bytesOf(table, count * size)) !== crc) return undefined;
  return Array.from({ length: count }, (_, n) => entryAt(table, n, size))
    .filter(({ type, length }) => type !== UNUSED && length > 0);
}

function entryAt(table: DataView, n: number, size: number): GptEntry {
  const at = n * size;
  const [first, last] = [32, 40].map((field) =>
    Number(table.getBigUint64(at + field, true))
  ) as [number, number];
  return {
    index: n + 1,
    type: guidAt(table, at),
    start: first * SECTOR,
    length: (last - first + 1) * SECTOR,
  };
}

/** The table's entries in their order, undefined where neither copy is sound. */
export function readGpt(image: DiskImage): GptEntry[] | undefined {
  return tableAt(image, 1) ??
    tableAt(image, Math.floor(image.length / SECTOR) - 1);
}
