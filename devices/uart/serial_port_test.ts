// Serial ports on buses: backends, bounded input, COM edges and PCI levels.

import { assertEquals } from "@std/assert";
import { Bus } from "../../vmm/bus.ts";
import { conformance } from "../conformance.ts";
import { slot, TestPci } from "../pci/testing.ts";
import { TestLine } from "../testing.ts";
import type { CharBackend, CharSink } from "./char_backend.ts";
import { ComPort } from "./com_port.ts";
import { PciUart } from "./pci_uart.ts";

class TestBackend implements CharBackend {
  readonly output: number[] = [];
  readies = 0;
  free = Infinity;
  sink!: CharSink;

  write(byte: number) {
    this.output.push(byte);
  }
  room() {
    return this.free;
  }
  onInput(sink: CharSink) {
    this.sink = sink;
  }
  ready() {
    this.readies++;
  }
}

function com() {
  const line = new TestLine();
  const backend = new TestBackend();
  const ports = new Bus("port");
  const device = new ComPort("com1", ports, line, backend);
  const { handler } = ports.find(0x3f8, 1)!;
  return { line, backend, device, handler };
}

Deno.test("ComPort pulses its interrupt at each new cause", () => {
  const { line, backend, handler } = com();
  handler.write(1, 1, 3n);
  assertEquals(line.pulses, 1);
  backend.sink.offer(new Uint8Array([7]));
  assertEquals(line.pulses, 2);
  assertEquals(handler.read(0, 1), 7);
  assertEquals(line.pulses, 3);
  handler.write(0, 1, 65n);
  assertEquals(backend.output, [65]);
});

Deno.test("ComPort gives input as the receiver has room, and loses none", () => {
  const { backend, handler } = com();
  handler.write(2, 1, 1n);
  const sent = Uint8Array.from({ length: 6000 }, (_, i) => i);
  let taken = backend.sink.offer(sent);
  assertEquals(taken, 4096);
  taken += backend.sink.offer(sent.subarray(taken));
  assertEquals(taken, 4112);
  const got: number[] = [];
  while (((handler.read(5, 1) as number) & 1) !== 0) {
    got.push(handler.read(0, 1) as number);
    if (backend.readies === 1) {
      taken += backend.sink.offer(sent.subarray(taken));
      backend.readies++;
    }
  }
  assertEquals(taken, 6000);
  assertEquals(Uint8Array.from(got), sent);
});

Deno.test("ComPort drops waiting input when the guest clears the FIFO", () => {
  const { backend, handler } = com();
  handler.write(2, 1, 1n);
  backend.sink.offer(new Uint8Array(100));
  handler.write(2, 1, 3n);
  assertEquals((handler.read(5, 1) as number) & 1, 0);
});

Deno.test("ComPort raises THRE when a slow backend has room again", () => {
  const { line, backend, handler } = com();
  backend.free = 15;
  handler.write(1, 1, 2n);
  assertEquals([handler.read(5, 1), line.pulses], [0, 0]);
  backend.free = 16;
  backend.sink.drained!();
  assertEquals([handler.read(5, 1), line.pulses], [0x60, 1]);
});

Deno.test("ComPort takes two registers at a time", () => {
  const { handler } = com();
  handler.write(2, 2, 0x0301n);
  assertEquals(handler.read(2, 2), 0x03c1);
});

Deno.test("PciUart holds its pin while a cause is pending", () => {
  const backend = new TestBackend();
  const pci = new TestPci().with(new PciUart("uart@1", backend));
  assertEquals(pci.read(slot(1), 0), 0x2000131f);
  const base = pci.read(slot(1), 0x10) - 1;
  pci.outPort(base + 1, 1, 1);
  backend.sink.offer(new Uint8Array([1]));
  assertEquals(pci.interrupts.up.length, 2);
  assertEquals(pci.inPort(base, 1), 1);
  assertEquals(pci.interrupts.up, []);
});

conformance("ComPort", () => {
  const { device, handler } = com();
  return { device, ranges: [{ name: "com1", length: 8, handler }] };
});

conformance("PciUart", () => {
  const device = new PciUart("uart@1");
  const pci = new TestPci().with(device);
  const { handler } = pci.ports.find(0x2000, 1)!;
  return { device, ranges: [{ name: "bar0", length: 8, handler }] };
});
