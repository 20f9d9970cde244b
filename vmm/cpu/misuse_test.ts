// Wrong use by the program: every mistake is a typed error that says what was
// expected, and leaves the CPU usable.

import { assertEquals, assertThrows } from "@std/assert";
import { type CpuOptions, VirtualCpu } from "./cpu.ts";
import { CpuidError } from "./cpuid.ts";
import { CpuError, EXIT_CODE } from "./exits.ts";
import {
  GuestMemory,
  GuestMemoryError,
  MAX_GUEST_MEMORY,
  type MemoryMapping,
} from "./guest_memory.ts";
import { REGISTER, type RegisterNumber } from "./registers.ts";
import { TestMachine } from "./testing.ts";

const UD2 = "0f0b";

Deno.test("GuestMemory refuses sizes that are not pages or too many", () => {
  const bad = [0, 1, 4095, 4097, -4096, 1.5, NaN, Infinity, 2 ** 60]
    .concat([MAX_GUEST_MEMORY + 4096]);
  for (const size of bad) {
    assertThrows(() => new GuestMemory(size), GuestMemoryError, `${size}`);
  }
});

Deno.test("GuestMemory.map() refuses what it cannot map", () => {
  const memory = new GuestMemory(1 << 20);
  const good: MemoryMapping = {
    gpa: 0x10_0000,
    length: 0x8000,
    offset: 0,
    writable: true,
  };
  memory.map(good);
  const bad: [Partial<MemoryMapping>, string][] = [
    [{ gpa: 1 }, "address 1"],
    [{ gpa: -4096 }, "address -4096"],
    [{ gpa: 2 ** 53 }, "address"],
    [{ length: 0 }, "0 bytes"],
    [{ length: 100 }, "length 100"],
    [{ offset: 12 }, "offset 12"],
    [{ offset: 1 << 20 }, "the memory has 1048576"],
    [{ length: (1 << 20) + 4096 }, "the memory has 1048576"],
    [{}, "overlaps"],
    [{ gpa: 0x10_7000 }, "overlaps"],
    [{ gpa: 0xf_f000, length: 0x2000 }, "overlaps"],
  ];
  for (const [change, message] of bad) {
    const mapping = { ...good, ...change };
    assertThrows(() => memory.map(mapping), GuestMemoryError, message);
  }
  assertEquals(memory.mappings, [good]);
});

Deno.test("GuestMemory.map() refuses more mappings than fit", () => {
  const memory = new GuestMemory(1 << 20);
  const map = (n: number) =>
    memory.map({ gpa: n * 0x2000, length: 4096, offset: 0, writable: true });
  for (let n = 0; n < 32; n++) map(n);
  assertThrows(() => map(32), GuestMemoryError, "more than 32");
});

Deno.test("GuestMemory.unmap() needs a mapping's exact range", () => {
  const memory = new GuestMemory(1 << 20);
  memory.map({ gpa: 0, length: 0x4000, offset: 0, writable: true });
  for (const [gpa, length] of [[0, 0x1000], [0x1000, 0x4000]] as const) {
    assertThrows(() => memory.unmap(gpa, length), GuestMemoryError, "unmap");
  }
  memory.unmap(0, 0x4000);
  assertEquals(memory.offsetOf(0), -1);
});

Deno.test("VirtualCpu refuses impossible configurations", () => {
  const memory = new GuestMemory(1 << 20);
  const bad: NonNullable<CpuOptions["cpuid"]>[] = [
    { cores: 0 },
    { physicalBits: 99 },
    { disabled: ["no-such-feature"] },
  ];
  for (const cpuid of bad) {
    assertThrows(() => new VirtualCpu({ memory, cpuid }), CpuidError);
  }
});

Deno.test("VirtualCpu refuses unknown registers", () => {
  const { cpu } = new TestMachine();
  const unknown = [-1, 49, 1000, 1.5, NaN, REGISTER.GDTR, REGISTER.IDTR];
  for (const register of unknown as RegisterNumber[]) {
    assertThrows(() => cpu.getRegister(register), CpuError, `${register}`);
    assertThrows(() => cpu.setRegister(register, 0n), CpuError, `${register}`);
  }
});

Deno.test("VirtualCpu takes every register of vmm(4)", () => {
  const { cpu } = new TestMachine();
  const tables: readonly number[] = [REGISTER.GDTR, REGISTER.IDTR];
  for (const register of Object.values(REGISTER)) {
    if (tables.includes(register)) continue;
    cpu.setRegister(register, cpu.getRegister(register));
  }
});

