// The real-time clock: formats, setting, update and alarm and periodic interrupts,
// memory, resets, snapshots; and the ACPI timer.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { conformance } from "../../devices/conformance.ts";
import { PmTimer } from "./pm_timer.ts";
import { Rtc } from "./rtc.ts";
import { nextAlarm, RTC, RTC_B } from "./rtc_fields.ts";
import { PlatformStateError } from "./state.ts";
import { CountingLine, ManualTime } from "./testing.ts";

/** A Saturday. */
const START = Date.UTC(2024, 1, 29, 23, 59, 57) / 1000 + 2 * 86_400;

function bench(start = START) {
  const time = new ManualTime();
  const irq = new CountingLine();
  const host = { drift: 0 };
  const rtc = new Rtc({
    clock: time.clock,
    wallClock: () => start + time.clock.now() / 1e9 + host.drift,
    irq,
  });
  const get = (register: number) => {
    rtc.ports.write(0, 1, BigInt(register));
    return Number(rtc.ports.read(1, 1));
  };
  const set = (register: number, value: number) => {
    rtc.ports.write(0, 1, BigInt(register));
    rtc.ports.write(1, 1, BigInt(value));
  };
  const clock = () =>
    [0x32, 9, 8, 7, 6, 4, 2, 0].map((r) => get(r).toString(16)).join(" ");
  return { time, irq, rtc, get, set, clock, host };
}

Deno.test("Rtc shows the host's time in BCD, and goes on", () => {
  const { clock, get, time } = bench();
  assertEquals(clock(), "20 24 3 2 7 23 59 57");
  time.advance(3e9);
  assertEquals(clock(), "20 24 3 3 1 0 0 0");
  assertEquals([get(RTC.A), get(RTC.B), get(RTC.D)], [0x20, 0x02, 0x80]);
});

Deno.test("Rtc shows binary and 12 hours", () => {
  const { clock, set, get, time } = bench();
  set(RTC.B, RTC_B.BINARY);
  assertEquals(clock(), "14 18 3 2 7 8b 3b 39");
  set(RTC.B, 0);
  assertEquals(get(RTC.HOURS), 0x91);
  time.advance(3e9);
  assertEquals(get(RTC.HOURS), 0x12, "midnight is 12 AM");
});

Deno.test("Rtc is set while SET holds it", () => {
  const { clock, rtc, set, time } = bench();
  set(RTC.B, RTC_B.SET | RTC_B.HOURS_24);
  time.advance(10e9);
  assertEquals(clock(), "20 24 3 2 7 23 59 57");
  const values = [0x58, 0x59, 0x23, 0x31, 0x12, 0x99];
  [0, 2, 4, 7, 8, 9].forEach((r, n) => set(r, values[n]!));
  set(RTC.CENTURY, 0x19);
  set(RTC.B, RTC_B.HOURS_24);
  assertEquals(rtc.time, Date.UTC(1999, 11, 31, 23, 59, 58) / 1000);
  time.advance(2e9);
  assertEquals(clock(), "20 0 1 1 7 0 0 0");
});

Deno.test("Rtc takes what is written while it runs", () => {
  const { rtc, set } = bench();
  set(RTC.CENTURY, 0x21);
  set(RTC.HOURS, 0x05);
  assertEquals(
    new Date(rtc.time * 1000).toISOString().slice(0, 13),
    "2124-03-02T05",
  );
  set(RTC.SECONDS, 0xb0);
  assertEquals(rtc.time % 60, 30, "bit 7 is read-only");
});

Deno.test("Rtc makes of impossible dates some later ones, and stands nonsense", () => {
  const { rtc, set, time } = bench();
  set(RTC.MONTH, 0x02);
  set(RTC.DAY, 0x30);
  assertEquals(new Date(rtc.time * 1000).toISOString().slice(5, 10), "03-01");
  for (let register = 0; register < 128; register++) set(register, 0xff);
  for (let n = 0; n < 20; n++) time.advance(777e6);
  assert(Number.isFinite(rtc.time));
});

Deno.test("Rtc stops with its divider", () => {
  const { clock, set, get, time } = bench();
  set(RTC.A, 0x70);
  time.advance(5e9);
  assertEquals(clock(), "20 24 3 2 7 23 59 57");
  set(RTC.A, 0xa0);
  assertEquals(get(RTC.A), 0x20);
  time.advance(1e9);
  assertEquals(get(RTC.SECONDS), 0x58);
});

