// The virtio transport and its queues: negotiation, interrupts, hostile drivers.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { conformance } from "../conformance.ts";
import { slot } from "../pci/testing.ts";
import { TestDriver } from "./testing.ts";
import { VirtioRnd } from "./virtio_rnd.ts";

const INDIRECT = 1 << 28;
const EVENT_IDX = 1 << 29;
const NEEDS_RESET = 0x40;

function setup(msix = true) {
  const device = new VirtioRnd((target) => target.fill(0xaa));
  return new TestDriver(device, msix);
}

function legacyStatus(driver: TestDriver): number {
  return driver.pci.inPort(driver.io + 0x12, 1);
}

Deno.test("VirtioRnd fills requests", () => {
  const driver = setup();
  driver.startLegacy();
  const { at, written } = driver.request([10, 6]);
  assertEquals(written, 16);
  assertEquals(driver.bytes(at[1]!, 6), new Uint8Array(6).fill(0xaa));
  assertEquals(driver.request([70000]).written, 65536);
  assertEquals(driver.pci.read(slot(1), 0), 0x10051af4);
  const real = new TestDriver(new VirtioRnd());
  real.startLegacy();
  const filled = real.request([64]);
  assert(real.bytes(filled.at[0]!, 64).some((b) => b !== 0));
});

Deno.test("transport takes legacy registers by their width only", () => {
  const { pci, io } = setup();
  assertEquals(pci.inPort(io, 2), 0xffff);
  assertEquals(pci.inPort(io + 0xc, 2), 64);
  assertEquals(pci.inPort(io + 0xc, 4), 0xffffffff);
  pci.outPort(io + 0xe, 2, 1);
  assertEquals(pci.inPort(io + 0xc, 2), 0);
  assertEquals(pci.inPort(io + 0x14, 2), 0xffff);
});

Deno.test("transport raises the pin and MSI without MSI-X", () => {
  const driver = setup(false);
  const { pci, io } = driver;
  driver.startLegacy();
  driver.request([4]);
  assertEquals(pci.interrupts.up.length, 2);
  assertEquals(pci.inPort(io + 0x13, 1), 1);
  assertEquals(pci.interrupts.up, []);
  assertEquals(pci.findCapability(slot(1), 0x11), 0);
  const msi = pci.findCapability(slot(1), 5);
  pci.write(slot(1), msi + 4, 4, 0xfee00000);
  pci.write(slot(1), msi + 12, 2, 0x55);
  pci.write(slot(1), msi + 2, 2, 1);
  driver.request([4]);
  assertEquals(pci.interrupts.messages, [[0xfee00000, 0x55]]);
});

Deno.test("transport sends the queue's MSI-X message", () => {
  const driver = setup();
  const { pci, io } = driver;
  const cap = pci.findCapability(slot(1), 0x11);
  pci.write(slot(1), cap + 2, 2, 0x8000);
  const table = pci.read(slot(1), 0x14);
  pci.store(table + 0x10, 4, 0xfee00000);
  pci.store(table + 0x18, 4, 0x77);
  pci.store(table + 0x1c, 4, 0);
  driver.startLegacy();
  pci.outPort(io + 0x16, 2, 9);
  assertEquals(pci.inPort(io + 0x16, 2), 0xffff);
  driver.request([4]);
  assertEquals(pci.interrupts.messages, []);
  pci.outPort(io + 0x16, 2, 1);
  driver.request([4]);
  assertEquals(pci.interrupts.messages, [[0xfee00000, 0x77]]);
  assertEquals(pci.interrupts.up, []);
});

Deno.test("transport honours the driver's wish for no interrupts", () => {
  const driver = setup();
  driver.startLegacy();
  driver.memory.data.setUint16(driver.available, 1, true);
  driver.request([4]);
  assertEquals(driver.pci.interrupts.up, []);
  driver.memory.data.setUint16(driver.available, 0, true);
  driver.request([4]);
  assertEquals(driver.pci.interrupts.up.length, 2);
});

