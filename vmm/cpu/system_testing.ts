// What tests of segments, gates, tasks and events share: an assembler over iced-x86's
// encoder, and a machine with descriptor tables (Intel SDM vol. 3, 3.4.5, 6.11, 8.2).
// Used by tests only.

import { Code, Encoder, Instruction, MemoryOperand, Register } from "iced-x86";
import { EXIT_CODE, type VmExit } from "./exits.ts";
import { REGISTER } from "./registers.ts";
import {
  ALL_EXCEPTIONS,
  type EnterOptions,
  type ModeName,
  PageTables,
  PTE,
  type Raised,
  TestMachine,
} from "./testing.ts";

// --- Assembler ---------------------------------------------------------------------

/** A memory operand: a displacement and, maybe, registers. */
export interface Mem {
  readonly disp: number;
  readonly base?: keyof typeof Register;
  readonly index?: keyof typeof Register;
  readonly segment?: keyof typeof Register;
}

/** An operand: a register's name, an immediate or target, memory. */
export type Arg = keyof typeof Register | number | bigint | Mem;

/** One instruction: iced-x86's code, then operands. */
export type Op = readonly [keyof typeof Code, ...Arg[]];

function memoryOf(m: Mem, bits: number): MemoryOperand {
  const register = (name: keyof typeof Register = "None") => Register[name];
  return new MemoryOperand(
    register(m.base),
    register(m.index),
    1,
    BigInt(m.disp),
    m.base === undefined ? bits / 8 : 1,
    false,
    register(m.segment),
  );
}

const BRANCH = /^(J|Call|Jmp)\w*_(rel|ptr)/;

function build([name, ...explicit]: Op, bits: number): Instruction {
  const code = Code[name];
  // PUSH and POP of a segment register name it in their code.
  const implied = /^(?:Push|Pop)[wdq]_([CDEFGS]S)$/.exec(name)?.[1];
  const args = implied === undefined
    ? explicit
    : [implied as keyof typeof Register];
  if (/_ptr/.test(name)) {
    return Instruction.createFarBranch(
      code,
      Number(args[0]),
      Number(args[1]),
    );
  }
  if (BRANCH.test(name)) {
    return Instruction.createBranch(code, BigInt(args[0] as number));
  }
  const kinds = args.map((a) =>
    typeof a === "string" ? "r" : typeof a === "object" ? "m" : "i"
  ).join("");
  const reg = (n: number) => Register[args[n] as keyof typeof Register];
  const mem = (n: number) => memoryOf(args[n] as Mem, bits);
  switch (kinds) {
    case "":
      return Instruction.create(code);
    case "r":
      return Instruction.createReg(code, reg(0));
    case "i":
      return Instruction.createI32(code, Number(args[0]) | 0);
    case "m":
      return Instruction.createMem(code, mem(0));
    case "rr":
      return Instruction.createRegReg(code, reg(0), reg(1));
    case "ri":
      return Instruction.createRegI64(code, reg(0), BigInt(args[1] as number));
    case "rm":
      return Instruction.createRegMem(code, reg(0), mem(1));
    case "mr":
      return Instruction.createMemReg(code, mem(0), reg(1));
    case "mi":
      return Instruction.createMemI32(code, mem(0), Number(args[1]) | 0);
    default:
      throw new TypeError(`No instruction with operands ${kinds}`);
  }
}

/** The machine code of a program for an address. */
export function assemble(
  bits: 16 | 32 | 64,
  at: number,
  ops: readonly Op[],
): Uint8Array {
  const encoder = new Encoder(bits);
  let ip = BigInt(at);
  for (const op of ops) {
    const instruction = build(op, bits);
    ip += BigInt(encoder.encode(instruction, ip));
    instruction.free();
  }
  const bytes = encoder.takeBuffer();
  encoder.free();
  return bytes;
}

// --- Descriptors -------------------------------------------------------------------

