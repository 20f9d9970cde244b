// RDMSR and WRMSR of registers that the processor does not have: vmm(4)'s exits.

import { assertEquals } from "@std/assert";
import { EXIT_CODE } from "./exits.ts";
import { TestMachine } from "./testing.ts";

const CODE = 0x1000;
const UNKNOWN = 0x1234;
const GP = 13;

function machineAt(program: string): TestMachine {
  const machine = new TestMachine();
  machine.enter("real");
  machine.poke(CODE, program);
  machine.set({ RIP: CODE, RCX: UNKNOWN });
  return machine;
}

Deno.test("RDMSR of an unknown register exits and takes the answer", () => {
  const { cpu, get } = bind(machineAt("0f32 f4")); // rdmsr; hlt
  const exit = cpu.run();
  assertEquals(exit.code, EXIT_CODE.RDMSR);
  if (exit.code === EXIT_CODE.RDMSR) assertEquals(exit.msr, UNKNOWN);
  assertEquals(cpu.run({ value: 0x1_0000_0002n }).code, EXIT_CODE.HLT);
  assertEquals([get("RDX"), get("RAX")], [1n, 2n]);
});

Deno.test("an answer that is a fault counts for one access", () => {
  const machine = machineAt("0f32 0f0b"); // rdmsr; ud2
  const { cpu, get } = bind(machine);
  assertEquals(cpu.run().code, EXIT_CODE.RDMSR);
  const fault = cpu.run({ fault: true });
  assertEquals(fault.code, EXIT_CODE.EXCEPTION);
  if (fault.code === EXIT_CODE.EXCEPTION) assertEquals(fault.vector, GP);
  // mov ecx, 0xc0000080; rdmsr; hlt: EFER is there.
  machine.poke(CODE, "66b9800000c0 0f32 f4");
  machine.set({ RIP: CODE });
  assertEquals(cpu.run().code, EXIT_CODE.HLT);
  assertEquals(get("RAX"), 0n);
});

Deno.test("a fault answered does not reach the next register in the same run", () => {
  // wrmsr to an unknown register; its #GP is delivered to an IRET that skips it.
  const machine = machineAt("0f30 66b9800000c0 0f32 f4");
  const { cpu } = machine;
  cpu.exceptionExits = 0;
  machine.poke(4 * GP, "0020 0000"); // IVT entry: 0000:2000
  machine.poke(0x2000, "89e5 83460002 cf"); // mov bp,sp; add word [bp],2; iret
  machine.set({ RSP: 0x8000, RAX: 0x55 });
  assertEquals(cpu.run().code, EXIT_CODE.WRMSR);
  assertEquals(cpu.run({ fault: true }).code, EXIT_CODE.HLT);
  // EFER was read: a second fault would have left the mark.
  assertEquals(machine.get("RAX"), 0n);
});

Deno.test("CPUID exits where that is asked for, and takes an answer or none", () => {
  const { cpu, get } = bind(machineAt("0fa2 0fa2 f4")); // cpuid; cpuid; hlt
  cpu.cpuidExits = true;
  const exit = cpu.run();
  assertEquals(exit.code, EXIT_CODE.CPUID);
  if (exit.code === EXIT_CODE.CPUID) {
    assertEquals([exit.leaf, exit.subleaf], [0, UNKNOWN]);
  }
  assertEquals(cpu.run({ cpuid: [7, 8, 0, 9] }).code, EXIT_CODE.CPUID);
  assertEquals([get("RAX"), get("RBX"), get("RDX")], [7n, 8n, 9n]);
  assertEquals(cpu.run({}).code, EXIT_CODE.HLT);
  assertEquals(get("RAX") === 7n, false);
});

Deno.test("an exit keeps its RIP after the CPU went on", () => {
  const { cpu } = bind(machineAt("e480 f4")); // in al, 0x80; hlt
  const exit = cpu.run();
  assertEquals(exit.rip, BigInt(CODE));
  assertEquals(cpu.run({ value: 0 }).code, EXIT_CODE.HLT);
  assertEquals(exit.rip, BigInt(CODE));
});

function bind(machine: TestMachine) {
  return {
    cpu: machine.cpu,
    get: (name: Parameters<TestMachine["get"]>[0]) => machine.get(name),
  };
}