Deno.test("transport interrupts at the event index when negotiated", () => {
  const driver = setup();
  const { pci, io, memory } = driver;
  driver.startLegacy(EVENT_IDX);
  const event = driver.available + 4 + 2 * driver.size;
  memory.data.setUint16(event, 1, true);
  driver.request([4]);
  assertEquals(pci.interrupts.up, []);
  assertEquals(
    memory.data.getUint16(driver.used + 4 + 8 * driver.size, true),
    1,
  );
  driver.request([4]);
  assertEquals(pci.inPort(io + 0x13, 1), 1);
  driver.request([4]);
  assertEquals(pci.inPort(io + 0x13, 1), 0);
});

Deno.test("transport wraps ring indices at 65536", () => {
  const driver = setup();
  driver.startLegacy();
  for (let i = 0; i < 65536 + 3; i++) driver.request([1]);
  assertEquals(driver.usedIndex, 3);
});

Deno.test("transport follows indirect tables when negotiated", () => {
  const driver = setup();
  driver.startLegacy(INDIRECT);
  const [first] = driver.chain([3, 5], 0x40000);
  driver.describe(0, 0x40000, 32, 4);
  driver.offer(0);
  driver.kick();
  assertEquals(driver.usedEntry(0), { id: 0, length: 8 });
  assertEquals(driver.memory.bytes[first!], 0xaa);
});

Deno.test("transport agrees to modern features only with VERSION_1", () => {
  const driver = setup();
  const { pci } = driver;
  const common = driver.region(1);
  pci.store(common + 0x14, 1, 3);
  pci.store(common + 0x14, 1, 11);
  assertEquals(pci.load(common + 0x14, 1), 3);
  pci.store(common, 4, 1);
  assertEquals(pci.load(common + 4, 4), 1);
  pci.store(common, 4, 2);
  assertEquals(pci.load(common + 4, 4), 0);
  assertEquals(driver.startModern(1n << 3n), 7);
  pci.store(common + 0x14, 1, 0);
  assertEquals(driver.startModern(), 15);
  assertEquals(driver.request([4]).written, 4);
  assertEquals(pci.load(common + 0x12, 2), 1);
  assertEquals(pci.load(driver.region(3), 1), 1);
});

Deno.test("transport keeps a modern queue's registers while it is in use", () => {
  const driver = setup();
  const { pci } = driver;
  driver.startModern();
  const common = driver.region(1);
  pci.store(common + 0x18, 2, 0xffff);
  pci.store(common + 0x20, 4, 0xfffff000);
  assertEquals(pci.load(common + 0x18, 2), 64);
  assertEquals(pci.load(common + 0x20, 4), 0x10000);
  assertEquals(driver.request([4]).written, 4);
});

Deno.test("transport refuses modern queues of a bad size or place", () => {
  const bad: [number, number][] = [
    [0x18, 0],
    [0x18, 3],
    [0x18, 128],
    [0x20, 8],
    [0x24, 0x200000],
    [0x28, 1],
    [0x30, 0xfffffff0],
    [0x34, 0xffffffff],
  ];
  for (const [register, value] of bad) {
    const driver = setup();
    const { pci } = driver;
    const common = driver.region(1);
    pci.store(common + 0x14, 1, 3);
    pci.store(common + 0x20, 4, 0x10000);
    pci.store(common + 0x28, 4, 0x14000);
    pci.store(common + 0x30, 4, 0x15000);
    pci.store(common + register, register === 0x18 ? 2 : 4, value);
    pci.store(common + 0x1c, 2, 1);
    assertEquals(pci.load(common + 0x1c, 2), 0, `${register} ${value}`);
    assertEquals(pci.load(common + 0x14, 1) & NEEDS_RESET, NEEDS_RESET);
    assertEquals(driver.log.lines.length, 1);
  }
});

