// MSRs: legality of writes, vendors, time stamps, saving.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { Cpuid, type CpuidConfig } from "./cpuid.ts";
import { CpuError } from "./exits.ts";
import { MsrFile, type MsrState } from "./msr.ts";
import {
  CR0,
  EFER,
  FS,
  GS,
  LSTAR,
  RECORDS,
  SEG_BASE,
  TSC_OFFSET,
} from "./state.ts";

const PAGING = 0x8000_0000;
const HIGH = 0xffff_8000_0000_0000n;
const NOT_CANONICAL = 0x0000_8000_0000_0000n;

function machine(config: Partial<CpuidConfig> = {}) {
  const full: CpuidConfig = {
    vendor: "amd",
    vcpu: 0,
    sockets: 1,
    cores: 1,
    threads: 1,
    x2apic: true,
    ...config,
  };
  const state = new DataView(new ArrayBuffer(RECORDS));
  const changes: number[] = [];
  const host = { tsc: 1000n };
  const msrs = new MsrFile({
    state,
    vendor: full.vendor,
    vcpu: full.vcpu,
    cpuid: new Cpuid(full),
    tscFrequency: 3e9,
    changed: (index) => changes.push(index),
    readTsc: () => host.tsc,
  });
  return { msrs, state, changes, host };
}

const INTEL = { vendor: "intel" } as const;

Deno.test("MsrFile knows no register outside its table", () => {
  const { msrs, changes } = machine();
  for (const index of [0x800, 0xbff, 0x1234, 0xc000_0085, 0xffff_ffff]) {
    assertEquals(msrs.read(index), undefined);
    assertEquals(msrs.write(index, 0n), "unknown");
  }
  assertEquals(changes, []);
});

Deno.test("MSRs in memory 0 are the fields of state.ts", () => {
  const { msrs, state, changes } = machine();
  const places: [number, number][] = [
    [0xc000_0082, LSTAR],
    [0xc000_0100, FS + SEG_BASE],
    [0xc000_0101, GS + SEG_BASE],
  ];
  for (const [index, address] of places) {
    assertEquals(msrs.write(index, HIGH), "done");
    assertEquals(state.getBigUint64(address, true), HIGH);
    assertEquals(msrs.read(index), HIGH);
  }
  assertEquals(changes, places.map(([index]) => index));
});

Deno.test("MSRs that hold addresses take canonical ones only", () => {
  const { msrs, changes } = machine();
  const addresses = [0xc000_0082, 0xc000_0083, 0xc000_0100, 0xc000_0101]
    .concat([0xc000_0102]);
  for (const index of addresses) {
    assertEquals(msrs.write(index, NOT_CANONICAL), "fault");
    assertEquals(msrs.write(index, HIGH - 1n), "fault");
    assertEquals(msrs.write(index, NOT_CANONICAL - 1n), "done");
    assertEquals(msrs.read(index), NOT_CANONICAL - 1n);
  }
  assertEquals(changes, addresses);
});

Deno.test("SYSENTER's addresses are 64-bit for Intel and 32-bit for AMD", () => {
  const intel = machine(INTEL).msrs;
  assertEquals(intel.write(0x176, NOT_CANONICAL), "fault");
  assertEquals(intel.write(0x176, HIGH), "done");
  assertEquals(intel.read(0x176), HIGH);
  const amd = machine().msrs;
  assertEquals(amd.write(0x175, HIGH | 0x1234n), "done");
  assertEquals(amd.read(0x175), 0x1234n);
  assertEquals(amd.write(0x174, 0x5_0000_0010n), "done");
  assertEquals(amd.read(0x174), 0x10n);
});

Deno.test("EFER takes the bits of features only", () => {
  const { msrs } = machine();
  assertEquals(msrs.write(0xc000_0080, 0x901n), "done");
  assertEquals(msrs.read(0xc000_0080), 0x901n);
  // LMSLE, SVME, FFXSR, TCE and reserved bits
  for (const bit of [1n, 9n, 12n, 13n, 14n, 15n, 63n]) {
    assertEquals(msrs.write(0xc000_0080, 1n << bit), "fault");
  }
  const old = machine({ disabled: ["nx"] }).msrs;
  assertEquals(old.write(0xc000_0080, 0x800n), "fault");
  assertEquals(old.write(0xc000_0080, 0x101n), "done");
});

Deno.test("EFER and Intel's registers take what mitigates nothing", () => {
  const automatic = 1n << 21n;
  const { msrs } = machine();
  assertEquals(msrs.write(0xc000_0080, automatic), "done");
  assertEquals(msrs.read(0xc000_0080), automatic);
  assertEquals(msrs.write(0x48, 1n), "unknown");
  const intel = machine(INTEL).msrs;
  assertEquals(intel.write(0xc000_0080, automatic), "fault");
  assertEquals(intel.write(0x48, 1n), "done");
  assertEquals(intel.read(0x48), 1n);
  assertEquals(intel.write(0x48, 4n), "fault");
  assertEquals(intel.write(0x49, 1n), "done");
  assertEquals(intel.read(0x49), 0n);
  assertEquals(intel.write(0x10a, 0n), "fault");
  // No Meltdown, IBRS that is always on, no speculative store bypass
  assertEquals(intel.read(0x10a)! & 0x13n, 0x13n);
});

