// virtio-blk through its transport: both register layouts, requests, framing, interrupts.

import { assert, assertEquals } from "@std/assert";
import { MemoryBackend } from "../block/memory.ts";
import { conformance } from "../conformance.ts";
import { slot } from "../pci/testing.ts";
import { type Part, TestDriver } from "./testing.ts";
import { VirtioBlk } from "./virtio_blk.ts";

const SIZE = 1 << 20;

function setup(readOnly = false) {
  const backend = new MemoryBackend(SIZE, { readOnly });
  const device = new VirtioBlk({ backend, serial: "BHYVE-TEST" });
  return { backend, driver: new TestDriver(device) };
}

function header(type: number, sector = 0): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setBigUint64(8, BigInt(sector), true);
  return bytes;
}

/** Makes a request whose last byte is the status. */
function status(driver: TestDriver, parts: readonly Part[]): number {
  const { at } = driver.request([...parts, 1]);
  return driver.memory.bytes[at.at(-1)!]!;
}

function pattern(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => i * 7 + (i >> 8));
}

for (const layout of ["legacy", "modern"] as const) {
  const start = (driver: TestDriver) =>
    layout === "legacy" ? driver.startLegacy() : driver.startModern();

  Deno.test(`VirtioBlk writes and reads through ${layout} registers`, () => {
    const { driver } = setup();
    start(driver);
    const data = pattern(2048);
    assertEquals(status(driver, [header(1, 8), data]), 0);
    const { at, written } = driver.request([header(0, 8), 2048, 1]);
    assertEquals(written, 2049);
    assertEquals(driver.bytes(at[1]!, 2048), data);
    assertEquals(driver.memory.bytes[at[2]!], 0);
    assert(driver.memory.writes.some(([gpa]) => gpa === at[1]));
  });
}

Deno.test("VirtioBlk takes any framing", () => {
  const { driver } = setup();
  driver.startLegacy();
  const data = pattern(1024);
  const request = new Uint8Array(16 + 1024);
  request.set(header(1, 2));
  request.set(data, 16);
  assertEquals(
    status(driver, [request.subarray(0, 5), request.subarray(5)]),
    0,
  );
  const { at } = driver.request([header(0, 2), 100, 925]);
  assertEquals(driver.bytes(at[1]!, 100), data.subarray(0, 100));
  assertEquals(
    driver.bytes(at[2]!, 925),
    Uint8Array.of(...data.subarray(100), 0),
  );
});

Deno.test("VirtioBlk answers requests that it cannot do", () => {
  const { driver } = setup();
  driver.startLegacy();
  assertEquals(status(driver, [header(99)]), 2);
  assertEquals(status(driver, [header(0, SIZE / 512), 512]), 1);
  assertEquals(status(driver, [header(0, SIZE / 512 - 1), 1024]), 1);
  assertEquals(status(driver, [header(0, 2 ** 52), 512]), 1);
  assertEquals(status(driver, [header(0), 100]), 1);
  assertEquals(status(driver, [header(1), pattern(100)]), 1);
  assertEquals(status(driver, [header(0).subarray(0, 15)]), 1);
  assertEquals(driver.request([header(0)]).written, 0);
  assertEquals(driver.log.lines.length, 1);
});

Deno.test("VirtioBlk flushes, identifies and discards", () => {
  const { driver, backend } = setup();
  driver.startLegacy();
  assertEquals(status(driver, [header(4)]), 0);
  assertEquals(status(driver, [header(0x8000_0004)]), 0);
  const { at, written } = driver.request([header(8), 20, 1]);
  assertEquals(written, 21);
  assertEquals(
    new TextDecoder().decode(driver.bytes(at[1]!, 20)),
    "BHYVE-TEST".padEnd(20, "\0"),
  );
  backend.write(512, pattern(1024));
  const segment = new Uint8Array(16);
  segment[0] = 1;
  segment[8] = 1;
  assertEquals(status(driver, [header(11), segment]), 0);
  const rest = new Uint8Array(1024);
  backend.read(512, rest);
  assertEquals(rest.subarray(0, 512), new Uint8Array(512));
  assertEquals(rest.subarray(512), pattern(1024).subarray(512));
  segment[12] = 1;
  assertEquals(status(driver, [header(11), segment]), 2);
  assertEquals(status(driver, [header(11), segment.subarray(1)]), 1);
});

Deno.test("VirtioBlk refuses writes of a read-only disk", () => {
  const { driver } = setup(true);
  driver.startLegacy();
  assertEquals(driver.pci.inPort(driver.io, 4) & 0x2020, 0x20);
  assertEquals(status(driver, [header(1), pattern(512)]), 1);
  assertEquals(status(driver, [header(11), new Uint8Array(16)]), 2);
});

Deno.test("VirtioBlk tells of a new size", () => {
  const { driver, backend } = setup();
  driver.startLegacy();
  const { pci, io } = driver;
  assertEquals(pci.inPort(io + 0x14, 4), SIZE / 512);
  backend.resize(2 * SIZE);
  assertEquals(pci.inPort(io + 0x14, 4), 2 * SIZE / 512);
  assertEquals(pci.interrupts.up.length, 2);
  assertEquals(pci.inPort(io + 0x13, 1), 2);
  assertEquals(pci.interrupts.up, []);
});

Deno.test("VirtioBlk has the configuration of bhyve's", () => {
  const { driver } = setup();
  const { pci } = driver;
  assertEquals(pci.read(slot(1), 0), 0x10011af4);
  assertEquals(pci.read(slot(1), 0x2c), 0x00021af4);
  assertEquals(pci.read(slot(1), 8), 0x01000000);
  const config = driver.region(4);
  assertEquals(pci.load(config + 0xc, 4), 126);
  assertEquals(pci.load(config + 0x14, 4), 512);
  assertEquals(pci.load(config + 0x24, 4), 32768);
  assertEquals(pci.load(config + 60, 4), 0xffffffff);
});

conformance("VirtioBlk", () => {
  const { driver } = setup();
  const { pci, io } = driver;
  const memory = pci.memory.find(driver.region(1), 1)!;
  return {
    device: driver.virtio,
    ranges: [
      { name: "io", length: 0x54, handler: pci.ports.find(io, 1)!.handler },
      { name: "memory", length: memory.length, handler: memory.handler },
    ],
  };
});
