// The wiring: addresses, lines, virtual wire, per-CPU windows, startup, state.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { Bus } from "../bus.ts";
import { APIC } from "./apic_registers.ts";
import { Interrupts, type StartupEvent } from "./interrupts.ts";
import { PlatformStateError } from "./state.ts";
import { ManualTime } from "./testing.ts";

function machine(vcpus = 2) {
  const time = new ManualTime();
  const ports = new Bus("port");
  const memory = new Bus("memory");
  const events: string[] = [];
  const startup: StartupEvent[] = [];
  const interrupts = new Interrupts({
    vcpus,
    ports,
    memory,
    clock: time.clock,
    wallClock: () => 1.7e9,
    attend: (vcpu) => events.push(`attend${vcpu}`),
    nmi: (vcpu) => events.push(`nmi${vcpu}`),
  });
  interrupts.onStartup((event) => startup.push(event));
  const access = (bus: Bus, at: number, bytes: number) => {
    const range = bus.find(at, bytes)!;
    return {
      read: () => Number(range.handler.read(at - range.start, bytes)),
      write: (value: number) =>
        range.handler.write(at - range.start, bytes, BigInt(value >>> 0)),
    };
  };
  const out = (port: number, value: number) =>
    access(ports, port, 1).write(value);
  const poke = (gpa: number, value: number) =>
    access(memory, gpa, 4).write(value);
  const peek = (gpa: number) => access(memory, gpa, 4).read();
  const apic = (vcpu: number, register: number, value: number) => {
    interrupts.select(vcpu);
    poke(0xfee0_0000 + (register << 4), value);
  };
  const redirect = (pin: number, low: number, destination = 0) => {
    poke(0xfec0_0000, 0x11 + 2 * pin);
    poke(0xfec0_0010, destination << 24);
    poke(0xfec0_0000, 0x10 + 2 * pin);
    poke(0xfec0_0010, low);
  };
  const startPic = () => {
    for (const value of [0x11]) out(0x20, value);
    for (const value of [0x20, 4, 1, 0]) out(0x21, value);
    for (const value of [0x11]) out(0xa0, value);
    for (const value of [0x28, 2, 1, 0]) out(0xa1, value);
  };
  return {
    time,
    ports,
    memory,
    events,
    startup,
    interrupts,
    out,
    poke,
    peek,
    apic,
    redirect,
    startPic,
    inb: (port: number) => access(ports, port, 1).read(),
  };
}

Deno.test("Interrupts claims bhyve's addresses", () => {
  const { ports, memory } = machine();
  const shape = (bus: Bus) =>
    bus.ranges.map((r) => [r.start.toString(16), r.length, r.name]);
  assertEquals(shape(ports), [
    ["20", 2, "pic"],
    ["40", 4, "pit"],
    ["61", 1, "pit"],
    ["70", 2, "rtc"],
    ["a0", 2, "pic"],
    ["408", 4, "pm-timer"],
    ["4d0", 2, "pic"],
  ]);
  assertEquals(shape(memory), [
    ["fec00000", 0x1000, "ioapic"],
    ["fed00000", 0x400, "hpet"],
    ["fee00000", 0x1000, "lapic"],
  ]);
  assertThrows(() => machine(0), RangeError);
});

Deno.test("Interrupts brings the PIT to CPU 0 through the 8259s", () => {
  const { interrupts, startPic, out, time, events } = machine();
  startPic();
  out(0x43, 0x34);
  out(0x40, 0x9c);
  out(0x40, 0x2e);
  assert(!interrupts.sources[0]!.pending());
  time.advance(10.1e6);
  assertEquals(events, ["attend0"]);
  assert(interrupts.sources[0]!.pending());
  assert(!interrupts.sources[1]!.pending());
  assertEquals(interrupts.sources[0]!.acknowledge(), 0x20);
  assert(!interrupts.sources[0]!.pending());
});

Deno.test("Interrupts puts ISA lines on both controllers, the timer on pin 2", () => {
  const { interrupts, apic, redirect, out, time } = machine();
  apic(0, APIC.SVR, 0x1ff);
  redirect(2, 0x30);
  redirect(4, 0x34);
  interrupts.isaIrq(4).pulse();
  assertEquals(interrupts.lapics[0]!.acknowledge(), 0x34);
  apic(0, APIC.EOI, 0);
  out(0x43, 0x30);
  out(0x40, 100);
  out(0x40, 0);
  time.advance(1e6);
  assertEquals(interrupts.lapics[0]!.acknowledge(), 0x30);
  for (const irq of [2, -1, 16]) {
    assertThrows(() => interrupts.isaIrq(irq), RangeError);
  }
});

Deno.test("Interrupts brings the 8259s through pin 0 of the I/O APIC", () => {
  const { interrupts, apic, redirect, startPic } = machine();
  apic(0, APIC.SVR, 0x1ff);
  apic(1, APIC.SVR, 0x1ff);
  startPic();
  redirect(0, 0x700, 1);
  const line = interrupts.isaIrq(5);
  line.pulse();
  assert(!interrupts.sources[0]!.pending(), "LINT0 is masked");
  assert(interrupts.sources[1]!.pending());
  assertEquals(interrupts.sources[1]!.acknowledge(), 0x25);
});

