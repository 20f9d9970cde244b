// The tables with fixed layouts: FADT, FACS, MADT, HPET, MCFG, SPCR and TPM2
// (ACPI 6.4, sections 5.2.9-5.2.12; IA-PC HPET 1.0a; PCI Firmware 3.2; Microsoft
// SPCR 1; TCG ACPI 1.2). No processor has local x2APIC entries below ID 255.

import { ByteWriter } from "../bytes.ts";
import { PLATFORM } from "../description.ts";
import type { Window } from "../description.ts";
import { type AcpiTable, describe, HEADER_LENGTH } from "./table.ts";

const SPACE_MEMORY = 0;
const SPACE_IO = 1;
/** Access sizes of a generic address. */
const ACCESS = { ANY: 0, BYTE: 1, WORD: 2, DWORD: 3 } as const;

interface GenericAddress {
  readonly space: number;
  readonly bits: number;
  readonly access: number;
  readonly address: number;
}

function generic(
  writer: ByteWriter,
  { space, bits, access, address }: GenericAddress,
): ByteWriter {
  return writer.u8(space).u8(bits).u8(0).u8(access).u64(address);
}

function port(address: number, bits: number, access: number): GenericAddress {
  return { space: SPACE_IO, bits, access, address };
}

const PM1A_EVENT = 0x400;
const PM1A_CONTROL = 0x404;
const PM_TIMER = 0x408;
const GPE0 = 0x40c;
const RESET_PORT = 0xcf9;
const RESET_VALUE = 6;
const NOWHERE = port(0, 0, ACCESS.ANY);

// No VGA to probe for (bit 2), no ASPM (bit 4). The 8042's bit stays clear.
const BOOT_ARCHITECTURE = 1 << 2 | 1 << 4;
// WBINVD, C1, sleep button as a control method, 32-bit timer, reset register,
// headless, physical APIC destinations
const FADT_FLAGS = 1 << 0 | 1 << 2 | 1 << 5 | 1 << 8 | 1 << 10 | 1 << 12 |
  1 << 19;

/** The fixed description table, revision 5.1. */
export function fadt(): AcpiTable {
  const body = new ByteWriter()
    .u32(0).u32(0) // FACS, DSDT
    .u8(0).u8(0).u16(PLATFORM.SCI)
    .u32(0xb2).u8(0xa0).u8(0xa1).u8(0).u8(0) // SMI_CMD: enable, disable
    .u32(PM1A_EVENT).u32(0).u32(PM1A_CONTROL).u32(0).u32(0)
    .u32(PM_TIMER).u32(GPE0).u32(0)
    .u8(4).u8(2).u8(0).u8(4).u8(2).u8(0).u8(0).u8(0)
    .u16(0).u16(0) // C2 and C3 latencies: no processor block, so no C2, C3
    .u16(0).u16(0).u8(0).u8(0).u8(0).u8(0)
    .u8(0x32) // century in the RTC
    .u16(BOOT_ARCHITECTURE).u8(0).u32(FADT_FLAGS);
  generic(body, port(RESET_PORT, 8, ACCESS.BYTE));
  body.u8(RESET_VALUE).u16(0).u8(1).u64(0).u64(0);
  const blocks = [
    port(PM1A_EVENT, 32, ACCESS.WORD),
    NOWHERE,
    port(PM1A_CONTROL, 16, ACCESS.WORD),
    NOWHERE,
    NOWHERE,
    port(PM_TIMER, 32, ACCESS.DWORD),
    port(GPE0, 16, ACCESS.BYTE),
    NOWHERE,
    NOWHERE,
    NOWHERE,
  ];
  for (const block of blocks) generic(body, block);
  return describe({ signature: "FACP", revision: 5 }, body.finish(), [
    { offset: 36, bytes: 4, target: "facs" },
    { offset: 40, bytes: 4, target: "dsdt" },
    { offset: 132, bytes: 8, target: "facs" },
    { offset: 140, bytes: 8, target: "dsdt" },
  ]);
}

/** The firmware control structure: it has neither header nor checksum. */
export function facs(): AcpiTable {
  const bytes = new ByteWriter().text("FACS").u32(64).zeros(24).u8(2).zeros(31)
    .finish();
  return { name: "facs", bytes, alignment: 64, pointers: [], checksums: [] };
}

const ACTIVE_HIGH_EDGE = 0b0101;
const ACTIVE_LOW_LEVEL = 0b1111;
/** IDs from here on have no place in the entry with 8 bits. */
const FIRST_WIDE_APIC = 255;

