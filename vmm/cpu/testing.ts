// A machine of one virtual CPU for tests: memory, modes set up from outside, page
// tables of every kind (Intel SDM vol. 3, chapter 4). Used by tests only.

import { VirtualCpu } from "./cpu.ts";
import type { CpuOptions } from "./cpu.ts";
import { EXIT_CODE, type VmExit } from "./exits.ts";
import { GuestMemory } from "./guest_memory.ts";
import { REGISTER } from "./registers.ts";

/** Modes that `TestMachine.enter` sets up. */
export type ModeName =
  | "real"
  | "vm86"
  | "protected16"
  | "protected32"
  | "compat"
  | "long";

/** The kinds of page tables. */
export type PagingName = "none" | "legacy" | "pae" | "long";

/** What `TestMachine.enter` may be told besides the mode. */
export interface EnterOptions {
  /** privilege: default 0 */
  readonly cpl?: number;
  /** page tables: default none, which long and compat do not allow */
  readonly tables?: PageTables;
  /** bits of CR0 besides those of the mode */
  readonly cr0?: number;
  /** bits of CR4 besides those of the mode */
  readonly cr4?: number;
  /** bits of EFER besides those of the mode */
  readonly efer?: number;
  /** RFLAGS: default 2 */
  readonly flags?: number;
}

export const CR0 = { PE: 1, NE: 0x20, WP: 0x10000, AM: 0x40000, PG: 2 ** 31 };
export const CR4 = {
  VME: 1,
  TSD: 4,
  DE: 8,
  PSE: 0x10,
  PAE: 0x20,
  PGE: 0x80,
  OSFXSR: 0x200,
  OSXMMEXCPT: 0x400,
  UMIP: 0x800,
  FSGSBASE: 0x10000,
  PCIDE: 0x20000,
  SMEP: 0x100000,
  SMAP: 0x200000,
};
export const EFER = { SCE: 1, LME: 0x100, LMA: 0x400, NXE: 0x800 };
export const PTE = { P: 1, RW: 2, US: 4, A: 0x20, D: 0x40, PS: 0x80, G: 0x100 };
export const NX = 1n << 63n;

/** Every exception exits instead of being delivered. */
export const ALL_EXCEPTIONS = 0xffff_ffff;

const DATA_16 = 0x93;
const DATA_32 = 0xc093;
const CODE_ACCESS: Readonly<Record<ModeName, number>> = {
  real: 0x9b,
  vm86: 0xf3,
  protected16: 0x9b,
  protected32: 0xc09b,
  compat: 0xc09b,
  long: 0xa09b,
};

const DATA_SEGMENTS = ["ES", "SS", "DS", "FS", "GS"] as const;

/** What `testTiers` wants of the machines that are made now. */
let tier:
  | { readonly compile: boolean; readonly cpus: VirtualCpu[] }
  | undefined;

/**
 * Defines a test twice: in threaded code, and with every block compiled when it is first
 * executed, which then must have happened. Its machines are made in it, without `compile`.
 */
export function testTiers(name: string, body: () => void): void {
  for (const compile of [false, true]) {
    Deno.test(compile ? `${name}, compiled` : name, () => {
      const cpus: VirtualCpu[] = [];
      tier = { compile, cpus };
      try {
        body();
      } finally {
        tier = undefined;
      }
      const regions = cpus.map(({ statistics }) => statistics.regions?.regions);
      if (compile && !regions.some((count) => count)) {
        throw new Error("Nothing was compiled");
      }
    });
  }
}

/** The bytes of a program written in hexadecimal; spaces do not matter. */
export function hexBytes(text: string): Uint8Array {
  const digits = text.replace(/\s+/g, "");
  if (digits.length % 2 !== 0 || /[^0-9a-f]/i.test(digits)) {
    throw new TypeError(`Bad program "${text}"`);
  }
  return Uint8Array.from(
    digits.match(/../g) ?? [],
    (pair) => parseInt(pair, 16),
  );
}

/** A machine with one CPU. */
export class TestMachine {
  readonly memory: GuestMemory;
  readonly cpu: VirtualCpu;
  readonly view: DataView;

