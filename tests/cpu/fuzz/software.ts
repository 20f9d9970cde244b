// The software CPU as an Executor of test cases: user mode under 4-level paging,
// with the windows of the native runner at the same addresses.

import type { Code } from "iced-x86";
import { Cpuid } from "../../../vmm/cpu/cpuid.ts";
import { InstructionSet } from "../../../vmm/cpu/instruction_set.ts";
import { VirtualCpu } from "../../../vmm/cpu/cpu.ts";
import { EXIT_CODE } from "../../../vmm/cpu/exits.ts";
import { FORMS } from "../../../vmm/cpu/forms/by_code.ts";
import { GuestMemory } from "../../../vmm/cpu/guest_memory.ts";
import type { RegionOptions } from "../../../vmm/cpu/regions/limits.ts";
import {
  GPR_NUMBERS,
  REGISTER,
  type RegisterNumber,
} from "../../../vmm/cpu/registers.ts";
import {
  CODE_BASE,
  CODE_SIZE,
  type CpuCase,
  type CpuOutcome,
  DATA_BASE,
  DATA_SIZE,
  type Executor,
  OUTCOME,
  SELECTORS,
  STACK_BASE,
  STACK_SIZE,
  STACK_WINDOW,
  STACK_WINDOW_AT,
} from "../native/native.ts";

const MEMORY = 1 << 20;
// Where the guest's kernel half begins, and the descriptor table in it.
const KERNEL = 0xffff_8000_0000_0000n;
const NX = 1n << 63n;
const PML4 = 0x1000;
const PDPT = 0x2000;
const PD = 0x3000;
const TABLES = 0x4000;
const GDT_TABLE = 0x9000;
const KERNEL_PDPT = 0xa000;
const KERNEL_PD = 0xb000;
const IDT = 0xc000;
const GDT = 0x8000;
const CODE_AT = 0x10000;
const DATA_AT = 0x20000;
const STACK_AT = 0x30000;
const USER = 7n;
const USER_READ = 5n;
const SUPERVISOR = 3n;
/** More than the elements that repetitions find in the windows. */
const INSTRUCTION_LIMIT = 1 << 17;
const ALL_EXCEPTIONS = 0xffff_ffff;
const INT3 = 0xcc;
const INTO = 0xce;

const CS64 = 0xa0fb;
const CS32 = 0xc0fb;
const DATA_ACCESS = 0xc0f3;

// Linux's segments at the selectors that the runner uses.
const GDT_ENTRIES: readonly bigint[] = [
  0n,
  0n,
  0x00af9b000000ffffn,
  0x00cf93000000ffffn,
  0x00cffb000000ffffn,
  0x00cff3000000ffffn,
  0x00affb000000ffffn,
];

// An interrupt gate that only the kernel may name.
const KERNEL_GATE = 0x8e00_0010_0000n;

class SoftwareExecutor implements Executor {
  readonly #memory = new GuestMemory(MEMORY);
  readonly #cpu: VirtualCpu;
  readonly #bytes: Uint8Array;

  constructor(compile: boolean | RegionOptions) {
    this.#memory.map({ gpa: 0, length: MEMORY, offset: 0, writable: true });
    this.#bytes = this.#memory.bytes;
    this.#cpu = new VirtualCpu({ memory: this.#memory, compile });
    this.#cpu.exceptionExits = ALL_EXCEPTIONS;
    this.#buildTables();
    this.#setControl();
  }

