// Fused handlers: what they do is what their parts do one after the other.

import { assert, assertEquals } from "@std/assert";
import type { Definition } from "./form.ts";
import { type FusedPair, fusedPairs } from "./fused_pairs.ts";
import { getRuntimeTable, handlerKey } from "./handlers.ts";
import type { Operand } from "./operands.ts";
import { RECORD_STRIDE } from "./record.ts";
import { createStateMemory, RECORDS } from "./state.ts";
import { EA_BASED, EA_FLAT, NOTHING, PROFILE } from "./steps.ts";
import { type Arg, assemble, type Mem, type Op } from "./system_testing.ts";
import { PageTables, PTE, randomSource, TestMachine } from "./testing.ts";
import type { DeviceBus } from "./options.ts";
import { REGISTER } from "./registers.ts";
import { VECTOR } from "./runtime/traps.ts";

const CODE = 0x8000;
const TARGET = CODE + 0x40;
const STACK = 0xa800;
const DATA = 0xb000;
const MEMORY = { from: 0xa000, to: 0xc000 };
const UNMAPPED = 0x70_0000;
/** Beyond the machine's memory. */
const DEVICE = 0x8000_0000;
const UD2 = "0f0b";
const STATE = [
  ...["RAX", "RBX", "RCX", "RDX", "RSI", "RDI", "RBP", "RSP"] as const,
  ...["R8", "R9", "R10", "RIP", "RFLAGS", "CR2"] as const,
];
/** Runs of so many instructions are by blocks, or by single steps. */
const BY_BLOCKS = 10_000;
const BY_STEPS = 100;

/** A machine in 64-bit mode whose records can be looked at. */
class FusionMachine extends TestMachine {
  readonly tables: PageTables;
  readonly #records: Int32Array;

  // Where blocks count, nothing gets hot.
  constructor(counts = false, bus: DeviceBus = {}) {
    const state = createStateMemory();
    const compile = counts ? { threshold: 1 << 30, sync: true } : false;
    super({ state, compile, bus });
    this.#records = new Int32Array(state.buffer, RECORDS, 1 << 12);
    const tables = this.tables = new PageTables(this, "long");
    for (let at = CODE; at < MEMORY.to; at += 4096) {
      tables.map(at, at, PTE.P | PTE.RW);
    }
    this.enter("long", { tables });
  }

  /** How many records have fused handlers. */
  get fused(): number {
    const fused = new Set(getRuntimeTable().fused.values());
    let count = 0;
    for (let n = 0; n < this.#records.length; n += RECORD_STRIDE / 4) {
      if (fused.has(this.#records[n]!)) count++;
    }
    return count;
  }
}

// --- Every pair ---------------------------------------------------------------------

const NAMES: Readonly<Record<number, readonly Arg[]>> = {
  8: ["AL", "CL", "DL", "R9L"],
  32: ["EAX", "ECX", "EDX", "R9D"],
  64: ["RAX", "RCX", "RDX", "R9"],
};

/** An instruction of which a pair has a part, by its definition. */
class Example {
  constructor(readonly random: () => number) {}

  #pick<T>(values: readonly T[]): T {
    return values[this.random() % values.length]!;
  }

  #argument({ kind, size }: Operand, memory: Mem | undefined): Arg {
    switch (kind) {
      case "branch":
        return TARGET;
      case "immediate":
        return (this.random() & 0xff) - (size > 8 ? 128 : 0);
      case "memory":
        return memory!;
      default:
        if (kind === "either" && memory !== undefined) return memory;
        return this.#pick(NAMES[size]!);
    }
  }

