// What the functions about segments, events and control registers are written
// with: state by address, the mode, checks that raise, and stacks (Intel SDM
// vol. 3, 2.2, 6.13).

import type { CpuModule } from "../cpu_module.ts";
import { ARITHMETIC, FLAG, Flags } from "../flags.ts";
import {
  CPL,
  CR0,
  CR4,
  CS,
  DR,
  EFER,
  gprAddress,
  RIP,
  SEG_ACCESS,
  SEG_BASE,
  SEG_LIMIT,
  SEG_SELECTOR,
  SYSTEM_FLAGS,
  TLB_ADDEND,
  TLB_READ,
  TLB_SYSTEM,
} from "../state.ts";
import { ACCESS } from "../state.ts";
import {
  type Expr,
  type FunctionBuilder,
  type I32,
  i32,
  type I32Like,
  type I64,
  type I64Like,
  type Memory,
  type Values,
} from "../wasm/mod.ts";
import type { RuntimeFunctions } from "../cpu_module.ts";
import type { RuntimeName } from "./signatures.ts";
import { NO_ERROR_CODE, VECTOR } from "./traps.ts";
import { CR0_PE, EFER_LMA } from "./control_bits.ts";
import { tlbEntry } from "./tlb.ts";

/** The bits of RFLAGS that can be other than constant. */
export const FLAG_BITS = 0x3f_7fd5;

/** Address of RSP. */
export const RSP = gprAddress(4);

/** Emits the body of one runtime function. */
export class Sys {
  /** Memory 0. */
  readonly state: Memory<"i32">;

  /**
   * @param cpu the module
   * @param f the function
   * @param site of the instruction, for what raises
   */
  constructor(
    readonly cpu: CpuModule,
    readonly f: FunctionBuilder,
    readonly site: I32 = i32(0),
  ) {
    this.state = cpu.state;
  }

  // --- State -----------------------------------------------------------------

  /** Keeps a value. */
  let<E extends I32 | I64>(value: E): E {
    return this.f.let<E>(value);
  }

  /** The 32-bit word at an address, kept. */
  get(address: I32Like, offset = 0): I32 {
    return this.let(this.state.load32(address, offset));
  }

  /** The 64-bit word at an address, kept. */
  get64(address: I32Like, offset = 0): I64 {
    return this.let(this.state.load64(address, offset));
  }

  /** Stores a 32-bit word. */
  set(address: I32Like, value: I32Like, offset = 0): void {
    this.f.do(this.state.store32(address, value, offset));
  }

  /** Stores a 64-bit word. */
  set64(address: I32Like, value: I64Like, offset = 0): void {
    this.f.do(this.state.store64(address, value, offset));
  }

  /** Calls a runtime function. */
  call<N extends RuntimeName>(
    name: N,
    ...values: Expr[]
  ): Values<RuntimeFunctions[N]["type"]["results"]> {
    return this.f.call(this.cpu.fn[name], ...values) as Values<
      RuntimeFunctions[N]["type"]["results"]
    >;
  }

  // --- Mode ------------------------------------------------------------------

  /** Current privilege level, kept. */
  cpl(): I32 {
    return this.get(CPL);
  }

  /** RFLAGS without the arithmetic flags, kept. */
  flags(): I32 {
    return this.get(SYSTEM_FLAGS);
  }

  /** IOPL. */
  iopl(): I32 {
    return this.state.load32(0, SYSTEM_FLAGS).shrU(12).and(3);
  }

  /** All of RFLAGS, bits 31:0, kept. */
  allFlags(): I32 {
    const flags = new Flags(this.f, this.state);
    return this.let(flags.value().toI32().or(this.flags()));
  }

  /** Assigns the RFLAGS bits in a mask, the arithmetic ones among them. */
  setFlags(image: I32, mask: I32Like): void {
    const kept = this.let(image);
    const bits = this.let(i32(mask).and(FLAG_BITS & ~ARITHMETIC));
    const system = this.flags().and(bits.xor(-1)).or(kept.and(bits));
    this.set64(SYSTEM_FLAGS, system.or(2).toI64U());
    new Flags(this.f, this.state).assign(kept.toI64U());
  }

  /** Clears RFLAGS bits that are not arithmetic flags. */
  clearFlags(mask: I32Like): void {
    this.set(SYSTEM_FLAGS, this.flags().and(i32(mask).xor(-1)));
  }

  /** Whether EFER.LMA is set. */
  isLong(): I32 {
    return this.state.load32(0, EFER).and(EFER_LMA).ne(0);
  }

  /** Whether this is 64-bit mode. */
  is64(): I32 {
    return this.isLong().and(
      this.state.load32(0, CS + SEG_ACCESS).and(ACCESS.L).ne(0),
    );
  }

  /** Whether CR0.PE is set. */
  isProtected(): I32 {
    return this.state.load32(0, CR0).and(CR0_PE).ne(0);
  }

