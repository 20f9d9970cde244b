// The 8254: modes, access, latches, BCD, gates, port 61h, the timer interrupt.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { conformance } from "../../devices/conformance.ts";
import { Pit } from "./pit.ts";
import { PIT_HZ } from "./pit_channel.ts";
import { PlatformStateError } from "./state.ts";
import { CountingLine, ManualTime } from "./testing.ts";
import { MIN_PERIOD_NS } from "./tick_timer.ts";

const TICK = 1e9 / PIT_HZ;

function bench() {
  const time = new ManualTime();
  const irq = new CountingLine();
  const pit = new Pit(time.clock, irq);
  const out = (port: number, ...values: number[]) => {
    for (const value of values) pit.ports.write(port - 0x40, 1, BigInt(value));
  };
  const inb = (port: number) => Number(pit.ports.read(port - 0x40, 1));
  const word = (port: number) => inb(port) | inb(port) << 8;
  /** Lets some clocks pass, and a little more. */
  const clocks = (n: number) => time.advance(Math.ceil(n * TICK));
  return { time, irq, pit, out, inb, word, clocks };
}

conformance("Pit", () => {
  const { pit } = bench();
  return {
    device: pit,
    ranges: [
      { name: "ports", length: 4, handler: pit.ports },
      { name: "port 61h", length: 1, handler: pit.systemControl },
    ],
  };
});

Deno.test("Pit interrupts at the rate of mode 2, without drift", () => {
  const { irq, out, time } = bench();
  out(0x43, 0x34);
  out(0x40, 11932 & 0xff, 11932 >> 8);
  for (let n = 0; n < 3600; n++) time.advance(1e9);
  assertEquals(irq.edges, Math.floor(3600 * PIT_HZ / 11932));
});

Deno.test("Pit takes a count of 0 as 65536", () => {
  const { irq, out, word, time } = bench();
  out(0x43, 0x36);
  out(0x40, 0, 0);
  assertEquals(word(0x40), 0);
  time.advance(1e9);
  assertEquals(irq.edges, 18);
});

Deno.test("Pit interrupts once in modes 0 and 4", () => {
  for (const mode of [0x30, 0x38]) {
    const { irq, out, clocks } = bench();
    out(0x43, mode);
    out(0x40, 0xe8, 0x03);
    clocks(999);
    assertEquals(irq.edges, 0);
    clocks(2);
    assertEquals(irq.edges, 1);
    clocks(200_000);
    assertEquals(irq.edges, 1);
  }
});

Deno.test("Pit never counts in modes that wait for a gate that is high", () => {
  for (const mode of [0x32, 0x3a]) {
    const { irq, out, time } = bench();
    out(0x43, mode);
    out(0x40, 10, 0);
    time.advance(1e9);
    assertEquals(irq.edges, 0);
  }
});

Deno.test("Pit does not storm at a count of 1", () => {
  const { irq, out, time } = bench();
  out(0x43, 0x34);
  out(0x40, 1, 0);
  time.advance(100e6);
  assert(irq.edges <= 100e6 / MIN_PERIOD_NS + 1, `${irq.edges}`);
});

Deno.test("Pit counts down by one, in mode 3 by two", () => {
  const { out, word, clocks } = bench();
  out(0x43, 0xb0 & 0x3f | 0x40);
  out(0x41, 0x00, 0x10);
  clocks(0x10);
  assertEquals(word(0x41), 0x0ff0);
  out(0x43, 0x76);
  out(0x41, 0x00, 0x10);
  clocks(0x10);
  assertEquals(word(0x41), 0x0fe0);
  clocks(0x7f0 + 0x10);
  assertEquals(word(0x41), 0x0fe0, "the second half");
});

Deno.test("Pit wraps in mode 0 and starts over in mode 2", () => {
  const { out, word, clocks } = bench();
  out(0x43, 0x70);
  out(0x41, 0x10, 0);
  clocks(0x20);
  assertEquals(word(0x41), 0xfff0);
  out(0x43, 0x74);
  out(0x41, 0x10, 0);
  clocks(0x28);
  assertEquals(word(0x41), 0x08);
});

Deno.test("Pit latches a count until both its bytes are read", () => {
  const { out, inb, word, clocks } = bench();
  out(0x43, 0x74);
  out(0x41, 0x00, 0x80);
  clocks(0x100);
  out(0x43, 0x40);
  clocks(0x100);
  out(0x43, 0x40);
  assertEquals(word(0x41), 0x7f00);
  assertEquals(inb(0x41), 0x00, "live again");
  clocks(0x80);
  assertEquals(inb(0x41), 0x7d);
});

