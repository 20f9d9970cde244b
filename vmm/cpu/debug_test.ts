// Debugging (Intel SDM vol. 3, chapter 18): single steps, breakpoints, DR6 and DR7,
// RF, general detect, interrupt shadows, and vmm(4)'s monitor trap.

import { assertEquals } from "@std/assert";
import { CAPABILITY } from "./cpu.ts";
import { EXIT_CODE } from "./exits.ts";
import { REGISTER } from "./registers.ts";
import {
  ALL_EXCEPTIONS,
  CR4,
  EFER,
  type EnterOptions,
  type ModeName,
  PageTables,
  PTE,
  TestMachine,
} from "./testing.ts";
import { VECTOR } from "./runtime/traps.ts";

const CODE = 0x8000;
const DATA = 0x2_0000;
const STACK = 0x9000;
const HANDLER = 0xa000;
const GDT = 0x3000;
const IDT = 0x3800;
const TF = 0x100;
const IF = 0x200;
const RF = 0x1_0000;
const UD2 = "0f0b";
/** DR6 as reset leaves it. */
const DR6 = 0xffff_0ff0n;
const BS = 1n << 14n;
const BD = 1n << 13n;
const NMI_VECTOR = 2;

function start(
  program: string,
  options: EnterOptions & { readonly mode?: ModeName } = {},
): TestMachine {
  const machine = new TestMachine();
  const { mode = "protected32", ...rest } = options;
  if (mode === "long") {
    const tables = new PageTables(machine, "long");
    for (let at = 0; at < 0x4_0000; at += 4096) {
      tables.map(at, at, PTE.P | PTE.RW | PTE.US);
    }
    machine.enter(mode, { ...rest, tables });
  } else machine.enter(mode, rest);
  machine.poke(CODE, program + UD2);
  machine.set({ RIP: CODE, RSP: STACK, RBX: DATA });
  return machine;
}

interface Stop {
  readonly vector: number;
  readonly rip: number;
  readonly dr6: bigint;
}

// The next exception, with RIP relative to the code, and DR6's bits.
function next(machine: TestMachine, instructions = 10_000): Stop {
  machine.set({ DR6 });
  const { vector, rip } = machine.runToException(instructions);
  return { vector, rip: Number(rip) - CODE, dr6: machine.get("DR6") ^ DR6 };
}

// --- Single steps ------------------------------------------------------------

for (const mode of ["real", "protected16", "protected32", "long"] as const) {
  Deno.test(`TF traps after each instruction in ${mode} mode`, () => {
    // nop; clc; push ax; pop ax; nop
    const machine = start("90 f8 50 58 90", { mode, flags: 2 | TF });
    for (const rip of [1, 2, 3, 4, 5]) {
      assertEquals(next(machine), { vector: VECTOR.DB, rip, dr6: BS });
    }
    // A fault comes instead of the trap.
    assertEquals(next(machine), { vector: VECTOR.UD, rip: 5, dr6: 0n });
  });
}

Deno.test("POPF that sets TF traps after the next instruction", () => {
  // push 0x102; popf; nop; nop
  const machine = start("6802010000 9d 90 90");
  assertEquals(next(machine), { vector: VECTOR.DB, rip: 7, dr6: BS });
});

Deno.test("POPF that clears TF still traps", () => {
  // push 2; popf; nop
  const machine = start("6a02 9d 90", { flags: 2 | TF });
  assertEquals(next(machine).rip, 2);
  assertEquals(next(machine), { vector: VECTOR.DB, rip: 3, dr6: BS });
  assertEquals(next(machine).vector, VECTOR.UD);
});

Deno.test("TF steps through each repetition of a string instruction", () => {
  // mov ecx, 3; mov edi, ebx; rep stosb; nop
  const machine = start("b903000000 89df f3aa 90", { flags: 2 | TF });
  assertEquals(next(machine).rip, 5);
  assertEquals(next(machine).rip, 7);
  assertEquals([next(machine).rip, machine.get("RCX")], [7, 2n]);
  assertEquals([next(machine).rip, machine.get("RCX")], [7, 1n]);
  assertEquals([next(machine).rip, machine.get("RCX")], [9, 0n]);
});

