// The MP configuration table (Intel MultiProcessor Specification 1.4, chapter 4):
// processors, buses and interrupts for systems that do not use ACPI. It knows
// PCI bus 0 only, as bhyve's does.

import { ByteWriter, checksum8, FirmwareError } from "./bytes.ts";
import { type MachineDescription, PLATFORM } from "./description.ts";

const FLOATING_BYTES = 16;
const HEADER_BYTES = 44;
const CHECKSUM_IN_FLOATING = 10;
const CHECKSUM_IN_HEADER = 7;
/** SMBIOS begins there. */
const MOST_BYTES = PLATFORM.SMBIOS - PLATFORM.MPTABLE;

const ENTRY = { PROCESSOR: 0, BUS: 1, IOAPIC: 2, IO: 3, LOCAL: 4 } as const;
const KIND = { INT: 0, NMI: 1, EXTINT: 3 } as const;
const PCI_BUS = 0;
const ISA_BUS = 1;
const IOAPIC_ID = 0;
const ALL_APICS = 0xff;
const CONFORMS = 0;
const ACTIVE_LOW_LEVEL = 0b1111;
/** Family 6, model 26 (its low digit), stepping 5. */
const SIGNATURE = 0x6a5;
const FEATURES = 0xbfeb_fbff;

/** What an interrupt entry says: who raises it and where it arrives. */
interface Interrupt {
  readonly entry: number;
  readonly kind: number;
  readonly flags: number;
  readonly bus: number;
  readonly irq: number;
  readonly apic: number;
  readonly pin: number;
}

function interrupt(row: Interrupt): Uint8Array {
  return new ByteWriter().u8(row.entry).u8(row.kind).u16(row.flags)
    .u8(row.bus).u8(row.irq).u8(row.apic).u8(row.pin).finish();
}

function processors(count: number): Uint8Array[] {
  return Array.from({ length: count }, (_, id) => {
    const flags = id === 0 ? 0b11 : 0b01; // bootstrap, enabled
    return new ByteWriter().u8(ENTRY.PROCESSOR).u8(id).u8(0x10).u8(flags)
      .u32(SIGNATURE).u32(FEATURES).zeros(8).finish();
  });
}

function bus(id: number, type: string): Uint8Array {
  return new ByteWriter().u8(ENTRY.BUS).u8(id).text(type, 6, 0x20).finish();
}

function ioapic(): Uint8Array {
  return new ByteWriter().u8(ENTRY.IOAPIC).u8(IOAPIC_ID).u8(0x11).u8(1)
    .u32(PLATFORM.IOAPIC).finish();
}

// Inputs 0 to 15: the 8259 is at 0 and the timer, IRQ 0, at 2.
function isaInterrupt(pin: number): Uint8Array {
  return interrupt({
    entry: ENTRY.IO,
    kind: pin === 0 ? KIND.EXTINT : KIND.INT,
    flags: pin === PLATFORM.SCI ? ACTIVE_LOW_LEVEL : CONFORMS,
    bus: ISA_BUS,
    irq: pin === 2 ? 0 : pin,
    apic: IOAPIC_ID,
    pin,
  });
}

function pciInterrupts(machine: MachineDescription): Uint8Array[] {
  const routes = machine.buses.flatMap((bus) => bus.interrupts);
  return routes.map(({ slot, pin, gsi }) =>
    interrupt({
      entry: ENTRY.IO,
      kind: KIND.INT,
      flags: ACTIVE_LOW_LEVEL,
      bus: PCI_BUS,
      irq: slot << 2 | pin,
      apic: IOAPIC_ID,
      pin: gsi,
    })
  );
}

function localInterrupt(kind: number, pin: number): Uint8Array {
  const row = { entry: ENTRY.LOCAL, kind, flags: CONFORMS, bus: ISA_BUS };
  return interrupt({ ...row, irq: 0, apic: ALL_APICS, pin });
}

function configuration(machine: MachineDescription): Uint8Array<ArrayBuffer> {
  const entries = [
    ...processors(machine.vcpus),
    bus(PCI_BUS, "PCI"),
    bus(ISA_BUS, "ISA"),
    ioapic(),
    ...Array.from({ length: 16 }, (_, pin) => isaInterrupt(pin)),
    ...pciInterrupts(machine),
    localInterrupt(KIND.EXTINT, 0),
    localInterrupt(KIND.NMI, 1),
  ];
  const size = entries.reduce((sum, e) => sum + e.length, HEADER_BYTES);
  if (FLOATING_BYTES + size > MOST_BYTES) {
    throw new FirmwareError(
      `Cannot make an MP table for ${machine.vcpus} virtual CPUs: ${size} bytes do not fit between 0xf0000 and 0xf1000`,
    );
  }
  const writer = new ByteWriter().text("PCMP").u16(size).u8(4).u8(0)
    .text("BHyVe", 8, 0x20).text("Hypervisor", 12, 0x20)
    .u32(0).u16(0).u16(entries.length).u32(PLATFORM.LAPIC).u32(0);
  for (const entry of entries) writer.bytes(entry);
  return seal(writer.finish(), CHECKSUM_IN_HEADER);
}

function seal(
  bytes: Uint8Array<ArrayBuffer>,
  offset: number,
): Uint8Array<ArrayBuffer> {
  bytes[offset] = checksum8(bytes);
  return bytes;
}

/**
 * The floating pointer and the configuration table, for 0xF0000 on.
 *
 * @throws {FirmwareError} where there are devices on other buses than 0, or too
 *   many processors
 */
export function mptable(machine: MachineDescription): Uint8Array<ArrayBuffer> {
  const other = machine.buses.find((bus) => bus.number !== 0);
  if (other !== undefined) {
    throw new FirmwareError(
      `Cannot make an MP table: it describes PCI bus 0 only and there are devices on bus ${other.number}; use -Y`,
    );
  }
  const floating = new ByteWriter().text("_MP_")
    .u32(PLATFORM.MPTABLE + FLOATING_BYTES).u8(1).u8(4).zeros(6).finish();
  return new ByteWriter().bytes(seal(floating, CHECKSUM_IN_FLOATING))
    .bytes(configuration(machine)).finish();
}
