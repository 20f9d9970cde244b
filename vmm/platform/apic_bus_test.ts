// Destinations: physical, logical, broadcast, lowest priority, shorthands; MSI.

import { assert, assertEquals } from "@std/assert";
import { BROADCAST, matchesLogical, matchesWide } from "./apic_bus.ts";
import { APIC, ESR } from "./apic_registers.ts";
import { ApicBench, drain, read, write } from "./apic_testing.ts";
import { isMsiAddress, MsiRouter } from "./msi.ts";

function ipi(bench: ApicBench, from: number, high: number, low: number): void {
  const apic = bench.apics[from]!;
  write(apic, APIC.ICR_HIGH, high << 24);
  write(apic, APIC.ICR_LOW, low);
}

function taken(bench: ApicBench): number[][] {
  return bench.apics.map(drain);
}

Deno.test("ApicBus delivers to a physical ID and to everyone", () => {
  const bench = new ApicBench(3);
  ipi(bench, 0, 2, 0x4050);
  assertEquals(taken(bench), [[], [], [0x50]]);
  ipi(bench, 0, 0xff, 0x4051);
  assertEquals(taken(bench), [[0x51], [0x51], [0x51]]);
  ipi(bench, 0, 7, 0x4052);
  assertEquals(taken(bench), [[], [], []]);
  assertEquals(bench.bus.deliver(0x4052, 7, -1), false);
});

Deno.test("ApicBus knows shorthands", () => {
  const bench = new ApicBench(3);
  ipi(bench, 1, 0, 0x4_4060);
  assertEquals(taken(bench), [[], [0x60], []]);
  ipi(bench, 1, 0, 0x8_4061);
  assertEquals(taken(bench), [[0x61], [0x61], [0x61]]);
  ipi(bench, 1, 0, 0xc_4062);
  assertEquals(taken(bench), [[0x62], [], [0x62]]);
});

Deno.test("ApicBus delivers to flat and cluster logical IDs", () => {
  const bench = new ApicBench(4);
  bench.apics.forEach((apic, n) => write(apic, APIC.LDR, 1 << 24 + n));
  ipi(bench, 0, 0b1010, 0x4850);
  assertEquals(taken(bench), [[], [0x50], [], [0x50]]);
  bench.apics.forEach((apic, n) => {
    write(apic, APIC.DFR, 0x0fff_ffff);
    write(apic, APIC.LDR, (n >> 1) << 28 | 1 << 24 + n % 2);
  });
  ipi(bench, 0, 0x12, 0x4851);
  assertEquals(taken(bench), [[], [], [], [0x51]]);
  ipi(bench, 0, 0x03, 0x4852);
  assertEquals(taken(bench), [[0x52], [0x52], [], []]);
  ipi(bench, 0, 0xff, 0x4853);
  assertEquals(taken(bench), [[0x53], [0x53], [0x53], [0x53]]);
});

Deno.test("matchesLogical() and matchesWide() know their limits", () => {
  assert(!matchesLogical(0xff00_0000, 0xffff_ffff, 0x1ff));
  assert(!matchesLogical(0, 0xffff_ffff, 0xff));
  assert(matchesWide(0x1_0008, 0x1_000c));
  assert(!matchesWide(0x1_0008, 0x2_0008));
  assert(!matchesWide(0x1_0008, 0x1_0004));
});

Deno.test("ApicBus takes wide destinations from x2APIC senders", () => {
  const bench = new ApicBench(20);
  for (const apic of bench.apics) apic.setBase(apic.base | 0x400n);
  const send = (destination: number, low: number) =>
    bench.apics[0]!.writeMsr(0x830, BigInt(destination) << 32n | BigInt(low));
  const who = () =>
    bench.apics.flatMap((apic) => {
      if (!apic.pending()) return [];
      apic.acknowledge();
      apic.writeMsr(0x80b, 0n);
      return [apic.id];
    });
  send(17, 0x4050);
  assertEquals(who(), [17]);
  send(0x1_0006, 0x4850);
  assertEquals(who(), [17, 18]);
  send(0xff, 0x4050);
  assertEquals(who(), [], "not everyone in this mode");
  send(BROADCAST, 0x4050);
  assertEquals(who().length, 20);
  assertEquals(bench.apics[0]!.readMsr(0x830), 0xffff_ffff_0000_4050n);
});