Deno.test("transport gives the memory BAR through the configuration window", () => {
  const driver = setup();
  const { pci } = driver;
  const at = slot(1);
  const window = [0, 1, 2, 3].map((n) => pci.findCapability(at, 9, n))
    .find((offset) => pci.read(at, offset + 3, 1) === 5)!;
  pci.write(at, window + 4, 1, 4);
  pci.write(at, window + 8, 4, 0x12);
  pci.write(at, window + 12, 4, 2);
  assertEquals(pci.read(at, window + 16, 2), 1);
  pci.write(at, window + 8, 4, 0x14);
  pci.write(at, window + 12, 4, 1);
  pci.write(at, window + 16, 1, 3);
  assertEquals(legacyStatus(driver), 3);
  pci.write(at, window + 8, 4, 0xffffffff);
  pci.read(at, window + 16, 1);
});

type Crime = [string, (driver: TestDriver) => void];
const CRIMES: Crime[] = [
  ["entries ahead", (d) => {
    d.memory.data.setUint16(d.available + 2, 65, true);
  }],
  ["descriptor 64 is not below", (d) => d.offer(64)],
  ["descriptor 1000 is not below", (d) => {
    d.describe(0, 0x20000, 4, 3, 1000);
    d.offer(0);
  }],
  ["does not end", (d) => {
    d.describe(0, 0x20000, 4, 3, 1);
    d.describe(1, 0x20000, 4, 3, 0);
    d.offer(0);
  }],
  ["is not RAM", (d) => {
    d.describe(0, 0xffff0, 0x20, 2);
    d.offer(0);
  }],
  ["is not RAM", (d) => {
    d.describe(0, 0, 8, 2);
    d.memory.data.setBigUint64(0x10000, 0xffff_ffff_ffff_fffcn, true);
    d.offer(0);
  }],
  ["readable descriptor after", (d) => {
    d.describe(0, 0x20000, 4, 3, 1);
    d.describe(1, 0x20000, 4, 0);
    d.offer(0);
  }],
  ["indirect table of 24", (d) => {
    d.describe(0, 0x40000, 24, 4);
    d.offer(0);
  }],
  ["indirect table of 0", (d) => {
    d.describe(0, 0x40000, 0, 4);
    d.offer(0);
  }],
  ["indirect table of 16", (d) => {
    d.describe(0, 0x40000, 16, 5);
    d.offer(0);
  }],
  ["indirect table of 1048576", (d) => {
    d.describe(0, 0, 0x100000, 4);
    d.offer(0);
  }],
  ["indirect descriptor in an indirect", (d) => {
    d.describe(0, 0x40000, 16, 4, 0, 0x40000);
    d.describe(0, 0x40000, 16, 4);
    d.offer(0);
  }],
  ["is not aligned RAM", (d) => {
    d.describe(0, 0x900000, 16, 4);
    d.offer(0);
  }],
];

for (const [i, [message, commit]] of CRIMES.entries()) {
  Deno.test(`transport stops a device whose driver lies (${i}: ${message})`, () => {
    const driver = setup();
    driver.startLegacy(INDIRECT);
    commit(driver);
    driver.kick();
    driver.kick();
    assertEquals(driver.log.lines.length, 1);
    assertMatch(driver.log.lines[0]!, new RegExp(message));
    assertEquals(legacyStatus(driver) & NEEDS_RESET, NEEDS_RESET);
    assertEquals(driver.usedIndex, 0);
    driver.pci.outPort(driver.io + 0x12, 1, 0);
    assertEquals(legacyStatus(driver), 0);
  });
}

Deno.test("transport refuses indirect tables that were not negotiated", () => {
  const driver = setup();
  driver.startLegacy();
  driver.describe(0, 0x40000, 16, 4);
  driver.offer(0);
  driver.kick();
  assertMatch(driver.log.lines[0]!, /not negotiated/);
});

Deno.test("transport stands a legacy queue outside of RAM", () => {
  for (const frame of [0x100, 0xffffffff, 0xff]) {
    const driver = setup();
    driver.startLegacy();
    driver.pci.outPort(driver.io + 8, 4, frame);
    driver.kick();
    assertEquals(legacyStatus(driver) & NEEDS_RESET, NEEDS_RESET);
  }
});