  run(cases: readonly CpuCase[]): Promise<CpuOutcome[]> {
    return Promise.resolve(cases.map((c) => this.#runOne(c)));
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #buildTables(): void {
    const view = new DataView(this.#memory.memory.buffer);
    const put = (at: number, value: bigint) =>
      view.setBigUint64(at, value, true);
    put(PML4, BigInt(PDPT) | USER);
    put(PDPT, BigInt(PD) | USER);
    // The descriptor tables, for the supervisor only, where no case gets by chance.
    put(PML4 + 8 * 256, BigInt(KERNEL_PDPT) | USER);
    put(KERNEL_PDPT + 8, BigInt(KERNEL_PD) | USER);
    put(KERNEL_PD, BigInt(GDT_TABLE) | USER);
    put(GDT_TABLE, BigInt(GDT) | SUPERVISOR);
    put(GDT_TABLE + 8, BigInt(IDT) | SUPERVISOR);
    GDT_ENTRIES.forEach((entry, n) => put(GDT + 8 * n, entry));
    for (let n = 0; n < 256; n++) put(IDT + 16 * n, KERNEL_GATE);
    const map = (
      table: number,
      base: number,
      size: number,
      at: number,
      bits: bigint,
    ) => {
      put(PD + 8 * (base >> 21), BigInt(table) | USER);
      for (let n = 0; n < size >> 12; n++) {
        put(table + 8 * n, BigInt(at + 4096 * n) | bits);
      }
    };
    map(TABLES + 0x1000, CODE_BASE, CODE_SIZE, CODE_AT, USER_READ);
    map(TABLES + 0x2000, DATA_BASE, DATA_SIZE, DATA_AT, USER | NX);
    map(TABLES + 0x3000, STACK_BASE, STACK_SIZE, STACK_AT, USER | NX);
    this.#bytes.fill(INT3, CODE_AT, CODE_AT + CODE_SIZE);
  }

  #setControl(): void {
    const cpu = this.#cpu;
    cpu.setRegister(REGISTER.CR0, 0x8005_0033n);
    cpu.setRegister(REGISTER.CR3, BigInt(PML4));
    // PAE, PGE, OSFXSR, OSXMMEXCPT, FSGSBASE, SMEP, UMIP: what Linux turns on.
    cpu.setRegister(REGISTER.CR4, 0x11_0ea0n);
    cpu.setRegister(REGISTER.EFER, 0xd01n);
    // What Linux has by default is none.
    cpu.setDescriptor(REGISTER.LDTR, { base: 0n, limit: 0, access: 0x10000 });
    // Without a bitmap of ports.
    cpu.setDescriptor(REGISTER.TR, { base: 0n, limit: 0, access: 0x8b });
    const base = KERNEL + (1n << 30n);
    const limit = 8 * GDT_ENTRIES.length - 1;
    cpu.setDescriptor(REGISTER.GDTR, { base, limit, access: 0 });
    cpu.setDescriptor(REGISTER.IDTR, {
      base: base + 0x1000n,
      limit: 0xfff,
      access: 0,
    });
  }

  #setSegments(c: CpuCase): void {
    const cpu = this.#cpu;
    const set = (
      register: RegisterNumber,
      selector: number,
      access: number,
      base = 0n,
    ) => {
      cpu.setRegister(register, BigInt(selector));
      cpu.setDescriptor(register, { base, limit: 0xffff_ffff, access });
    };
    const is64 = c.mode === 64;
    const cs = is64 ? SELECTORS.cs64 : SELECTORS.cs32;
    set(REGISTER.CS, cs, is64 ? CS64 : CS32);
    for (const n of [REGISTER.DS, REGISTER.ES, REGISTER.SS]) {
      set(n, SELECTORS.data, DATA_ACCESS);
    }
    set(REGISTER.FS, SELECTORS.data, DATA_ACCESS, c.fsBase);
    set(REGISTER.GS, SELECTORS.data, DATA_ACCESS, c.gsBase);
  }

  #load(c: CpuCase): void {
    const cpu = this.#cpu;
    this.#bytes.set(c.code, CODE_AT + c.codeBase - CODE_BASE);
    this.#memory.dropCode(CODE_AT, CODE_SIZE);
    this.#bytes.fill(0, DATA_AT, DATA_AT + DATA_SIZE);
    this.#bytes.set(c.data, DATA_AT + c.dataBase - DATA_BASE);
    this.#bytes.fill(0, STACK_AT, STACK_AT + STACK_SIZE);
    this.#bytes.set(c.stack, STACK_AT + STACK_WINDOW_AT - STACK_BASE);
    this.#setSegments(c);
    const mask = c.mode === 64 ? ~0n : 0xffff_ffffn;
    GPR_NUMBERS.forEach((number, n) => {
      const isThere = c.mode === 64 || n < 8;
      cpu.setRegister(number, isThere ? c.gpr[n]! & mask : 0n);
    });
    cpu.setRegister(REGISTER.RFLAGS, c.rflags | 0x202n);
    cpu.setRegister(REGISTER.RIP, BigInt(c.codeBase));
    cpu.setRegister(REGISTER.INTR_SHADOW, 0n);
    cpu.setFxImage(c.fx);
  }

  #runOne(c: CpuCase): CpuOutcome {
    const cpu = this.#cpu;
    this.#load(c);
    const exit = cpu.run(undefined, { instructions: INSTRUCTION_LIMIT });
    const isException = exit.code === EXIT_CODE.EXCEPTION;
    const vector = isException ? exit.vector : OUTCOME.timeout;
    const rip = cpu.getRegister(REGISTER.RIP);
    const stackAt = STACK_AT + STACK_WINDOW_AT - STACK_BASE;
    const dataAt = DATA_AT + c.dataBase - DATA_BASE;
    const outcome = {
      vector,
      errorCode: (isException ? exit.errorCode : 0) ?? 0,
      cr2: vector === 14 ? cpu.getRegister(REGISTER.CR2) : 0n,
      // INT3 and INTO are reported behind them, as their delivery would.
      rip: vector === 3 || vector === 4 ? this.#behind(rip) : rip,
      gpr: BigUint64Array.from(GPR_NUMBERS, (n) => cpu.getRegister(n)),
      rflags: cpu.getRegister(REGISTER.RFLAGS),
      fx: cpu.getFxImage(),
      data: this.#bytes.slice(dataAt, dataAt + c.data.length),
      stack: this.#bytes.slice(stackAt, stackAt + STACK_WINDOW),
    };
    const codeAt = CODE_AT + c.codeBase - CODE_BASE;
    this.#bytes.fill(INT3, codeAt, codeAt + c.code.length);
    return outcome;
  }

  // The end of an instruction of one byte and its prefixes.
  #behind(rip: bigint): bigint {
    let at = CODE_AT + Number(rip) - CODE_BASE;
    while (this.#bytes[at] !== INT3 && this.#bytes[at] !== INTO) at++;
    return BigInt(CODE_BASE + at + 1 - CODE_AT);
  }
}

/** Makes an executor on a software CPU of its own, whose blocks may be compiled. */
export function createSoftwareExecutor(
  options: { readonly compile?: boolean | RegionOptions } = {},
): Promise<Executor> {
  return Promise.resolve(new SoftwareExecutor(options.compile ?? false));
}

/** The instruction forms that the processor has and shows. */
export function supportedCodes(): readonly Code[] {
  const cpuid = new Cpuid({
    vendor: "amd",
    vcpu: 0,
    sockets: 1,
    cores: 1,
    threads: 1,
    x2apic: false,
  });
  const instructions = new InstructionSet(cpuid);
  return [...FORMS.keys()].filter((code) => instructions.supports(code));
}
