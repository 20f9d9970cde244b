// One program on the threaded tier and with compilation: everything that it leaves must
// be the same. The compiled run is cut into slices, so that regions leave for events
// in their middle.

import type { RegionOptions } from "../../../vmm/cpu/regions/limits.ts";
import { EXIT_CODE } from "../../../vmm/cpu/exits.ts";
import { CR4, PageTables, PTE, TestMachine } from "../../../vmm/cpu/testing.ts";
import { LAYOUT, type Program } from "./program.ts";

const REGISTERS = [
  ...["RAX", "RCX", "RDX", "RSI", "RBP", "R8", "R9", "R10"] as const,
  ...["R11", "R12", "R13", "R14"] as const,
];
const KEPT = [...REGISTERS, "RBX", "RDI", "RSP", "R15", "RFLAGS"] as const;
const LIMIT = 200_000;
const MOST_DIFFERENCES = 20;

/** What a run left: registers, how it ended, memory. */
export interface Outcome {
  readonly registers: Readonly<Record<string, string>>;
  readonly vector: number;
  readonly error: number | undefined;
  readonly rip: string;
  readonly memory: Uint8Array;
}

/** A machine that runs programs, one after the other. */
export class ProgramRunner {
  readonly machine: TestMachine;
  readonly #tables: PageTables;

  constructor(compile: false | Partial<RegionOptions>) {
    this.machine = new TestMachine({ compile });
    this.#tables = new PageTables(this.machine, "long");
    const flags = PTE.P | PTE.RW;
    for (let at: number = LAYOUT.CODE; at < LAYOUT.END; at += 4096) {
      if (at !== LAYOUT.ABSENT) this.#tables.map(at, at, flags);
    }
  }

  /** Runs a program; undefined where it does not end. */
  run(program: Program, slice = LIMIT): Outcome | undefined {
    this.#prepare(program);
    for (let left = LIMIT; left > 0; left -= slice) {
      const exit = this.machine.run(slice);
      if (exit.code === EXIT_CODE.EXCEPTION) return this.#outcome(exit);
      if (exit.code !== EXIT_CODE.BOGUS) throw new Error(`Exit ${exit.code}`);
    }
    return undefined;
  }

  #prepare({ code, registers, fuel }: Program): void {
    const { machine } = this;
    const { bytes } = machine.memory;
    machine.enter("long", { tables: this.#tables, cr4: CR4.OSFXSR });
    bytes.fill(0, LAYOUT.CODE, LAYOUT.END);
    bytes.set(code, LAYOUT.CODE);
    machine.memory.dropCode(LAYOUT.CODE, LAYOUT.DATA - LAYOUT.CODE);
    // What RET finds: the first block, then nothing that is mapped.
    for (let at = LAYOUT.STACK - 512; at < LAYOUT.STACK; at += 8) {
      machine.poke64(at, BigInt(LAYOUT.CODE));
    }
    registers.forEach((value, n) => machine.set({ [REGISTERS[n]!]: value }));
    machine.set({ RIP: LAYOUT.CODE, RSP: LAYOUT.STACK - 512, R15: fuel });
    machine.set({ RBX: LAYOUT.DATA, RDI: LAYOUT.CODE });
  }

  #outcome(
    exit: { vector: number; errorCode: number | undefined; rip: bigint },
  ): Outcome {
    const { machine } = this;
    return {
      registers: Object.fromEntries(
        [...KEPT, "CR2" as const].map((name) => [
          name,
          machine.get(name).toString(16),
        ]),
      ),
      vector: exit.vector,
      error: exit.errorCode,
      rip: exit.rip.toString(16),
      memory: machine.memory.bytes.slice(LAYOUT.CODE, LAYOUT.END),
    };
  }
}

/** How two outcomes differ; empty where they do not. */
export function differences(
  a: Outcome | undefined,
  b: Outcome | undefined,
): string[] {
  if (a === undefined || b === undefined) {
    return a === b ? [] : ["only one of them ends"];
  }
  const out: string[] = [];
  const compare = (name: string, one: unknown, other: unknown) => {
    if (one !== other) out.push(`${name}: ${one}, not ${other}`);
  };
  compare("vector", a.vector, b.vector);
  compare("error", a.error, b.error);
  compare("RIP", a.rip, b.rip);
  for (const [name, value] of Object.entries(b.registers)) {
    compare(name, a.registers[name], value);
  }
  b.memory.forEach((byte, n) => {
    const at = (LAYOUT.CODE + n).toString(16);
    if (out.length < MOST_DIFFERENCES) compare(at, a.memory[n], byte);
  });
  return out;
}
