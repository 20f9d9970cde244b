// The local APIC: priorities, local interrupts, errors, modes, registers, state.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { conformance } from "../../devices/conformance.ts";
import { MESSAGE } from "./apic_bus.ts";
import { APIC, ESR } from "./apic_registers.ts";
import { ApicBench, drain, read, write } from "./apic_testing.ts";
import { PlatformStateError } from "./state.ts";

conformance("LocalApic", () => {
  const { apics } = new ApicBench(1, false);
  const device = apics[0]!;
  return {
    device,
    ranges: [{ name: "registers", length: 0x1000, handler: device }],
  };
});

function one(isEnabled = true) {
  const bench = new ApicBench(1, isEnabled);
  return { bench, apic: bench.apics[0]! };
}

Deno.test("LocalApic has the registers of the manual after power-on", () => {
  const { apic } = one(false);
  assertEquals(read(apic, APIC.ID), 0);
  assertEquals(read(apic, APIC.VERSION), 0x0006_0010);
  assertEquals(read(apic, APIC.DFR), 0xffff_ffff);
  assertEquals(read(apic, APIC.SVR), 0xff);
  assertEquals(read(apic, APIC.LVT_LINT0), 0x1_0000);
  assertEquals(apic.base, 0xfee0_0900n);
  assert(!apic.isEnabled && !apic.pending());
});

Deno.test("LocalApic takes the highest vector first, and nests by class", () => {
  const { bench, apic } = one();
  for (const vector of [0x31, 0x52, 0x35, 0xf0]) apic.interrupt(vector);
  assertEquals(apic.acknowledge(), 0xf0);
  assert(!apic.pending());
  assertEquals(read(apic, APIC.PPR), 0xf0);
  write(apic, APIC.EOI, 0);
  assertEquals(apic.acknowledge(), 0x52);
  apic.interrupt(0x5f);
  assert(!apic.pending(), "same class waits");
  apic.interrupt(0x60);
  assertEquals(apic.acknowledge(), 0x60);
  write(apic, APIC.EOI, 0);
  write(apic, APIC.EOI, 0);
  assertEquals(drain(apic), [0x5f, 0x35, 0x31]);
  assertEquals(bench.take().filter((e) => e !== "attend0"), []);
});

Deno.test("LocalApic holds vectors back by TPR, which is CR8", () => {
  const { bench, apic } = one();
  apic.taskPriority = 5;
  assertEquals(read(apic, APIC.TPR), 0x50);
  apic.interrupt(0x5a);
  assert(!apic.pending());
  assertEquals(bench.take(), []);
  write(apic, APIC.TPR, 0x4f);
  assertEquals(apic.taskPriority, 4);
  assertEquals(read(apic, APIC.PPR), 0x4f);
  assertEquals(bench.take(), ["attend0"]);
  assertEquals(apic.acknowledge(), 0x5a);
});

Deno.test("LocalApic attends once for each better vector", () => {
  const { bench, apic } = one();
  apic.interrupt(0x40);
  apic.interrupt(0x40);
  apic.interrupt(0x41);
  apic.interrupt(0x30);
  assertEquals(bench.take(), ["attend0", "attend0"]);
});

Deno.test("LocalApic tells of the ends of levels only", () => {
  const { bench, apic } = one();
  apic.interrupt(0x40, true);
  apic.interrupt(0x51, false);
  drain(apic);
  assertEquals(bench.take().filter((e) => e.startsWith("eoi")), ["eoi0:64"]);
  apic.interrupt(0x40, false);
  drain(apic);
  assertEquals(bench.take().filter((e) => e.startsWith("eoi")), []);
});

Deno.test("LocalApic gives the spurious vector where nothing waits", () => {
  const { apic } = one();
  assertEquals(apic.acknowledge(), 0xff);
  assertEquals(read(apic, APIC.ISR + 7), 0);
});

Deno.test("LocalApic drops vectors and masks its table while switched off", () => {
  const { apic } = one();
  write(apic, APIC.LVT_TIMER, 0x40);
  apic.interrupt(0x50);
  write(apic, APIC.SVR, 0xff);
  assert(apic.pending(), "what was requested stays");
  assertEquals(read(apic, APIC.LVT_TIMER), 0x1_0040);
  write(apic, APIC.LVT_TIMER, 0x41);
  assertEquals(read(apic, APIC.LVT_TIMER), 0x1_0041);
  apic.interrupt(0x60);
  write(apic, APIC.SVR, 0x1ff);
  assertEquals(drain(apic), [0x50]);
});

