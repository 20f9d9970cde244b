// Memory 0 as a region sees it: registers, flags and a few words of the engine are
// locals of its function, everything else is where `state.ts` has it. A definition that
// reads or writes a register by its address works on the local.

import {
  EA,
  FLAG_CARRY,
  FLAG_RESULT,
  FPU_TAGS,
  FPU_TOP,
  GPR,
  RIP_BASE,
  TLB_BASE,
  ZERO,
} from "../state.ts";
import {
  bitsOf,
  type Expr,
  type FunctionBuilder,
  I32,
  type I32Like,
  I64,
  i64,
  type I64Like,
  type Stmt,
  type ValType,
  type Var,
  type Width,
} from "../wasm/mod.ts";
import { Origins, readFrom } from "./origins.ts";
import {
  FlagStore,
  type FlagWord,
  lowBytes,
  type RegionState,
} from "./region_state.ts";
import { type MapMark, RewindableMap } from "./rewindable_map.ts";
import {
  constantAddress,
  setLocal,
  Unsupported,
  VectorLocals,
} from "./vector_locals.ts";

export { Unsupported };

/** A word of memory 0 that is a local. */
interface Word {
  readonly variable: Var<ValType>;
  /** whether the region writes it, so that it must be stored on the way out */
  isWritten: boolean;
}

const GPR_END = GPR + 16 * 8;

function isFlagWord(at: number): at is FlagWord {
  return at === FLAG_RESULT || at === FLAG_CARRY;
}

const MASKS: Readonly<Record<Width, I64>> = {
  1: i64(0xff),
  2: i64(0xffff),
  4: i64(0xffff_ffff),
  8: i64(-1),
};

/** Memory 0 with registers in locals. */
export class StateLocals extends VectorLocals implements RegionState {
  readonly #words = new Map<number, Word>();
  readonly pending = new RewindableMap<FlagWord, I64>();
  /** Where values come from. */
  readonly origins = new Origins();
  /** How many low bits of registers may be set, where that is less than all. */
  readonly #bits = new RewindableMap<number, number>();
  /** Whether what is emitted here runs once, and before the rest of its block. */
  readonly #isStraight: () => boolean;
  onStack = () => {};

  /**
   * @param f the region's function
   * @param isStraight whether what is emitted now runs once, before all that follows
   *   in its block
   */
  constructor(f: FunctionBuilder, isStraight: () => boolean) {
    super(f);
    this.#isStraight = isStraight;
  }

  beginBlock(): void {
    this.origins.forget();
    this.#bits.clear();
  }

  mark(): MapMark {
    return this.#bits.mark();
  }

  rewind(mark: MapMark): void {
    this.#bits.rewind(mark);
  }