Deno.test("MOV SS holds the trace trap back for one instruction", () => {
  // mov eax, ss is not possible as a load: mov ss, [ebx]; nop; nop
  const machine = start("8ed0 90 90", { mode: "real", flags: 2 | TF });
  assertEquals(next(machine), { vector: VECTOR.DB, rip: 3, dr6: BS });
});

Deno.test("STI does not hold the trace trap back", () => {
  const machine = start("fb 90", { flags: 2 | TF });
  assertEquals(next(machine), { vector: VECTOR.DB, rip: 1, dr6: BS });
});

Deno.test("SYSCALL that masks TF does not trap, nor does its target", () => {
  const machine = start("0f05", {
    mode: "long",
    cpl: 3,
    flags: 2 | TF,
    efer: EFER.SCE,
  });
  machine.cpu.setMsr(0xc000_0081, 0x23_0008_0000_0000n);
  machine.cpu.setMsr(0xc000_0082, BigInt(HANDLER));
  machine.cpu.setMsr(0xc000_0084, BigInt(TF));
  machine.poke(HANDLER, `90 ${UD2}`);
  const stop = next(machine);
  assertEquals([stop.vector, stop.rip], [VECTOR.UD, HANDLER + 1 - CODE]);
  assertEquals(machine.get("R11") & BigInt(TF), BigInt(TF));
});

// --- Delivery to the guest ---------------------------------------------------

function withHandlers(machine: TestMachine, handler: string): void {
  machine.poke64(GDT, 0n);
  machine.poke64(GDT + 8, 0x00cf_9b00_0000_ffffn);
  machine.poke64(GDT + 16, 0x00cf_9300_0000_ffffn);
  for (let n = 0; n < 64; n++) {
    machine.poke64(IDT + 8 * n, BigInt(HANDLER) | 8n << 16n | 0x8e00n << 32n);
  }
  machine.poke(HANDLER, handler);
  const set = (register: 30 | 31, base: number) =>
    machine.cpu.setDescriptor(register, {
      base: BigInt(base),
      limit: 0x7ff,
      access: 0,
    });
  set(REGISTER.GDTR, GDT);
  set(REGISTER.IDTR, IDT);
  machine.cpu.exceptionExits = 1 << VECTOR.UD;
}

Deno.test("a trace trap pushes TF and clears it", () => {
  const machine = start("90 90", { flags: 2 | TF });
  // inc edx; pop eax; push eax; iretd
  withHandlers(machine, "42 cf");
  assertEquals(machine.runToException().rip, BigInt(CODE + 2));
  assertEquals(machine.get("RDX"), 0xf02n);
  assertEquals(machine.peek32(STACK - 4) & (TF | RF), TF);
  assertEquals(machine.peek32(STACK - 12), CODE + 2);
});

Deno.test("INT n with TF set is not followed by a trace trap", () => {
  const machine = start("cd20 90", { flags: 2 | TF });
  withHandlers(machine, UD2);
  const raised = machine.runToException();
  assertEquals([raised.rip, raised.vector], [BigInt(HANDLER), VECTOR.UD]);
  // Only one frame was pushed, that of INT n.
  assertEquals(machine.get("RSP"), BigInt(STACK - 12));
  assertEquals(machine.peek32(STACK - 12), CODE + 2);
});

Deno.test("an instruction breakpoint pushes RF, and IRET goes on", () => {
  const machine = start("90 90 90");
  withHandlers(machine, "42 cf");
  machine.set({ DR0: CODE + 1, DR7: 0x401, RDX: 0 });
  assertEquals(machine.runToException().rip, BigInt(CODE + 3));
  assertEquals(machine.get("RDX"), 1n);
  assertEquals(machine.peek32(STACK - 12), CODE + 1);
  assertEquals(machine.peek32(STACK - 4) & RF, RF);
  assertEquals(machine.get("RFLAGS") & BigInt(RF), 0n);
});

Deno.test("a data breakpoint's trap pushes no RF", () => {
  const machine = start("8903 90");
  withHandlers(machine, "42 cf");
  machine.set({ DR0: DATA, DR7: 0x401 | 0xd << 16, RDX: 0 });
  assertEquals(machine.runToException().rip, BigInt(CODE + 3));
  assertEquals(machine.get("RDX"), 1n);
  assertEquals(machine.peek32(STACK - 12), CODE + 2);
  assertEquals(machine.peek32(STACK - 4) & RF, 0);
});

