// The I/O APIC: entries, edges and levels, remote IRR, counting, registers, state.

import { assertEquals, assertThrows } from "@std/assert";
import { conformance } from "../../devices/conformance.ts";
import { BROADCAST } from "./apic_bus.ts";
import { IoApic } from "./ioapic.ts";
import { ioapicPin, PinLine } from "./isa_irq.ts";
import { PlatformStateError } from "./state.ts";

function bench() {
  const sent: [number, number][] = [];
  const ioapic = new IoApic({
    deliver: (message, destination, sender) => {
      assertEquals(sender, -1);
      return sent.push([message, destination]) > 0;
    },
  });
  const set = (index: number, value: number) => {
    ioapic.write(0, 4, BigInt(index));
    ioapic.write(0x10, 4, BigInt(value));
  };
  const get = (index: number) => {
    ioapic.write(0, 4, BigInt(index));
    return ioapic.read(0x10, 4);
  };
  const entry = (pin: number, low: number, destination = 0) => {
    set(0x11 + 2 * pin, destination << 24 >>> 0);
    set(0x10 + 2 * pin, low);
  };
  return { ioapic, sent, set, get, entry, take: () => sent.splice(0) };
}

const REMOTE_IRR = 0x4000;

conformance("IoApic", () => {
  const { ioapic } = bench();
  return {
    device: ioapic,
    ranges: [{ name: "memory", length: 0x1000, handler: ioapic }],
  };
});

Deno.test("IoApic has 32 masked pins and version 11h", () => {
  const { get, set } = bench();
  assertEquals(get(1), 0x001f_0011);
  assertEquals([get(0x10), get(0x11), get(0x4f)], [0x10000, 0x10000, 0x10000]);
  assertEquals([get(0x50), get(0xff), get(3)], [0, 0, 0]);
  set(0, 0xffff_ffff);
  assertEquals([get(0), get(2)], [0x0f00_0000, 0x0f00_0000]);
  set(1, 0);
  assertEquals(get(1), 0x001f_0011);
});

Deno.test("IoApic is reached by 32 bits at two offsets only", () => {
  const { ioapic, entry } = bench();
  entry(0, 0x31);
  assertEquals(ioapic.read(0x10, 4), 0x31);
  assertEquals(
    [ioapic.read(0x10, 1), ioapic.read(0x10, 8), ioapic.read(0x20, 4)],
    [0, 0, 0],
  );
  ioapic.write(0x10, 2, 0x77n);
  ioapic.write(0x40, 4, 0x31n);
  assertEquals(ioapic.read(0x10, 4), 0x31);
});

Deno.test("IoApic sends an edge once for each rise", () => {
  const { ioapic, entry, take } = bench();
  entry(4, 0x34, 3);
  ioapic.assert(4);
  ioapic.assert(4);
  assertEquals(take(), [[0x4034, 3]]);
  ioapic.deassert(4);
  assertEquals(take(), []);
  ioapic.deassert(4);
  ioapic.deassert(4);
  ioapic.pulse(4);
  assertEquals(take(), [[0x4034, 3]]);
});

Deno.test("IoApic loses masked edges", () => {
  const { ioapic, entry, take } = bench();
  ioapic.pulse(4);
  ioapic.assert(4);
  entry(4, 0x34);
  assertEquals(take(), []);
  ioapic.deassert(4);
  ioapic.assert(4);
  assertEquals(take(), [[0x4034, 0]]);
});

Deno.test("IoApic repeats a level after its end while it is asserted", () => {
  const { ioapic, entry, get, take } = bench();
  entry(9, 0x8039, 1);
  ioapic.assert(9);
  assertEquals(take(), [[0xc039, 1]]);
  assertEquals(get(0x22), 0x8039 | REMOTE_IRR);
  ioapic.pulse(9);
  assertEquals(take(), [], "one at a time");
  ioapic.endOfInterrupt(0x38);
  assertEquals(take(), []);
  ioapic.endOfInterrupt(0x39);
  assertEquals(take(), [[0xc039, 1]]);
  ioapic.deassert(9);
  ioapic.endOfInterrupt(0x39);
  assertEquals(take(), []);
  assertEquals(get(0x22), 0x8039);
});

Deno.test("IoApic sends a level that waited behind its mask", () => {
  const { ioapic, entry, take } = bench();
  entry(9, 0x1_8039);
  ioapic.assert(9);
  assertEquals(take(), []);
  entry(9, 0x8039);
  assertEquals(take(), [[0xc039, 0]]);
  entry(9, 0x8039);
  assertEquals(take(), [], "remote IRR stays through a write");
});

Deno.test("IoApic forgets remote IRR when a pin becomes an edge", () => {
  const { ioapic, entry, get, take } = bench();
  entry(9, 0x8039);
  ioapic.assert(9);
  entry(9, 0x1_0039);
  assertEquals(get(0x22), 0x1_0039);
  entry(9, 0x8039);
  assertEquals(take().length, 2);
});

Deno.test("IoApic never waits for the end of what has none", () => {
  const { ioapic, entry, get, take } = bench();
  entry(0, 0x8400);
  ioapic.pulse(0);
  ioapic.pulse(0);
  assertEquals(take().length, 2);
  assertEquals(get(0x10), 0x8400);
});

Deno.test("IoApic keeps read-only bits and widens the broadcast", () => {
  const { ioapic, entry, get, take } = bench();
  entry(1, 0xfffe_f9ff, 0xff);
  assertEquals(get(0x12), 0xa9ff);
  ioapic.assert(1);
  assertEquals(take(), [[0xc9ff, BROADCAST]]);
});

Deno.test("IoApic counts who asserts a pin", () => {
  const { ioapic, entry, take } = bench();
  entry(16, 0x8050);
  const first = new PinLine([ioapicPin(ioapic, 16)]);
  const second = new PinLine([ioapicPin(ioapic, 16)]);
  first.set(true);
  first.set(true);
  second.set(true);
  first.set(false);
  first.set(false);
  assertEquals([take().length, ioapic.isAsserted(16)], [1, true]);
  ioapic.endOfInterrupt(0x50);
  assertEquals(take().length, 1);
  second.set(false);
  assertEquals(ioapic.isAsserted(16), false);
});

Deno.test("IoApic refuses pins that it has not", () => {
  const { ioapic } = bench();
  for (const pin of [-1, 32, 1.5, NaN]) {
    assertThrows(() => ioapic.assert(pin), RangeError);
    assertThrows(() => ioapic.deassert(pin), RangeError);
    assertThrows(() => ioapicPin(ioapic, pin), RangeError);
  }
});

Deno.test("IoApic refuses damaged states", () => {
  const { ioapic } = bench();
  const saved = ioapic.save() as unknown as Record<string, number[]>;
  const bad = [
    { ...saved, id: 16 },
    { ...saved, low: saved.low!.with(3, 0x1_2_1000) },
    { ...saved, low: saved.low!.slice(1) },
    { ...saved, users: saved.users!.with(0, -1) },
  ];
  for (const state of bad) {
    assertThrows(() => ioapic.restore(state as never), PlatformStateError);
  }
});