Deno.test("EFER.LME is fixed while paging is on", () => {
  const { msrs, state } = machine();
  state.setUint32(CR0, PAGING, true);
  assertEquals(msrs.write(0xc000_0080, 0x100n), "fault");
  assertEquals(msrs.write(0xc000_0080, 0x801n), "done");
  state.setBigUint64(EFER, 0x500n, true);
  assertEquals(msrs.write(0xc000_0080, 0x400n), "fault");
  assertEquals(msrs.write(0xc000_0080, 0xd01n), "done");
});

Deno.test("EFER.LMA is read-only: a fault for AMD, ignored for Intel", () => {
  const amd = machine();
  assertEquals(amd.msrs.write(0xc000_0080, 0x500n), "fault");
  amd.state.setBigUint64(EFER, 0x500n, true);
  assertEquals(amd.msrs.write(0xc000_0080, 0x100n), "fault");
  const intel = machine(INTEL);
  assertEquals(intel.msrs.write(0xc000_0080, 0x500n), "done");
  assertEquals(intel.msrs.read(0xc000_0080), 0x100n);
  intel.state.setBigUint64(EFER, 0x500n, true);
  assertEquals(intel.msrs.write(0xc000_0080, 0x100n), "done");
  assertEquals(intel.msrs.read(0xc000_0080), 0x500n);
});

Deno.test("TSC reads with the offset, and a write sets it", () => {
  const { msrs, state, host } = machine();
  assertEquals(msrs.read(0x10), 1000n);
  assertEquals(msrs.write(0x10, 50n), "done");
  assertEquals(state.getBigInt64(TSC_OFFSET, true), -950n);
  host.tsc = 1010n;
  assertEquals(msrs.read(0x10), 60n);
  assertEquals(msrs.write(0x10, (1n << 64n) - 1n), "done");
  assertEquals(msrs.read(0x10), (1n << 64n) - 1n);
  host.tsc++;
  assertEquals(msrs.read(0x10), 0n);
});

Deno.test("TSC_AUX needs RDTSCP or RDPID, and has 32 bits", () => {
  const aux = 0xc000_0103;
  const amd = machine().msrs;
  assertEquals(amd.write(aux, 0x7_0000_0005n), "done");
  assertEquals(amd.read(aux), 5n);
  assertEquals(machine(INTEL).msrs.write(aux, 0x7_0000_0005n), "fault");
  const none = machine({ disabled: ["rdtscp", "rdpid"] }).msrs;
  assertEquals(none.read(aux), undefined);
  const one = machine({ disabled: ["rdtscp"] }).msrs;
  assertEquals(one.read(aux), 0n);
});

Deno.test("APIC_BASE marks the first processor", () => {
  assertEquals(machine().msrs.read(0x1b), 0xfee0_0900n);
  assertEquals(machine({ vcpu: 1 }).msrs.read(0x1b), 0xfee0_0800n);
});

Deno.test("APIC_BASE changes its mode in order and never moves", () => {
  const { msrs } = machine();
  const write = (low: bigint) => msrs.write(0x1b, 0xfee0_0000n | low);
  assertEquals(msrs.write(0x1b, 0xfed0_0900n), "fault");
  assertEquals(write(0x901n), "fault");
  assertEquals(write(0x500n), "fault");
  assertEquals(write(0xd00n), "done");
  assertEquals(write(0x900n), "fault");
  assertEquals(write(0x100n), "done");
  assertEquals(write(0xd00n), "fault");
  // The mark of the first processor stays.
  assertEquals(write(0x800n), "done");
  assertEquals(msrs.read(0x1b), 0xfee0_0900n);
  assertEquals(
    machine({ x2apic: false }).msrs.write(0x1b, 0xfee0_0d00n),
    "fault",
  );
});

Deno.test("PAT takes legal memory types only", () => {
  const { msrs } = machine();
  assertEquals(msrs.read(0x277), 0x0007_0406_0007_0406n);
  assertEquals(msrs.write(0x277, 0x0706_0504_0100_0607n), "done");
  for (const bad of [2n, 3n, 8n, 0xffn]) {
    for (let n = 0n; n < 64n; n += 8n) {
      assertEquals(msrs.write(0x277, bad << n), "fault");
    }
  }
  assertEquals(msrs.read(0x277), 0x0706_0504_0100_0607n);
});

Deno.test("MTRRs are stored and checked", () => {
  const { msrs } = machine();
  assertEquals(msrs.read(0xfe), 0x50an);
  assertEquals(msrs.write(0xfe, 0x50an), "fault");
  assertEquals(msrs.write(0x2ff, 0xc06n), "done");
  assertEquals(msrs.read(0x2ff), 0xc06n);
  for (const bad of [0x02n, 0x07n, 0x100n, 0x1000n]) {
    assertEquals(msrs.write(0x2ff, bad), "fault");
  }
  for (const index of [0x250, 0x258, 0x259, 0x268, 0x26f]) {
    assertEquals(msrs.write(index, 0x0606_0606_0606_0606n), "done");
    assertEquals(msrs.read(index), 0x0606_0606_0606_0606n);
    assertEquals(msrs.write(index, 7n << 56n), "fault");
  }
  for (const index of [0x251, 0x257, 0x25a, 0x270, 0x214]) {
    assertEquals(msrs.read(index), undefined);
  }
});