Deno.test("a fault pushes RF", () => {
  // mov [0xffffffff...], through a segment limit: div by zero is simplest
  const machine = start("31c9 f7f1");
  withHandlers(machine, UD2);
  machine.runToException();
  assertEquals(machine.peek32(STACK - 12), CODE + 2);
  assertEquals(machine.peek32(STACK - 4) & RF, RF);
});

// --- Instruction breakpoints -------------------------------------------------

for (let n = 0; n < 4; n++) {
  for (const isGlobal of [0, 1]) {
    Deno.test(`DR${n} stops before an instruction, G = ${isGlobal}`, () => {
      const machine = start("90 90 90 90");
      machine.set({
        [`DR${n}`]: CODE + 2,
        DR7: 0x400 | 1 << (2 * n + isGlobal),
      });
      const dr6 = 1n << BigInt(n);
      assertEquals(next(machine), { vector: VECTOR.DB, rip: 2, dr6 });
      // RF lets the instruction run.
      machine.set({ RFLAGS: 2 | RF });
      assertEquals(next(machine).vector, VECTOR.UD);
      assertEquals(machine.get("RFLAGS") & BigInt(RF), 0n);
    });
  }
}

Deno.test("an instruction breakpoint needs the first byte's linear address", () => {
  const machine = start("b801000000 90");
  machine.set({ DR0: CODE + 1, DR7: 0x401 });
  assertEquals(next(machine).vector, VECTOR.UD);
  machine.enter("real");
  machine.cpu.setDescriptor(REGISTER.CS, {
    base: BigInt(CODE - 0x100),
    limit: 0xffff,
    access: 0x9b,
  });
  machine.poke(CODE, `90 90 ${UD2}`);
  machine.set({ RIP: 0x100, DR0: CODE + 1, DR7: 0x401, DR6 });
  assertEquals(machine.runToException().rip, 0x101n);
});

Deno.test("breakpoints that DR7 does not enable do not stop", () => {
  const machine = start("90 90 8903");
  machine.set({ DR0: CODE + 1, DR1: DATA, DR7: 0x400 | 0xd << 20 });
  assertEquals(next(machine).vector, VECTOR.UD);
});

// --- Data breakpoints --------------------------------------------------------

interface WatchCase {
  readonly name: string;
  readonly program: string;
  /** R/W: 1 writes, 3 reads and writes */
  readonly kind: 1 | 3;
  /** LEN: 0 one byte, 1 two, 3 four, 2 eight */
  readonly length: 0 | 1 | 2 | 3;
  readonly at: number;
  readonly stops: boolean;
}

const MOV_LOAD = "8b03";
const MOV_STORE = "8903";
const BYTE_STORE = "8803";
const WATCHES: readonly WatchCase[] = [
  ...([
    ["a store hits", MOV_STORE, 1, 3, DATA, true],
    ["a store hits a read-write one", MOV_STORE, 3, 3, DATA, true],
    ["a load misses a write one", MOV_LOAD, 1, 3, DATA, false],
    ["a load hits a read-write one", MOV_LOAD, 3, 3, DATA, true],
    ["a store overlaps from below", MOV_STORE, 1, 0, DATA + 3, true],
    ["a store ends before", MOV_STORE, 1, 0, DATA + 4, false],
    ["a store begins after", MOV_STORE, 1, 0, DATA - 1, false],
    ["a byte inside two", BYTE_STORE, 1, 1, DATA, true],
    ["a byte inside four", BYTE_STORE, 1, 3, DATA, true],
    ["a byte inside eight", BYTE_STORE, 1, 2, DATA, true],
    ["two bytes align down", BYTE_STORE, 1, 1, DATA + 1, true],
    ["four bytes align down", BYTE_STORE, 1, 3, DATA + 3, true],
    ["eight bytes align down", BYTE_STORE, 1, 2, DATA + 7, true],
    ["one byte does not", BYTE_STORE, 1, 0, DATA + 1, false],
    ["an update hits", "0103", 1, 3, DATA, true],
    ["a locked update hits", "f00103", 1, 3, DATA, true],
    ["a compare misses a write one", "3903", 1, 3, DATA, false],
    ["a push hits", "50", 1, 2, STACK - 8, true],
    ["a pop hits a read-write one", "58", 3, 2, STACK, true],
    ["stosb hits", "4889df aa", 1, 0, DATA, true],
    ["movups hits", "0f1103", 1, 0, DATA + 15, true],
    ["movups ends before", "0f1103", 1, 0, DATA + 16, false],
    ["fst hits", "dbe3 d9e8 dd13", 1, 0, DATA + 7, true],
    ["lea misses", "488d03", 3, 3, DATA, false],
    ["a prefetch misses", "0f180b", 3, 3, DATA, false],
    ["another address in the page", MOV_STORE, 1, 3, DATA + 64, false],
  ] as const).map(([name, program, kind, length, at, stops]) => ({
    name,
    program,
    kind,
    length,
    at,
    stops,
  })),
];

