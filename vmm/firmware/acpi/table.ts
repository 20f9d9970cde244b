// ACPI tables before they have addresses: bytes, and where pointers to other
// tables and checksums go. Both the copy in memory and the script that fw_cfg
// gives firmware to do the same are made from this.

import { ByteWriter, checksum8 } from "../bytes.ts";

/** Bytes of a system description table's header (ACPI 6.4, section 5.2.6). */
export const HEADER_LENGTH = 36;
const CHECKSUM_OFFSET = 9;

/** A field that holds another table's address. */
export interface TablePointer {
  readonly offset: number;
  /** 4 or 8 */
  readonly bytes: number;
  /** name of the other table */
  readonly target: string;
}

/** A byte that makes a range's sum zero. */
export interface TableChecksum {
  readonly offset: number;
  readonly start: number;
  readonly length: number;
}

/** A table without addresses: pointers and checksums hold zero. */
export interface AcpiTable {
  /** its signature in lower case, the end of its name as a fw_cfg file */
  readonly name: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly alignment: number;
  readonly pointers: readonly TablePointer[];
  readonly checksums: readonly TableChecksum[];
}

/** What identifies a table. */
export interface TableIdentity {
  /** four characters */
  readonly signature: string;
  readonly revision: number;
}

/** A table with the common header in front of a body. */
export function describe(
  { signature, revision }: TableIdentity,
  body: ArrayLike<number>,
  pointers: readonly TablePointer[] = [],
): AcpiTable {
  const bytes = new ByteWriter()
    .text(signature, 4)
    .u32(HEADER_LENGTH + body.length)
    .u8(revision)
    .u8(0)
    .text("BHYVE", 6, 0x20)
    .text(`BV${signature}`, 8, 0x20)
    .u32(1)
    .text("BASL", 4)
    .u32(0x2022_0504)
    .bytes(body)
    .finish();
  const whole = { offset: CHECKSUM_OFFSET, start: 0, length: bytes.length };
  return {
    name: signature.toLowerCase(),
    bytes,
    alignment: 16,
    pointers,
    checksums: [whole],
  };
}

/** A table that has a place. */
export interface PlacedTable {
  readonly name: string;
  /** guest-physical address */
  readonly gpa: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** Gives tables addresses upward from one, and fills in what follows from them. */
export function placeTables(
  tables: readonly AcpiTable[],
  base: number,
): PlacedTable[] {
  let next = base;
  const addresses = new Map<string, number>();
  for (const { name, bytes, alignment } of tables) {
    next = Math.ceil(next / alignment) * alignment;
    addresses.set(name, next);
    next += bytes.length;
  }
  return tables.map((table) => ({
    name: table.name,
    gpa: addresses.get(table.name)!,
    bytes: resolve(table, addresses),
  }));
}

function resolve(
  { bytes, pointers, checksums }: AcpiTable,
  addresses: ReadonlyMap<string, number>,
): Uint8Array<ArrayBuffer> {
  const resolved = bytes.slice();
  const view = new DataView(resolved.buffer);
  for (const { offset, target } of pointers) {
    // every table is below 4 GiB: the upper half of a wide pointer stays zero
    view.setUint32(offset, addresses.get(target)!, true);
  }
  for (const { offset, start, length } of checksums) {
    resolved[offset] = checksum8(resolved.subarray(start, start + length));
  }
  return resolved;
}