  /** @param options memory, 16 MiB by default, all of it at address 0 */
  constructor(options: Partial<CpuOptions> & { readonly size?: number } = {}) {
    const { size = 16 << 20, ...rest } = options;
    this.memory = options.memory ?? new GuestMemory(size);
    if (this.memory.mappings.length === 0) {
      const length = this.memory.size;
      this.memory.map({ gpa: 0, length, offset: 0, writable: true });
    }
    const { memory } = this;
    const inTier = tier === undefined ? {} : { compile: tier.compile };
    this.cpu = new VirtualCpu({ ...inTier, ...rest, memory });
    tier?.cpus.push(this.cpu);
    this.cpu.exceptionExits = ALL_EXCEPTIONS;
    this.view = new DataView(this.memory.memory.buffer);
  }

  /** Writes a program in hexadecimal. */
  poke(address: number, program: string): void {
    const bytes = hexBytes(program);
    this.memory.bytes.set(bytes, address);
    this.memory.dropCode(address, Math.max(bytes.length, 1));
  }

  peek64(address: number): bigint {
    return this.view.getBigUint64(address, true);
  }
  poke64(address: number, value: bigint): void {
    this.view.setBigUint64(address, BigInt.asUintN(64, value), true);
  }
  peek32(address: number): number {
    return this.view.getUint32(address, true);
  }
  poke32(address: number, value: number): void {
    this.view.setUint32(address, value >>> 0, true);
  }

  /** Sets registers by name. */
  set(values: Partial<Record<keyof typeof REGISTER, bigint | number>>): void {
    for (const [name, value] of Object.entries(values)) {
      this.cpu.setRegister(
        REGISTER[name as keyof typeof REGISTER],
        BigInt.asUintN(64, BigInt(value)),
      );
    }
  }

  get(name: keyof typeof REGISTER): bigint {
    return this.cpu.getRegister(REGISTER[name]);
  }

  /** Puts the CPU into a mode with flat segments (64 KiB ones in 16-bit modes). */
  enter(mode: ModeName, options: EnterOptions = {}): void {
    const { cpu } = this;
    const { cpl = 0, tables, cr0 = 0, cr4 = 0, efer = 0, flags = 2 } = options;
    cpu.reset();
    const isReal = mode === "real" || mode === "vm86";
    const isLong = mode === "long" || mode === "compat";
    this.set({
      CR0: CR0.NE + cr0 + (mode === "real" ? 0 : CR0.PE) +
        (tables ? CR0.PG : 0),
      CR4: cr4 | (tables && tables.kind !== "legacy" ? CR4.PAE : 0),
      CR3: tables?.root ?? 0,
      EFER: efer | (isLong ? EFER.LME | EFER.LMA : 0),
      RFLAGS: flags | (mode === "vm86" ? 0x20000 : 0),
    });
    const privilege = mode === "vm86" ? 3 : cpl;
    const limit = isReal || mode === "protected16" ? 0xffff : 0xffff_ffff;
    const data = (isReal || mode === "protected16" ? DATA_16 : DATA_32) |
      privilege << 5;
    const selector = isReal ? 0 : privilege;
    for (const name of DATA_SEGMENTS) {
      this.set({ [name]: isReal ? 0 : 0x10 | selector });
      cpu.setDescriptor(REGISTER[name], { base: 0n, limit, access: data });
    }
    this.set({ CS: isReal ? 0 : 0x8 | selector });
    cpu.setDescriptor(REGISTER.CS, {
      base: 0n,
      limit,
      access: CODE_ACCESS[mode] | privilege << 5,
    });
    tables?.loadPdptes(this);
  }

  /** Runs until an exit or for so many instructions. */
  run(instructions = 10_000): VmExit {
    return this.cpu.run(undefined, { instructions });
  }

  /** Runs until an exception, which it answers; another exit is an error. */
  runToException(instructions = 10_000): Raised {
    const exit = this.run(instructions);
    if (exit.code !== EXIT_CODE.EXCEPTION) {
      throw new Error(
        `Expected an exception, not exit ${exit.code} at 0x${
          exit.rip.toString(16)
        }`,
      );
    }
    const { vector, errorCode, rip } = exit;
    return { vector, error: errorCode, rip, cr2: this.get("CR2") };
  }
}

/** An exception that the guest did not see. */
export interface Raised {
  readonly vector: number;
  readonly error: number | undefined;
  readonly rip: bigint;
  readonly cr2: bigint;
}

/** A level of page tables: log2 of what an entry maps, entries, their size. */
interface Level {
  readonly shift: number;
  readonly bits: number;
}

const LEVELS: Readonly<Record<Exclude<PagingName, "none">, readonly Level[]>> =
  {
    legacy: [{ shift: 22, bits: 10 }, { shift: 12, bits: 10 }],
    pae: [
      { shift: 30, bits: 2 },
      { shift: 21, bits: 9 },
      { shift: 12, bits: 9 },
    ],
    long: [39, 30, 21, 12].map((shift) => ({ shift, bits: 9 })),
  };

