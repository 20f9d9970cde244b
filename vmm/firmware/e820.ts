// The BIOS memory map, "E820" (ACPI 6.4, section 15): what of guest-physical
// memory an operating system may use. Holes are absent, not reserved.

import { ByteWriter } from "./bytes.ts";
import { type MachineDescription, PLATFORM } from "./description.ts";

/** What a range is for, as numbered by the interface. */
export const E820_TYPE = { RAM: 1, RESERVED: 2, ACPI: 3, NVS: 4 } as const;

/** One range. */
export interface E820Entry {
  readonly base: number;
  readonly length: number;
  /** see `E820_TYPE` */
  readonly type: number;
}

/** Ranges that RAM lies behind but that belong to VGA and to ROMs. */
const HOLES = [[0xa_0000, 0xc_0000], [0xc_0000, 0x10_0000]] as const;

interface Range {
  readonly start: number;
  readonly end: number;
}

function without(range: Range, hole: readonly [number, number]): Range[] {
  const [start, end] = hole;
  return [
    { start: range.start, end: Math.min(range.end, start) },
    { start: Math.max(range.start, end), end: range.end },
  ].filter((part) => part.start < part.end);
}

/** The map of a machine with this much memory, by address. */
export function e820(
  { lowmem, highmem }: Pick<MachineDescription, "lowmem" | "highmem">,
): E820Entry[] {
  let ranges: Range[] = [
    { start: 0, end: lowmem },
    { start: PLATFORM.HIGHMEM, end: PLATFORM.HIGHMEM + highmem },
  ].filter(({ start, end }) => start < end);
  for (const hole of HOLES) {
    ranges = ranges.flatMap((range) => without(range, hole));
  }
  return ranges.map(({ start, end }) => ({
    base: start,
    length: end - start,
    type: E820_TYPE.RAM,
  }));
}

/** The map's bytes: entries of 20, as in fw_cfg's `etc/e820`. */
export function e820Bytes(
  entries: readonly E820Entry[],
): Uint8Array<ArrayBuffer> {
  const writer = new ByteWriter();
  for (const { base, length, type } of entries) {
    writer.u64(base).u64(length).u32(type);
  }
  return writer.finish();
}