for (const c of WATCHES) {
  Deno.test(`data breakpoint: ${c.name}`, () => {
    const machine = start(c.program, { mode: "long", cr4: CR4.OSFXSR });
    const control = (c.length << 2 | c.kind) << 20;
    machine.set({ DR1: c.at, DR7: 0x400 | 4 | control });
    const bytes = c.program.replace(/ /g, "").length / 2;
    const stop = next(machine);
    assertEquals(stop.rip, bytes);
    assertEquals(stop.vector, c.stops ? VECTOR.DB : VECTOR.UD);
    assertEquals(stop.dr6, c.stops ? 2n : 0n);
  });
}

Deno.test("a data breakpoint traps with the store done", () => {
  const machine = start("c60377 90");
  machine.set({ DR0: DATA, DR7: 0x401 | 1 << 16 });
  assertEquals(next(machine), { vector: VECTOR.DB, rip: 3, dr6: 1n });
  assertEquals(machine.memory.bytes[DATA], 0x77);
});

Deno.test("a store that faults does not hit a data breakpoint", () => {
  const machine = start("8903", { mode: "long" });
  const address = 0x10_0000;
  machine.set({ RBX: address, DR0: address, DR7: 0x401 | 0xd << 16 });
  assertEquals(next(machine), { vector: VECTOR.PF, rip: 0, dr6: 0n });
});

Deno.test("several breakpoints and the trace trap come together", () => {
  const machine = start("8903 90", { flags: 2 | TF });
  machine.set({
    DR0: DATA,
    DR1: DATA + 2,
    DR2: DATA + 1,
    DR7: 0x415 | 0xd << 16 | 0x1 << 20 | 0x1 << 24,
  });
  assertEquals(next(machine), { vector: VECTOR.DB, rip: 2, dr6: BS | 7n });
});

Deno.test("a data breakpoint that is enabled late sees later accesses", () => {
  // mov [ebx], eax (fills the TLB); mov ecx, 0xd0401; mov dr7, ecx; mov [ebx], eax
  const machine = start("8903 b901040d00 0f23f9 8903");
  machine.set({ DR0: DATA });
  assertEquals(next(machine), { vector: VECTOR.DB, rip: 12, dr6: 1n });
});

Deno.test("a data breakpoint that is disabled lets accesses be", () => {
  // mov ecx, 0x400; mov dr7, ecx; mov [ebx], eax
  const machine = start("b900040000 0f23f9 8903");
  machine.set({ DR0: DATA, DR7: 0x401 | 0xd << 16 });
  assertEquals(next(machine).vector, VECTOR.UD);
});

Deno.test("MOV SS holds a data breakpoint's trap back", () => {
  // mov ss, [bx]: reads what is watched; nop; nop
  const machine = start("8e17 90 90", { mode: "real" });
  machine.set({ RBX: 0x2000, DR0: 0x2000, DR7: 0x401 | 3 << 16 });
  assertEquals(next(machine), { vector: VECTOR.DB, rip: 3, dr6: 1n });
});

Deno.test("I/O breakpoints stop after the access, where CR4.DE is set", () => {
  for (const [cr4, stops] of [[CR4.DE, true], [0, false]] as const) {
    const machine = new TestMachine({ bus: { writePort: () => true } });
    machine.enter("protected32", { cr4 });
    // out 0x80, al
    machine.poke(CODE, `e680 ${UD2}`);
    machine.set({ RIP: CODE, DR0: 0x80, DR7: 0x401 | 2 << 16 });
    const stop = next(machine);
    assertEquals(stop.rip, 2);
    assertEquals(stop.vector, stops ? VECTOR.DB : VECTOR.UD);
    assertEquals(stop.dr6, stops ? 1n : 0n);
  }
});

