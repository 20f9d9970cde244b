// A second thread rewrites rings and descriptors while the device walks them: whatever
// it sees, nothing but the device's own stop may come of it (security.md C.4, TOCTOU).

import { assertEquals } from "@std/assert";
import { MemoryBackend } from "../block/memory.ts";
import { TestDriver } from "./testing.ts";
import { VirtioBlk } from "./virtio_blk.ts";

const SCRIBBLER = `
  self.onmessage = ({ data }) => {
    const words = new Uint16Array(data.memory, 0x10000, 0x2000);
    const stop = new Int32Array(data.stop);
    let seed = 7;
    self.postMessage("started");
    while (Atomics.load(stop, 0) === 0) {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      words[(seed >>> 8) % words.length] = (seed >>> 20) % 130;
    }
    self.close();
  };
`;

const KICKS = 200;

Deno.test("virtqueues stand memory that changes under them", async () => {
  const url = URL.createObjectURL(new Blob([SCRIBBLER]));
  const worker = new Worker(url, { type: "module" });
  const stop = new Int32Array(new SharedArrayBuffer(4));
  const backend = new MemoryBackend(1 << 20);
  const driver = new TestDriver(new VirtioBlk({ backend, serial: "" }));
  const memory = driver.memory.bytes.buffer;
  await new Promise<void>((started) => {
    worker.onmessage = () => started();
    worker.postMessage({ memory, stop: stop.buffer });
  });
  for (let kick = 0; kick < KICKS; kick++) {
    driver.startLegacy(1 << (28 + kick % 2));
    driver.kick();
    driver.clock.advance(1);
    driver.pci.outPort(driver.io + 0x12, 1, 0);
  }
  Atomics.store(stop, 0, 1);
  worker.terminate();
  URL.revokeObjectURL(url);
  // Whatever it saw, it was reset and answers.
  assertEquals(driver.pci.inPort(driver.io + 0x12, 1), 0);
});
