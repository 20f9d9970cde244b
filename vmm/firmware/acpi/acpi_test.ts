// The tables as a system reads them: pointers lead from the root to every table,
// sums are zero; and as Intel's compiler reads them, where it is installed.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { FirmwareError } from "../bytes.ts";
import type { MachineDescription } from "../description.ts";
import * as aml from "./aml.ts";
import { acpiFiles, acpiInMemory } from "./mod.ts";
import { template } from "./resources.ts";
import type { PlacedTable } from "./table.ts";

const MACHINE: MachineDescription = {
  vcpus: 3,
  lowmem: 0x4000_0000,
  highmem: 0,
  lpcSlot: 31,
  fwcfg: true,
  tpmLog: { start: 0x1000, length: 0x1_0000 },
  buses: [{
    number: 0,
    io: { start: 0x2000, length: 0xe000 },
    memory32: { start: 0xc000_0000, length: 0x2000_0000 },
    memory64: { start: 0x8_0000_0000, length: 0x8_0000_0000 },
    interrupts: [
      { slot: 3, pin: 0, pirq: 0, gsi: 16 },
      { slot: 4, pin: 1, pirq: 7, gsi: 17 },
    ],
  }, {
    number: 0x1f,
    io: { start: 0, length: 0 },
    memory32: { start: 0xd000_0000, length: 0x10_0000 },
    memory64: { start: 0, length: 0 },
    interrupts: [{ slot: 0, pin: 0, pirq: 2, gsi: 18 }],
  }],
};

function sum(bytes: Uint8Array): number {
  return bytes.reduce((a, b) => (a + b) & 0xff, 0);
}

function signature({ bytes }: PlacedTable): string {
  return String.fromCharCode(...bytes.subarray(0, 4));
}

function word(table: PlacedTable, offset: number): number {
  return new DataView(table.bytes.buffer).getUint32(offset, true);
}

Deno.test("acpiInMemory() starts with the root pointer at 0xF2400", () => {
  const [root, ...tables] = acpiInMemory(MACHINE);
  assertEquals(root!.gpa, 0xf2400);
  assertEquals(sum(root!.bytes.subarray(0, 20)), 0);
  assertEquals(sum(root!.bytes), 0);
  const byAddress = new Map(tables.map((t) => [t.gpa, t]));
  const rsdt = byAddress.get(word(root!, 16))!;
  const xsdt = byAddress.get(word(root!, 24))!;
  const listed = ["FACP", "APIC", "HPET", "MCFG", "SPCR", "TPM2"];
  assertEquals(
    listed.map((_, n) => signature(byAddress.get(word(rsdt, 36 + 4 * n))!)),
    listed,
  );
  assertEquals(
    listed.map((_, n) => signature(byAddress.get(word(xsdt, 36 + 8 * n))!)),
    listed,
  );
  const fadt = byAddress.get(word(rsdt, 36))!;
  assertEquals(signature(byAddress.get(word(fadt, 36))!), "FACS");
  assertEquals(signature(byAddress.get(word(fadt, 40))!), "DSDT");
  assertEquals(word(fadt, 140), word(fadt, 40));
});

Deno.test("acpiInMemory() aligns tables and makes their sums zero", () => {
  for (const table of acpiInMemory(MACHINE).slice(1)) {
    assertEquals(table.gpa % (table.name === "facs" ? 64 : 16), 0);
    assertEquals(word(table, 4), table.bytes.length);
    if (table.name !== "facs") assertEquals(sum(table.bytes), 0);
  }
});

Deno.test("The MADT lists every processor, wide IDs from 255 on", () => {
  const madt = (vcpus: number) =>
    acpiInMemory({ ...MACHINE, vcpus }).find((t) => t.name === "apic")!;
  assertEquals(madt(3).bytes.length, 44 + 3 * 8 + 12 + 2 * 10 + 6);
  const wide = madt(257).bytes;
  assertEquals(wide.length, 44 + 255 * 8 + 2 * 16 + 12 + 20 + 6);
  assertEquals(wide[44 + 255 * 8], 9);
});

Deno.test("acpiInMemory() refuses tables that pass 1 MiB", () => {
  const huge = { ...MACHINE, vcpus: 5000 };
  assertThrows(() => acpiInMemory(huge), FirmwareError, "0x100000");
});

Deno.test("The DSDT has bus 0 without any device, and no links without a bridge", () => {
  const { lpcSlot: _, ...plain } = MACHINE;
  const dsdt = acpiInMemory({ ...plain, buses: [] }).at(-1)!;
  const text = String.fromCharCode(...dsdt.bytes);
  assert(text.includes("PC00"));
  assert(text.includes("HPET"));
  assert(!text.includes("LNKA"));
});

Deno.test("The DSDT notifies of a changed generation", () => {
  const machine = { ...MACHINE, generation: 0x1_ff00_0000 };
  const text = String.fromCharCode(...acpiInMemory(machine).at(-1)!.bytes);
  assert(text.includes("VM_Gen_Counter\0"));
  assert(text.includes("_E00"));
});