/** What a segment descriptor is made of. */
export interface SegmentSpec {
  readonly base?: number;
  /** as the descriptor holds it: 20 bits */
  readonly limit?: number;
  /** P, DPL, S and type */
  readonly access: number;
  /** G, D/B, L and AVL, bit 3 to 0 */
  readonly flags?: number;
}

/** A segment descriptor. */
export function segment(spec: SegmentSpec): bigint {
  const { base = 0, limit = 0xf_ffff, access, flags = 0xc } = spec;
  const b = BigInt(base);
  const l = BigInt(limit);
  return (l & 0xffffn) | (b & 0xff_ffffn) << 16n | BigInt(access) << 40n |
    (l >> 16n) << 48n | BigInt(flags) << 52n | (b >> 24n) << 56n;
}

/** What a gate is made of. */
export interface GateSpec {
  readonly selector: number;
  readonly offset: number;
  /** P, DPL, type */
  readonly access: number;
  /** bits 39:32: interrupt stack table, or parameter count */
  readonly extra?: number;
}

/** The first eight bytes of a gate. */
export function gate(
  { selector, offset, access, extra = 0 }: GateSpec,
): bigint {
  const o = BigInt(offset >>> 0);
  return (o & 0xffffn) | BigInt(selector) << 16n | BigInt(extra) << 32n |
    BigInt(access) << 40n | (o >> 16n) << 48n;
}

/** Selectors of the test GDT. */
export const SEL = {
  CODE32: 0x08,
  DATA: 0x10,
  CODE64: 0x18,
  USER32: 0x20 | 3,
  USER_DATA: 0x28 | 3,
  USER64: 0x30 | 3,
  CODE16: 0x38,
  DATA16: 0x40,
  CONFORMING: 0x48,
  TSS: 0x50,
  LDT: 0x60,
  /** a data segment that is not present */
  ABSENT: 0x70,
  /** free for a test: two entries each */
  FREE: 0x80,
  FREE2: 0x90,
  FREE3: 0xa0,
  READ_ONLY: 0xb0,
  EXECUTE_ONLY: 0xb8,
  CODE1: 0xc0 | 1,
  DATA1: 0xc8 | 1,
  BEYOND: 0x1000,
} as const;

/** Where things lie in memory. */
export const AT = {
  GDT: 0x1000,
  IDT: 0x2000,
  TSS: 0x3000,
  TSS2: 0x3200,
  LDT: 0x3400,
  /** top of the stack at level 0, as the TSS has it */
  STACK0: 0x7000,
  /** top of the stack that programs start with */
  STACK: 0x9000,
  /** top of interrupt stack n is here plus n times 0x100 */
  IST: 0xa000,
  CODE: 0x1_0000,
  USER: 0x1_4000,
  /** handler of vector n: here plus 16 n */
  HANDLERS: 0x1_8000,
  /** first page without a mapping, in long mode */
  UNMAPPED: 0x80_0000,
} as const;

const GDT_LIMIT = 0xff;
const FLAT_CODE64 = 0xa;

const GDT: readonly (readonly [number, bigint])[] = [
  [SEL.CODE32, segment({ access: 0x9a })],
  [SEL.DATA, segment({ access: 0x92 })],
  [SEL.CODE64, segment({ access: 0x9a, flags: FLAT_CODE64 })],
  [SEL.USER32, segment({ access: 0xfa })],
  [SEL.USER_DATA, segment({ access: 0xf2 })],
  [SEL.USER64, segment({ access: 0xfa, flags: FLAT_CODE64 })],
  [SEL.CODE16, segment({ limit: 0xffff, access: 0x9a, flags: 0 })],
  [SEL.DATA16, segment({ limit: 0xffff, access: 0x92, flags: 0 })],
  [SEL.CONFORMING, segment({ access: 0x9e })],
  [SEL.LDT, segment({ base: AT.LDT, limit: 0x3f, access: 0x82, flags: 0 })],
  [SEL.ABSENT, segment({ access: 0x12 })],
  [SEL.READ_ONLY, segment({ access: 0x90 })],
  [SEL.EXECUTE_ONLY, segment({ access: 0x98 })],
  [SEL.CODE1, segment({ access: 0xba })],
  [SEL.DATA1, segment({ access: 0xb2 })],
];

