// MP table, SMBIOS and E820: signatures, checksums, counts and entries.

import { assertEquals, assertThrows } from "@std/assert";
import { FirmwareError } from "./bytes.ts";
import type { MachineDescription } from "./description.ts";
import { e820, e820Bytes } from "./e820.ts";
import { mptable } from "./mptable.ts";
import { derivedUuid, memorySizeFields, parseUuid, smbios } from "./smbios.ts";

const NONE = { start: 0, length: 0 };
const MACHINE: MachineDescription = {
  vcpus: 2,
  lowmem: 0x4000_0000,
  highmem: 0,
  buses: [{
    number: 0,
    io: NONE,
    memory32: NONE,
    memory64: NONE,
    interrupts: [{ slot: 3, pin: 1, pirq: 0, gsi: 17 }],
  }],
};
const BIG = { ...MACHINE, lowmem: 0xc000_0000, highmem: 0x4000_0000 };

function sum(bytes: Uint8Array): number {
  return bytes.reduce((a, b) => (a + b) & 0xff, 0);
}

function ascii(bytes: Uint8Array, at: number, length: number): string {
  return String.fromCharCode(...bytes.subarray(at, at + length));
}

Deno.test("mptable() has valid checksums and as many entries as it says", () => {
  const table = mptable(MACHINE);
  const view = new DataView(table.buffer);
  assertEquals(ascii(table, 0, 4), "_MP_");
  assertEquals(view.getUint32(4, true), 0xf0010);
  assertEquals(sum(table.subarray(0, 16)), 0);
  assertEquals(ascii(table, 16, 4), "PCMP");
  assertEquals(ascii(table, 24, 20), "BHyVe   Hypervisor  ");
  assertEquals(view.getUint16(20, true), table.length - 16);
  assertEquals(sum(table.subarray(16)), 0);
  // 2 processors, 2 buses, I/O APIC, 16 ISA, 1 PCI, 2 local
  assertEquals(view.getUint16(16 + 34, true), 24);
  let at = 60;
  const types: number[] = [];
  while (at < table.length) {
    types.push(table[at]!);
    at += table[at] === 0 ? 20 : 8;
  }
  assertEquals(types.length, 24);
  assertEquals(at, table.length);
});

Deno.test("mptable() routes the timer, the SCI and PCI pins", () => {
  const table = mptable(MACHINE);
  const first = 60 + 2 * 20 + 3 * 8;
  const row = (n: number) => [...table.subarray(first + 8 * n).slice(0, 8)];
  assertEquals(row(0), [3, 3, 0, 0, 1, 0, 0, 0]);
  assertEquals(row(2), [3, 0, 0, 0, 1, 0, 0, 2]);
  assertEquals(row(9), [3, 0, 15, 0, 1, 9, 0, 9]);
  assertEquals(row(16), [3, 0, 15, 0, 0, 3 << 2 | 1, 0, 17]);
  assertEquals(row(18), [4, 1, 0, 0, 1, 0, 0xff, 1]);
});

Deno.test("mptable() refuses other buses and too many processors", () => {
  const other = { ...MACHINE.buses[0]!, number: 2 };
  assertThrows(
    () => mptable({ ...MACHINE, buses: [other] }),
    FirmwareError,
    "bus 2",
  );
  assertThrows(() => mptable({ ...MACHINE, vcpus: 250 }), FirmwareError);
});

const OPTIONS = {
  uuid: parseUuid("00112233-4455-6677-8899-aabbccddeeff"),
  sockets: 2,
  cores: 2,
  threads: 1,
};

interface Found {
  readonly type: number;
  readonly area: Uint8Array;
  readonly texts: string[];
}

function walk(table: Uint8Array): Found[] {
  const found: Found[] = [];
  for (let at = 0x20; at < table.length;) {
    const length = table[at + 1]!;
    let end = at + length;
    while (table[end] !== 0 || table[end + 1] !== 0) end++;
    const texts = ascii(table, at + length, end - at - length).split("\0");
    const area = table.slice(at, at + length);
    found.push({ type: table[at]!, area, texts });
    at = end + 2;
  }
  return found;
}

