// Runs programs: by single steps, before each of which all translations are dropped, or
// as a whole. What they leave must be the same.

import { EXIT_CODE, type VmExit } from "../../../vmm/cpu/exits.ts";
import type { RegionOptions } from "../../../vmm/cpu/regions/limits.ts";
import { VECTOR } from "../../../vmm/cpu/runtime/traps.ts";
import { SystemMachine } from "../../../vmm/cpu/system_testing.ts";
import { ALL_EXCEPTIONS, EFER } from "../../../vmm/cpu/testing.ts";
import { LAYOUT } from "./layout.ts";
import { type Program, USED, VECTOR_OF_KERNEL } from "./program.ts";

const REGISTERS = [
  ...["RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI"] as const,
  ...["RIP", "RFLAGS", "CR0", "CR2", "CR3", "CR4"] as const,
];
/** Faults that programs handle: all others end them. */
const HANDLED = [VECTOR.UD, VECTOR.GP, VECTOR.PF, VECTOR.AC];
const LIMIT = 200_000;
const RET = 0xc3;

/** What a run left. */
export interface Outcome {
  /** the exception that ended it */
  readonly vector: number | undefined;
  readonly registers: Readonly<Record<string, string>>;
  /** what `USED` holds */
  readonly images: readonly Uint8Array[];
  /** faults that were handled */
  readonly faults: number;
  /** single steps, if they were */
  readonly steps: number;
}

function vectorOf(exit: VmExit): number | undefined {
  return exit.code === EXIT_CODE.EXCEPTION ? exit.vector : undefined;
}

/** A machine that runs programs, one after the other. */
export class PagingRunner {
  readonly machine: SystemMachine;

  constructor(compile: false | Partial<RegionOptions>) {
    this.machine = new SystemMachine({ compile });
    // Wherever else a large page's code leads to, it returns.
    this.machine.memory.bytes.fill(RET, LAYOUT.FRAMES, LAYOUT.END);
  }

  /** Runs a program as a whole, in slices. */
  run(program: Program, slice = LIMIT): Outcome {
    this.#prepare(program);
    for (let left = LIMIT; left > 0; left -= slice) {
      const exit = this.machine.run(slice);
      if (exit.code !== EXIT_CODE.BOGUS) return this.#outcome(vectorOf(exit));
    }
    return this.#outcome(undefined);
  }

  /** Runs a program by single steps that know no translations. */
  step(program: Program): Outcome {
    this.#prepare(program);
    for (let left = LIMIT; left > 0; left--) {
      // Registers that are set from outside drop all translations.
      this.machine.set({ R8: 0 });
      const exit = this.machine.run(1);
      if (exit.code !== EXIT_CODE.BOGUS) {
        return this.#outcome(vectorOf(exit), LIMIT - left);
      }
    }
    return this.#outcome(undefined);
  }

  #prepare({ kind, isUser, space, rounds, images, cr0, cr4 }: Program): void {
    const { machine } = this;
    USED.forEach(([from], n) => machine.memory.bytes.set(images[n]!, from));
    machine.memory.dropCode(0, LAYOUT.END);
    machine.start(kind.mode, [], {
      ...{ tables: space.tables, cpl: isUser ? 3 : 0 },
      ...{ at: isUser ? LAYOUT.USER_CODE : LAYOUT.KERNEL_CODE },
      rsp: isUser ? LAYOUT.USER_STACK : LAYOUT.KERNEL_STACK,
      ...{ cr0, cr4, efer: kind.tables === "legacy" ? 0 : EFER.NXE },
    });
    for (const vector of HANDLED) {
      const { HANDLER, HANDLER_OF_UD } = LAYOUT;
      const offset = vector === VECTOR.UD ? HANDLER_OF_UD : HANDLER;
      machine.idt(vector, { offset });
    }
    machine.idt(VECTOR_OF_KERNEL, { offset: LAYOUT.SERVICE, access: 0xee });
    const handled = HANDLED.reduce((bits, vector) => bits | 1 << vector, 0);
    machine.cpu.exceptionExits = (ALL_EXCEPTIONS & ~handled) >>> 0;
    const pcid = kind.hasPcids ? 1 : 0;
    machine.set({ CR3: space.tables.root + pcid, RBP: rounds });
  }

  #outcome(vector: number | undefined, steps = 0): Outcome {
    const { machine } = this;
    const value = (name: typeof REGISTERS[number]) =>
      machine.get(name).toString(16);
    return {
      ...{ vector, steps },
      registers: Object.fromEntries(REGISTERS.map((r) => [r, value(r)])),
      images: USED.map(([from, to]) => machine.memory.bytes.slice(from, to)),
      faults: machine.peek32(LAYOUT.FAULTS),
    };
  }
}

function firstDifference(a: Uint8Array, b: Uint8Array): number | undefined {
  for (let at = 0; at < b.length; at++) if (a[at] !== b[at]) return at;
  return undefined;
}

/** How two outcomes differ; empty where they do not. */
export function differences(actual: Outcome, expected: Outcome): string[] {
  const out: string[] = [];
  const compare = (name: string, one: unknown, other: unknown) => {
    if (one !== other) out.push(`${name}: ${one}, not ${other}`);
  };
  compare("vector", actual.vector, expected.vector);
  compare("faults", actual.faults, expected.faults);
  for (const [name, value] of Object.entries(expected.registers)) {
    compare(name, actual.registers[name], value);
  }
  USED.forEach(([from], n) => {
    const at = firstDifference(actual.images[n]!, expected.images[n]!);
    if (at !== undefined) out.push(`memory at ${(from + at).toString(16)}`);
  });
  return out;
}