/** How a program starts. */
export interface StartOptions extends EnterOptions {
  /** stack pointer: default `AT.STACK` */
  readonly rsp?: number;
  /** where the program lies: default `AT.CODE` */
  readonly at?: number;
}

const BITS: Readonly<Record<ModeName, 16 | 32 | 64>> = {
  real: 16,
  vm86: 16,
  protected16: 16,
  protected32: 32,
  compat: 32,
  long: 64,
};

// By level: 32-bit and 64-bit code; data.
const CODES: Readonly<Record<number, readonly number[]>> = {
  0: [SEL.CODE32, SEL.CODE64],
  1: [SEL.CODE1],
  3: [SEL.USER32, SEL.USER64],
};
const DATAS: Readonly<Record<number, number>> = {
  0: SEL.DATA,
  1: SEL.DATA1,
  3: SEL.USER_DATA,
};

/** A machine with a GDT, an IDT whose handlers halt, and a TSS. */
export class SystemMachine extends TestMachine {
  #isLong = false;

  /** The bits of the code that the mode was started with. */
  bits: 16 | 32 | 64 = 32;

  /** Enters a mode with tables set up, writes a program and points RIP at it. */
  start(
    mode: ModeName,
    ops: readonly Op[] = [],
    options: StartOptions = {},
  ): void {
    this.bits = BITS[mode];
    this.#isLong = mode === "long" || mode === "compat";
    const tables = options.tables ??
      (this.#isLong ? this.identity() : undefined);
    this.enter(mode, { ...options, ...(tables ? { tables } : {}) });
    this.#tables();
    this.#selectors(mode, options.cpl ?? 0);
    const at = options.at ?? (this.bits === 16 ? 0x8000 : AT.CODE);
    this.program(at, ops);
    const rsp = options.rsp ?? (this.bits === 16 ? 0x6000 : AT.STACK);
    this.set({ RIP: at, RSP: rsp });
  }

  // The selectors that belong to what `enter` loaded.
  #selectors(mode: ModeName, cpl: number): void {
    if (mode === "real" || mode === "vm86") return;
    const is64 = mode === "long";
    const code = mode === "protected16" ? SEL.CODE16 : CODES[cpl]?.[+is64];
    const data = mode === "protected16" ? SEL.DATA16 : DATAS[cpl];
    if (code === undefined || data === undefined) return;
    this.set({ CS: code, SS: data, DS: data, ES: data, FS: data, GS: data });
  }

  /** Long-mode tables that map the first 8 MiB as they are, for user code too. */
  identity(): PageTables {
    const tables = new PageTables(this, "long");
    for (let at = 0; at < AT.UNMAPPED; at += 2 << 20) {
      tables.map(at, at, PTE.P | PTE.RW | PTE.US, 2 << 20);
    }
    return tables;
  }

  #tables(): void {
    this.memory.bytes.fill(0, AT.GDT, AT.TSS + 0x1000);
    for (const [selector, value] of GDT) this.descriptor(selector, value);
    this.descriptor(
      SEL.TSS,
      segment({ base: AT.TSS, limit: 0x67, access: 0x89, flags: 0 }),
    );
    for (let vector = 0; vector < 256; vector++) {
      this.idt(vector, {});
      this.memory.bytes[AT.HANDLERS + 16 * vector] = 0xf4;
    }
    const { cpu } = this;
    const put = (
      register: "GDTR" | "IDTR" | "TR" | "LDTR",
      base: number,
      limit: number,
      access: number,
    ) =>
      cpu.setDescriptor(REGISTER[register], {
        base: BigInt(base),
        limit,
        access,
      });
    put("GDTR", AT.GDT, GDT_LIMIT, 0);
    put("IDTR", AT.IDT, this.#isLong ? 0xfff : 0x7ff, 0);
    put("TR", AT.TSS, 0x67, 0x8b);
    put("LDTR", 0, 0, 0x10000);
    this.set({ TR: SEL.TSS });
    if (this.#isLong) {
      this.poke64(AT.TSS + 4, BigInt(AT.STACK0));
      for (let n = 1; n < 8; n++) {
        this.poke64(AT.TSS + 28 + 8 * n, BigInt(AT.IST + 0x100 * n));
      }
    } else {
      this.poke32(AT.TSS + 4, AT.STACK0);
      this.poke32(AT.TSS + 8, SEL.DATA);
    }
  }