Deno.test("Rtc says when an update is near", () => {
  const { get, set, time } = bench();
  assertEquals(get(RTC.A) & 0x80, 0);
  time.advance(0.9985e9);
  assertEquals(get(RTC.A) & 0x80, 0x80);
  set(RTC.B, RTC_B.SET);
  assertEquals(get(RTC.A) & 0x80, 0);
});

Deno.test("Rtc interrupts at each update until C is read", () => {
  const { irq, get, set, time } = bench();
  set(RTC.B, RTC_B.UPDATE | RTC_B.HOURS_24);
  time.advance(1.1e9);
  assertEquals(irq.edges, 1);
  time.advance(5e9);
  assertEquals(irq.edges, 1, "not before C is read");
  assertEquals(time.clock.nextDeadline(), undefined);
  assertEquals(get(RTC.C), 0x90 | RTC_B.ALARM, "the alarm is at midnight");
  assertEquals(get(RTC.C), 0);
  time.advance(1e9);
  assertEquals(irq.edges, 2);
});

Deno.test("Rtc shows what is polled for, and needs no timer for it", () => {
  const { irq, get, time } = bench();
  assertEquals(time.clock.nextDeadline(), undefined);
  time.advance(0.5e9);
  assertEquals(get(RTC.C), 0);
  time.advance(0.6e9);
  assertEquals(get(RTC.C), RTC_B.UPDATE);
  assertEquals(irq.edges, 0);
});

Deno.test("Rtc interrupts periodically at each rate", () => {
  const rates = [[3, 8192], [1, 256], [2, 128], [6, 1024], [15, 2], [0, 0]];
  for (const [rate, frequency] of rates) {
    const { irq, get, set, time } = bench();
    set(RTC.A, 0x20 | rate!);
    set(RTC.B, RTC_B.PERIODIC | RTC_B.HOURS_24);
    let edges = 0;
    for (let n = 0; n < 20_000; n++) {
      time.advance(50_000);
      if (irq.edges > edges) get(RTC.C);
      edges = irq.edges;
    }
    assert(Math.abs(irq.edges - frequency!) <= 1, `${rate}: ${irq.edges}`);
  }
});

Deno.test("Rtc's periodic interrupt goes on while SET holds the time", () => {
  const { irq, set, time } = bench();
  set(RTC.A, 0x26);
  set(RTC.B, RTC_B.SET | RTC_B.PERIODIC);
  time.advance(1e9);
  assertEquals(irq.edges, 1);
});

Deno.test("Rtc interrupts at its alarm, with don't-care fields", () => {
  const { irq, get, set, time } = bench();
  set(RTC.ALARM_HOURS, 0xff);
  set(RTC.ALARM_MINUTES, 0x00);
  set(RTC.ALARM_SECONDS, 0x05);
  set(RTC.B, RTC_B.ALARM | RTC_B.HOURS_24);
  time.advance(7.9e9);
  assertEquals(irq.edges, 0);
  time.advance(0.2e9);
  assertEquals(irq.edges, 1);
  assertEquals(get(RTC.C), 0x80 | RTC_B.ALARM | RTC_B.UPDATE);
  time.advance(3600e9);
  assertEquals(irq.edges, 2);
});

Deno.test("nextAlarm() agrees with trying every second", () => {
  const registers = new Uint8Array(128);
  let seed = 5;
  const random = (n: number) => (seed = seed * 48271 % 2147483647) % n;
  for (let n = 0; n < 200; n++) {
    const wanted = [24, 60, 60].map((m) => random(3) === 0 ? 0xc0 : random(m));
    registers[RTC.ALARM_HOURS] = wanted[0]!;
    registers[RTC.ALARM_MINUTES] = wanted[1]!;
    registers[RTC.ALARM_SECONDS] = wanted[2]!;
    const after = START + random(86_400);
    const fits = (t: number) =>
      [Math.floor(t / 3600) % 24, Math.floor(t / 60) % 60, t % 60]
        .every((v, at) => wanted[at] === 0xc0 || wanted[at] === v);
    let expected = after + 1;
    while (!fits(expected)) expected++;
    const format = RTC_B.BINARY | RTC_B.HOURS_24;
    assertEquals(nextAlarm(registers, format, after + 0.5), expected);
  }
  registers[RTC.ALARM_SECONDS] = 75;
  assertEquals(nextAlarm(registers, RTC_B.BINARY, 0), Infinity);
});