Deno.test("Pit accesses the lower or the higher byte alone", () => {
  const { out, inb, clocks } = bench();
  out(0x43, 0x54);
  out(0x41, 0x40);
  clocks(0x10);
  assertEquals([inb(0x41), inb(0x41)], [0x30, 0x30]);
  out(0x43, 0x64);
  out(0x41, 0x40);
  clocks(0x180);
  assertEquals([inb(0x41), inb(0x41)], [0x3e, 0x3e]);
});

Deno.test("Pit reads status and count back together", () => {
  const { out, inb, word, clocks } = bench();
  out(0x43, 0x70);
  out(0x43, 0xe4);
  assertEquals(inb(0x41), 0x70, "null count, low");
  out(0x41, 0x10, 0);
  clocks(0x8);
  out(0x43, 0xc4);
  clocks(0x10);
  assertEquals(inb(0x41), 0x30);
  assertEquals(word(0x41), 0x8);
  out(0x43, 0xe4);
  assertEquals(inb(0x41), 0xb0, "terminal count");
  out(0x43, 0xee);
  assertEquals(inb(0x40) & 0x30, 0x30, "several at once");
});

Deno.test("Pit counts in BCD", () => {
  const { out, word, clocks } = bench();
  out(0x43, 0x71);
  out(0x41, 0x00, 0x10);
  clocks(1);
  assertEquals(word(0x41), 0x0999);
  clocks(1000);
  assertEquals(word(0x41), 0x9999);
});

Deno.test("Pit is still at port 43h, and reads all ones there", () => {
  const { pit } = bench();
  assertEquals(pit.ports.read(3, 1), 0xff);
});

Deno.test("Port 61h gates counter 2 and shows its output", () => {
  const { pit, out, word, clocks } = bench();
  const read = () => Number(pit.systemControl.read(0, 1)) & 0x2f;
  const write = (value: number) => pit.systemControl.write(0, 1, BigInt(value));
  out(0x43, 0xb0);
  out(0x42, 0x00, 0x01);
  clocks(0x1000);
  assertEquals([read(), word(0x42)], [0, 0x100], "held");
  write(0x01);
  clocks(0x80);
  write(0x02);
  clocks(0x1000);
  assertEquals([read(), word(0x42)], [0x02, 0x80]);
  write(0x01);
  clocks(0x7e);
  assertEquals(read(), 0x01);
  clocks(0x3);
  assertEquals(read(), 0x21);
});

Deno.test("Port 61h's gate triggers modes 1, 2 and 5", () => {
  const { pit, out, clocks } = bench();
  const output = () => (Number(pit.systemControl.read(0, 1)) & 0x20) !== 0;
  const gate = (on: number) => pit.systemControl.write(0, 1, BigInt(on));
  out(0x43, 0xb2);
  out(0x42, 0x10, 0);
  assert(output());
  gate(1);
  clocks(4);
  assert(!output());
  gate(0);
  clocks(16);
  assert(output());
  out(0x43, 0xb4);
  out(0x42, 2, 0);
  assert(output(), "no gate, no pulse");
  gate(1);
  clocks(1);
  assert(!output());
});

Deno.test("Port 61h toggles with the refresh", () => {
  const { pit, time } = bench();
  const seen = new Set<number>();
  for (let n = 0; n < 4; n++) {
    seen.add(Number(pit.systemControl.read(0, 1)) & 0x10);
    time.advance(15_085);
  }
  assertEquals(seen.size, 2);
});

Deno.test("Pit goes on from a snapshot, and refuses a damaged one", () => {
  const { pit, out, time } = bench();
  out(0x43, 0x34);
  out(0x40, 0x9c, 0x2e);
  time.advance(5e6);
  const saved = JSON.parse(JSON.stringify(pit.save()));
  const other = bench();
  other.time.skip(5e6);
  other.pit.restore(saved);
  assertEquals(other.pit.save(), saved);
  other.time.advance(5.1e6);
  assertEquals(other.irq.edges, 1);
  const bad = { ...saved, channel1: { ...saved.channel1, mode: 6 } };
  assertThrows(() => other.pit.restore(bad), PlatformStateError);
});