/** Page tables in a machine's memory. */
export class PageTables {
  readonly root: number;
  readonly kind: Exclude<PagingName, "none">;
  readonly #machine: TestMachine;
  #next: number;

  /** @param at where the tables go: the first is the root */
  constructor(
    machine: TestMachine,
    kind: Exclude<PagingName, "none">,
    at = 0x40_0000,
  ) {
    this.#machine = machine;
    this.kind = kind;
    this.root = at;
    this.#next = at + 4096;
    machine.memory.bytes.fill(0, at, at + 4096);
  }

  #read(at: number): bigint {
    return this.kind === "legacy"
      ? BigInt(this.#machine.peek32(at))
      : this.#machine.peek64(at);
  }

  /** Writes an entry. */
  write(at: number, value: bigint): void {
    if (this.kind === "legacy") {
      this.#machine.poke32(at, Number(BigInt.asUintN(32, value)));
    } else this.#machine.poke64(at, value);
  }

  /** The value of an entry. */
  read(at: number): bigint {
    return this.#read(at);
  }

  /** Address of the entry for a linear address that maps `size` bytes. */
  entry(linear: bigint, size = 4096): number {
    let table = this.root;
    for (const { shift, bits } of LEVELS[this.kind]) {
      const index = Number(linear >> BigInt(shift) & (1n << BigInt(bits)) - 1n);
      const at = table + index * (this.kind === "legacy" ? 4 : 8);
      if (2 ** shift === size) return at;
      if ((this.#read(at) & 1n) === 0n) this.#allocate(at, shift);
      table = Number(this.#read(at) & 0xffff_f000n);
    }
    throw new RangeError(`No entry maps ${size} bytes`);
  }

  #allocate(at: number, shift: number): void {
    const page = this.#next;
    this.#next += 4096;
    this.#machine.memory.bytes.fill(0, page, page + 4096);
    // In a PAE directory-pointer entry RW and US are reserved.
    const isPdpte = this.kind === "pae" && shift === 30;
    this.write(at, BigInt(page | (isPdpte ? 1 : 7)));
  }

  /** Maps `size` bytes with these bits of the leaf entry; answers where it is. */
  map(
    linear: bigint | number,
    physical: bigint | number,
    bits: bigint | number = 7,
    size = 4096,
  ): number {
    const at = this.entry(BigInt(linear), size);
    const large = size > 4096 ? BigInt(PTE.PS) : 0n;
    this.write(at, BigInt(physical) | BigInt(bits) | large);
    return at;
  }

  /** Loads the PDPTE registers, as MOV to CR3 does. */
  loadPdptes(machine: TestMachine): void {
    if (this.kind !== "pae") return;
    machine.set({
      PDPTE0: this.#read(this.root),
      PDPTE1: this.#read(this.root + 8),
      PDPTE2: this.#read(this.root + 16),
      PDPTE3: this.#read(this.root + 24),
    });
  }
}

/** A generator of 32-bit random numbers that a seed determines (xorshift32). */
export function randomSource(seed: number): () => number {
  let x = seed | 1;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return x >>> 0;
  };
}

const PREFIXES = [0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x36, 0x3e, 0x26, 0x64]
  .concat([0x65, 0x48, 0x4c, 0x41, 0x45, 0x4f, 0x40]);
const ESCAPES = [[], [], [0x0f], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]]
  .concat([[0xc4, 0xe2, 0x78], [0xc4, 0xe3, 0xf8], [0xc5, 0xf8]]);

// Something that looks like an instruction more often than chance would have it.
function putInstruction(bytes: number[], random: () => number): void {
  const pick = random();
  for (let n = pick & 7; n > 4; n--) {
    bytes.push(PREFIXES[random() % PREFIXES.length]!);
  }
  bytes.push(...ESCAPES[(pick >>> 3) % ESCAPES.length]!);
  // Opcode, ModR/M and a few bytes of displacement and immediate.
  for (let n = (pick >>> 8) % 7; n >= 0; n--) bytes.push(random() & 0xff);
}

/** Random bytes, most of which look like instructions. */
export function randomCode(length: number, random: () => number): Uint8Array {
  const bytes: number[] = [];
  while (bytes.length < length) {
    if ((random() & 3) === 0) bytes.push(random() & 0xff);
    else putInstruction(bytes, random);
  }
  return Uint8Array.from(bytes.slice(0, length));
}
