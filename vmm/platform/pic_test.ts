// The 8259 pair: initialisation, priorities, ends, rotation, masks, polling, ELCR,
// spurious interrupts, state.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { conformance } from "../../devices/conformance.ts";
import { PicPair } from "./pic.ts";
import { PlatformStateError } from "./state.ts";

function bench(icw4 = 0x01, base = 0x20) {
  const edges: boolean[] = [];
  const pic = new PicPair((level) => edges.push(level));
  const out = (port: number, value: number) => {
    const handler = port >= 0x4d0
      ? pic.elcrPorts
      : port >= 0xa0
      ? pic.slavePorts
      : pic.masterPorts;
    handler.write(port & 1, 1, BigInt(value));
  };
  const inb = (port: number) => {
    const handler = port >= 0x4d0
      ? pic.elcrPorts
      : port >= 0xa0
      ? pic.slavePorts
      : pic.masterPorts;
    return handler.read(port & 1, 1);
  };
  const start = () => {
    for (const [port, vector, icw3] of [[0x20, base, 4], [0xa0, base + 8, 2]]) {
      out(port!, 0x11);
      out(port! + 1, vector!);
      out(port! + 1, icw3!);
      out(port! + 1, icw4);
    }
  };
  start();
  edges.length = 0;
  return { pic, edges, out, inb, start };
}

conformance("PicPair", () => {
  const pic = new PicPair(() => {});
  return {
    device: pic,
    ranges: [
      { name: "master", length: 2, handler: pic.masterPorts },
      { name: "slave", length: 2, handler: pic.slavePorts },
      { name: "elcr", length: 2, handler: pic.elcrPorts },
    ],
  };
});

Deno.test("PicPair gives the vectors of both chips", () => {
  const { pic, edges, out } = bench();
  pic.pulse(4);
  assertEquals(edges, [true]);
  assertEquals(pic.acknowledge(), 0x24);
  assertEquals(edges, [true, false]);
  out(0x20, 0x20);
  pic.pulse(12);
  assertEquals(pic.acknowledge(), 0x2c);
  out(0xa0, 0x20);
  out(0x20, 0x20);
  assert(!pic.isRequesting);
});

Deno.test("PicPair nests by priority, the slave at pin 2", () => {
  const { pic, out } = bench();
  pic.assert(4);
  assertEquals(pic.acknowledge(), 0x24);
  pic.pulse(5);
  assert(!pic.isRequesting, "lower waits");
  pic.pulse(9);
  assertEquals(pic.acknowledge(), 0x29);
  pic.pulse(8);
  assert(!pic.isRequesting, "the slave as a whole is in service");
  pic.pulse(0);
  assertEquals(pic.acknowledge(), 0x20);
  out(0x20, 0x20);
  out(0xa0, 0x20);
  out(0x20, 0x20);
  assertEquals(pic.acknowledge(), 0x28);
  out(0xa0, 0x20);
  out(0x20, 0x20);
  assert(!pic.isRequesting, "4 is still in service");
  out(0x20, 0x64);
  assertEquals(pic.acknowledge(), 0x25);
});

Deno.test("PicPair's special fully nested mode lets the slave nest", () => {
  const { pic } = bench(0x11);
  pic.pulse(12);
  assertEquals(pic.acknowledge(), 0x2c);
  pic.pulse(8);
  assertEquals(pic.acknowledge(), 0x28);
});

Deno.test("PicPair's INTR falls between two interrupts", () => {
  const { pic, edges } = bench(0x03);
  pic.pulse(3);
  pic.pulse(4);
  assertEquals(pic.acknowledge(), 0x23);
  assertEquals(edges, [true, false, true]);
  assertEquals(pic.acknowledge(), 0x24);
});

Deno.test("PicPair masks, and remembers edges behind the mask", () => {
  const { pic, out, inb } = bench();
  out(0x21, 0xff);
  pic.pulse(6);
  assert(!pic.isRequesting);
  assertEquals([inb(0x21), inb(0x20)], [0xff, 0x40]);
  out(0x21, 0xbf);
  assertEquals(pic.acknowledge(), 0x26);
  out(0x20, 0x0b);
  assertEquals(inb(0x20), 0x40);
  out(0x20, 0x0a);
  assertEquals(inb(0x20), 0);
});

Deno.test("PicPair follows levels, and repeats them", () => {
  const { pic, out, inb } = bench();
  out(0x4d0, 0xff);
  out(0x4d1, 0xff);
  assertEquals([inb(0x4d0), inb(0x4d1)], [0xf8, 0xde]);
  pic.assert(5);
  assertEquals(pic.acknowledge(), 0x25);
  out(0x20, 0x20);
  assertEquals(pic.acknowledge(), 0x25, "still asserted");
  out(0x20, 0x20);
  assert(pic.isRequesting);
  pic.deassert(5);
  assert(!pic.isRequesting, "a level that falls is gone");
  pic.pulse(10);
  assert(!pic.isRequesting);
});

Deno.test("PicPair gives spurious interrupts 7 and 15", () => {
  const { pic, out, inb } = bench();
  assertEquals(pic.acknowledge(), 0x27);
  out(0x20, 0x0b);
  assertEquals(inb(0x20), 0, "7 is not in service");
  pic.setTrigger(11, true);
  pic.assert(11);
  out(0xa1, 0x08);
  assert(!pic.isRequesting);
  assertEquals(pic.acknowledge(), 0x27);
});

