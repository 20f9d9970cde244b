// The local APIC's timer in its three modes, through the APIC's registers.

import { assert, assertEquals } from "@std/assert";
import { APIC } from "./apic_registers.ts";
import { ApicBench, drain, read, write } from "./apic_testing.ts";
import { MIN_PERIOD_NS } from "./tick_timer.ts";

const BY_1 = 0xb;
const SECOND = 128 * 1024 * 1024;

function bench() {
  const bench = new ApicBench();
  const apic = bench.apics[0]!;
  write(apic, APIC.LVT_TIMER, 0x40);
  write(apic, APIC.TIMER_DIVIDE, BY_1);
  return { bench, apic, time: bench.time };
}

Deno.test("ApicTimer counts down once at 128 MiHz", () => {
  const { apic, time } = bench();
  write(apic, APIC.TIMER_INITIAL, SECOND);
  time.advance(250e6);
  assertEquals(read(apic, APIC.TIMER_CURRENT), SECOND * 3 / 4);
  time.advance(750e6 - 1);
  assert(!apic.pending());
  time.advance(1);
  assertEquals(drain(apic), [0x40]);
  assertEquals(read(apic, APIC.TIMER_CURRENT), 0);
  time.advance(5e9);
  assert(!apic.pending());
});

Deno.test("ApicTimer divides its clock as DCR says", () => {
  const divisors = [[0, 2], [1, 4], [2, 8], [3, 16], [8, 32], [9, 64]]
    .concat([[10, 128], [11, 1]]) as [number, number][];
  for (const [divide, by] of divisors) {
    const { apic, time } = bench();
    write(apic, APIC.TIMER_DIVIDE, divide);
    write(apic, APIC.TIMER_INITIAL, SECOND / 128);
    time.advance(1e9 * by / 128 - 1);
    assert(!apic.pending());
    time.advance(1);
    assertEquals(drain(apic), [0x40], `${by}`);
  }
});

Deno.test("ApicTimer is periodic without drift, even when the host is late", () => {
  const { apic, time } = bench();
  write(apic, APIC.LVT_TIMER, 0x2_0040);
  write(apic, APIC.TIMER_INITIAL, 134_217);
  let fired = 0;
  for (let n = 0; n < 10_000; n++) {
    time.advance(1e6);
    fired += drain(apic).length;
  }
  assertEquals(fired, Math.floor(10 * SECOND / 134_217));
  time.stall(4_700_000);
  assertEquals(drain(apic), [0x40], "late ones are one");
  const left = read(apic, APIC.TIMER_CURRENT);
  const passed = time.clock.now() / 1e9 * SECOND;
  assertEquals(left, 134_217 - Math.floor(passed) % 134_217);
});

Deno.test("ApicTimer does not storm at a period of one tick", () => {
  const { bench: b, apic, time } = bench();
  write(apic, APIC.LVT_TIMER, 0x2_0040);
  write(apic, APIC.TIMER_INITIAL, 1);
  let fired = 0;
  const end = time.clock.now() + 10e6;
  while (time.clock.now() < end) {
    const next = time.clock.nextDeadline()!;
    time.advance(next - time.clock.now());
    fired++;
    drain(apic);
  }
  assert(fired <= 10e6 / MIN_PERIOD_NS + 2, `${fired}`);
  assertEquals(read(apic, APIC.TIMER_CURRENT), 1);
  b.take();
});

Deno.test("ApicTimer counts on while masked, and stops with a count of 0", () => {
  const { apic, time } = bench();
  write(apic, APIC.LVT_TIMER, 0x1_0040);
  write(apic, APIC.TIMER_INITIAL, SECOND);
  time.advance(500e6);
  assertEquals(read(apic, APIC.TIMER_CURRENT), SECOND / 2);
  time.advance(600e6);
  assert(!apic.pending());
  write(apic, APIC.LVT_TIMER, 0x40);
  write(apic, APIC.TIMER_INITIAL, SECOND);
  write(apic, APIC.TIMER_INITIAL, 0);
  assertEquals(time.clock.nextDeadline(), undefined);
  assertEquals(read(apic, APIC.TIMER_CURRENT), 0);
});

Deno.test("ApicTimer takes a new divider and mode while it counts", () => {
  const { apic, time } = bench();
  write(apic, APIC.TIMER_INITIAL, SECOND);
  time.advance(500e6);
  write(apic, APIC.TIMER_DIVIDE, 0);
  assertEquals(read(apic, APIC.TIMER_CURRENT), SECOND / 2);
  write(apic, APIC.LVT_TIMER, 0x2_0040);
  time.advance(1e9);
  assertEquals(drain(apic), [0x40]);
  time.advance(2e9);
  assertEquals(drain(apic), [0x40]);
  write(apic, APIC.LVT_TIMER, 0x40);
  time.advance(2e9);
  assertEquals(drain(apic), [0x40]);
  time.advance(9e9);
  assertEquals(drain(apic), []);
});

Deno.test("ApicTimer fires at a TSC deadline", () => {
  const { bench: b, apic, time } = bench();
  assert(apic.writeMsr(0x6e0, 5n));
  assertEquals(apic.readMsr(0x6e0), 0n, "not in this mode");
  write(apic, APIC.LVT_TIMER, 0x4_0040);
  write(apic, APIC.TIMER_INITIAL, 1000);
  assertEquals(read(apic, APIC.TIMER_INITIAL), 0, "no counter in this mode");
  apic.writeMsr(0x6e0, 2_000n);
  assertEquals(time.clock.nextDeadline(), time.clock.now() + 1000);
  b.tsc = 2_000n;
  time.advance(1000);
  assertEquals(drain(apic), [0x40]);
  assertEquals(apic.readMsr(0x6e0), 0n);
  apic.writeMsr(0x6e0, 1n);
  time.advance(0);
  assertEquals(drain(apic), [0x40], "past ones fire at once");
});

Deno.test("ApicTimer looks again where the time stamp is behind", () => {
  const { bench: b, apic, time } = bench();
  write(apic, APIC.LVT_TIMER, 0x4_0040);
  apic.writeMsr(0x6e0, 10_000n);
  b.tsc = 9_999n;
  time.advance(5_000);
  assert(!apic.pending());
  assertEquals(time.clock.nextDeadline(), 6_000);
  b.tsc = 100n;
  apic.tscChanged();
  assertEquals(time.clock.nextDeadline(), 5_000 + 4_950);
  write(apic, APIC.LVT_TIMER, 0x40);
  assertEquals(time.clock.nextDeadline(), undefined, "disarmed");
});
