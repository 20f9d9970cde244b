// Guest time: order of timers, pausing, late hosts, saving, and the tick counter.

import { assert, assertEquals, assertThrows } from "@std/assert";
import type { Clock } from "../device.ts";
import { alarmOf, GuestClock } from "./clock.ts";
import { PlatformStateError } from "./state.ts";
import { ManualTime } from "./testing.ts";
import { MIN_PERIOD_NS, TickTimer } from "./tick_timer.ts";

Deno.test("GuestClock starts at 0 whatever its source says", () => {
  let host = 1e15;
  const clock = new GuestClock(() => host);
  assertEquals(clock.now(), 0);
  host += 25;
  assertEquals(clock.now(), 25);
});

Deno.test("GuestClock fires by time, and in order of setting at one time", () => {
  const time = new ManualTime();
  const fired: string[] = [];
  const at = (ns: number, name: string) =>
    time.clock.at(ns, () => fired.push(name));
  at(30, "c");
  at(10, "a");
  at(10, "b");
  at(40, "d");
  assertEquals(time.clock.nextDeadline(), 10);
  time.stall(9);
  assertEquals(fired, []);
  time.stall(21);
  assertEquals(fired, ["a", "b", "c"]);
  assertEquals(time.clock.nextDeadline(), 40);
});

Deno.test("GuestClock orders a thousand timers set and cancelled at random", () => {
  const time = new ManualTime();
  let seed = 7;
  const random = () => (seed = seed * 16807 % 2147483647);
  const fired: number[] = [];
  const expected: number[] = [];
  for (let n = 0; n < 1000; n++) {
    const at = random() % 5000;
    const handle = time.clock.at(at, () => fired.push(at));
    if (random() % 3 === 0) handle.cancel();
    else expected.push(at);
  }
  time.stall(5000);
  assertEquals(fired, expected.sort((a, b) => a - b));
  assertEquals(time.clock.nextDeadline(), undefined);
});

Deno.test("GuestClock.at() gives a handle that may be cancelled twice and late", () => {
  const time = new ManualTime();
  let fired = 0;
  const handle = time.clock.at(5, () => fired++);
  const other = time.clock.at(6, () => fired++);
  handle.cancel();
  handle.cancel();
  time.advance(10);
  other.cancel();
  assertEquals(fired, 1);
});

Deno.test("GuestClock.runDue() ends where a timer sets itself again at once", () => {
  const time = new ManualTime();
  let fired = 0;
  const again = () => {
    fired++;
    time.clock.at(0, again);
  };
  time.clock.at(0, again);
  time.stall(100);
  assertEquals(fired, 1);
  time.stall(100);
  assertEquals(fired, 2);
});

Deno.test("GuestClock survives a timer that throws", () => {
  const time = new ManualTime();
  let fired = 0;
  time.clock.at(1, () => {
    throw new Error("bad");
  });
  time.clock.at(1, () => fired++);
  assertThrows(() => time.stall(2), Error, "bad");
  time.clock.runDue();
  assertEquals(fired, 1);
});

Deno.test("GuestClock stops and resumes without losing time", () => {
  const time = new ManualTime();
  let fired = 0;
  time.clock.at(100, () => fired++);
  time.skip(50);
  time.clock.pause();
  time.clock.pause();
  time.stall(1000);
  assertEquals([time.clock.now(), fired], [50, 0]);
  assertEquals(time.clock.nextDeadline(), undefined);
  assert(time.clock.isPaused);
  time.clock.resume();
  time.clock.resume();
  assertEquals(time.clock.now(), 50);
  time.advance(50);
  assertEquals(fired, 1);
});