// Runs a loader script as firmware does, with files placed upward from an address.
function runScript(files: ReturnType<typeof acpiFiles>, base: number) {
  const script = files.at(-1)!.bytes;
  const blobs = new Map(files.map((f) => [f.name, f.bytes]));
  const places = new Map<string, number>();
  let next = base;
  for (let at = 0; at < script.length; at += 128) {
    const view = new DataView(script.buffer, at, 128);
    const text = (from: number) =>
      String.fromCharCode(...script.subarray(at + from, at + from + 56))
        .replace(/\0.*/, "");
    const name = text(4);
    const blob = blobs.get(name)!;
    const data = new DataView(blob.buffer);
    const command = view.getUint32(0, true);
    if (command === 1) {
      next = Math.ceil(next / view.getUint32(60, true)) *
        view.getUint32(60, true);
      places.set(name, next);
      next += blob.length;
    } else if (command === 2) {
      const offset = view.getUint32(116, true);
      const target = places.get(text(60))!;
      data.setUint32(offset, data.getUint32(offset, true) + target, true);
    } else {
      const [offset, start, length] = [60, 64, 68]
        .map((n) => view.getUint32(n, true)) as [number, number, number];
      blob[offset] = 0;
      blob[offset] = -sum(blob.subarray(start, start + length));
    }
  }
  return { blobs, places };
}

Deno.test("acpiFiles() makes firmware build what is in memory", () => {
  const { blobs, places } = runScript(acpiFiles(MACHINE), 0xf2400);
  for (const { name, gpa, bytes } of acpiInMemory(MACHINE)) {
    assertEquals(places.get(`etc/acpi/${name}`), gpa);
    assertEquals(blobs.get(`etc/acpi/${name}`), bytes, name);
  }
});

Deno.test("AML integers take their shortest form", () => {
  assertEquals([...aml.integer(0)], [0]);
  assertEquals([...aml.integer(1)], [1]);
  assertEquals([...aml.integer(0xff)], [0x0a, 0xff]);
  assertEquals([...aml.integer(0x100)], [0x0b, 0, 1]);
  assertEquals([...aml.integer(0x1_0000)], [0x0c, 0, 0, 1, 0]);
  assertEquals(aml.integer(1n << 32n).length, 9);
  assertThrows(() => aml.integer(1n << 64n), FirmwareError);
});

Deno.test("AML names, identifiers and package lengths", () => {
  const text = (bytes: readonly number[]) => String.fromCharCode(...bytes);
  assertEquals(text(aml.path("\\_SB.PC00")), "\\._SB_PC00");
  assertEquals(text(aml.path("A.B.C")), "/\x03A___B___C___");
  assertEquals([...aml.eisaId("PNP0A03")], [0x0c, 0x41, 0xd0, 0x0a, 0x03]);
  assertThrows(() => aml.path("toolong"), FirmwareError);
  assertThrows(() => aml.eisaId("PNP0"), FirmwareError);
});

Deno.test("AML package lengths take one to four bytes", () => {
  const encoded = (fill: number) => {
    const bytes = aml.scope("A", Array.from({ length: fill }, () => 0xa3));
    // the name's segment follows the length
    return [...bytes.slice(1, bytes.indexOf(0x41, 2))];
  };
  assertEquals(encoded(58), [63]);
  assertEquals(encoded(59), [0x41, 0x04]);
  assertEquals(encoded(5000), [0x8f, 0x38, 0x01]);
  assertEquals(encoded(0x10_0000), [0xc8, 0x00, 0x00, 0x01]);
});

Deno.test("template() ends with a tag", () => {
  assertEquals([...template()], [0x11, 5, 0x0a, 2, 0x79, 0]);
});

async function compiler(): Promise<boolean> {
  try {
    await new Deno.Command("iasl", { args: ["-v"], stdout: "null" }).output();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

const hasCompiler = await compiler();
if (!hasCompiler) console.warn("acpica-tools is missing: tables not compiled");

async function iasl(args: string[], cwd: string): Promise<string> {
  const { stdout, stderr } = await new Deno.Command("iasl", { args, cwd })
    .output();
  return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
}

/** The table's source without the comments about the file. */
async function source(file: string): Promise<string> {
  const text = await Deno.readTextFile(file);
  return text.slice(text.indexOf("DefinitionBlock"));
}

Deno.test({
  name: "iasl disassembles every table and compiles the DSDT again, unchanged",
  ignore: !hasCompiler,
  async fn() {
    const cwd = await Deno.makeTempDir();
    const tables = acpiInMemory(MACHINE).filter((t) => t.name !== "rsdp");
    for (const { name, bytes } of tables) {
      await Deno.writeFile(`${cwd}/${name}.dat`, bytes);
    }
    const seen = await iasl(["-d", ...tables.map((t) => `${t.name}.dat`)], cwd);
    assert(!/error|warning|invalid/i.test(seen), seen);
    const compiled = await iasl(["-oa", "-p", "again", "dsdt.dsl"], cwd);
    assert(/0 Errors, 0 Warnings/.test(compiled), compiled);
    // its bytes may differ, since it merges a store with an operation
    await iasl(["-d", "again.aml"], cwd);
    const [first, second] = await Promise.all(
      ["dsdt.dsl", "again.dsl"].map((file) => source(`${cwd}/${file}`)),
    );
    assertEquals(second, first);
    await Deno.remove(cwd, { recursive: true });
  },
});
