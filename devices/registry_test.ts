// The registry: names, overrides, refusals; and a machine put together from it.

import { assertEquals, assertThrows } from "@std/assert";
import { BlockError } from "./block/backend.ts";
import { MemoryBackend } from "./block/memory.ts";
import type { BlockOptions } from "./block/options.ts";
import { ConfigValueError, literalNode } from "./config_node.ts";
import { Chipset } from "./lpc/chipset.ts";
import { slot, TestPci } from "./pci/testing.ts";
import {
  createDevice,
  type DeviceContext,
  EmulationNotBuiltError,
  EMULATIONS,
  UnknownEmulationError,
} from "./registry.ts";
import { TestClock, TestLog, TestMemory } from "./testing.ts";
import { NO_BACKEND } from "./uart/char_backend.ts";

function context(
  pci: TestPci,
  number: number,
  keys: Record<string, string> = {},
): DeviceContext & { opened: (BlockOptions | string)[] } {
  const opened: (BlockOptions | string)[] = [];
  return {
    opened,
    location: slot(number),
    node: literalNode(keys),
    memory: new TestMemory(),
    clock: new TestClock(),
    log: new TestLog(),
    pirq: pci.host.pirq,
    openBlock(options) {
      opened.push(options);
      return new MemoryBackend(4096, { readOnly: options.readOnly });
    },
    openChar(path) {
      opened.push(path);
      return NO_BACKEND;
    },
  };
}

Deno.test("EMULATIONS has bhyve's names in bhyve's order", () => {
  assertEquals(
    [...EMULATIONS.keys()].join(" "),
    "hostbridge amd_hostbridge passthru virtio-net virtio-blk virtio-scsi " +
      "virtio-9p virtio-rnd virtio-console virtio-input ahci ahci-cd ahci-hd " +
      "e1000 uart lpc fbuf xhci nvme hda",
  );
});

Deno.test("createDevice opens what the keys name", () => {
  const pci = new TestPci();
  const blk = context(pci, 4, { path: "/disk", ro: "true", ser: "ABC" });
  const device = createDevice("virtio-blk", blk);
  assertEquals(device.name, "virtio-blk@0:4:0");
  assertEquals((blk.opened[0] as BlockOptions).path, "/disk");
  const uart = context(pci, 5, { path: "stdio" });
  createDevice("uart", uart);
  assertEquals(uart.opened, ["stdio"]);
});

Deno.test("createDevice takes other identities", () => {
  const pci = new TestPci();
  const keys = { vendor: "1022", devid: "7432", "pcireg.revid": "0x2" };
  const device = createDevice("hostbridge", context(pci, 0, keys));
  const { vendor, device: id, revision } = device.identity;
  assertEquals([vendor, id, revision], [0x1022, 0x7432, 2]);
  assertThrows(
    () => createDevice("lpc", context(pci, 0, { "pcireg.vendor": "12345" })),
    ConfigValueError,
    "Invalid value 12345 for pcireg.vendor",
  );
});

Deno.test("createDevice refuses by name", () => {
  const pci = new TestPci();
  assertThrows(
    () => createDevice("floppy", context(pci, 3)),
    UnknownEmulationError,
    'pci slot 0:3:0: unknown device "floppy"',
  );
  assertThrows(
    () => createDevice("hda", context(pci, 3)),
    EmulationNotBuiltError,
    'device "hda" is not supported yet',
  );
  assertThrows(
    () => createDevice("virtio-blk", context(pci, 3)),
    BlockError,
    'Missing "path"',
  );
});

Deno.test("registry, host and chipset make a machine", () => {
  const pci = new TestPci();
  const chipset = new Chipset({
    ports: pci.ports,
    interrupts: pci.interrupts,
    pci: pci.host,
    lpc: true,
    events: { reset() {}, powerOff() {} },
  });
  const models = ["hostbridge", "virtio-blk", "virtio-rnd", "uart", "lpc"];
  models.forEach((model, i) => {
    const device = createDevice(model, context(pci, i, { path: "/disk" }));
    pci.host.add(slot(i), device);
  });
  pci.host.finish();
  const devices = [
    pci.host,
    ...chipset.devices,
    ...pci.host.functions.map((f) => f.device),
  ];
  assertEquals(new Set(devices.map((d) => d.name)).size, devices.length);
  const saved = devices.map((d) => d.save());
  for (const device of devices) device.reset();
  devices.forEach((device, i) => device.restore(saved[i]!));
  assertEquals(devices.map((d) => d.save()), saved);
  assertEquals(pci.host.intxRoutes.map((r) => r.slot), [1, 2, 3]);
});
