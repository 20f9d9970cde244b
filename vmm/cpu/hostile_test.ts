// Hostile guests: random bytes as code, descriptors and page tables, in every mode.
// The CPU never throws, never touches memory that is not mapped, and always ends
// within its budget. HOSTILE_INSTRUCTIONS=10000000 runs longer than the default;
// HOSTILE_SEED names another sequence.

import { assert, assertEquals } from "@std/assert";
import { EXIT_CODE, type VmEntry, type VmExit } from "./exits.ts";
import { GuestMemory } from "./guest_memory.ts";
import { REGISTER } from "./registers.ts";
import {
  CR0,
  CR4,
  EFER,
  type ModeName,
  PageTables,
  type PagingName,
  PTE,
  randomCode,
  randomSource,
  TestMachine,
} from "./testing.ts";

const COUNT = Number(Deno.env.get("HOSTILE_INSTRUCTIONS") ?? 250_000);
const SEED = Number(Deno.env.get("HOSTILE_SEED") ?? 1);

const RAM = 4 << 20;
const ROM = 64 << 10;
const ROM_AT = 0xffff_0000;
/** Offsets in guest memory that are not mapped: between RAM and ROM, and behind. */
const ROM_OFFSET = 5 << 20;
const SIZE = 6 << 20;

const LOW_CODE = 0x1000;
const LOW_CODE_SIZE = 0xe000;
const HIGH_CODE = 0x1_0000;
const HIGH_CODE_SIZE = 0x1_0000;
const GDT = 0x3_0000;
const LDT = 0x3_1000;
const TSS = 0x3_2000;
const IDT = 0x3_4000;
const TABLES = 0x20_0000;

/** Longest that one run of at most 5000 instructions may take, in milliseconds. */
const PATIENCE = 5000;
const BUDGETS = [1, 3, 20, 200, 5000] as const;
const RUNS_AN_ENTRY = 500;
const EXITS_A_RUN = 30;

interface Arena {
  readonly name: string;
  readonly mode: ModeName;
  readonly paging: PagingName;
}

const ARENAS: readonly Arena[] = [
  { name: "real mode", mode: "real", paging: "none" },
  { name: "virtual-8086 mode", mode: "vm86", paging: "legacy" },
  { name: "16-bit protected mode", mode: "protected16", paging: "none" },
  { name: "32-bit protected mode", mode: "protected32", paging: "none" },
  { name: "32-bit paging", mode: "protected32", paging: "legacy" },
  { name: "PAE paging", mode: "protected32", paging: "pae" },
  { name: "compatibility mode", mode: "compat", paging: "long" },
  { name: "64-bit mode", mode: "long", paging: "long" },
];

type Random = () => number;

const INTERESTING = [0n, 1n, 2n, 0x7fn, 0x80n, 0xfffn, 0x1000n, 0xffffn]
  .concat([0x7fff_ffffn, 0x8000_0000n, 0xffff_ffffn, 0x0000_7fff_ffff_ffffn])
  .concat([0x8000_0000_0000n, 0xffff_ffff_ffff_ffffn, 0xffff_8000_0000_0000n]);

function randomValue(random: Random): bigint {
  const pick = random() % 8;
  if (pick < 2) return INTERESTING[random() % INTERESTING.length]!;
  if (pick < 6) return BigInt(random() % RAM);
  return BigInt(random()) << 32n | BigInt(random());
}

const REGISTERS = ["RAX", "RCX", "RDX", "RBX", "RBP", "RSI", "RDI", "R8", "R9"]
  .concat(["R10", "R11", "R12", "R13", "R14", "R15", "CR2", "DR0", "DR1"]);

/** One CPU among hostile surroundings. */
class Hostile {
  readonly machine: TestMachine;
  readonly #arena: Arena;
  readonly #random: Random;
  readonly #rom: Uint8Array;
  runs = 0;
  #spent = 0;
  slowest = 0;

