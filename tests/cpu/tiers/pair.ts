// One program on the threaded tier and with compilation: everything that it leaves must
// be the same. The compiled run is cut into slices, so that regions leave for events
// in their middle.

import type { RegionOptions } from "../../../vmm/cpu/regions/limits.ts";
import { EXIT_CODE } from "../../../vmm/cpu/exits.ts";
import {
  CR0,
  CR4,
  PageTables,
  PTE,
  TestMachine,
} from "../../../vmm/cpu/testing.ts";
import { REGISTER, type RegisterNumber } from "../../../vmm/cpu/registers.ts";
import { LAYOUT, type Program } from "./program.ts";

const REGISTERS = [
  ...["RAX", "RCX", "RDX", "RSI", "RBP", "R8", "R9", "R10"] as const,
  ...["R11", "R12", "R13", "R14"] as const,
];
const KEPT = [...REGISTERS, "RBX", "RDI", "RSP", "R15", "RFLAGS"] as const;
const SEGMENTS = ["CS", "DS", "ES", "SS"] as const;
const LIMIT = 200_000;
const MOST_DIFFERENCES = 20;

/** The register that a program's fuel is in. */
export function fuelOf(isWide: boolean): "R15" | "RBP" {
  return isWide ? "R15" : "RBP";
}

/** What a run left: registers, how it ended, memory. */
export interface Outcome {
  readonly registers: Readonly<Record<string, string>>;
  readonly vector: number;
  readonly error: number | undefined;
  readonly rip: string;
  readonly memory: Uint8Array;
  /** the x87's and the vector registers as FXSAVE has them */
  readonly fx: Uint8Array;
}

/** A machine that runs programs, one after the other. */
export class ProgramRunner {
  readonly machine: TestMachine;
  readonly #wide: PageTables;
  readonly #narrow: PageTables;

  constructor(compile: false | Partial<RegionOptions>) {
    this.machine = new TestMachine({ compile });
    this.#wide = new PageTables(this.machine, "long");
    this.#narrow = new PageTables(this.machine, "legacy", 0x60_0000);
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

  // Maps all anew: nothing is accessed or dirty.
  #map(tables: PageTables, { frames, isUser }: Program): void {
    const { CODE, DATA, READ_ONLY, ABSENT, END } = LAYOUT;
    for (let at: number = CODE; at < END; at += 4096) {
      const frame = frames[(at - DATA) / 4096];
      const to = frame === undefined ? at : DATA + frame * 4096;
      const rights = at === READ_ONLY ? PTE.P : PTE.P | PTE.RW;
      const flags = isUser ? rights | PTE.US : rights;
      if (at !== ABSENT) tables.map(at, to, flags);
    }
  }

  #prepare(program: Program): void {
    const { code, isWide, isUser, base } = program;
    const { machine } = this;
    const { bytes } = machine.memory;
    const tables = isWide ? this.#wide : this.#narrow;
    this.#map(tables, program);
    machine.enter(isWide ? "long" : "protected32", {
      tables,
      cpl: isUser ? 3 : 0,
      cr0: CR0.WP,
      cr4: CR4.OSFXSR,
    });
    bytes.fill(0, LAYOUT.CODE, LAYOUT.END);
    bytes.set(code, LAYOUT.CODE);
    machine.memory.dropCode(LAYOUT.CODE, LAYOUT.END - LAYOUT.CODE);
    // What RET finds: the first block, then nothing that is mapped.
    const slot = isWide ? 8 : 4;
    for (let at = LAYOUT.STACK - 512; at < LAYOUT.STACK; at += slot) {
      machine.poke32(at, LAYOUT.CODE - base);
    }
    for (const name of SEGMENTS) this.#setBase(REGISTER[name], base);
    this.#setBase(REGISTER.FS, LAYOUT.DATA);
    this.#setRegisters(program);
  }

  #setBase(segment: RegisterNumber, base: number): void {
    const { cpu } = this.machine;
    const { limit, access } = cpu.getDescriptor(segment);
    cpu.setDescriptor(segment, { base: BigInt(base), limit, access });
  }

  #setRegisters({ isWide, registers, fuel, base, control }: Program): void {
    const { machine } = this;
    const mask = isWide ? -1n : 0xffff_ffffn;
    registers.forEach((value, n) =>
      machine.set({ [REGISTERS[n]!]: value & mask })
    );
    machine.set({ RIP: LAYOUT.CODE - base, RSP: LAYOUT.STACK - 512 - base });
    machine.set({ [fuelOf(isWide)]: fuel });
    machine.set({ RBX: LAYOUT.DATA - base, RDI: LAYOUT.CODE - base });
    const fx = machine.cpu.getFxImage();
    new DataView(fx.buffer).setUint16(0, control, true);
    machine.cpu.setFxImage(fx);
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
      fx: machine.cpu.getFxImage(),
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
  const compareBytes = (name: string, one: Uint8Array, other: Uint8Array) =>
    other.forEach((byte, n) => {
      const at = `${name} + ${n.toString(16)}`;
      if (out.length < MOST_DIFFERENCES) compare(at, one[n], byte);
    });
  compareBytes("memory", a.memory, b.memory);
  compareBytes("FXSAVE", a.fx, b.fx);
  return out;
}