Deno.test("Interrupts ends levels at the I/O APIC", () => {
  const { interrupts, apic, redirect } = machine();
  const [cpu] = interrupts.lapics;
  apic(0, APIC.SVR, 0x1ff);
  redirect(17, 0x8051);
  const line = interrupts.ioapicPin(17);
  line.set(true);
  assertEquals(cpu!.acknowledge(), 0x51);
  apic(0, APIC.EOI, 0);
  assertEquals(cpu!.acknowledge(), 0x51, "still asserted");
  line.set(false);
  apic(0, APIC.EOI, 0);
  assert(!cpu!.pending());
});

Deno.test("Interrupts shows each CPU its own local APIC", () => {
  const { interrupts, peek } = machine(3);
  const ids = [0, 1, 2].map((vcpu) => {
    interrupts.select(vcpu);
    return peek(0xfee0_0020) >>> 24;
  });
  assertEquals(ids, [0, 1, 2]);
  assertThrows(() => interrupts.select(3), RangeError);
});

Deno.test("Interrupts tells of INIT and STARTUP", () => {
  const { apic, startup } = machine();
  apic(0, APIC.ICR_HIGH, 1 << 24);
  apic(0, APIC.ICR_LOW, 0x4500);
  apic(0, APIC.ICR_LOW, 0x469f);
  apic(0, APIC.ICR_LOW, 0x469f);
  assertEquals(startup, [
    { kind: "init", vcpu: 1 },
    { kind: "startup", vcpu: 1, vector: 0x9f, address: 0x9f000 },
  ]);
});

Deno.test("Interrupts routes the HPET to pins and messages, and MSIs", () => {
  const { interrupts, apic, redirect, poke, time } = machine();
  const [cpu] = interrupts.lapics;
  apic(0, APIC.SVR, 0x1ff);
  redirect(24, 0x60);
  poke(0xfed0_0100, 24 << 9 | 4);
  poke(0xfed0_0108, 1000);
  poke(0xfed0_0130, 0x61);
  poke(0xfed0_0134, 0xfee0_0000);
  poke(0xfed0_0120, 0x4004);
  poke(0xfed0_0128, 2000);
  poke(0xfed0_0010, 1);
  time.advance(1e6);
  assertEquals(cpu!.acknowledge(), 0x61);
  apic(0, APIC.EOI, 0);
  assertEquals(cpu!.acknowledge(), 0x60);
  interrupts.msi.raise(0xfee0_1000, 0x400);
});

Deno.test("Interrupts restores a machine in full flight", () => {
  const one = machine();
  const line = one.interrupts.isaIrq(10);
  one.apic(0, APIC.SVR, 0x1ff);
  one.startPic();
  one.redirect(10, 0x804a);
  line.set(true);
  one.out(0x43, 0x34);
  one.out(0x40, 0);
  one.out(0x40, 1);
  one.interrupts.lapics[0]!.acknowledge();
  one.time.advance(1e6);
  const saved = JSON.parse(JSON.stringify(one.interrupts.save()));
  const two = machine();
  const other = two.interrupts.isaIrq(10);
  two.time.clock.restore(one.time.clock.save());
  two.interrupts.restore(saved);
  assertEquals(two.interrupts.save(), saved);
  other.set(true);
  assert(two.interrupts.ioapic.isAsserted(10));
  other.set(false);
  assert(!two.interrupts.ioapic.isAsserted(10), "counted once");
});

Deno.test("Interrupts refuses the state of another machine and stays as it was", () => {
  const { interrupts } = machine();
  interrupts.isaIrq(3).set(true);
  const saved = JSON.parse(JSON.stringify(interrupts.save()));
  const bad = [
    { ...saved, lapics: saved.lapics.slice(1) },
    { ...saved, lines: [] },
    { ...saved, turn: 2 },
    { ...saved, devices: { ...saved.devices, rtc: saved.devices.pit } },
    { ...saved, lapics: [saved.lapics[0], { kind: "local-apic", version: 1 }] },
    { ...saved, more: 1 },
  ];
  for (const state of bad) {
    assertThrows(() => interrupts.restore(state), PlatformStateError);
    assertEquals(interrupts.save(), saved);
  }
  assertEquals(machine(3).interrupts.lapics.length, 3);
});

Deno.test("Interrupts resets everything but the clock's memory", () => {
  const { interrupts, apic, out, redirect } = machine();
  const line = interrupts.isaIrq(3);
  const fresh = interrupts.save();
  apic(1, APIC.SVR, 0x1ff);
  redirect(3, 0x8033);
  out(0x43, 0x34);
  out(0x40, 1);
  out(0x40, 1);
  line.set(true);
  interrupts.select(1);
  interrupts.reset();
  assertEquals(interrupts.save(), fresh);
  line.set(true);
  assert(interrupts.ioapic.isAsserted(3));
});
