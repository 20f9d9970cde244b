// Time stamps that are reckoned between looks at the host's clock.

import { assert, assertEquals } from "@std/assert";
import { GuestMemory } from "./guest_memory.ts";
import { TestMachine } from "./testing.ts";
import { CAPABILITY, type CpuOptions } from "./options.ts";

const CODE = 0x8000;
const WINDOW = 1000;
const START = 1_000_000n;
/** What the host's clock says further each time that it is read. */
const STEP = 50_000n;
// rdtsc; mov [rdi], eax; add edi, 4; dec ecx; jnz to the first
const STAMPS = "0f31 8907 83c704 ffc9 75f5 0f0b";
const STAMPS_AT = 0x1_0000;

interface Clock {
  time: bigint;
}

function machine(
  clock: Clock,
  options: Partial<CpuOptions> = {},
): TestMachine {
  const made = new TestMachine({
    readTsc: () => clock.time += STEP,
    timeWindow: WINDOW,
    ...options,
  });
  made.enter("protected32");
  return made;
}

function stamps(from: TestMachine, count: number): number[] {
  from.poke(CODE, STAMPS);
  from.set({ RIP: CODE, RDI: STAMPS_AT, RCX: count });
  from.runToException();
  return Array.from(
    { length: count },
    (_, n) => from.peek32(STAMPS_AT + 4 * n),
  );
}

Deno.test("time stamps grow, and the clock is read once in a window", () => {
  const clock = { time: START };
  const count = 500;
  const found = stamps(machine(clock), count);
  for (let n = 1; n < count; n++) assert(found[n]! > found[n - 1]!, `${n}`);
  // Five instructions a turn.
  const reads = Number((clock.time - START) / STEP);
  assert(reads >= 5 * count / WINDOW, `${reads} reads`);
  assert(reads <= 5 * count / WINDOW + 2, `${reads} reads`);
  // Reckoned slower than any processor is.
  assert(found[100]! - found[0]! <= 5 * 100);
});

Deno.test("without a window each time stamp is the clock's", () => {
  const clock = { time: START };
  const found = stamps(machine(clock, { timeWindow: 0 }), 5);
  assertEquals(
    found,
    [1, 2, 3, 4, 5].map((n) => Number(START) + n * Number(STEP)),
  );
});

Deno.test("a device that was asked may have taken long: then the clock is read", () => {
  const clock = { time: START };
  const asked = machine(clock, {
    bus: { readPort: () => 0, writePort: () => true },
  });
  // rdtsc; mov ebx, eax; in al, dx; rdtsc; ud2
  asked.poke(CODE, "0f31 89c3 ec 0f31 0f0b");
  asked.set({ RIP: CODE, RDX: 0x60 });
  asked.runToException();
  assertEquals(asked.get("RBX"), START + STEP);
  assertEquals(asked.get("RAX"), START + 2n * STEP);
});

Deno.test("no CPU is given a time before one that another was given", () => {
  const memory = new GuestMemory(1 << 20);
  const ahead = machine({ time: START + 7n * STEP }, { memory });
  const behind = machine({ time: START }, { memory, cpuid: { vcpu: 1 } });
  const [first] = stamps(ahead, 1);
  const [second] = stamps(behind, 1);
  assert(second! > first!, `${second} after ${first}`);
});

Deno.test("single steps read the clock each", () => {
  const clock = { time: START };
  const stepped = machine(clock);
  stepped.cpu.setCapability(CAPABILITY.MTRAP_EXIT, 1);
  stepped.poke(CODE, "0f31 0f31 0f0b");
  stepped.set({ RIP: CODE });
  stepped.run(100);
  stepped.run(100);
  assertEquals(stepped.get("RAX"), START + 2n * STEP);
});
