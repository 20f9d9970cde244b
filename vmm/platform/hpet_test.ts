// The HPET: counter, one-shot and periodic timers, edges, levels, messages, state.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { conformance } from "../../devices/conformance.ts";
import { Hpet } from "./hpet.ts";
import { HPET_HZ } from "./hpet_counter.ts";
import { PlatformStateError } from "./state.ts";
import { CountingLine, ManualTime } from "./testing.ts";
import { MIN_PERIOD_NS } from "./tick_timer.ts";

const CONFIG = (n: number) => 0x100 + 0x20 * n;
const COMPARATOR = (n: number) => 0x108 + 0x20 * n;
const MESSAGE = (n: number) => 0x110 + 0x20 * n;
const LEVEL = 2;
const ON = 4;
const PERIODIC = 8;
const SET_VALUE = 0x40;
const SEND = 0x4000;
const PIN = (n: number) => n << 9;

function bench() {
  const time = new ManualTime();
  const lines = Array.from({ length: 8 }, () => new CountingLine());
  const messages: [number, number][] = [];
  const msi = {
    raise: (address: number, data: number) =>
      void messages.push([address, data]),
  };
  const hpet = new Hpet({ clock: time.clock, lines, msi });
  const write = (offset: number, value: number) =>
    hpet.write(offset, 4, BigInt(value >>> 0));
  const read = (offset: number) => Number(hpet.read(offset, 4));
  const ticks = (n: number) => time.advance(Math.ceil(n * 1e9 / HPET_HZ));
  return { time, lines, messages, hpet, write, read, ticks };
}

conformance("Hpet", () => {
  const { hpet } = bench();
  return {
    device: hpet,
    ranges: [{ name: "memory", length: 0x400, handler: hpet }],
  };
});

Deno.test("Hpet tells what it can", () => {
  const { hpet, read, write } = bench();
  assertEquals(hpet.read(0, 8), 59604644n << 32n | 0x8086_0701n);
  for (let n = 0; n < 8; n++) {
    assertEquals([read(CONFIG(n)), read(CONFIG(n) + 4)], [0x8010, 0xff00_0000]);
    assertEquals(read(COMPARATOR(n)), 0xffff_ffff);
  }
  write(0x10, 3);
  assertEquals(read(0x10), 1, "no legacy replacement");
  assertEquals([read(0x200), read(0x3fc), read(0xf4)], [0, 0, 0]);
});

Deno.test("Hpet counts at 2^24 Hz while it is enabled", () => {
  const { time, read, write } = bench();
  write(0xf0, 100);
  time.advance(1e9);
  assertEquals(read(0xf0), 100);
  write(0x10, 1);
  time.advance(1e9);
  assertEquals(read(0xf0), HPET_HZ + 100);
  write(0xf0, 5);
  assertEquals(read(0xf0), HPET_HZ + 100, "not while it runs");
  time.advance(255e9);
  assertEquals(read(0xf0), 100, "it wraps");
  write(0x10, 0);
  time.advance(1e9);
  assertEquals(read(0xf0), 100);
});

Deno.test("Hpet fires once, and again only when the counter comes by", () => {
  const { lines, write, ticks } = bench();
  write(CONFIG(0), ON | PIN(24));
  write(COMPARATOR(0), 1000);
  write(0x10, 1);
  ticks(999);
  assertEquals(lines[0]!.edges, 0);
  ticks(1);
  assertEquals(lines[0]!.edges, 1);
  ticks(2 ** 32 - 10);
  assertEquals(lines[0]!.edges, 1);
  ticks(20);
  assertEquals(lines[0]!.edges, 2);
});