  #word(at: number, type: ValType = "i64"): Word {
    let word = this.#words.get(at);
    if (word === undefined) {
      word = { variable: this.f.reserve(type), isWritten: false };
      this.#words.set(at, word);
      this.origins.name(at, word.variable.index);
    }
    return word;
  }

  // The address of a word that is a local: its registers begin at 8-byte steps.
  #localAt(address: I32Like, offset: number): number | undefined {
    const at = constantAddress(address, offset);
    if (at === undefined) return undefined;
    const isLocal = (at >= GPR && at < GPR_END) || at === EA ||
      at === RIP_BASE || isFlagWord(at) || (at >= ZERO && at < ZERO + 8);
    return isLocal ? at : undefined;
  }

  #get(at: number): I64 {
    if (at === ZERO) return i64(0);
    if (isFlagWord(at)) {
      const pending = this.pending.get(at);
      if (pending !== undefined) return pending;
    }
    const value = this.#word(at).variable.get() as I64;
    return this.#isStraight() ? value.within(this.#bits.get(at)) : value;
  }

  setBase(value: I64): Stmt {
    const { variable } = this.#word(RIP_BASE);
    return setLocal(variable.index, value);
  }

  assign(at: number, value: Expr): Stmt {
    const word = this.#word(at);
    word.isWritten = true;
    if (!isFlagWord(at)) {
      this.origins.assign(at, value);
      this.#noteBits(at, bitsOf(value as I64));
    }
    return setLocal(word.variable.index, value);
  }

  // On a path of its own the old value may stay as well.
  #noteBits(at: number, bits: number): void {
    const old = this.#isStraight() ? 0 : this.#bits.get(at) ?? 64;
    const most = Math.max(old, bits);
    if (most < 64) this.#bits.set(at, most);
    else this.#bits.delete(at);
  }

  override load(width: Width, address: I32Like, offset = 0): I64 {
    const at = this.#localAt(address, offset);
    if (at === undefined) {
      const value = super.load(width, address, offset);
      const word = constantAddress(address, offset);
      return word === undefined ? value : readFrom(word, value);
    }
    return lowBytes(this.#get(at & ~7).shrU(8 * (at & 7)), width);
  }

  override load32(address: I32Like, offset = 0): I32 {
    if (address === 0 && offset === TLB_BASE) {
      return this.#word(TLB_BASE, "i32").variable.get() as I32;
    }
    const at = this.#localAt(address, offset);
    if (at === undefined) return super.load32(address, offset);
    return this.#get(at & ~7).shrU(8 * (at & 7)).toI32();
  }

  override load8(address: I32Like, offset = 0): I32 {
    const at = this.#localAt(address, offset);
    return at === undefined
      ? super.load8(address, offset)
      : this.load32(address, offset).and(0xff);
  }

  override load16(address: I32Like, offset = 0): I32 {
    const at = this.#localAt(address, offset);
    return at === undefined
      ? super.load16(address, offset)
      : this.load32(address, offset).and(0xffff);
  }

  override load32S(address: I32Like, offset = 0): I64 {
    const at = this.#localAt(address, offset);
    return at === undefined
      ? super.load32S(address, offset)
      : this.load32(address, offset).toI64S();
  }

  override store(
    width: Width,
    address: I32Like,
    value: I64Like,
    offset = 0,
  ): Stmt {
    const at = this.#localAt(address, offset);
    if (at === undefined) return super.store(width, address, value, offset);
    if (isFlagWord(at) && width === 8) return new FlagStore(at, i64(value));
    if (at < GPR || (at >= GPR_END && at !== EA)) {
      throw new Unsupported(`A store to ${at}`);
    }
    if (width === 8) return this.assign(at, i64(value));
    const shift = 8 * (at & 7);
    const mask = MASKS[width];
    const rest = this.#get(at & ~7).and(mask.shl(shift).xor(-1));
    return this.assign(at & ~7, rest.or(i64(value).and(mask).shl(shift)));
  }

  protected override refuse(address: I32Like, offset: number): void {
    super.refuse(address, offset);
    if (this.#localAt(address, offset) !== undefined) {
      throw new Unsupported("A store of another kind to a register");
    }
  }

  override store32(address: I32Like, value: I32Like, offset = 0): Stmt {
    this.refuse(address, offset);
    if (offset === FPU_TOP || offset === FPU_TAGS) this.onStack();
    return super.store32(address, value, offset);
  }
  override store8(address: I32Like, value: I32Like, offset = 0): Stmt {
    this.refuse(address, offset);
    return super.store8(address, value, offset);
  }
  override store16(address: I32Like, value: I32Like, offset = 0): Stmt {
    this.refuse(address, offset);
    return super.store16(address, value, offset);
  }

  override enter(): void {
    super.enter();
    for (const [at, { variable }] of this.#words) {
      if (at === EA) continue;
      this.f.set(
        variable,
        variable.type === "i32" ? super.load32(0, at) : super.load(8, 0, at),
      );
    }
  }

  override leave(): void {
    super.leave();
    for (const [at, { variable, isWritten }] of this.#words) {
      if (!isWritten || at === EA) continue;
      this.f.do(super.store(8, 0, variable.get() as I64, at));
    }
  }

  renewTlb(): void {
    const { variable } = this.#word(TLB_BASE, "i32");
    this.f.set(variable, super.load32(0, TLB_BASE));
  }
}

/** Whether evaluating an expression later gives the same value, at a small cost. */
export function isPure(value: Expr, most = MAX_PENDING): boolean {
  return sizeIfPure(value, most) <= most;
}

/** Most instructions of a value that is put off. */
const MAX_PENDING = 20;

// Infinity for what is not pure.
function sizeIfPure(value: Expr, most: number): number {
  if (value.stable) return 1;
  const opcode = value.bytes[0]!;
  // Calls are only expressions where the function is pure.
  const isCall = opcode === 0x10;
  const isNumeric = opcode === 0x1b || isCall ||
    (opcode >= 0x45 && opcode <= 0xc4);
  const traps = (opcode >= 0x6d && opcode <= 0x70) ||
    (opcode >= 0x7f && opcode <= 0x82) || (opcode >= 0xa8 && opcode <= 0xb1);
  if (
    !isNumeric || (traps && opcode !== 0xac && opcode !== 0xad) ||
    value.kids.length === 0
  ) {
    return Infinity;
  }
  let size = 1;
  for (const kid of value.kids) {
    size += sizeIfPure(kid, most);
    if (size > most) return Infinity;
  }
  return size;
}

/** Adds the locals that a pure expression reads. */
export function localsOf(value: Expr, into: Set<number>): void {
  if (value.kids.length > 0) {
    for (const kid of value.kids) localsOf(kid, into);
  } else if (value.bytes[0] === 0x20) {
    const low = value.bytes[1]!;
    into.add(low < 0x80 ? low : (low & 0x7f) | value.bytes[2]! << 7);
  }
}