function processor(body: ByteWriter, id: number): void {
  if (id < FIRST_WIDE_APIC) body.u8(0).u8(8).u8(id).u8(id).u32(1);
  else body.u8(9).u8(16).u16(0).u32(id).u32(1).u32(id);
}

function override(
  body: ByteWriter,
  row: { readonly irq: number; readonly gsi: number; readonly flags: number },
): void {
  body.u8(2).u8(10).u8(0).u8(row.irq).u32(row.gsi).u16(row.flags);
}

/** The multiple APIC description table. */
export function madt(vcpus: number): AcpiTable {
  const body = new ByteWriter().u32(PLATFORM.LAPIC).u32(1);
  for (let id = 0; id < vcpus; id++) processor(body, id);
  body.u8(1).u8(12).u8(0).u8(0).u32(PLATFORM.IOAPIC).u32(0);
  override(body, { irq: 0, gsi: 2, flags: ACTIVE_HIGH_EDGE });
  const sci = { irq: PLATFORM.SCI, gsi: PLATFORM.SCI, flags: ACTIVE_LOW_LEVEL };
  override(body, sci);
  body.u8(4).u8(6).u8(0xff).u16(ACTIVE_HIGH_EDGE).u8(1);
  return describe({ signature: "APIC", revision: 1 }, body.finish());
}

/** The event timer's table. */
export function hpetTable(): AcpiTable {
  const body = new ByteWriter().u32(0x8086_0701);
  const where = { space: SPACE_MEMORY, bits: 0, access: ACCESS.ANY };
  generic(body, { ...where, address: PLATFORM.HPET });
  body.u8(0).u16(0).u8(1); // its page of 4 KiB has nothing else in it
  return describe({ signature: "HPET", revision: 1 }, body.finish());
}

/** The place of memory-mapped PCI configuration. */
export function mcfg(): AcpiTable {
  const body = new ByteWriter().zeros(8).u64(PLATFORM.ECAM).u16(0).u8(0)
    .u8(0xff).u32(0);
  return describe({ signature: "MCFG", revision: 1 }, body.finish());
}

/** The serial console: COM1, 115200 8N1, VT-UTF8. */
export function spcr(): AcpiTable {
  const body = new ByteWriter().u32(0);
  generic(body, port(0x3f8, 8, ACCESS.BYTE));
  body.u8(1).u8(4).u32(4) // IRQ 4 of the 8259; GSI 4
    .u8(7).u8(0).u8(1).u8(3).u8(2).u8(0)
    .u16(0xffff).u16(0xffff).u8(0).u8(0).u8(0) // not a PCI device
    .u32(0).u8(0).u32(0);
  return describe({ signature: "SPCR", revision: 1 }, body.finish());
}

/** Start method of the command response buffer interface. */
const START_CRB = 7;
const CONTROL_AREA = PLATFORM.TPM + 0x40;

/** The TPM's table. */
export function tpm2(log: Window): AcpiTable {
  const body = new ByteWriter().u16(0).u16(0).u64(CONTROL_AREA).u32(START_CRB)
    .zeros(12).u32(log.length).u64(log.start);
  return describe({ signature: "TPM2", revision: 4 }, body.finish());
}

/** A table of the addresses of others: RSDT (4 bytes each) or XSDT (8). */
export function rootTable(
  signature: "RSDT" | "XSDT",
  targets: readonly AcpiTable[],
): AcpiTable {
  const bytes = signature === "RSDT" ? 4 : 8;
  const pointers = targets.map(({ name }, n) => ({
    offset: HEADER_LENGTH + n * bytes,
    bytes,
    target: name,
  }));
  const body = new Uint8Array(targets.length * bytes);
  return describe({ signature, revision: 1 }, body, pointers);
}

/** The root pointer, revision 2. */
export function rsdp(): AcpiTable {
  const bytes = new ByteWriter().text("RSD PTR ").u8(0)
    .text("BHYVE", 6, 0x20).u8(2).u32(0).u32(36).u64(0).zeros(4).finish();
  return {
    name: "rsdp",
    bytes,
    alignment: 16,
    pointers: [
      { offset: 16, bytes: 4, target: "rsdt" },
      { offset: 24, bytes: 8, target: "xsdt" },
    ],
    checksums: [
      { offset: 8, start: 0, length: 20 },
      { offset: 32, start: 0, length: 36 },
    ],
  };
}
