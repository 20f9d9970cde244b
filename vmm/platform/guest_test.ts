// Guest programs on the software CPU with the platform around it: interrupts that are
// raised, taken and ended by code.

import { assertEquals } from "@std/assert";
import { Bus } from "../bus.ts";
import { EXIT_CODE } from "../cpu/exits.ts";
import { TestMachine } from "../cpu/testing.ts";
import { Interrupts } from "./interrupts.ts";
import { ManualTime } from "./testing.ts";

const COUNTER = 0x3000;

function machine() {
  const time = new ManualTime();
  const ports = new Bus("port");
  const memory = new Bus("memory");
  const interrupts = new Interrupts({
    vcpus: 1,
    ports,
    memory,
    clock: time.clock,
    wallClock: () => 0,
    attend: () => test.cpu.attend(),
    nmi: () => test.cpu.injectNmi(),
  });
  const test: TestMachine = new TestMachine({
    interrupts: interrupts.sources[0]!,
    bus: {
      readPort(port, bytes) {
        const range = ports.find(port, bytes);
        return range && Number(range.handler.read(port - range.start, bytes));
      },
      writePort(port, bytes, value) {
        const range = ports.find(port, bytes);
        range?.handler.write(port - range.start, bytes, BigInt(value));
        return range !== undefined;
      },
      readMemory(gpa, bytes) {
        const range = memory.find(gpa, bytes);
        return range && BigInt(range.handler.read(gpa - range.start, bytes));
      },
      writeMemory(gpa, bytes, value) {
        const range = memory.find(gpa, bytes);
        range?.handler.write(gpa - range.start, bytes, value);
        return range !== undefined;
      },
    },
  });
  /** Runs, and lets time pass whenever the CPU halts. */
  const runUntil = (count: number) => {
    for (let n = 0; n < 100 && test.peek32(COUNTER) < count; n++) {
      const exit = test.run();
      if (exit.code !== EXIT_CODE.HLT) continue;
      if (test.peek32(COUNTER) === count) break;
      const next = time.clock.nextDeadline();
      if (next === undefined) throw new Error("The guest waits for nothing");
      time.advance(next - time.clock.now());
    }
    assertEquals(test.peek32(COUNTER), count);
  };
  return { test, time, interrupts, runUntil };
}

Deno.test("a guest counts the PIT's interrupts through the 8259s", () => {
  const { test, time, runUntil } = machine();
  test.enter("real");
  test.set({ RSP: 0x8000, RIP: 0x1000 });
  test.poke32(4 * 0x20, 0x2000);
  // Start the 8259, unmask the timer, start the PIT at 100 Hz, STI, HLT for ever.
  test.poke(
    0x1000,
    `b011e620 b020e621 b004e621 b001e621 b0fee621
     b034e643 b09ce640 b02ee640 fb f4 ebfd`,
  );
  // INC the counter, non-specific end, IRET.
  test.poke(0x2000, "ff060030 b020e620 cf");
  runUntil(10);
  assertEquals(Math.floor(time.clock.now() / 1e6), 100);
});

Deno.test("a guest counts its local APIC's timer and ends by EOI", () => {
  const { test, time, runUntil } = machine();
  test.enter("protected32");
  test.set({ RSP: 0x8000, RIP: 0x1000, RBX: 0xfee0_0000 });
  // An interrupt gate for vector 40h in an IDT at 4000h, code segment 8 at 5000h.
  test.poke64(0x4000 + 8 * 0x40, 0x0000_8e00_0008_2000n);
  test.poke64(0x5008, 0x00cf_9b00_0000_ffffn);
  test.poke64(0x6020, 0x4000n << 16n | 0xfffn);
  test.poke64(0x6028, 0x5000n << 16n | 0xfn);
  // LGDT, LIDT, SVR, LVT timer periodic 40h, divide by 1, count 2^20, STI, HLT.
  test.poke(
    0x1000,
    `0f011528600000 0f011d20600000
     c783f0000000ff010000 c7832003000040000200
     c783e00300000b000000 c7838003000000001000
     fb f4 ebfd`,
  );
  // INC the counter, write EOI, IRET.
  test.poke(0x2000, "ff0500300000 c783b000000000000000 cf");
  runUntil(10);
  assertEquals(time.clock.now(), 10 * 2 ** 20 * 1e9 / 2 ** 27);
});