Deno.test("smbios() has valid checksums and well-formed structures", () => {
  const table = smbios(MACHINE, OPTIONS);
  const view = new DataView(table.buffer);
  assertEquals(ascii(table, 0, 4), "_SM_");
  assertEquals(ascii(table, 16, 5), "_DMI_");
  assertEquals(sum(table.subarray(0, 0x1f)), 0);
  assertEquals(sum(table.subarray(0x10, 0x1f)), 0);
  assertEquals(view.getUint32(0x18, true), 0xf1020);
  assertEquals(view.getUint16(0x16, true), table.length - 0x20);
  const found = walk(table);
  assertEquals(found.length, view.getUint16(0x1c, true));
  assertEquals(
    found.map(({ type }) => type),
    [0, 1, 2, 3, 4, 4, 16, 17, 19, 32, 127],
  );
  const lengths = [0x18, 0x1b, 0x0f, 0x16, 0x2a, 0x2a, 0x17, 0x22, 0x1f, 0x0b];
  assertEquals(found.map(({ area }) => area.length), [...lengths, 4]);
});

Deno.test("smbios() names the machine and takes other texts", () => {
  const found = walk(smbios(MACHINE, {
    ...OPTIONS,
    texts: { "system.product_name": "Try", "board.location": "" },
  }));
  assertEquals(found[0]!.texts, ["BHYVE", "14.0", "10/17/2021"]);
  assertEquals(
    found[1]!.texts,
    ["FreeBSD", "Try", "1.0", "None", "None", "Virtual Machine"],
  );
  assertEquals(found[2]!.texts.length, 5);
  assertEquals(found[4]!.texts[0], "CPU #0");
  assertEquals(
    [...found[1]!.area.subarray(8, 16)],
    [0x33, 0x22, 0x11, 0, 0x55, 0x44, 0x77, 0x66],
  );
});

Deno.test("smbios() describes high memory", () => {
  const found = walk(smbios(BIG, OPTIONS));
  const maps = found.filter(({ type }) => type === 19)
    .map(({ area }) => new DataView(area.buffer));
  assertEquals(maps.map((m) => m.getUint32(4, true)), [0, 0x40_0000]);
  assertEquals(maps.map((m) => m.getUint32(8, true)), [0x2f_ffff, 0x4f_ffff]);
  const array = found.find(({ type }) => type === 16)!.area;
  const view = new DataView(array.buffer);
  assertEquals(view.getUint16(13, true), 2);
  assertEquals(view.getBigUint64(15, true), 0x1_0000_0000n);
});

Deno.test("memorySizeFields() changes unit and field with the size", () => {
  assertEquals(memorySizeFields(32767 * 1024), [0xffff, 0]);
  assertEquals(memorySizeFields(32768 * 1024), [32, 0]);
  assertEquals(memorySizeFields(32766 * 2 ** 20), [32766, 0]);
  assertEquals(memorySizeFields(32767 * 2 ** 20), [0x7fff, 32767]);
});

Deno.test("smbios() refuses what does not fit below the ACPI tables", () => {
  const sockets = { ...OPTIONS, sockets: 200 };
  assertThrows(() => smbios(MACHINE, sockets), FirmwareError, "fewer sockets");
});

Deno.test("parseUuid() refuses other texts", () => {
  for (const text of ["", "1", "00112233-4455-6677-8899-aabbccddeefg"]) {
    assertThrows(() => parseUuid(text), FirmwareError, "Cannot use UUID");
  }
});

Deno.test("derivedUuid() is the digest with version 3", () => {
  const uuid = derivedUuid("vm", "host");
  assertEquals(uuid, derivedUuid("vmhost", ""));
  assertEquals(uuid[7]! >> 4, 3);
  assertEquals(uuid[8]! >> 6, 2);
});

Deno.test("e820() leaves out the legacy hole", () => {
  assertEquals(e820(MACHINE).map(({ base, length }) => [base, length]), [
    [0, 0xa_0000],
    [0x10_0000, 0x3ff0_0000],
  ]);
  assertEquals(e820(BIG).at(-1), {
    base: 0x1_0000_0000,
    length: 0x4000_0000,
    type: 1,
  });
  assertEquals(e820({ lowmem: 0x8_0000, highmem: 0 }).length, 1);
  const bytes = e820Bytes(e820(BIG));
  assertEquals(bytes.length, 60);
  assertEquals(new DataView(bytes.buffer).getUint32(44, true), 1);
});
