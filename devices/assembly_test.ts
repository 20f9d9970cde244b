// Devices with the platform's interrupt controllers: a machine without processors, as
// a machine's builder puts it together.

import { assertEquals } from "@std/assert";
import { Bus } from "../vmm/bus.ts";
import { Interrupts } from "../vmm/platform/interrupts.ts";
import { MemoryBackend } from "./block/memory.ts";
import { LpcBridge } from "./lpc/bridge.ts";
import { Chipset } from "./lpc/chipset.ts";
import { PciHost } from "./pci/host.ts";
import { bhyveWindows } from "./pci/windows.ts";
import { TestClock, TestLog, TestMemory } from "./testing.ts";
import { VirtioPci } from "./virtio/transport.ts";
import { VirtioBlk } from "./virtio/virtio_blk.ts";

function build() {
  const ports = new Bus("port");
  const memory = new Bus("memory");
  const clock = new TestClock();
  const log = new TestLog();
  const interrupts = new Interrupts({
    vcpus: 1,
    ports,
    memory,
    clock,
    wallClock: () => 0,
    attend() {},
    nmi() {},
  });
  const pci = new PciHost({
    ports,
    memory,
    interrupts,
    msi: interrupts.msi,
    windows: bhyveWindows(0),
    bootRom: false,
  });
  const chipset = new Chipset({
    ports,
    interrupts,
    pci,
    lpc: true,
    events: { reset() {}, powerOff() {} },
  });
  pci.add({ bus: 0, slot: 31, func: 0 }, new LpcBridge(pci.pirq));
  const blk = new VirtioPci(
    new VirtioBlk({ backend: new MemoryBackend(4096), serial: "" }),
    { name: "virtio-blk@0:3:0", memory: new TestMemory(), clock, log },
  );
  pci.add({ bus: 0, slot: 3, func: 0 }, blk);
  pci.finish();
  const lifecycles = [interrupts, pci, ...chipset.devices, blk];
  return { ports, interrupts, pci, chipset, blk, lifecycles };
}

type Machine = ReturnType<typeof build>;

/** The request registers of the 8259s: bit n is ISA interrupt n. */
function requests({ ports }: Machine): number {
  const read = (port: number) => {
    const range = ports.find(port, 1)!;
    range.handler.write(port - range.start, 1, 0x0an);
    return range.handler.read(port - range.start, 1) as number;
  };
  return read(0x20) | read(0xa0) << 8;
}

Deno.test("a device's pin reaches the 8259s by its PIRQ", () => {
  const machine = build();
  const { pci, blk } = machine;
  const irq = pci.pirq.irq(pci.intxRoutes[0]!.pirq)!;
  blk.core.s.status = 4;
  blk.core.configChanged();
  assertEquals(requests(machine) & 1 << irq, 1 << irq);
  blk.core.readIsr();
  assertEquals(requests(machine) & 1 << irq, 0);
});

Deno.test("the SCI is a level and COM1 an edge", () => {
  const machine = build();
  const { ports, chipset } = machine;
  const out = (port: number, bytes: number, value: bigint) => {
    const range = ports.find(port, bytes)!;
    range.handler.write(port - range.start, bytes, value);
  };
  out(0xb2, 1, 0xa0n);
  out(0x402, 2, 0x100n);
  chipset.acpi.pressPowerButton();
  assertEquals(requests(machine) & 1 << 9, 1 << 9);
  out(0x400, 2, 0x100n);
  assertEquals(requests(machine) & 1 << 9, 0);
  out(0x3f9, 1, 2n);
  assertEquals(requests(machine) & 1 << 4, 1 << 4);
});

Deno.test("a machine of devices goes on from its own snapshot", () => {
  const first = build();
  first.blk.core.s.status = 4;
  first.blk.core.configChanged();
  const saved = first.lifecycles.map((d) => d.save());
  const second = build();
  second.lifecycles.forEach((d, i) => d.restore(saved[i]!));
  assertEquals(second.lifecycles.map((d) => d.save()), saved);
  assertEquals(requests(second), requests(first));
  second.blk.core.readIsr();
  first.blk.core.readIsr();
  assertEquals(requests(second), requests(first));
  for (const device of second.lifecycles) device.reset();
  const fresh = build().lifecycles.map((d) => d.save());
  assertEquals(second.lifecycles.map((d) => d.save()).slice(1), fresh.slice(1));
});