Deno.test("Hpet is periodic as drivers set it up, and shows the next expiry", () => {
  const { lines, write, read, ticks } = bench();
  write(0x10, 1);
  ticks(500);
  write(CONFIG(2), ON | PERIODIC | SET_VALUE | PIN(31));
  write(COMPARATOR(2), 10_500);
  write(COMPARATOR(2), 10_000);
  ticks(10_000);
  assertEquals(lines[7]!.edges, 1);
  assertEquals(read(COMPARATOR(2)), 20_500);
  ticks(100_000);
  assertEquals(lines[7]!.edges, 11);
  assertEquals(read(CONFIG(2)) & SET_VALUE, 0);
  write(CONFIG(2), PERIODIC | PIN(31));
  ticks(50_000);
  assertEquals(lines[7]!.edges, 11, "interrupts off");
  assertEquals(read(COMPARATOR(2)), 170_500, "but it goes on");
});

Deno.test("Hpet does not storm at a period of one tick", () => {
  const { lines, write, time } = bench();
  write(CONFIG(0), ON | PERIODIC | SET_VALUE | PIN(24));
  write(COMPARATOR(0), 1);
  write(0x10, 1);
  time.advance(100e6);
  assert(lines[0]!.edges <= 100e6 / MIN_PERIOD_NS + 1);
  assert(lines[0]!.edges > 1000);
});

Deno.test("Hpet holds a level until its status is cleared", () => {
  const { lines, write, read, ticks } = bench();
  write(CONFIG(1), ON | LEVEL | PIN(25));
  write(CONFIG(3), ON | LEVEL | PIN(25));
  write(COMPARATOR(1), 10_000);
  write(COMPARATOR(3), 20_000);
  write(0x10, 1);
  ticks(10_000);
  assertEquals([read(0x20), lines[1]!.level], [2, true]);
  ticks(10_000);
  assertEquals(read(0x20), 10);
  write(0x20, 2);
  assert(lines[1]!.level, "the other one is still up");
  write(0x20, 8);
  assertEquals([read(0x20), lines[1]!.level], [0, false]);
});

Deno.test("Hpet sends messages", () => {
  const { messages, lines, hpet, write, ticks } = bench();
  hpet.write(MESSAGE(4), 8, 0xfee0_1000_0000_0041n);
  write(CONFIG(4), ON | SEND | PIN(24));
  write(COMPARATOR(4), 100);
  write(0x10, 1);
  ticks(100);
  assertEquals(messages, [[0xfee0_1000, 0x41]]);
  assertEquals(lines[0]!.edges, 0);
});

Deno.test("Hpet drives no pin that is not allowed", () => {
  const { lines, write, ticks } = bench();
  write(CONFIG(0), ON | PIN(2));
  write(COMPARATOR(0), 100);
  write(CONFIG(1), ON | LEVEL | PIN(0));
  write(COMPARATOR(1), 100);
  write(0x10, 1);
  ticks(200);
  assertEquals(lines.map((l) => l.edges), [0, 0, 0, 0, 0, 0, 0, 0]);
});

Deno.test("Hpet is accessed by 4 and 8 aligned bytes only", () => {
  const { hpet } = bench();
  for (const [offset, bytes] of [[0, 1], [0, 2], [2, 4], [4, 8], [1, 8]]) {
    assertEquals(hpet.read(offset!, bytes!), 0);
    hpet.write(offset! + 0xf0, bytes!, 0xffn);
  }
  assertEquals(hpet.counter, 0);
});

Deno.test("Hpet goes on from a snapshot, and refuses a damaged one", () => {
  const { hpet, write, ticks, time } = bench();
  write(CONFIG(0), ON | PERIODIC | SET_VALUE | PIN(24));
  write(COMPARATOR(0), 16_777);
  write(0x10, 1);
  ticks(20_000);
  const saved = JSON.parse(JSON.stringify(hpet.save()));
  const other = bench();
  other.time.skip(time.clock.now());
  other.hpet.restore(saved);
  assertEquals(other.hpet.save(), saved);
  assertEquals(other.hpet.counter, hpet.counter);
  other.ticks(16_777);
  assertEquals(other.lines[0]!.edges, 1);
  const bad = { ...saved, timers: saved.timers.slice(1) };
  assertThrows(() => other.hpet.restore(bad), PlatformStateError);
});