Deno.test("Rtc keeps time and memory through a reset, but no enables", () => {
  const { rtc, get, set, clock } = bench();
  rtc.writeMemory(0x34, 0x12);
  set(RTC.B, 0x72 | RTC_B.BINARY);
  rtc.reset();
  assertEquals(get(RTC.B), RTC_B.HOURS_24 | RTC_B.BINARY);
  assertEquals(get(0x34), 0x12);
  assertEquals(clock(), "14 18 3 2 7 17 3b 39");
});

Deno.test("Rtc keeps its clock's registers from those who fill its memory", () => {
  const { rtc } = bench();
  for (const offset of [0, 9, 13, 0x32, 128, -1, 1.5]) {
    assertThrows(() => rtc.writeMemory(offset, 0), RangeError);
  }
  assertEquals(rtc.readMemory(RTC.D), 0x80);
  assertThrows(() => rtc.readMemory(128), RangeError);
  rtc.time = 1e9;
  assertEquals(rtc.time, 1e9);
});

Deno.test("Rtc reads all ones at port 70h and ignores the NMI bit", () => {
  const { rtc } = bench();
  assertEquals(rtc.ports.read(0, 1), 0xff);
  rtc.ports.write(0, 1, 0x8dn);
  assertEquals(rtc.ports.read(1, 1), 0x80);
  assertEquals(rtc.ports.read(0, 2), 0x80ff);
});

Deno.test("Rtc follows the host when it is told that time was lost", () => {
  const { rtc, host, time } = bench();
  rtc.time = START - 1000;
  host.drift = 60;
  time.advance(1e9);
  assertEquals(rtc.time, START - 999);
  rtc.resync();
  assertEquals(rtc.time, START - 999 + 60);
});

Deno.test("Rtc restores as far from the host as it was, and refuses damage", () => {
  const { rtc } = bench();
  rtc.time = START - 500;
  rtc.writeMemory(0x40, 7);
  const saved = JSON.parse(JSON.stringify(rtc.save()));
  const other = bench(START + 10_000);
  other.rtc.restore(saved);
  assertEquals(other.rtc.time, START + 9_500);
  assertEquals(other.rtc.readMemory(0x40), 7);
  const bad = { ...saved, registers: saved.registers.with(5, 256) };
  assertThrows(() => other.rtc.restore(bad), PlatformStateError);
  assertThrows(
    () => other.rtc.restore({ ...saved, offset: null }),
    PlatformStateError,
  );
});

Deno.test("Rtc stands hostile accesses", () => {
  const { rtc, time } = bench();
  let seed = 1;
  for (let n = 0; n < 5000; n++) {
    seed = seed * 16807 % 2147483647;
    const bytes = [1, 2, 4, 8][seed % 4]!;
    rtc.ports.write(seed >> 4 & 1, bytes, BigInt(seed) * 0x1_2345_6789n);
    rtc.ports.read(seed >> 5 & 1, bytes);
    time.advance(seed % 3e8);
  }
  rtc.restore(rtc.save());
});

conformance("PmTimer", () => {
  const device = new PmTimer(new ManualTime().clock);
  return { device, ranges: [{ name: "port", length: 4, handler: device }] };
});

Deno.test("PmTimer counts at 3.579545 MHz in 32 bits", () => {
  const time = new ManualTime();
  const timer = new PmTimer(time.clock);
  time.advance(1e9);
  assertEquals(timer.read(0, 4), 3_579_545);
  timer.reset();
  time.advance(1200e9);
  assertEquals(timer.read(0, 4), 1201 * 3_579_545 % 2 ** 32);
  assertEquals(timer.read(0, 1), 0xff);
  assertEquals(timer.read(1, 2), 0xffff);
  time.advance(100 * 86_400e9);
  const before = timer.value;
  time.advance(1000);
  assert(timer.value - before >= 3 && timer.value - before <= 4);
});