Deno.test("variable MTRRs keep to the width of physical addresses", () => {
  const { msrs } = machine({ physicalBits: 40 });
  assertEquals(msrs.write(0x200, 0xff_ffff_f006n), "done");
  assertEquals(msrs.write(0x213, 0xff_ffff_f800n), "done");
  assertEquals(msrs.read(0x213), 0xff_ffff_f800n);
  assertEquals(msrs.write(0x200, 0x100_0000_0006n), "fault");
  assertEquals(msrs.write(0x200, 0x106n), "fault");
  assertEquals(msrs.write(0x201, 0x100_0000_0800n), "fault");
  assertEquals(msrs.write(0x201, 0x400n), "fault");
});

Deno.test("constants are those of bhyve, by vendor", () => {
  const amd = machine().msrs;
  const amdValues: [number, bigint][] = [
    [0x8b, 0n],
    [0x179, 0n],
    [0xc001_0007, 0n],
    [0xc001_0010, 0n],
    [0xc001_0015, 0x0100_0210n],
    [0xc001_0114, 0x10n],
    [0xc001_1029, 1n],
  ];
  const intelValues: [number, bigint][] = [
    [0x3a, 1n],
    [0xce, 30n << 8n | 30n << 40n],
    [0x1ad, 0x1e1e_1e1e_1e1e_1e1en],
    [0x1a0, 0x1801n],
    [0x606, 0xa_1003n],
    [0x641, 0n],
  ];
  const intel = machine(INTEL).msrs;
  for (const [index, value] of amdValues) {
    assertEquals(amd.read(index), value);
  }
  for (const [index, value] of intelValues) {
    assertEquals(intel.read(index), value);
    assertEquals(amd.read(index), undefined);
  }
  assertEquals(intel.read(0xc001_0015), undefined);
});

Deno.test("writes of constants are ignored or left to the caller", () => {
  const amd = machine();
  assertEquals(amd.msrs.write(0xc001_0015, 5n), "done");
  assertEquals(amd.msrs.read(0xc001_0015), 0x0100_0210n);
  assertEquals(amd.msrs.write(0x17a, 5n), "done");
  assertEquals(amd.msrs.write(0xc001_0114, 0n), "unknown");
  assertEquals(amd.changes, []);
  const intel = machine(INTEL).msrs;
  assertEquals(intel.write(0x1a0, 0x1801n | 1n << 34n), "done");
  assertEquals(intel.read(0x1a0), 0x1801n);
  assertEquals(intel.write(0x1a0, 0n), "unknown");
  assertEquals(intel.write(0xce, 0n), "unknown");
  assertEquals(intel.write(0x79, 0x1234n), "done");
});

Deno.test("MsrFile.save() and restore() carry what memory 0 has not", () => {
  const a = machine();
  a.msrs.write(0x277, 0x0606_0606_0606_0606n);
  a.msrs.write(0x2ff, 0xc00n);
  a.msrs.write(0x1b, 0xfee0_0d00n);
  const saved: MsrState = JSON.parse(JSON.stringify(a.msrs.save()));
  const b = machine();
  b.msrs.restore(saved);
  for (const index of [0x277, 0x2ff, 0x1b, 0x200]) {
    assertEquals(b.msrs.read(index), a.msrs.read(index));
  }
  assertEquals(b.msrs.save(), saved);
  b.msrs.reset();
  assertEquals(b.msrs.read(0x277), 0x0007_0406_0007_0406n);
});

Deno.test("MsrFile.restore() refuses a damaged state and changes nothing", () => {
  const { msrs } = machine();
  const saved = msrs.save();
  const { "0x277": _, ...short } = saved.values;
  const bad: [unknown, string][] = [
    [{ ...saved, version: 2 }, "version 2"],
    [{ ...saved, kind: "cpu" }, 'kind "cpu"'],
    [null, "undefined"],
    [{ ...saved, values: short }, '"0x277" is missing'],
    [
      { ...saved, values: { ...saved.values, "0x999": "0x0" } },
      'unknown part "0x999"',
    ],
    [{ ...saved, values: { ...saved.values, "0x277": "0x2" } }, "bad value"],
    [{ ...saved, values: { ...saved.values, "0x277": 6 } }, "bad value"],
    [
      { ...saved, values: { ...saved.values, "0x1b": "0xfed00900" } },
      "bad value",
    ],
  ];
  for (const [state, message] of bad) {
    assertThrows(() => msrs.restore(state as MsrState), CpuError, message);
    assertEquals(msrs.save(), saved);
  }
  assert(saved.values["0x277"] !== undefined);
});
