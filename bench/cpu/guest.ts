// A minimal 64-bit guest for measuring: identity-mapped, user code at privilege 3,
// handlers for SYSCALL and #UD, and a stop by HLT in the #BP handler.

import { VirtualCpu } from "../../vmm/cpu/cpu.ts";
import { EXIT_CODE } from "../../vmm/cpu/exits.ts";
import { GuestMemory } from "../../vmm/cpu/guest_memory.ts";
import { REGISTER, type RegisterNumber } from "../../vmm/cpu/registers.ts";
import type { Program } from "./programs.ts";

const SIZE = 16 << 20;
const PML4 = 0x1000;
const PDPT = 0x2000;
const PD = 0x3000;
const GDT = 0x4000;
const IDT = 0x5000;
const TSS = 0x6000;
const SYSCALL_HANDLER = 0x7000;
const UD_HANDLER = 0x7100;
const BP_HANDLER = 0x7200;
const KERNEL_STACK = 0x9000;
const USER_STACK = 0xb000;
const CODE_AT = 0x10_0000;
const FROM = 0x20_0000;
const TO = 0x60_0000;
const LSTAR = 0xc000_0082;
const STAR = 0xc000_0081;
const FMASK = 0xc000_0084;

// Null, kernel code and data, user data and code (SYSRET's order), TSS.
const GDT_ENTRIES: readonly bigint[] = [
  0n,
  0x00af9b000000ffffn,
  0x00cf93000000ffffn,
  0x00cff3000000ffffn,
  0x00affb000000ffffn,
  0x0000890060000067n,
  0n,
];
const KERNEL_CS = 0x08;
const USER_DS = 0x1b;
const USER_CS = 0x23;
const TSS_SELECTOR = 0x28;

/** The guest, ready to run programs. */
export class BenchGuest {
  readonly cpu: VirtualCpu;
  readonly #memory: GuestMemory;

  constructor(options: { readonly compile?: boolean } = {}) {
    this.#memory = new GuestMemory(SIZE);
    this.#memory.map({ gpa: 0, length: SIZE, offset: 0, writable: true });
    this.cpu = new VirtualCpu({ memory: this.#memory, ...options });
    this.#tables();
    this.#registers();
  }

  #tables(): void {
    const view = new DataView(this.#memory.memory.buffer);
    const put = (at: number, value: bigint) =>
      view.setBigUint64(at, value, true);
    put(PML4, BigInt(PDPT) | 7n);
    put(PDPT, BigInt(PD) | 7n);
    // 4 KiB pages through one table for each 2 MiB.
    for (let n = 0; n < SIZE >> 21; n++) {
      const table = 0xc0_0000 + n * 4096;
      put(PD + 8 * n, BigInt(table) | 7n);
      for (let p = 0; p < 512; p++) {
        put(table + 8 * p, BigInt((n << 21) + (p << 12)) | 7n);
      }
    }
    GDT_ENTRIES.forEach((entry, n) => put(GDT + 8 * n, entry));
    const gate = (vector: number, handler: number) => {
      const low = BigInt(handler) | BigInt(KERNEL_CS) << 16n |
        0xee00n << 32n;
      put(IDT + 16 * vector, low);
      put(IDT + 16 * vector + 8, 0n);
    };
    gate(3, BP_HANDLER);
    gate(6, UD_HANDLER);
    put(TSS + 4, BigInt(KERNEL_STACK));
    this.#code(SYSCALL_HANDLER, [0x48, 0x0f, 0x07]); //            sysretq
    this.#code(UD_HANDLER, [0x48, 0x83, 0x04, 0x24, 0x02, 0x48, 0xcf]); // add qword [rsp],2; iretq
    this.#code(BP_HANDLER, [0xf4]); //                             hlt
  }

  #code(at: number, bytes: readonly number[]): void {
    this.#memory.bytes.set(bytes, at);
  }

  #registers(): void {
    const { cpu } = this;
    cpu.setRegister(REGISTER.CR0, 0x8001_0033n);
    cpu.setRegister(REGISTER.CR3, BigInt(PML4));
    cpu.setRegister(REGISTER.CR4, 0x6a0n);
    cpu.setRegister(REGISTER.EFER, 0xd01n);
    const table = (register: RegisterNumber, base: number, limit: number) =>
      cpu.setDescriptor(register, { base: BigInt(base), limit, access: 0 });
    table(REGISTER.GDTR, GDT, 8 * GDT_ENTRIES.length - 1);
    table(REGISTER.IDTR, IDT, 16 * 32 - 1);
    cpu.setRegister(REGISTER.TR, BigInt(TSS_SELECTOR));
    cpu.setDescriptor(REGISTER.TR, {
      base: BigInt(TSS),
      limit: 0x67,
      access: 0x8b,
    });
    cpu.setMsr(LSTAR, BigInt(SYSCALL_HANDLER));
    cpu.setMsr(STAR, 0x0013_0008_0000_0000n);
    cpu.setMsr(FMASK, 0x200n);
  }

  /** Runs a program once; answers the seconds it took. */
  run(program: Program): number {
    this.#code(CODE_AT, [...program.code, 0xcc]);
    this.#memory.dropCode(CODE_AT, program.code.length + 1);
    return this.repeat(program);
  }

  /** Runs the program that is loaded again. */
  repeat(program: Program): number {
    const { cpu } = this;
    const segment = (
      register: RegisterNumber,
      selector: number,
      access: number,
    ) => {
      cpu.setRegister(register, BigInt(selector));
      cpu.setDescriptor(register, { base: 0n, limit: 0xffff_ffff, access });
    };
    segment(REGISTER.CS, USER_CS, 0xa0fb);
    for (const n of [REGISTER.SS, REGISTER.DS, REGISTER.ES]) {
      segment(n, USER_DS, 0xc0f3);
    }
    cpu.setRegister(REGISTER.RFLAGS, 2n);
    cpu.setRegister(REGISTER.RSP, BigInt(USER_STACK));
    cpu.setRegister(REGISTER.RIP, BigInt(CODE_AT));
    cpu.setRegister(REGISTER.RCX, BigInt(program.turns));
    cpu.setRegister(REGISTER.RDX, 256n);
    cpu.setRegister(REGISTER.RSI, BigInt(FROM));
    cpu.setRegister(REGISTER.RDI, BigInt(TO));
    const start = performance.now();
    const exit = cpu.run();
    const seconds = (performance.now() - start) / 1000;
    if (exit.code !== EXIT_CODE.HLT) {
      throw new Error(
        `"${program.name}" ended with exit ${exit.code} at RIP 0x${
          exit.rip.toString(16)
        }`,
      );
    }
    return seconds;
  }
}