Deno.test("LocalApic passes the 8259s on through LINT0 as ExtINT", () => {
  const { bench, apic } = one();
  bench.extInt.isRequesting = true;
  apic.setPin(0, true);
  assert(!apic.pending(), "masked");
  write(apic, APIC.LVT_LINT0, 0x700);
  assertEquals(bench.take(), ["attend0"]);
  assert(apic.pending());
  assertEquals(apic.acknowledge(), 0x20);
  apic.setPin(0, false);
  assert(!apic.pending());
  assertEquals(read(apic, APIC.ISR + 1), 0, "not in service here");
});

Deno.test("LocalApic is a wire for the 8259s while it is off", () => {
  const { bench, apic } = one(false);
  apic.setPin(0, true);
  assert(apic.pending());
  assertEquals(apic.acknowledge(), 0x20);
  apic.setPin(1, true);
  apic.setPin(1, true);
  assertEquals(bench.take(), ["attend0", "nmi0"]);
  assert(apic.setBase(0xfee0_0100n));
  assert(apic.pending());
});

Deno.test("LocalApic prefers the 8259s to its own vectors", () => {
  const { apic } = one();
  write(apic, APIC.LVT_LINT0, 0x700);
  apic.setPin(0, true);
  apic.interrupt(0xe0);
  assertEquals(apic.acknowledge(), 0x20);
});

Deno.test("LocalApic takes an ExtINT message while the 8259s ask", () => {
  const { bench, apic } = one();
  bench.extInt.isRequesting = true;
  apic.accept(0x700);
  assert(apic.pending());
  assertEquals(apic.acknowledge(), 0x20);
  assert(!apic.pending());
  apic.accept(0x700);
  assert(!apic.pending(), "they do not ask");
});

Deno.test("LocalApic delivers each local interrupt by its table entry", () => {
  const { bench, apic } = one();
  const table = [
    APIC.LVT_LINT0,
    APIC.LVT_LINT1,
    APIC.LVT_TIMER,
    APIC.LVT_ERROR,
    APIC.LVT_PMC,
    APIC.LVT_THERMAL,
    APIC.LVT_CMCI,
  ];
  table.forEach((lvt, n) => {
    apic.localInterrupt(n);
    assert(!apic.pending(), "masked");
    write(apic, lvt, 0x41 + n);
    apic.localInterrupt(n);
    assertEquals(drain(apic), [0x41 + n]);
  });
  bench.take();
  write(apic, APIC.LVT_LINT1, 0x400);
  apic.setPin(1, true);
  assertEquals(bench.take(), ["nmi0"]);
  apic.localInterrupt(7);
  apic.localInterrupt(-1);
  assertEquals(bench.take(), []);
});

Deno.test("LocalApic shows errors in ESR after a write of it", () => {
  const { apic } = one();
  write(apic, APIC.LVT_ERROR, 0x33);
  apic.interrupt(5);
  assertEquals(read(apic, APIC.ESR), 0);
  write(apic, APIC.ESR, 0);
  assertEquals(read(apic, APIC.ESR), ESR.RECEIVE_VECTOR);
  assertEquals(drain(apic), [0x33]);
  write(apic, APIC.ICR_LOW, 0x4_0003);
  read(apic, 0x3a);
  write(apic, APIC.ESR, 0);
  assertEquals(read(apic, APIC.ESR), ESR.SEND_VECTOR | ESR.REGISTER);
  write(apic, APIC.ESR, 0);
  assertEquals(read(apic, APIC.ESR), 0);
});

Deno.test("LocalApic does not raise errors for ever with an illegal error vector", () => {
  const { apic } = one();
  write(apic, APIC.LVT_ERROR, 3);
  apic.interrupt(1);
  write(apic, APIC.ESR, 0);
  assertEquals(read(apic, APIC.ESR), ESR.RECEIVE_VECTOR);
  assert(!apic.pending());
});

Deno.test("LocalApic reads any bytes of a register and writes only whole ones", () => {
  const { apic } = one();
  assertEquals(apic.read(0x30, 1), 0x10);
  assertEquals(apic.read(0x32, 1), 0x06);
  assertEquals(apic.read(0x30, 2), 0x10);
  assertEquals(apic.read(0x34, 4), 0);
  assertEquals(apic.read(0x30, 8), 0x0006_0010);
  apic.write(0x80, 1, 0xffn);
  apic.write(0x84, 4, 0xffn);
  apic.write(0x80, 8, 0xffn);
  assertEquals(read(apic, APIC.TPR), 0);
});