// --- Registers ---------------------------------------------------------------

Deno.test("DR7.GD stops an access to a debug register", () => {
  for (const program of ["0f21c0", "0f23c0", "0f21f0", "0f23f8"]) {
    const machine = start(program);
    machine.set({ DR7: 0x2400 });
    assertEquals(next(machine), { vector: VECTOR.DB, rip: 0, dr6: BD });
  }
});

Deno.test("DR7.GD is off in the handler of #DB", () => {
  // mov eax, dr7; iretd
  const machine = start("0f21f1");
  withHandlers(machine, "0f21f8 cf");
  machine.set({ DR7: 0x2400 });
  assertEquals(machine.runToException().rip, BigInt(CODE + 3));
  assertEquals(machine.get("RAX"), 0x400n);
});

Deno.test("DR4 and DR5 are DR6 and DR7, or #UD under CR4.DE", () => {
  const machine = start("0f21e0 89c2 0f21e8");
  machine.set({ DR7: 0x400 });
  assertEquals(next(machine).vector, VECTOR.UD);
  assertEquals(machine.get("RDX"), DR6);
  assertEquals(machine.get("RAX"), 0x400n);
  const strict = start("0f21e0", { cr4: CR4.DE });
  assertEquals(next(strict).rip, 0);
});

Deno.test("debug registers keep their fixed bits", () => {
  // mov eax, -1 (or 0); mov dr6, eax; mov dr7, eax; mov ecx, dr6; mov edx, dr7
  const program = "0f23f0 25ffdfffff 0f23f8 0f21f1 0f21fa";
  const machine = start(program);
  machine.set({ RAX: 0 });
  machine.runToException();
  assertEquals([machine.get("RCX"), machine.get("RDX")], [DR6, 0x400n]);
  machine.set({ RIP: CODE, RAX: 0xffff_ffff, DR0: 1, DR1: 1, DR2: 1, DR3: 1 });
  machine.run(5);
  assertEquals(machine.get("RCX"), 0xffff_eff0n | 0xe00fn);
  assertEquals(machine.get("RDX") & 0xd400n, 0x400n);
});

Deno.test("in 64-bit mode, upper halves of DR6 and DR7 are #GP(0)", () => {
  for (const program of ["0f23f0", "0f23f8"]) {
    const machine = start(program, { mode: "long" });
    machine.set({ RAX: 1n << 32n | 0x400n });
    const { vector, error } = machine.runToException();
    assertEquals([vector, error], [VECTOR.GP, 0]);
  }
});

Deno.test("debug registers are the supervisor's", () => {
  const machine = start("0f21c0", { cpl: 3 });
  assertEquals(next(machine), { vector: VECTOR.GP, rip: 0, dr6: 0n });
});

Deno.test("ICEBP and INT3 raise #DB and #BP behind them", () => {
  const machine = start("f1 cc");
  assertEquals(next(machine).vector, VECTOR.DB);
  machine.set({ RIP: CODE + 1 });
  assertEquals(next(machine).vector, VECTOR.BP);
});

// --- vmm(4) ------------------------------------------------------------------

Deno.test("mtrap_exit leaves after each instruction", () => {
  const machine = start("90 90 8903");
  machine.cpu.setCapability(CAPABILITY.MTRAP_EXIT, 1);
  for (const rip of [1, 2, 4]) {
    const exit = machine.run();
    assertEquals([exit.code, exit.rip], [EXIT_CODE.MTRAP, BigInt(CODE + rip)]);
  }
  assertEquals(machine.run().code, EXIT_CODE.EXCEPTION);
  machine.cpu.setCapability(CAPABILITY.MTRAP_EXIT, 0);
  machine.set({ RIP: CODE });
  assertEquals(machine.run().code, EXIT_CODE.EXCEPTION);
});