  /** Writes a program. */
  program(at: number, ops: readonly Op[], bits = this.bits): void {
    const bytes = assemble(bits, at, ops);
    this.memory.bytes.set(bytes, at);
    this.memory.dropCode(at, Math.max(bytes.length, 1));
  }

  /** Writes an entry of the GDT. */
  descriptor(selector: number, low: bigint, high?: bigint): void {
    const at = AT.GDT + (selector & ~7);
    this.poke64(at, low);
    if (high !== undefined) this.poke64(at + 8, high);
  }

  /** The access byte of an entry of the GDT. */
  accessOf(selector: number): number {
    return this.memory.bytes[AT.GDT + (selector & ~7) + 5]!;
  }

  /** Writes a gate of the IDT: by default an interrupt gate to the handler. */
  idt(vector: number, spec: Partial<GateSpec>): void {
    const low = gate({
      selector: this.#isLong ? SEL.CODE64 : SEL.CODE32,
      offset: AT.HANDLERS + 16 * vector,
      access: 0x8e,
      ...spec,
    });
    const at = AT.IDT + vector * (this.#isLong ? 16 : 8);
    this.poke64(at, low);
    if (this.#isLong) this.poke64(at + 8, 0n);
  }

  /** Runs until HLT and answers its address. Close to a limit nothing is compiled. */
  runToHalt(instructions = 10_000): number {
    this.cpu.exceptionExits = 0;
    const exit = this.run(instructions);
    if (exit.code !== EXIT_CODE.HLT) throw new Error(describe(exit));
    return Number(exit.rip) - 1;
  }

  /** Runs until the handler of an event halts, and answers its vector. */
  runToHandler(): number {
    return (this.runToHalt() - AT.HANDLERS) / 16;
  }

  /** Runs until an exception, which is not delivered. */
  fault(): Raised {
    this.cpu.exceptionExits = ALL_EXCEPTIONS;
    return this.runToException(10_000);
  }

  /** Words on the stack from RSP up. */
  stack(count: number, width: 2 | 4 | 8): number[] {
    const sp = Number(this.get("RSP"));
    return Array.from({ length: count }, (_, n) => {
      const at = sp + n * width;
      if (width === 2) return this.view.getUint16(at, true);
      return width === 4 ? this.peek32(at) : Number(this.peek64(at));
    });
  }
}

function describe(exit: VmExit): string {
  const text = JSON.stringify(
    exit,
    (_, v) => typeof v === "bigint" ? `0x${v.toString(16)}` : v,
  );
  return `Expected HLT, not ${text}`;
}

/** What a fault test expects. */
export interface FaultCase {
  readonly name: string;
  readonly mode: ModeName;
  readonly ops: readonly Op[];
  readonly vector: number;
  readonly error?: number;
  readonly options?: StartOptions;
  readonly prepare?: (m: SystemMachine) => void;
}

/** Runs the cases on one machine; each must raise its exception. */
export function checkFaults(
  m: SystemMachine,
  cases: readonly FaultCase[],
): void {
  for (const c of cases) {
    m.start(c.mode, c.ops, c.options);
    c.prepare?.(m);
    let raised: Raised | undefined;
    try {
      raised = m.fault();
    } catch (error) {
      throw new Error(`${c.name}: ${(error as Error).message}`);
    }
    if (raised.vector !== c.vector || raised.error !== c.error) {
      throw new Error(
        `${c.name}: expected exception ${c.vector} (${c.error}), not ${raised.vector} (${raised.error}) at 0x${
          raised.rip.toString(16)
        }`,
      );
    }
  }
}