Deno.test("transport survives random rings", () => {
  let seed = 42;
  const random = () => seed = (seed * 1103515245 + 12345) % 2 ** 31;
  for (let round = 0; round < 200; round++) {
    const driver = setup();
    driver.startLegacy(round % 2 === 0 ? INDIRECT : EVENT_IDX);
    for (let at = 0x10000; at < 0x12000; at += 2) {
      const value = random() >> 8;
      driver.memory.data.setUint16(
        at,
        value % (random() % 3 ? 64 : 65536),
        true,
      );
    }
    driver.memory.data.setUint16(driver.available + 2, random() % 65, true);
    driver.kick();
    driver.clock.advance(1);
  }
});

Deno.test("transport leaves a driver that never stops adding for later", () => {
  let served = 0;
  const device = new VirtioRnd(() => {
    served++;
    // As another processor would: one more request for each that is served.
    driver.offer(0);
  });
  const driver = new TestDriver(device);
  driver.startLegacy(EVENT_IDX);
  driver.chain([4]);
  driver.offer(0);
  driver.kick();
  assertEquals(served, 2 * driver.size);
  driver.clock.advance(1);
  assertEquals(served, 4 * driver.size);
  driver.pci.outPort(driver.io + 0x12, 1, 0);
  driver.clock.advance(1);
  assertEquals(served, 4 * driver.size);
});

Deno.test("transport stands snapshots with queues that cannot be", () => {
  const hostile = [
    { available: 2 ** 53 - 1 },
    { available: 0x14001 },
    { used: 2 ** 40, nextAvailable: 0 },
    { descriptors: 0xfffff0 },
    { size: 0 },
    { size: 48 },
    { size: 65535 },
    { nextAvailable: 1000 },
  ];
  for (const change of hostile) {
    const driver = setup();
    driver.startLegacy();
    driver.chain([4]);
    const saved = JSON.parse(JSON.stringify(driver.virtio.save()));
    Object.assign(saved.registers.queues[0], change);
    driver.virtio.restore(saved);
    driver.offer(0);
    driver.kick();
    driver.clock.advance(1);
    driver.pci.outPort(driver.io + 0x12, 1, 0);
    driver.startLegacy();
    driver.head = 0;
    driver.offer(0);
    driver.kick();
    assertEquals(legacyStatus(driver) & NEEDS_RESET, 0);
  }
});

Deno.test("transport bounds its log", () => {
  const driver = setup();
  driver.startLegacy();
  for (let i = 0; i < 100; i++) {
    driver.pci.outPort(driver.io + 0x10, 2, 77);
  }
  assertEquals(driver.log.lines.length, 8);
});

Deno.test("transport drops chains that come back after a reset", () => {
  const driver = setup();
  driver.startLegacy();
  const queue = driver.virtio.core.queue(0);
  driver.chain([4]);
  driver.offer(0);
  const chain = queue.pop()!;
  driver.pci.outPort(driver.io + 0x12, 1, 0);
  driver.startLegacy();
  queue.push(chain, 4);
  assertEquals(driver.usedIndex, 0);
});

Deno.test("transport continues in a restored machine", () => {
  const first = setup();
  first.startLegacy(EVENT_IDX);
  first.request([4]);
  const second = setup();
  second.memory.bytes.set(first.memory.bytes);
  second.virtio.restore(JSON.parse(JSON.stringify(first.virtio.save())));
  second.available = first.available;
  second.used = first.used;
  second.head = first.head;
  second.chain([6]);
  second.offer(0);
  second.clock.advance(1);
  assertEquals(second.usedIndex, 2);
  assertEquals(second.usedEntry(1).length, 6);
});

conformance("VirtioRnd", () => {
  const driver = setup();
  const { pci, io } = driver;
  const memory = pci.memory.find(driver.region(1), 1)!;
  return {
    device: driver.virtio,
    ranges: [
      { name: "io", length: 0x18, handler: pci.ports.find(io, 1)!.handler },
      { name: "memory", length: memory.length, handler: memory.handler },
    ],
  };
});