Deno.test("mtrap_exit leaves at the handler where an exception is delivered", () => {
  const machine = start("31c9 f7f1");
  withHandlers(machine, "90 90");
  machine.cpu.setCapability(CAPABILITY.MTRAP_EXIT, 1);
  assertEquals(machine.run().rip, BigInt(CODE + 2));
  const exit = machine.run();
  assertEquals([exit.code, exit.rip], [EXIT_CODE.MTRAP, BigInt(HANDLER)]);
});

Deno.test("bpt_exit leaves at INT3", () => {
  const machine = start("90 cc");
  machine.cpu.exceptionExits = 0;
  machine.cpu.setCapability(CAPABILITY.BPT_EXIT, 1);
  const exit = machine.run();
  assertEquals([exit.code, exit.rip], [EXIT_CODE.BPT, BigInt(CODE + 1)]);
});

Deno.test("rflags_tf leaves at a trace trap", () => {
  const machine = start("90 90", { flags: 2 | TF });
  machine.cpu.exceptionExits = 0;
  machine.cpu.setCapability(CAPABILITY.RFLAGS_TF, 1);
  const exit = machine.run();
  assertEquals([exit.code, exit.rip], [EXIT_CODE.DB, BigInt(CODE + 1)]);
});

// --- Interrupt shadows -------------------------------------------------------

interface ShadowCase {
  readonly name: string;
  readonly program: string;
  /** RIP at which the interrupt is taken */
  readonly taken: number;
  readonly flags: number;
}

const SHADOWS: readonly ShadowCase[] = [
  { name: "STI", program: "fb 90 90", taken: 2, flags: 2 },
  { name: "STI with IF set", program: "fb 90 90", taken: 0, flags: 2 | IF },
  { name: "STI; CLI", program: "fb fa 90 90", taken: -1, flags: 2 },
  // pop ss; nop; nop: the selector is on the stack
  { name: "POP SS", program: "fb 17 90 90", taken: 3, flags: 2 },
  { name: "MOV SS", program: "fb 8ed1 90 90", taken: 4, flags: 2 },
  { name: "MOV DS", program: "fb 8ed9 90 90", taken: 3, flags: 2 },
];

for (const c of SHADOWS) {
  for (const instructions of [10_000, 100]) {
    Deno.test(`${c.name} and an interrupt, ${instructions} instructions`, () => {
      let isPending = true;
      const machine = new TestMachine({
        interrupts: {
          pending: () => isPending,
          acknowledge: () => {
            isPending = false;
            return 0x20;
          },
        },
      });
      machine.enter("protected32", { flags: c.flags });
      machine.poke(CODE, c.program + UD2);
      withHandlers(machine, UD2);
      machine.poke32(STACK, 0x10);
      machine.set({ RIP: CODE, RSP: STACK, RCX: 0x10 });
      const { rip } = machine.runToException(instructions);
      const isTaken = c.taken >= 0;
      assertEquals(rip === BigInt(HANDLER), isTaken);
      if (!isTaken) return;
      const frame = Number(machine.get("RSP"));
      assertEquals(machine.peek32(frame) - CODE, c.taken);
    });
  }
}

Deno.test("an NMI waits for the end of the handler of the one before", () => {
  const machine = start("90 90 90");
  // inc edx; iretd
  withHandlers(machine, "42 cf");
  machine.cpu.injectNmi();
  machine.set({ RDX: 0 });
  machine.run(1);
  machine.cpu.injectNmi();
  assertEquals(machine.run(1).rip, BigInt(CODE + 0));
  assertEquals(machine.runToException().rip, BigInt(CODE + 3));
  assertEquals(machine.get("RDX"), 2n);
  assertEquals(NMI_VECTOR, VECTOR.NMI);
});

Deno.test("MOV SS holds an NMI back", () => {
  const machine = start("8ed1 90 90");
  withHandlers(machine, UD2);
  machine.set({ RCX: 0x10 });
  machine.run(1);
  machine.cpu.injectNmi();
  machine.runToException();
  assertEquals(machine.peek32(STACK - 12) - CODE, 3);
});

Deno.test("exceptionExits can ask for every vector", () => {
  const machine = start("90", { flags: 2 | TF });
  machine.cpu.exceptionExits = ALL_EXCEPTIONS;
  assertEquals(machine.runToException().vector, VECTOR.DB);
});