  /** Whether this is virtual-8086 mode. */
  isVm86(): I32 {
    return this.state.load32(0, SYSTEM_FLAGS).and(FLAG.VM).ne(0);
  }

  /** Whether this is protected mode and not virtual-8086 mode. */
  hasDescriptors(): I32 {
    return this.isProtected().and(this.isVm86().eqz());
  }

  /** Whether a bit of CR4 is set. */
  cr4(bit: number): I32 {
    return this.state.load32(0, CR4).and(bit).ne(0);
  }

  /** Whether a breakpoint is enabled in DR7. */
  hasBreakpoints(): I32 {
    return this.state.load32(0, DR + 56).and(0xff).ne(0);
  }

  // --- Checks ----------------------------------------------------------------

  /** Raises an exception; ends the path. */
  raise(vector: I32Like, error: I32Like = NO_ERROR_CODE): void {
    this.call("raise", this.site, i32(vector), i32(error));
    this.f.unreachable();
  }

  /** Raises an exception where a condition holds. */
  failIf(condition: I32, vector: I32Like, error: I32Like = NO_ERROR_CODE) {
    this.f.if(condition, () => this.raise(vector, error));
  }

  /** Raises #GP(0) where a condition holds. */
  protectIf(condition: I32): void {
    this.failIf(condition, VECTOR.GP, 0);
  }

  /** Raises #GP(0) unless CPL is 0. */
  requireCpl0(): void {
    this.protectIf(this.state.load32(0, CPL).ne(0));
  }

  // --- Memory ----------------------------------------------------------------

  /** A linear address of a system structure: 32 bits outside long mode. */
  linear(address: I64): I64 {
    const kept = this.let(address);
    return this.let(kept.when(this.isLong(), kept.and(0xffff_ffff)));
  }

  /** Reads a system structure, as supervisor. */
  load(width: 1 | 2 | 4 | 8, la: I64): I64 {
    const { f, state, cpu } = this;
    const address = this.let(la);
    const entry = this.let(tlbEntry(state.load32(0, TLB_SYSTEM), address));
    const hit = address.xor(state.load64(entry, TLB_READ)).leU(4096 - width);
    return f.ifValue(
      hit,
      "i64",
      () => cpu.ram.load(width, address.add(state.load64(entry, TLB_ADDEND))),
      () => this.call("loadSystem", address, i32(width), this.site)[0],
    );
  }

  /** Writes a system structure, as supervisor. */
  store(width: 1 | 2 | 4 | 8, la: I64, value: I64): void {
    this.call("storeSystem", this.let(la), i32(width), value, this.site);
  }

  // --- Segments and stacks -----------------------------------------------------

  /** The base of a segment slot, kept. */
  base(slot: I32Like): I64 {
    return this.get64(slot, SEG_BASE);
  }

  /** The limit of a segment slot, zero-extended, kept. */
  limit(slot: I32Like): I64 {
    return this.let(this.state.load32(slot, SEG_LIMIT).toI64U());
  }

  /** The access word of a segment slot, kept. */
  access(slot: I32Like): I32 {
    return this.get(slot, SEG_ACCESS);
  }

  /** The selector of a segment slot, kept. */
  selector(slot: I32Like): I32 {
    return this.get(slot, SEG_SELECTOR);
  }

  /** Copies one segment slot onto another. */
  copySegment(to: number, from: number): void {
    for (const field of [SEG_BASE, SEG_LIMIT, SEG_SELECTOR]) {
      this.set64(0, this.state.load64(0, from + field), to + field);
    }
  }

  /** Bits that the stack pointer has with a stack segment, as a mask. */
  stackMask(slot: I32Like, wide: I32): I64 {
    const isBig = this.access(slot).and(ACCESS.DB).ne(0);
    const mask = i32(-1).when(isBig, 0xffff).toI64U();
    return this.let(mask.or(wide.eqz().toI64U().sub(1)));
  }

  /** Sets the stack pointer in the size that SS has. */
  setStackPointer(slot: number, value: I64, wide: I32): void {
    const mask = this.stackMask(slot, wide);
    // A 32-bit write clears the upper half; a 16-bit write keeps the rest.
    const kept = this.get64(RSP).and(mask.xor(-1));
    const keep = mask.eq(0xffff);
    this.set64(
      RSP,
      value.and(mask).or(kept.when(keep, kept.and(0))),
    );
  }

  /** Sets RIP. */
  setRip(rip: I64): void {
    this.set64(RIP, rip);
  }
}

/** The error code that names a selector. */
export function selectorError(selector: I32, ext: I32Like = 0): I32 {
  return selector.and(0xfffc).or(ext);
}

/** Whether a selector is null. */
export function isNull(selector: I32): I32 {
  return selector.and(0xfffc).eqz();
}

/** Whether a linear address is canonical. */
export function isCanonical(la: I64): I32 {
  return la.shl(16).shrS(16).eq(la);
}
