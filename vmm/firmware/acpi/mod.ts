// All ACPI tables of a machine in bhyve's order, and the two ways in which they
// reach a guest: a copy in memory, and fw_cfg files with a loader script.

import { ByteWriter, FirmwareError } from "../bytes.ts";
import { type MachineDescription, PLATFORM } from "../description.ts";
import { dsdtBody } from "./dsdt.ts";
import {
  facs,
  fadt,
  hpetTable,
  madt,
  mcfg,
  rootTable,
  rsdp,
  spcr,
  tpm2,
} from "./fixed.ts";
import {
  type AcpiTable,
  describe,
  type PlacedTable,
  placeTables,
} from "./table.ts";

export type { AcpiTable, PlacedTable } from "./table.ts";

/** The tables of a machine, root pointer first, without addresses. */
export function acpiTables(machine: MachineDescription): AcpiTable[] {
  const fixed = fadt();
  const described = [madt(machine.vcpus), hpetTable(), mcfg()];
  const console = spcr();
  const extras = machine.tpmLog === undefined ? [] : [tpm2(machine.tpmLog)];
  const listed = [fixed, ...described, console, ...extras];
  const dsdt = describe({ signature: "DSDT", revision: 2 }, dsdtBody(machine));
  return [
    rsdp(),
    rootTable("RSDT", listed),
    rootTable("XSDT", listed),
    fixed,
    ...described,
    facs(),
    console,
    ...extras,
    dsdt,
  ];
}

/**
 * The tables with addresses, upward from 0xF2400 (the root pointer's).
 *
 * @throws {FirmwareError} where they do not fit below 1 MiB
 */
export function acpiInMemory(machine: MachineDescription): PlacedTable[] {
  const placed = placeTables(acpiTables(machine), PLATFORM.ACPI);
  const last = placed[placed.length - 1]!;
  const end = last.gpa + last.bytes.length;
  if (end > PLATFORM.TABLES_END) {
    throw new FirmwareError(
      `Cannot place ACPI tables up to 0x${
        end.toString(16)
      }: expected them to end at 0x100000`,
    );
  }
  return placed;
}

/** A file that fw_cfg shows. */
export interface FwCfgFile {
  /** at most 55 characters */
  readonly name: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

const COMMAND = { ALLOCATE: 1, ADD_POINTER: 2, ADD_CHECKSUM: 3 } as const;
const ENTRY_BYTES = 128;
const ZONE_HIGH = 1;
const ZONE_F_SEGMENT = 2;

function fileName(table: string): string {
  return `etc/acpi/${table}`;
}

function entry(write: (writer: ByteWriter) => void): Uint8Array {
  const writer = new ByteWriter();
  write(writer);
  return writer.zeros(ENTRY_BYTES - writer.length).finish();
}

function allocation({ name, alignment }: AcpiTable): Uint8Array {
  const zone = name === "rsdp" ? ZONE_F_SEGMENT : ZONE_HIGH;
  return entry((writer) =>
    writer.u32(COMMAND.ALLOCATE).text(fileName(name), 56).u32(alignment)
      .u8(zone)
  );
}

function fixes(table: AcpiTable): Uint8Array[] {
  const file = fileName(table.name);
  return [
    ...table.pointers.map(({ offset, bytes, target }) =>
      entry((writer) =>
        writer.u32(COMMAND.ADD_POINTER).text(file, 56)
          .text(fileName(target), 56).u32(offset).u8(bytes)
      )
    ),
    ...table.checksums.map(({ offset, start, length }) =>
      entry((writer) =>
        writer.u32(COMMAND.ADD_CHECKSUM).text(file, 56).u32(offset)
          .u32(start).u32(length)
      )
    ),
  ];
}

/** The tables as fw_cfg files, and `etc/table-loader`, which links them. */
export function acpiFiles(machine: MachineDescription): FwCfgFile[] {
  const tables = acpiTables(machine);
  const script = new ByteWriter();
  for (const table of tables) script.bytes(allocation(table));
  for (const fix of tables.flatMap(fixes)) script.bytes(fix);
  return [
    ...tables.map(({ name, bytes }) => ({ name: fileName(name), bytes })),
    { name: "etc/table-loader", bytes: script.finish() },
  ];
}