Deno.test("PicPair's automatic end leaves nothing in service", () => {
  const { pic, out, inb } = bench(0x03);
  pic.pulse(1);
  assertEquals(pic.acknowledge(), 0x21);
  out(0x20, 0x0b);
  assertEquals(inb(0x20), 0);
});

Deno.test("PicPair rotates priorities at an end, and on command", () => {
  const { pic, out } = bench();
  pic.pulse(3);
  pic.acknowledge();
  out(0x20, 0xa0);
  pic.pulse(3);
  pic.pulse(4);
  assertEquals(pic.acknowledge(), 0x24, "3 is the lowest now");
  out(0x20, 0x64);
  out(0x20, 0xc7);
  pic.pulse(4);
  assertEquals(pic.acknowledge(), 0x23, "7 is the lowest now");
  out(0x20, 0xe3);
  pic.pulse(5);
  assertEquals(pic.acknowledge(), 0x24, "3 ended and is the lowest");
});

Deno.test("PicPair rotates by itself with automatic ends", () => {
  const { pic, out } = bench(0x03);
  out(0x20, 0x80);
  pic.pulse(0);
  pic.acknowledge();
  pic.pulse(0);
  pic.pulse(7);
  assertEquals(pic.acknowledge(), 0x27);
  assertEquals(pic.acknowledge(), 0x20);
  out(0x20, 0x00);
  pic.pulse(0);
  pic.pulse(1);
  assertEquals(pic.acknowledge(), 0x21);
  assertEquals(pic.acknowledge(), 0x20);
});

Deno.test("PicPair's special mask mode lets lower ones by", () => {
  const { pic, out } = bench();
  pic.pulse(3);
  pic.acknowledge();
  out(0x20, 0x68);
  out(0x21, 0x08);
  pic.pulse(6);
  assertEquals(pic.acknowledge(), 0x26);
  out(0x20, 0x20);
  pic.pulse(6);
  assertEquals(pic.acknowledge(), 0x26, "the masked one was not ended");
  out(0x20, 0x20);
  out(0x20, 0x48);
  pic.pulse(7);
  assert(!pic.isRequesting, "3 is still in service");
});

Deno.test("PicPair polls", () => {
  const { pic, out, inb } = bench();
  out(0x20, 0x0c);
  assertEquals(inb(0x20), 7, "nothing asks");
  pic.pulse(5);
  out(0x20, 0x0c);
  assertEquals(inb(0x20), 0x85);
  assert(!pic.isRequesting);
  assertEquals(inb(0x20), 0);
});

Deno.test("PicPair is initialised again with or without ICW3 and ICW4", () => {
  const { pic, out, inb } = bench(0x03);
  out(0x21, 0x55);
  out(0x20, 0x12);
  out(0x21, 0x48);
  assertEquals(inb(0x21), 0, "the mask is cleared");
  out(0x21, 0xf0);
  assertEquals(inb(0x21), 0xf0, "a mask, not ICW3 or ICW4");
  pic.pulse(1);
  assertEquals(pic.acknowledge(), 0x49);
  out(0x20, 0x0b);
  assertEquals(inb(0x20), 2, "no automatic end");
});

Deno.test("PicPair counts who asserts a pin, and nobody has the cascade", () => {
  const { pic } = bench();
  pic.setTrigger(5, true);
  pic.assert(5);
  pic.assert(5);
  pic.deassert(5);
  assert(pic.isRequesting);
  pic.deassert(5);
  pic.deassert(5);
  assert(!pic.isRequesting);
  pic.assert(2);
  assert(!pic.isRequesting);
});

Deno.test("PicPair refuses interrupts and triggers that there are not", () => {
  const { pic } = bench();
  for (const irq of [-1, 16, 0.5]) {
    assertThrows(() => pic.assert(irq), RangeError);
    assertThrows(() => pic.setTrigger(irq, false), RangeError);
  }
  for (const irq of [0, 1, 2, 8, 13]) {
    assertThrows(() => pic.setTrigger(irq, true), RangeError);
    pic.setTrigger(irq, false);
  }
});

Deno.test("PicPair splits wide accesses over its two ports", () => {
  const { pic, out } = bench();
  out(0x21, 0xf0);
  pic.pulse(1);
  assertEquals(pic.masterPorts.read(0, 2), 0xf002);
  pic.masterPorts.write(0, 2, 0xaa20n);
  assertEquals(pic.masterPorts.read(1, 1), 0xaa);
});

Deno.test("PicPair restores what it did, and refuses damage", () => {
  const { pic } = bench();
  pic.pulse(12);
  pic.acknowledge();
  pic.assert(3);
  const saved = JSON.parse(JSON.stringify(pic.save()));
  const edges: boolean[] = [];
  const other = new PicPair((level) => edges.push(level));
  other.restore(saved);
  assertEquals(other.save(), saved);
  assertEquals(edges, pic.isRequesting ? [true] : []);
  for (
    const bad of [
      { ...saved, master: { ...saved.master, lowest: 8 } },
      { ...saved, slave: { ...saved.slave, irr: 256 } },
      { ...saved, slave: undefined },
      { ...saved, users: [] },
    ]
  ) {
    assertThrows(() => other.restore(bad), PlatformStateError);
  }
});