Deno.test("ApicBus gives lowest priority to one, the least busy, in turn", () => {
  const bench = new ApicBench(3);
  bench.apics[1]!.taskPriority = 8;
  const counts = [0, 0, 0];
  for (let n = 0; n < 10; n++) {
    ipi(bench, 0, 0xff, 0x4150);
    taken(bench).forEach((vectors, id) => counts[id]! += vectors.length);
  }
  assertEquals(counts, [5, 0, 5]);
  write(bench.apics[0]!, APIC.SVR, 0xff);
  write(bench.apics[2]!, APIC.SVR, 0xff);
  ipi(bench, 1, 0xff, 0x4190);
  assertEquals(taken(bench), [[], [0x90], []], "only who takes any");
  write(bench.apics[1]!, APIC.SVR, 0xff);
  assert(!bench.bus.deliver(0x4190, BROADCAST, -1));
});

Deno.test("LocalApic sends INIT, STARTUP and NMI", () => {
  const bench = new ApicBench(2, false);
  ipi(bench, 0, 1, 0x4500);
  ipi(bench, 0, 1, 0x8500);
  ipi(bench, 0, 1, 0x4608);
  ipi(bench, 0, 1, 0x4400);
  assertEquals(bench.take(), ["init1", "startup1:8", "nmi1"]);
  ipi(bench, 1, 0, 0x4500);
  ipi(bench, 1, 0, 0x4608);
  assertEquals(bench.take(), ["init0"], "the first CPU does not wait");
});

Deno.test("LocalApic refuses to send vectors below 16", () => {
  const bench = new ApicBench(2);
  ipi(bench, 0, 1, 0x400f);
  ipi(bench, 0, 1, 0x410f);
  assertEquals(taken(bench), [[], []]);
  write(bench.apics[0]!, APIC.ESR, 0);
  assertEquals(read(bench.apics[0]!, APIC.ESR), ESR.SEND_VECTOR);
});

Deno.test("ApicBus reaches no APIC that is switched off", () => {
  const bench = new ApicBench(2);
  bench.apics[1]!.setBase(0xfee0_0000n);
  assert(!bench.bus.deliver(0x4050, 1, -1));
  bench.bus.deliver(0x4500, BROADCAST, -1);
  assertEquals(bench.take(), ["init0"]);
});

Deno.test("MsiRouter decodes address and data", () => {
  const bench = new ApicBench(3);
  const msi = new MsiRouter(bench.bus);
  msi.raise(0xfee0_2000, 0x41);
  assertEquals(taken(bench), [[], [], [0x41]]);
  msi.raise(0xfeef_f000, 0xc042);
  assertEquals(taken(bench), [[0x42], [0x42], [0x42]]);
  assertEquals(bench.take().filter((e) => e.startsWith("eoi")), [], "edges");
  bench.apics.forEach((apic, n) => write(apic, APIC.LDR, 2 ** n << 24));
  msi.raise(0xfee0_300c, 0x43);
  assertEquals(taken(bench), [[0x43], [0x43], []]);
  msi.raise(0xfee0_2004, 0x44);
  assertEquals(taken(bench), [[], [0x44], []], "logical without the hint");
  bench.take();
  msi.raise(0xfee0_1000, 0x400);
  assertEquals(bench.take(), ["nmi1"]);
});

Deno.test("MsiRouter drops what is no interrupt message", () => {
  const bench = new ApicBench(1);
  const msi = new MsiRouter(bench.bus);
  for (const address of [0, 0xfed0_0000, 0xfef0_0000, 0x1_fee0_0000, -1]) {
    assert(!isMsiAddress(address));
    msi.raise(address, 0x41);
  }
  msi.raise(0xfee0_0000, 0x641);
  msi.raise(0xfee0_0000, 0x341);
  assertEquals(taken(bench), [[]]);
  assertEquals(bench.take(), []);
});

Deno.test("MsiRouter takes 15-bit destinations where they are offered", () => {
  const sent: number[] = [];
  const bus = {
    deliver: (_: number, destination: number) => sent.push(destination) > 0,
  };
  new MsiRouter(bus).raise(0xfee0_1020, 0x41);
  const wide = new MsiRouter(bus, { extendedDestination: true });
  wide.raise(0xfee0_1020, 0x41);
  wide.raise(0xfeef_f000, 0x41);
  wide.raise(0xfeef_ffe0, 0x41);
  assertEquals(sent, [1, 0x101, BROADCAST, 0x7fff]);
});