Deno.test("GuestClock restores its time, running or stopped", () => {
  const time = new ManualTime();
  time.skip(1234);
  const saved = time.clock.save();
  assertEquals(saved, { kind: "guest-clock", version: 1, now: 1234 } as never);
  const other = new ManualTime();
  other.clock.restore(saved);
  assertEquals(other.clock.now(), 1234);
  other.clock.pause();
  other.clock.restore({ ...saved, now: 9 } as never);
  other.skip(5);
  assertEquals(other.clock.now(), 9);
  other.clock.resume();
  assertEquals(other.clock.now(), 9);
});

Deno.test("GuestClock refuses a damaged state", () => {
  const { clock } = new ManualTime();
  const saved = clock.save();
  for (
    const bad of [
      { ...saved, kind: "x" },
      { ...saved, version: 2 },
      { ...saved, now: NaN },
      { ...saved, now: "1" },
      { ...saved, more: 1 },
      null,
    ]
  ) {
    assertThrows(() => clock.restore(bad as never), PlatformStateError);
  }
  assertThrows(() => clock.at(NaN, () => {}), RangeError);
});

Deno.test("alarmOf() works over a clock that has only at()", () => {
  const time = new ManualTime();
  const plain: Clock = {
    now: () => time.clock.now(),
    at: (ns, fire) => time.clock.at(ns, fire),
  };
  let fired = 0;
  const alarm = alarmOf(plain, () => fired++);
  alarm.set(10);
  alarm.set(20);
  assert(alarm.isSet);
  time.advance(15);
  assertEquals(fired, 0);
  time.advance(5);
  assertEquals([fired, alarm.isSet], [1, false]);
  alarm.set(30);
  alarm.clear();
  time.advance(100);
  assertEquals(fired, 1);
});

Deno.test("TickTimer keeps its period to the nanosecond for days", () => {
  const time = new ManualTime();
  const fired: number[] = [];
  const timer = new TickTimer(
    time.clock,
    1e9 / 1193182,
    () => fired.push(time.clock.now()),
  );
  timer.start(0, 65536, 65536);
  for (let n = 0; n < 1_000_000; n += 1000) {
    time.stall(54_925_401.649 * 1000);
  }
  assert(timer.isRunning);
  const last = fired.at(-1)!;
  time.advance(60e6);
  const next = fired.at(-1)!;
  const period = 65536 * 1e9 / 1193182;
  assertEquals(Math.round(next / period) * period - next < 1, true);
  assert(next > last);
});

Deno.test("TickTimer leaves out expiries that are too many, and keeps the phase", () => {
  const time = new ManualTime();
  let fired = 0;
  const timer = new TickTimer(time.clock, 1, () => fired++);
  timer.start(0, 1, 1);
  time.advance(1e9);
  assert(fired <= 1e9 / MIN_PERIOD_NS + 1, `${fired}`);
  assert(fired >= 1e9 / MIN_PERIOD_NS - 1, `${fired}`);
  fired = 0;
  timer.start(time.clock.now(), 70_000, 70_000);
  time.stall(1_000_000);
  assertEquals(fired, 1);
  assertEquals(timer.next, 15 * 70_000);
});

Deno.test("TickTimer fires once without a period and goes on counting", () => {
  const time = new ManualTime();
  let fired = 0;
  const timer = new TickTimer(time.clock, 0.1, () => fired++);
  timer.start(0, 1000, 0);
  time.advance(99);
  assertEquals([fired, timer.isRunning, timer.elapsed], [0, true, 990]);
  time.advance(1);
  assertEquals([fired, timer.isRunning, timer.elapsed], [1, false, 1000]);
  time.advance(100);
  assertEquals([fired, timer.elapsed], [1, 2000]);
});

Deno.test("TickTimer goes on where it was saved", () => {
  const time = new ManualTime();
  const timer = new TickTimer(time.clock, 10, () => {});
  timer.start(0, 10_000, 10_000);
  time.advance(150_000);
  let fired = 0;
  const other = new TickTimer(time.clock, 10, () => fired++);
  other.restore(timer.save());
  assertEquals(other.save(), timer.save());
  time.advance(50_000);
  assertEquals(fired, 1);
});