Deno.test("LocalApic.setBase() follows the order of modes", () => {
  const { apic } = one();
  const set = (bits: bigint) => apic.setBase(0xfee0_0000n | bits);
  assert(!apic.setBase(0xfed0_0900n), "moved");
  assert(!set(0x500n), "x2APIC but off");
  assert(!set(0x901n), "reserved");
  assert(set(0xd00n));
  assertEquals(apic.base, 0xfee0_0d00n);
  assert(!set(0x900n), "from x2APIC to xAPIC");
  assert(set(0x100n));
  assert(!set(0xd00n), "from off to x2APIC");
  assertEquals(apic.read(0x30, 4), 0xffff_ffff);
  assertEquals(apic.read(0x30, 8), 0xffff_ffff_ffff_ffffn);
  assert(set(0x900n));
  assertEquals(read(apic, APIC.SVR), 0xff, "as after power-on");
});

Deno.test("LocalApic has MSRs in x2APIC mode only, and checks them", () => {
  const bench = new ApicBench(20);
  const apic = bench.apics[19]!;
  assertEquals(apic.readMsr(0x802), undefined);
  assert(!apic.writeMsr(0x80b, 0n));
  assert(apic.setBase(0xfee0_0c00n));
  assertEquals(apic.read(0x20, 4), 0xffff_ffff);
  assertEquals(apic.readMsr(0x802), 19n);
  assertEquals(apic.readMsr(0x80d), 0x1_0008n);
  assertEquals(apic.readMsr(0x803), 0x0006_0010n);
  const faults: [number, bigint][] = [
    [0x802, 0n],
    [0x80d, 0n],
    [0x80e, 0n],
    [0x80b, 1n],
    [0x828, 1n],
    [0x808, 0x100n],
    [0x808, 1n << 32n],
    [0x831, 0n],
    [0x810, 0n],
    [0x83d, 0n],
    [0xbff, 0n],
    [0x80f, 0x1000n],
  ];
  for (const [msr, value] of faults) {
    assert(!apic.writeMsr(msr, value), msr.toString(16));
  }
  for (const msr of [0x800, 0x809, 0x80b, 0x80e, 0x831, 0x83f, 0xbff]) {
    assertEquals(apic.readMsr(msr), undefined);
  }
  assert(apic.writeMsr(0x808, 0x20n));
  assertEquals(apic.taskPriority, 2);
  assert(apic.writeMsr(0x83f, 0x61n));
  assertEquals(apic.acknowledge(), 0x61);
  assert(apic.writeMsr(0x80b, 0n));
  assertEquals(apic.readMsr(0x80a), 0x20n);
});

Deno.test("LocalApic is reset by INIT but for its mode and ID", () => {
  const bench = new ApicBench(2);
  const apic = bench.apics[1]!;
  assert(apic.setBase(0xfee0_0c00n));
  apic.taskPriority = 9;
  apic.interrupt(0xa0);
  apic.accept(0x500 | MESSAGE.ASSERT);
  assertEquals(bench.take(), ["attend1", "init1"]);
  assertEquals(apic.base, 0xfee0_0c00n);
  assertEquals(apic.readMsr(0x80f), 0xffn);
  assertEquals([apic.taskPriority, apic.pending()], [0, false]);
  apic.accept(0x69a);
  apic.accept(0x69b);
  assertEquals(bench.take(), ["startup1:154"], "only the first starts");
});

Deno.test("LocalApic restores into another, which goes on alike", () => {
  const { bench, apic } = one();
  write(apic, APIC.LVT_TIMER, 0x2_0041);
  write(apic, APIC.TIMER_INITIAL, 1 << 20);
  apic.interrupt(0x70, true);
  apic.acknowledge();
  apic.interrupt(0x90);
  const saved = JSON.parse(JSON.stringify(apic.save()));
  const other = new ApicBench(1, false);
  other.apics[0]!.restore(saved);
  assertEquals(other.apics[0]!.save(), saved);
  bench.time.advance(16e6);
  other.time.advance(16e6);
  for (const each of [apic, other.apics[0]!]) {
    assertEquals(drain(each), [0x90]);
    write(each, APIC.EOI, 0);
    assertEquals(drain(each), [0x41]);
  }
  assert(other.take().includes("eoi0:112"));
});

Deno.test("LocalApic refuses damaged states and stays as it was", () => {
  const { apic } = one();
  const saved = apic.save() as unknown as Record<string, unknown>;
  const registers = saved.registers as number[];
  const bad = [
    { ...saved, mode: 3 },
    { ...saved, registers: registers.slice(1) },
    { ...saved, registers: registers.with(APIC.TPR, 0x100) },
    { ...saved, registers: registers.with(APIC.SVR, -1) },
    { ...saved, pins: [true] },
    { ...saved, timer: {} },
    { ...saved, timer: { ...(saved.timer as object), deadline: "12" } },
  ];
  for (const state of bad) {
    assertThrows(() => apic.restore(state as never), PlatformStateError);
  }
  assertEquals(apic.save() as unknown, saved);
});
