// The x87's register stack in memory 0: TOP, tags, exception flags (Intel SDM
// vol. 1, 8.1). A TypeScript face for the runtime functions, not one of them.

import type { CpuModule } from "../cpu_module.ts";
import {
  type FunctionBuilder,
  type I32,
  i32,
  type I32Like,
  type I64,
  i64,
} from "../wasm/mod.ts";
import { FPR, FPU_CW, FPU_SW, FPU_TAGS, FPU_TOP } from "../state.ts";
import { C1, DE, DEFAULT_NAN, IE, PE, ZE } from "../softfloat/mod.ts";

/** Stack fault: with IE, the operand or the place for the result was missing. */
export const SF = 0x40;
/** What a stack underflow raises; C1 is clear. */
export const UNDERFLOW = IE | SF;
/** What a stack overflow raises. */
export const OVERFLOW = IE | SF | C1;
/** Exception summary and B, which is the same bit for the 8087's sake. */
export const SUMMARY = 0x8080;
/** Sign and exponent of the default NaN, the "real indefinite". */
export const INDEFINITE_SE = 0xffff;

/** A number with the flags of what made it. */
export interface Value {
  /** significand */
  readonly sig: I64;
  /** sign and exponent */
  readonly se: I32;
  /** exceptions and condition codes at their places in the status word */
  readonly flags: I32;
}

/** What stands for a number that is not there. */
export function indefinite(flags: I32Like): Value {
  return { sig: i64(DEFAULT_NAN), se: i32(INDEFINITE_SE), flags: i32(flags) };
}

/** Emits accesses to the register stack. */
export class X87Stack {
  /**
   * @param cpu the module
   * @param f the function that the code goes into
   */
  constructor(readonly cpu: CpuModule, readonly f: FunctionBuilder) {}

  #get(address: number): I32 {
    return this.cpu.state.load32(0, address);
  }

  #set(address: number, value: I32Like): void {
    this.f.do(this.cpu.state.store32(0, i32(value), address));
  }

  /** The number of the physical register that is ST(i). */
  slot(i: I32Like): I32 {
    return this.f.let(this.#get(FPU_TOP).add(i32(i)).and(7));
  }

  /** Whether a physical register is empty. */
  isEmpty(slot: I32): I32 {
    return this.f.let(this.#get(FPU_TAGS).shrU(slot).and(1).eqz());
  }

  /** Whether ST(i) is empty. */
  isEmptyAt(i: I32Like): I32 {
    return this.isEmpty(this.slot(i));
  }

  /** Address of a physical register. */
  address(slot: I32): I32 {
    return slot.shl(4).add(FPR);
  }

  /** A physical register's number. */
  read(slot: I32): { sig: I64; se: I32 } {
    const { state } = this.cpu;
    const address = this.f.let(this.address(slot));
    return {
      sig: this.f.let(state.load64(address)),
      se: this.f.let(state.load16(address, 8)),
    };
  }

  /** Writes a physical register, which is then not empty. */
  write(slot: I32, sig: I64, se: I32): void {
    this.#put(slot, sig, se);
    this.#set(FPU_TAGS, this.#get(FPU_TAGS).or(i32(1).shl(slot)));
  }

  /** Replaces a number that is there by a result that was at most rounded. */
  replace(slot: I32, { sig, se, flags }: Value): void {
    this.rounded(flags);
    this.#put(slot, sig, se);
  }

  #put(slot: I32, sig: I64, se: I32): void {
    const { state } = this.cpu;
    const address = this.f.let(this.address(slot));
    this.f.do(state.store64(address, sig));
    this.f.do(state.store16(address, se, 8));
  }

  /** Makes PE sticky and sets C1: `signal` where nothing else can be. */
  rounded(flags: I32): void {
    const unmasked = this.control().xor(-1).and(PE);
    const status = this.f.let(this.#get(FPU_SW).and(~C1).or(flags));
    const summary = i32(SUMMARY).when(status.and(unmasked), 0);
    this.#set(FPU_SW, status.or(summary));
  }

  /** `signal` where nothing is to be told. */
  clearCode(): void {
    this.#set(FPU_SW, this.#get(FPU_SW).and(~C1));
  }

  /** Writes ST(i). */
  writeAt(i: I32Like, value: Value): void {
    this.write(this.slot(i), value.sig, value.se);
  }

  /** Empties a physical register. */
  free(slot: I32): void {
    const bit = i32(1).shl(slot);
    this.#set(FPU_TAGS, this.#get(FPU_TAGS).and(bit.xor(-1)));
  }

  /** Moves TOP without looking at tags. */
  turn(by: number): void {
    this.#set(FPU_TOP, this.#get(FPU_TOP).add(by).and(7));
  }

  /** Pops once. */
  pop(): void {
    this.free(this.slot(0));
    this.turn(1);
  }

  /** Pops `count` times (0, 1 or 2). */
  popTimes(count: I32): void {
    this.f.if(count, () => this.pop());
    this.f.if(count.and(2), () => this.pop());
  }

  /** Pushes a number; the register below was found empty, or is given up. */
  push(value: Value): void {
    this.turn(-1);
    this.writeAt(0, value);
  }

  /** The control word. */
  control(): I32 {
    return this.#get(FPU_CW);
  }

  /** The flags that keep the instruction from its result: IE, DE, ZE unmasked. */
  stops(flags: I32): I32 {
    return flags.and(this.control().xor(-1)).and(IE | DE | ZE);
  }

  /** C1 where flags have a stack fault, for what leaves it alone otherwise. */
  faultCode(flags: I32): I32 {
    return i32(C1).when(flags.and(SF), 0);
  }

  /**
   * Makes flags sticky and replaces the condition codes of `codes`. Answers
   * whether an unmasked exception forbids the result.
   */
  signal(flags: I32, codes: I32Like = C1): I32 {
    return this.f.call(this.cpu.fn.x87Signal, flags, i32(codes))[0];
  }

  /** `compute`, or the indefinite with a stack underflow. */
  unless(empty: I32, compute: () => Value): Value {
    const { f } = this;
    const sig = f.var("i64");
    const se = f.var("i32");
    const flags = f.var("i32");
    const put = (v: Value) => {
      f.set(sig, v.sig);
      f.set(se, v.se);
      f.set(flags, v.flags);
    };
    f.if(empty, () => put(indefinite(UNDERFLOW)), () => put(compute()));
    return {
      sig: f.let(sig.get()),
      se: f.let(se.get()),
      flags: f.let(flags.get()),
    };
  }

  /** Sets the control word; unmasking what is pending makes it an error. */
  setControl(value: I32): void {
    this.#set(FPU_CW, value.and(0x1f3f).or(0x40));
    this.refresh();
  }

  /** Sets the status word and TOP. */
  setStatus(value: I32): void {
    const kept = this.f.let(value);
    this.#set(FPU_SW, kept.and(0x477f));
    this.#set(FPU_TOP, kept.shrU(11).and(7));
    this.refresh();
  }

  /** Sets or clears the summary bits by the flags and their masks. */
  refresh(): void {
    const rest = this.f.let(this.#get(FPU_SW).and(~SUMMARY));
    const pending = rest.and(this.control().xor(-1)).and(0x3f);
    this.#set(FPU_SW, rest.or(i32(SUMMARY).when(pending, 0)));
  }

  /** The status word with TOP in it. */
  status(): I32 {
    return this.#get(FPU_SW).or(this.#get(FPU_TOP).shl(11));
  }
}