Deno.test("VirtualCpu refuses descriptors that cannot be", () => {
  const { cpu } = new TestMachine();
  const good = cpu.getDescriptor(REGISTER.DS);
  for (const register of [REGISTER.RAX, REGISTER.CR0, 99] as RegisterNumber[]) {
    assertThrows(() => cpu.getDescriptor(register), CpuError, `${register}`);
    assertThrows(() => cpu.setDescriptor(register, good), CpuError);
  }
  for (const limit of [-1, 2 ** 32, 0.5, NaN]) {
    assertThrows(
      () => cpu.setDescriptor(REGISTER.DS, { ...good, limit }),
      CpuError,
      "limit",
    );
  }
  assertEquals(cpu.getDescriptor(REGISTER.DS), good);
});

Deno.test("VirtualCpu refuses bad capabilities", () => {
  const { cpu } = new TestMachine();
  for (const capability of [-1, 11, 99]) {
    assertThrows(() => cpu.getCapability(capability), CpuError);
    assertThrows(() => cpu.setCapability(capability, 1), CpuError);
  }
  // Fixed ones can be set to what they are.
  cpu.setCapability(3, 1);
  assertThrows(() => cpu.setCapability(3, 0), CpuError, "fixed");
  assertThrows(() => cpu.setCapability(6, 0), CpuError, "fixed");
});

Deno.test("VirtualCpu refuses events that cannot be injected", () => {
  const { cpu } = new TestMachine();
  for (const vector of [-1, 8, 32, 256, NaN]) {
    assertThrows(() => cpu.injectException(vector), CpuError, `${vector}`);
  }
  for (const vector of [-1, 256, NaN]) {
    assertThrows(() => cpu.injectInterrupt(vector), CpuError, `${vector}`);
  }
  cpu.injectException(6);
  assertThrows(() => cpu.injectException(6), CpuError, "pending");
  assertThrows(() => cpu.injectInterrupt(32), CpuError, "pending");
});

Deno.test("VirtualCpu refuses a negative number of instructions", () => {
  const { cpu } = new TestMachine();
  for (const instructions of [-1, NaN]) {
    assertThrows(() => cpu.run(undefined, { instructions }), CpuError);
  }
  const { code, rip } = cpu.run(undefined, { instructions: 0 });
  assertEquals([code, rip], [EXIT_CODE.BOGUS, 0xfff0n]);
});

Deno.test("VirtualCpu cannot be used from within its own run", () => {
  const errors: unknown[] = [];
  const tries: ((cpu: VirtualCpu) => unknown)[] = [
    (cpu) => cpu.run(),
    (cpu) => cpu.getRegister(REGISTER.RAX),
    (cpu) => cpu.setRegister(REGISTER.RAX, 0n),
    (cpu) => cpu.getDescriptor(REGISTER.CS),
    (cpu) => cpu.save(),
    (cpu) => cpu.reset(),
    (cpu) => cpu.setCapability(0, 1),
    (cpu) => cpu.getMsr(0x10),
  ];
  const machine: TestMachine = new TestMachine({
    bus: {
      readMemory: () => {
        for (const attempt of tries) {
          try {
            attempt(machine.cpu);
            errors.push(undefined);
          } catch (error) {
            errors.push(error);
          }
        }
        return 7n;
      },
    },
  });
  // mov eax, [ebx]
  machine.poke(0x8000, `8b03 ${UD2}`);
  machine.enter("protected32");
  machine.set({ RIP: 0x8000, RBX: 0xe000_0000 });
  machine.runToException();
  assertEquals(machine.get("RAX"), 7n);
  assertEquals(errors.length, tries.length);
  for (const error of errors) {
    assertEquals(error instanceof CpuError, true, String(error));
  }
});

Deno.test("an error of a device leaves the CPU usable", () => {
  let isBroken = true;
  const machine = new TestMachine({
    bus: {
      readMemory: () => {
        if (isBroken) throw new TypeError("broken device");
        return 9n;
      },
    },
  });
  machine.poke(0x8000, `8b03 ${UD2}`);
  machine.enter("protected32");
  machine.set({ RIP: 0x8000, RBX: 0xe000_0000 });
  assertThrows(() => machine.run(), TypeError, "broken device");
  isBroken = false;
  assertEquals(machine.get("RIP"), 0x8000n);
  assertEquals(machine.runToException().vector, 6);
  assertEquals(machine.get("RAX"), 9n);
});

Deno.test("registers keep to the width that they have", () => {
  const { cpu } = new TestMachine();
  cpu.setRegister(REGISTER.RAX, -1n);
  assertEquals(cpu.getRegister(REGISTER.RAX), (1n << 64n) - 1n);
  cpu.setRegister(REGISTER.R15, 1n << 64n | 5n);
  assertEquals(cpu.getRegister(REGISTER.R15), 5n);
  cpu.setRegister(REGISTER.DS, 0x12_3456n);
  assertEquals(cpu.getRegister(REGISTER.DS), 0x3456n);
  cpu.setRegister(REGISTER.RFLAGS, -1n);
  assertEquals(cpu.getRegister(REGISTER.RFLAGS), 0x3f_7fd7n);
});
