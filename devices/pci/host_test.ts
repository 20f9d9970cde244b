// The PCI host: configuration cycles, BARs, windows, interrupts, snapshots.

import { assert, assertEquals, assertThrows } from "@std/assert";
import type { BusHandler } from "../../vmm/bus.ts";
import { conformance } from "../conformance.ts";
import { StateSchema, u32 } from "../state.ts";
import type { BarDeclaration, PciDevice, PciPort } from "./device.ts";
import { HostBridge } from "./host_bridge.ts";
import { ECAM_BASE, PciSlotError } from "./host.ts";
import { configRange, slot, TestPci } from "./testing.ts";
import { PciWindowError } from "./windows.ts";

const SCHEMA = new StateSchema("probe", 1, { word: u32() });

/** A device with a word behind each BAR. */
class Probe implements PciDevice {
  readonly model = "probe";
  readonly name = "probe";
  readonly identity = {
    vendor: 0x1234,
    device: 0x5678,
    classCode: 0x028001,
    revision: 3,
    subsystemVendor: 0xaaaa,
    subsystem: 0xbbbb,
  };
  readonly intx = true;
  readonly msiVectors = 4;
  readonly msix = { vectors: 3, bar: 5 };
  readonly bars: readonly BarDeclaration[];
  port!: PciPort;
  #state = SCHEMA.initial();
  readonly #handler: BusHandler = {
    read: () => this.#state.word,
    write: (_offset, _bytes, value) => {
      this.#state.word = Number(value);
    },
  };

  constructor(
    bars: Omit<BarDeclaration, "handler">[] = [
      { index: 0, kind: "io", size: 0x18 },
      { index: 1, kind: "mem32", size: 0x1000 },
      { index: 2, kind: "mem64", size: 0x2000 },
    ],
  ) {
    this.bars = bars.map((b) => ({ ...b, handler: this.#handler }));
  }

  connect(port: PciPort) {
    this.port = port;
  }
  reset() {
    this.#state = SCHEMA.initial();
  }
  save() {
    return SCHEMA.save(this.#state);
  }
  restore(state: ReturnType<Probe["save"]>) {
    this.#state = SCHEMA.restore(state);
  }
}

Deno.test("PciHost shows a function's header through ports and ECAM", () => {
  const pci = new TestPci().with(new Probe());
  assertEquals(pci.read(slot(1), 0), 0x56781234);
  assertEquals(pci.load(ECAM_BASE + (1 << 15), 4), 0x56781234);
  assertEquals(pci.read(slot(1), 8), 0x02800103);
  assertEquals(pci.read(slot(1), 0x2c), 0xbbbbaaaa);
  assertEquals(pci.read(slot(1), 2, 2), 0x5678);
  assertEquals(pci.read(slot(1), 4, 2), 0x0007);
  assertEquals(pci.read(slot(2), 0), 0xffffffff);
  assertEquals(pci.load(ECAM_BASE + (1 << 15) + 0x100, 4), 0);
  assertEquals(pci.load(ECAM_BASE + (1 << 15) + 0x104, 4), 0xffffffff);
  assertEquals(pci.load(ECAM_BASE + (1 << 15) + 1, 2), 0xffff);
});

Deno.test("PciHost without the enable bit reads all ones", () => {
  const pci = new TestPci().with(new Probe());
  pci.outPort(0xcf8, 4, 1 << 11);
  assertEquals(pci.inPort(0xcfc, 4), 0xffffffff);
  pci.outPort(0xcf8, 2, 0x1234);
  assertEquals(pci.inPort(0xcf8, 4), 1 << 11);
  assertEquals(pci.inPort(0xcf8, 2), 0xffff);
});

Deno.test("PciHost computes the multifunction bit", () => {
  const pci = new TestPci();
  pci.host.add(slot(3), new Probe());
  assertEquals(pci.read(slot(3), 0x0e, 1), 0);
  pci.host.add(slot(3, 1), new Probe());
  assertEquals(pci.read(slot(3), 0x0e, 1), 0x80);
  assertEquals(pci.read(slot(3), 0x0c, 4), 0x00800000);
  assertThrows(
    () => pci.host.add(slot(3), new Probe()),
    PciSlotError,
    "pci slot 0:3:0 already occupied!",
  );
  assertThrows(() => pci.host.add(slot(32), new Probe()), PciSlotError);
});

Deno.test("PciFunction sizes BARs and moves their ranges", () => {
  const pci = new TestPci().with(new Probe());
  const at = slot(1);
  const io = pci.read(at, 0x10) - 1;
  assertEquals(io, 0x2000);
  pci.outPort(io, 4, 77);
  assertEquals(pci.inPort(io, 4), 77);
  pci.write(at, 0x10, 4, 0xffffffff);
  assertEquals(pci.read(at, 0x10), 0x0000ffe1);
  assertEquals(pci.inPort(io, 4), 0xffffffff);
  pci.write(at, 0x10, 4, 0x3001);
  assertEquals(pci.inPort(0x3000, 4), 77);
  pci.write(at, 0x14, 4, 0xffffffff);
  assertEquals(pci.read(at, 0x14), 0xfffff000);
  pci.write(at, 0x18, 4, 0xffffffff);
  pci.write(at, 0x1c, 4, 0xffffffff);
  assertEquals(pci.read(at, 0x18), 0xffffe004);
  assertEquals(pci.read(at, 0x1c), 0xffffffff);
  pci.write(at, 0x18, 4, 0);
  pci.write(at, 0x1c, 4, 0x10);
  assertEquals(pci.load(0x10_0000_0000, 4), 77);
  pci.write(at, 4, 2, 0);
  assertEquals(pci.load(0x10_0000_0000, 4), 0xffffffff);
  assertEquals(pci.inPort(0x3000, 4), 0xffffffff);
});

Deno.test("PciFunction maps a BAR that was blocked when its place is free", () => {
  const pci = new TestPci().with(new Probe(), new Probe());
  const second = pci.read(slot(2), 0x10) - 1;
  pci.outPort(second, 4, 5);
  pci.write(slot(1), 0x10, 4, second);
  assertEquals(pci.inPort(second, 4), 5);
  pci.write(slot(2), 0x10, 4, 0x4000);
  assertEquals(pci.inPort(0x4000, 4), 5);
  assertEquals(pci.inPort(second, 4), 0);
});

Deno.test("PciHost places large BARs first and above 4 GiB", () => {
  const big = new Probe([
    { index: 0, kind: "mem32", size: 0x10 },
    { index: 1, kind: "mem32", size: 0x100000 },
    { index: 2, kind: "mem64", size: 256 << 20 },
  ]);
  const pci = new TestPci().with(big);
  assertEquals(pci.read(slot(1), 0x14), 0xc0000000);
  assertEquals(pci.read(slot(1), 0x10), 0xc0102000);
  assertEquals(pci.read(slot(1), 0x1c), 8);
  const windows = pci.host.busWindows(0)!;
  assertEquals(windows.mem32, { base: 0xc0000000, limit: 0xc0300000 });
  assertEquals(windows.io, { base: 0x2000, limit: 0x2020 });
  assertThrows(
    () =>
      new TestPci().with(new Probe([{ index: 0, kind: "io", size: 65536 }])),
    PciWindowError,
  );
});

Deno.test("PciFunction raises its pin on both controllers while permitted", () => {
  const probe = new Probe();
  const pci = new TestPci().with(probe);
  const route = pci.host.intxRoutes[0]!;
  assertEquals(route, { bus: 0, slot: 1, pin: 1, ioapicPin: 16, pirq: 0 });
  const irq = pci.host.pirq.irq(0)!;
  assertEquals(pci.read(slot(1), 0x3c, 2), 1 << 8 | irq);
  assert(pci.interrupts.levelTriggered.has(irq));
  probe.port.raiseIntx(true);
  assertEquals(pci.interrupts.up, ["ioapic16", `pic${irq}`]);
  assertEquals(pci.read(slot(1), 6, 2) & 8, 8);
  pci.write(slot(1), 4, 2, 0x400);
  assertEquals(pci.interrupts.up, []);
  pci.write(slot(1), 4, 2, 0);
  assertEquals(pci.interrupts.up.length, 2);
  pci.host.pirq.write(0, 11);
  assertEquals(pci.interrupts.up, ["ioapic16", "pic11"]);
  pci.host.pirq.write(0, 0x80);
  assertEquals(pci.interrupts.up, ["ioapic16"]);
  probe.port.raiseIntx(false);
  assertEquals(pci.interrupts.up, []);
});

Deno.test("PciHost with a boot ROM fixes routes and leaves BARs off", () => {
  const pci = new TestPci({ bootRom: true }).with(new Probe(), new Probe());
  assertEquals(
    pci.host.intxRoutes.map((r) => [r.ioapicPin, r.pirq]),
    [[22, 6], [23, 7]],
  );
  assertEquals(pci.read(slot(1), 4, 2), 0);
  assertEquals(pci.inPort(0x2000, 4), 0xffffffff);
});

Deno.test("PciFunction sends MSI within what was allotted", () => {
  const probe = new Probe();
  const pci = new TestPci().with(probe);
  const at = slot(1);
  const cap = pci.findCapability(at, 5);
  probe.port.raiseMsi(0);
  pci.write(at, cap, 4, 0xffff_ffff);
  assertEquals(pci.read(at, cap, 1), 5);
  pci.write(at, cap + 2, 2, 0x11);
  pci.write(at, cap + 4, 4, 0xfee01003);
  pci.write(at, cap + 12, 2, 0x40);
  probe.port.raiseIntx(true);
  assertEquals(pci.interrupts.up, []);
  probe.port.raiseMsi(1);
  probe.port.raiseMsi(2);
  assertEquals(pci.interrupts.messages, [[0xfee01000, 0x41]]);
});

Deno.test("PciFunction keeps masked MSI-X messages pending", () => {
  const probe = new Probe();
  const pci = new TestPci().with(probe);
  const at = slot(1);
  const cap = pci.findCapability(at, 0x11);
  assertEquals(pci.read(at, cap + 2, 2), 2);
  assertEquals(pci.read(at, cap + 4), 5);
  assertEquals(pci.read(at, cap + 8), 0x1005);
  const bar = pci.read(at, 0x24);
  pci.store(bar + 0x10, 4, 0xfee00000);
  pci.store(bar + 0x18, 4, 0x33);
  pci.write(at, cap + 2, 2, 0x8000);
  probe.port.raiseMsix(1);
  assertEquals(pci.interrupts.messages, []);
  assertEquals(pci.load(bar + 0x1000, 4), 2);
  pci.write(at, cap + 2, 2, 0xc000);
  pci.store(bar + 0x1c, 4, 0);
  assertEquals(pci.interrupts.messages, []);
  pci.write(at, cap + 2, 2, 0x8000);
  assertEquals(pci.interrupts.messages, [[0xfee00000, 0x33]]);
  assertEquals(pci.load(bar + 0x1000, 4), 0);
  probe.port.raiseMsix(9);
});

Deno.test("HostBridge has a root port's PCI Express capability", () => {
  const pci = new TestPci().with(new HostBridge("amd_hostbridge"));
  assertEquals(pci.read(slot(1), 0), 0x74321022);
  const cap = pci.findCapability(slot(1), 0x10);
  assertEquals(pci.read(slot(1), cap + 2, 2), 0x42);
  assertEquals(pci.read(slot(1), cap + 0x0c), 0x411);
  assertEquals(pci.read(slot(1), cap + 0x12, 2), 0x11);
  assertEquals(pci.findCapability(slot(1), 5), 0);
});

Deno.test("PciHost takes a snapshot whole or not at all", () => {
  const pci = new TestPci().with(new Probe(), new HostBridge());
  const saved = JSON.parse(JSON.stringify(pci.host.save()));
  saved.functions["probe@0:1:0"].config[0x3c] = 99;
  saved.functions["hostbridge@0:2:0"].config.pop();
  const before = pci.host.save();
  assertThrows(() => pci.host.restore(saved));
  assertEquals(pci.host.save(), before);
  assertThrows(
    () => new TestPci().with(new Probe()).host.restore(saved),
    Error,
    "the machine has probe@0:1:0",
  );
});

Deno.test("PciFunction keeps its identity whatever a snapshot says", () => {
  const pci = new TestPci().with(new Probe());
  const saved = JSON.parse(JSON.stringify(pci.host.save()));
  saved.functions["probe@0:1:0"].config.fill(0xff);
  pci.host.restore(saved);
  assertEquals(pci.read(slot(1), 0), 0x56781234);
  assertEquals(pci.read(slot(1), 0x10), 0xffe1);
  assertEquals(pci.read(slot(1), 4, 2), 0x077f);
});

conformance("PciHost", () => {
  const pci = new TestPci().with(new Probe(), new HostBridge());
  return {
    device: pci.host,
    ranges: [
      { name: "config", length: 256, handler: configRange(pci, slot(1)) },
      { name: "config", length: 256, handler: configRange(pci, slot(2)) },
      {
        name: "ports",
        length: 4,
        handler: pci.ports.find(0xcfc, 1)!.handler,
      },
    ],
  };
});