  instruction({ name, operands }: Definition, memory?: Mem): Op {
    const args = operands.map((one) => this.#argument(one, memory));
    return [name, ...args] as unknown as Op;
  }

  value(): bigint {
    const random = BigInt(this.random()) << 32n | BigInt(this.random());
    return this.#pick([0n, 1n, -1n, 1n << 63n, random, random & 0xffn]);
  }
}

const BASE: Mem = { disp: 16, base: "RBX" };
const INDEXED: Mem = { ...BASE, index: "R10" };
const GS: Mem = { disp: 32, segment: "GS" };

// The instructions that a pair's records are of.
function programOf([first, second]: FusedPair, example: Example): Op[] {
  const load = ["Mov_r64_rm64", "RAX", INDEXED] as const;
  const isBased = first.definition === EA_BASED;
  return [first, second].flatMap(({ definition, shape }): Op[] => {
    if (definition === PROFILE) return [];
    if (definition === NOTHING) return [["Nop_rm32", INDEXED]];
    const isLast = definition === second.definition;
    if (definition === EA_FLAT) return isLast ? [load] : [];
    if (definition === EA_BASED) {
      return isLast ? [["Mov_r64_rm64", "RAX", GS]] : [];
    }
    const ea = isBased ? GS : INDEXED;
    const memory = { none: undefined, base: BASE, ea }[shape.memory];
    return [example.instruction(definition, memory)];
  });
}

interface Start {
  readonly program: Uint8Array;
  readonly registers: Parameters<TestMachine["set"]>[0];
  readonly memory: Uint8Array;
}

function startOf(pair: FusedPair, seed: number): Start {
  const random = randomSource(seed);
  const example = new Example(random);
  const memory = Uint8Array.from(
    { length: MEMORY.to - MEMORY.from },
    () => random(),
  );
  new DataView(memory.buffer)
    .setBigUint64(STACK - MEMORY.from, BigInt(TARGET), true);
  const fault = random() % 4;
  const names = ["RAX", "RCX", "RDX", "RSI", "RDI", "R8", "R9"];
  return {
    program: assemble(64, CODE, programOf(pair, example)),
    memory,
    registers: {
      ...Object.fromEntries(names.map((name) => [name, example.value()])),
      RIP: CODE,
      RBX: fault === 0 ? UNMAPPED : DATA,
      RSP: fault === 1 ? UNMAPPED : STACK,
      R10: random() & 0xff,
      RFLAGS: 2 | random() & 0x8d5,
      CR2: 0,
    },
  };
}

// What is there after the pair, and how many records were fused.
function outcome(
  machine: FusionMachine,
  start: Start,
  instructions: number,
): { readonly state: unknown; readonly fused: number } {
  const { memory, cpu } = machine;
  memory.bytes.fill(0x90, CODE, CODE + 4096);
  memory.bytes.set(start.program, CODE);
  machine.poke(CODE + start.program.length, UD2);
  machine.poke(TARGET, UD2);
  memory.dropCode(CODE, 4096);
  memory.bytes.set(start.memory, MEMORY.from);
  cpu.setDescriptor(REGISTER.GS, {
    base: BigInt(DATA),
    limit: 0xffff_ffff,
    access: 0xc093,
  });
  machine.set(start.registers);
  const before = machine.fused;
  const { vector, error } = machine.runToException(instructions);
  const state = {
    ...{ vector, error },
    registers: STATE.map((name) => [name, machine.get(name)]),
    memory: memory.bytes.slice(MEMORY.from, MEMORY.to),
  };
  return { state, fused: machine.fused - before };
}

function nameOf(pair: FusedPair): string {
  return pair.map((one) => handlerKey(one.definition, one.shape)).join(" + ");
}

Deno.test("every fused pair does what its parts do in single steps", () => {
  let seed = 1;
  for (const pair of fusedPairs()) {
    const machine = new FusionMachine(pair[0].definition === PROFILE);
    for (let n = 0; n < 8; n++) {
      const start = startOf(pair, seed++);
      const actual = outcome(machine, start, BY_BLOCKS);
      const expected = outcome(machine, start, BY_STEPS);
      const name = `${nameOf(pair)}, seed ${seed - 1}`;
      assertEquals(actual.state, expected.state, name);
      assert(actual.fused > 0, `${name} is fused`);
    }
  }
});

Deno.test("no pair is there twice, and the first part always goes on", () => {
  const names = fusedPairs().map(nameOf);
  assertEquals(new Set(names).size, names.length);
  for (const [first] of fusedPairs()) assert(!first.definition.ends);
});

// --- Between the parts --------------------------------------------------------------

// A machine about to execute a program of fused pairs, which ends in UD2.
function ready(
  program: string,
  registers: Parameters<TestMachine["set"]>[0] = {},
): FusionMachine {
  const machine = new FusionMachine();
  machine.poke(CODE, program + UD2);
  machine.set({ RIP: CODE, RSP: STACK, RBX: DATA, ...registers });
  return machine;
}

Deno.test("a fault in either part is at its own instruction, after the first", () => {
  // mov rax, [rbx]; mov rcx, [rsi]
  const program = "488b03 488b0e";
  const first = ready(program, { RBX: UNMAPPED, RSI: DATA, RAX: 1, RCX: 2 });
  first.poke64(DATA, 3n);
  const { vector, rip, cr2 } = first.runToException();
  assertEquals([vector, rip], [VECTOR.PF, BigInt(CODE)]);
  assertEquals([cr2, first.get("RAX")], [BigInt(UNMAPPED), 1n]);
  const second = ready(program, { RSI: UNMAPPED, RAX: 1, RCX: 2 });
  second.poke64(DATA, 3n);
  assertEquals(second.runToException().rip, BigInt(CODE + 3));
  assertEquals([second.get("RAX"), second.get("RCX")], [3n, 2n]);
  assertEquals(second.fused, 1);
});

Deno.test("single steps stop between the parts, and breakpoints before the second", () => {
  // cmp eax, ecx; jne +2
  const program = "39c8 7502 9090";
  const traced = ready(program, { RFLAGS: 0x102 });
  assertEquals(traced.runToException().rip, BigInt(CODE + 2));
  const stopped = ready(program);
  stopped.runToException();
  assertEquals(stopped.fused, 1);
  stopped.set({ RIP: CODE, DR0: CODE + 2, DR7: 1 });
  const { vector, rip } = stopped.runToException();
  assertEquals([vector, rip], [VECTOR.DB, BigInt(CODE + 2)]);
});

Deno.test("a limit of instructions may end between the parts", () => {
  // 1: mov rax, rcx; mov rdx, rax; add rcx, 1; mov rax, rcx; jmp 1b
  const program = "4889c8 4889c2 4883c101 4889c8 ebf1";
  for (const instructions of [1, 2, 4999, 5000, 5001, 5002, 5003, 5004]) {
    const machine = ready(program, { RCX: 0 });
    machine.run(instructions);
    const places = [0, 3, 6, 10, 13];
    const rip = CODE + places[instructions % 5]!;
    assertEquals(machine.get("RIP"), BigInt(rip), `after ${instructions}`);
    const turns = Math.floor((instructions + 2) / 5);
    assertEquals(machine.get("RCX"), BigInt(turns));
  }
});

Deno.test("a first part that writes over the second has it decoded again", () => {
  // mov [rsi], rax; mov edx, ecx
  const program = "488906 89ca 909090909090";
  for (const before of [BY_BLOCKS, BY_STEPS]) {
    const machine = ready(program, { RCX: 5, RSI: DATA });
    machine.runToException(before);
    assertEquals(machine.get("RDX"), 5n);
    // xor edx, edx; nops
    machine.set({ RIP: CODE, RSI: CODE + 3, RAX: 0x9090_9090_9090_d231n });
    machine.runToException(before);
    assertEquals(machine.get("RDX"), 0n);
  }
});

Deno.test("a second part that writes over what follows has it decoded again", () => {
  // mov rax, rcx; mov [rsi], rax; mov edx, ecx
  const program = "4889c8 488906 89ca 909090909090";
  const machine = ready(program, { RCX: 5, RSI: DATA });
  machine.runToException();
  assertEquals([machine.get("RDX"), machine.fused], [5n, 1]);
  machine.set({ RIP: CODE, RSI: CODE + 6, RCX: 0x9090_9090_9090_d231n });
  machine.runToException();
  assertEquals(machine.get("RDX"), 0n);
});

Deno.test("a device is asked once by a first part", () => {
  const reads: number[] = [];
  const machine = new FusionMachine(false, {
    readMemory: (gpa) => {
      reads.push(gpa);
      return 7n;
    },
  });
  machine.tables.map(UNMAPPED, DEVICE, PTE.P | PTE.RW);
  machine.poke(CODE, `488b03 4889c1 ${UD2}`); // mov rax, [rbx]; mov rcx, rax
  machine.set({ RIP: CODE, RBX: UNMAPPED });
  machine.runToException();
  assertEquals([reads, machine.fused], [[DEVICE], 1]);
  assertEquals(machine.get("RCX"), 7n);
});