  constructor(arena: Arena, seed: number) {
    this.#arena = arena;
    this.#random = randomSource(seed * 2654435761);
    const memory = new GuestMemory(SIZE);
    memory.bytes.fill(0xa5);
    this.#rom = randomCode(ROM, this.#random);
    memory.bytes.set(this.#rom, ROM_OFFSET);
    memory.map({ gpa: 0, length: RAM, offset: 0, writable: true });
    memory.map({
      gpa: ROM_AT,
      length: ROM,
      offset: ROM_OFFSET,
      writable: false,
    });
    let time = 0n;
    this.machine = new TestMachine({
      memory,
      readTsc: () => time += 1000n,
      random: () => BigInt(this.#random()) << 32n | BigInt(this.#random()),
    });
  }

  #below(limit: number): number {
    return this.#random() % limit;
  }

  /** Puts new code, tables and descriptors in place and enters the mode. */
  enter(): void {
    const { machine } = this;
    const { bytes } = machine.memory;
    bytes.set(randomCode(LOW_CODE_SIZE, this.#random), LOW_CODE);
    bytes.set(randomCode(HIGH_CODE_SIZE, this.#random), HIGH_CODE);
    this.#descriptors();
    machine.memory.dropCode(0, RAM);
    const { mode, paging } = this.#arena;
    const tables = paging === "none" ? undefined : this.#tables(paging);
    const flip = (bit: number) => (this.#random() & 1) !== 0 ? bit : 0;
    machine.enter(mode, {
      cpl: mode === "real" ? 0 : this.#below(2) * 3,
      cr0: flip(CR0.WP) | flip(CR0.AM) | flip(8),
      cr4: CR4.OSFXSR | flip(CR4.PGE) | flip(CR4.DE) | flip(CR4.TSD) |
        flip(CR4.VME) | flip(CR4.OSXMMEXCPT) | flip(CR4.FSGSBASE) |
        flip(CR4.UMIP) | flip(CR4.PSE),
      efer: EFER.NXE | EFER.SCE,
      flags: 2 | flip(0x100) | flip(0x200) | flip(0x3000) | flip(0x40000),
      ...(tables === undefined ? {} : { tables }),
    });
    this.#systemRegisters();
    // Half of the time the guest's own handlers get its exceptions.
    machine.cpu.exceptionExits = flip(1) ? 0xffff_ffff : 0;
  }

  #tables(kind: Exclude<PagingName, "none">): PageTables {
    const tables = new PageTables(this.machine, kind, TABLES);
    const all = PTE.P | PTE.RW | PTE.US;
    for (let at = 0; at < RAM; at += 4096) {
      tables.map(at, at, this.#below(16) === 0 ? this.#below(8) : all);
    }
    // Elsewhere: any page, of RAM or not, with any bits.
    for (let n = 0; n < 64; n++) {
      const linear = BigInt(this.#below(0x1000)) << 20n;
      const high = kind === "legacy" ? 0n : BigInt(this.#below(16)) << 60n;
      tables.map(
        linear + BigInt(RAM),
        BigInt(this.#random() & 0x7fff_f000) | high,
        this.#below(0x200),
      );
    }
    return tables;
  }

  #descriptors(): void {
    const { bytes } = this.machine.memory;
    for (const table of [GDT, LDT, IDT, IDT + 0x800]) {
      for (let at = table; at < table + 0x800; at += 8) {
        this.machine.poke64(at, this.#descriptor(table >= IDT));
      }
    }
    for (let at = TSS; at < TSS + 0x2000; at++) bytes[at] = this.#below(256);
    // Real mode's vectors, all to code.
    for (let n = 0; n < 256; n++) {
      this.machine.poke32(4 * n, LOW_CODE + this.#below(LOW_CODE_SIZE));
    }
  }

  // A segment, system segment or gate that is often usable.
  #descriptor(isGate: boolean): bigint {
    if (this.#below(8) === 0) {
      return BigInt(this.#random()) << 32n | BigInt(this.#random());
    }
    const access = 0x80 | this.#below(4) << 5 |
      (isGate ? 4 + this.#below(12) : this.#below(32));
    if (isGate) {
      const offset = BigInt(HIGH_CODE + this.#below(HIGH_CODE_SIZE));
      const selector = BigInt(this.#below(32) << 3 | this.#below(4));
      return offset & 0xffffn | selector << 16n | BigInt(access) << 40n |
        offset >> 16n << 48n;
    }
    const flags = this.#below(16);
    const base = this.#below(4) === 0 ? this.#below(RAM) : 0;
    return 0xffffn | BigInt(base & 0xff_ffff) << 16n | BigInt(access) << 40n |
      0xfn << 48n | BigInt(flags) << 52n | BigInt(base >>> 24) << 56n;
  }

  #systemRegisters(): void {
    const { cpu } = this.machine;
    const { mode } = this.#arena;
    const put = (
      register: Parameters<typeof cpu.setDescriptor>[0],
      base: number,
      limit: number,
      access: number,
    ) => cpu.setDescriptor(register, { base: BigInt(base), limit, access });
    put(REGISTER.GDTR, GDT, 0x7ff, 0);
    put(REGISTER.LDTR, LDT, 0x7ff, 0x82);
    put(REGISTER.TR, TSS, 0x1fff, 0x8b);
    put(REGISTER.IDTR, mode === "real" ? 0 : IDT, 0xfff, 0);
    this.machine.set({ LDTR: 0x50, TR: 0x58 });
  }

  /** Starts somewhere with other register values. */
  #scatter(): void {
    const { machine } = this;
    const low = ["real", "vm86", "protected16"].includes(this.#arena.mode);
    const rip = low
      ? LOW_CODE + this.#below(LOW_CODE_SIZE)
      : HIGH_CODE + this.#below(HIGH_CODE_SIZE);
    for (const name of REGISTERS) {
      machine.set({ [name]: randomValue(this.#random) });
    }
    machine.set({ RIP: rip, RSP: low ? 0xff00 : 0x2_f000 });
    if (this.#below(32) === 0) {
      machine.set({ DR7: this.#random() & 0xffff_d7ff | 0x400 });
    }
  }

  #answer(exit: VmExit): VmEntry | undefined {
    switch (exit.code) {
      case EXIT_CODE.INOUT:
      case EXIT_CODE.INST_EMUL:
        return { value: BigInt(this.#random()) };
      case EXIT_CODE.RDMSR:
      case EXIT_CODE.WRMSR:
        return this.#below(2) === 0 ? { fault: true } : { value: 5n };
      default:
        return undefined;
    }
  }

  /** Runs from a new place through a number of exits; whether to go on. */
  round(): boolean {
    this.#scatter();
    let entry: VmEntry | undefined;
    for (let n = 0; n < EXITS_A_RUN; n++) {
      const exit = this.#runOnce(entry);
      if (exit.code === EXIT_CODE.SUSPENDED) return false;
      if (exit.code === EXIT_CODE.BOGUS) return true;
      if (exit.code === EXIT_CODE.EXCEPTION) return true;
      if (exit.code === EXIT_CODE.INST_EMUL && exit.fetch) return true;
      entry = this.#answer(exit);
    }
    return true;
  }

  #runOnce(entry: VmEntry | undefined): VmExit {
    const { cpu } = this.machine;
    const instructions = BUDGETS[this.#below(BUDGETS.length)]!;
    const start = performance.now();
    const exit = cpu.run(entry, { instructions });
    const took = performance.now() - start;
    this.slowest = Math.max(this.slowest, took);
    assert(took < PATIENCE, `${instructions} instructions took ${took} ms`);
    this.runs++;
    if (exit.code === EXIT_CODE.BOGUS) this.#spent += instructions;
    this.#checkState();
    return exit;
  }

  // What holds for every state that a guest can reach.
  #checkState(): void {
    const { machine } = this;
    const flags = machine.get("RFLAGS");
    assertEquals(flags & 0x802an, 2n, `RFLAGS ${flags.toString(16)}`);
    assertEquals(flags >> 22n, 0n, `RFLAGS ${flags.toString(16)}`);
    const access = machine.cpu.getDescriptor(REGISTER.CS).access;
    const isLong = (machine.get("EFER") & BigInt(EFER.LMA)) !== 0n &&
      (access & 0x2000) !== 0;
    const rip = machine.get("RIP");
    // SYSRET of AMD's loads any RIP, and the next fetch faults.
    const isGood = isLong || rip >> 32n === 0n;
    assert(isGood, `RIP ${rip.toString(16)}`);
  }

  /** Instructions that ran, at least: whole budgets, and what was decoded. */
  get instructions(): number {
    return this.#spent + this.machine.cpu.statistics.instructions;
  }

  /** Memory that the guest cannot have reached is as it was. */
  checkCanaries(): void {
    const { bytes } = this.machine.memory;
    const same = (from: number, to: number) => {
      for (let at = from; at < to; at++) {
        if (bytes[at] !== 0xa5) {
          throw new Error(`The guest wrote at offset ${at.toString(16)}`);
        }
      }
    };
    same(RAM, ROM_OFFSET);
    same(ROM_OFFSET + ROM, SIZE);
    const rom = bytes.subarray(ROM_OFFSET, ROM_OFFSET + ROM);
    assert(rom.every((byte, n) => byte === this.#rom[n]), "ROM was written");
  }
}

function describe(hostile: Hostile, seed: number): string {
  const { machine } = hostile;
  const rip = machine.get("RIP");
  const base = machine.cpu.getDescriptor(REGISTER.CS).base;
  const at = Number(BigInt.asUintN(32, rip + base)) % RAM;
  const code = machine.memory.bytes.slice(at, at + 16);
  const text = Array.from(code, (b) => b.toString(16).padStart(2, "0"));
  return `seed ${seed}, run ${hostile.runs}, RIP ${rip.toString(16)}: ${
    text.join(" ")
  }`;
}

for (const arena of ARENAS) {
  Deno.test(`random code in ${arena.name} is contained`, () => {
    const hostile = new Hostile(arena, SEED);
    try {
      while (hostile.instructions < COUNT) {
        hostile.enter();
        for (let n = 0; n < RUNS_AN_ENTRY && hostile.round(); n++);
      }
    } catch (error) {
      throw new Error(describe(hostile, SEED), { cause: error });
    }
    hostile.checkCanaries();
  });
}
