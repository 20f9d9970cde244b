// Power management, reset ports, the LPC bridge, and the chipset put together.

import { assertEquals } from "@std/assert";
import { conformance } from "../conformance.ts";
import { slot, TestPci } from "../pci/testing.ts";
import { Chipset } from "./chipset.ts";
import { LpcBridge } from "./bridge.ts";

function setup() {
  const pci = new TestPci();
  const events: string[] = [];
  const chipset = new Chipset({
    ports: pci.ports,
    interrupts: pci.interrupts,
    pci: pci.host,
    lpc: true,
    events: {
      reset: () => events.push("reset"),
      powerOff: () => events.push("off"),
      acpiChanged: (on) => events.push(on ? "acpi on" : "acpi off"),
    },
  });
  pci.host.add(slot(31), new LpcBridge(pci.host.pirq));
  pci.host.finish();
  return { pci, chipset, events };
}

Deno.test("AcpiPm gives the power button to guests with ACPI only", () => {
  const { pci, chipset, events } = setup();
  assertEquals(chipset.acpi.pressPowerButton(), false);
  pci.outPort(0xb2, 1, 0x55);
  pci.outPort(0xb2, 1, 0xa0);
  assertEquals(pci.inPort(0x404, 2), 1);
  assertEquals(chipset.acpi.pressPowerButton(), true);
  assertEquals(pci.inPort(0x400, 2), 0x100);
  assertEquals(pci.interrupts.up, []);
  pci.outPort(0x402, 2, 0xffff);
  assertEquals(pci.inPort(0x402, 2), 0x520);
  assertEquals(pci.interrupts.up, ["isa9"]);
  pci.outPort(0x400, 2, 0x100);
  assertEquals(pci.interrupts.up, []);
  pci.outPort(0xb2, 1, 0xa1);
  assertEquals(pci.inPort(0x404, 2), 0);
  assertEquals(events, ["acpi on", "acpi off"]);
  assertEquals(pci.interrupts.levelTriggered.has(9), true);
});

Deno.test("AcpiPm switches off in S5 only", () => {
  const { pci, events } = setup();
  pci.outPort(0x404, 2, 1 << 13 | 1 << 10);
  pci.outPort(0x404, 2, 5 << 10);
  assertEquals(events, []);
  pci.outPort(0x404, 2, 1 << 13 | 5 << 10);
  assertEquals(events, ["off"]);
  assertEquals(pci.inPort(0x404, 2), 5 << 10);
});

Deno.test("AcpiPm raises the SCI for a new VM generation", () => {
  const { pci, chipset } = setup();
  pci.outPort(0x40d, 1, 0xff);
  assertEquals(pci.inPort(0x40d, 1), 1);
  chipset.acpi.generationChanged();
  assertEquals(pci.inPort(0x40c, 1), 1);
  assertEquals(pci.interrupts.up, ["isa9"]);
  pci.outPort(0x40c, 1, 1);
  assertEquals(pci.interrupts.up, []);
});

Deno.test("ResetPorts reset through CF9 and 92h", () => {
  const { pci, events } = setup();
  pci.outPort(0xcf9, 1, 2);
  assertEquals(pci.inPort(0xcf9, 1), 2);
  assertEquals(events, []);
  pci.outPort(0xcf9, 1, 6);
  assertEquals(pci.inPort(0x92, 1), 2);
  pci.outPort(0x92, 1, 3);
  assertEquals(events, ["reset", "reset"]);
  assertEquals(pci.inPort(0x84, 1), 0xff);
});

Deno.test("LpcBridge shows and takes the PIRQ routing", () => {
  const { pci } = setup();
  const at = slot(31);
  assertEquals(pci.read(at, 0), 0x70008086);
  assertEquals(pci.read(at, 8), 0x06010000);
  assertEquals(pci.read(at, 0x60), 0x80808080);
  pci.write(at, 0x61, 1, 0x7b);
  assertEquals(pci.read(at, 0x60), 0x80800b80);
  pci.write(at, 0x60, 4, 0);
  assertEquals(pci.read(at, 0x60), 0x80800b80);
  pci.write(at, 0x6b, 1, 5);
  assertEquals(pci.host.pirq.irq(7), 5);
  pci.write(at, 0x6b, 1, 13);
  assertEquals(pci.host.pirq.irq(7), undefined);
  pci.host.reset();
  assertEquals(pci.read(at, 0x60), 0x80808080);
});

Deno.test("Chipset keeps the interrupts of its devices from PIRQs", () => {
  const { pci } = setup();
  const irqs = [0, 1, 2, 3, 4, 5, 6, 7].map((pin) => {
    pci.host.pirq.allocate(pin);
    return pci.host.pirq.irq(pin);
  });
  assertEquals(irqs, [5, 6, 7, 10, 11, 14, 15, 5]);
});

Deno.test("Chipset has the ports of a PC", () => {
  const { pci, chipset } = setup();
  const ports = [0x60, 0x64, 0x84, 0x92, 0xb2, 0x2e8, 0x2f8, 0x3e8, 0x3f8];
  const claimed = pci.ports.ranges.map((r) => r.start);
  assertEquals(ports.every((p) => claimed.includes(p)), true);
  assertEquals(
    chipset.devices.map((d) => d.name),
    ["i8042", "acpi-pm", "reset-ports", "com1", "com2", "com3", "com4"],
  );
});

conformance("AcpiPm", () => {
  const { pci, chipset } = setup();
  const range = (start: number) => pci.ports.find(start, 1)!;
  return { device: chipset.acpi, ranges: [0x400, 0x40c, 0xb2].map(range) };
});

conformance("ResetPorts", () => {
  const { pci, chipset } = setup();
  const range = (start: number) => pci.ports.find(start, 1)!;
  return { device: chipset.reset, ranges: [0xcf8, 0x92, 0x84].map(range) };
});

conformance("LpcBridge", () => {
  const { pci } = setup();
  const device = pci.host.functions.find((f) =>
    f.device.model === "lpc"
  )!.device;
  return { device, ranges: [] };
});
