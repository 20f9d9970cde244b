// The x87's register stack in compiled code that supposes where TOP is and which
// registers are empty. Code of a block makes sure of it once and leaves where it is not
// so; then registers have addresses, and moving them is nothing but stores. What is
// special about an instruction leaves as well: its handler does it in full.

import type { RuntimeName } from "./runtime/signatures.ts";
import { C1 } from "./softfloat/mod.ts";
import { FPR, FPU_SW, FPU_TOP } from "./state.ts";
import {
  type Expr,
  type FunctionBuilder,
  type I32,
  type I64,
  i64,
  type Memory,
} from "./wasm/mod.ts";

/** TOP, and a bit for each physical register that is not empty. */
export type StackPosition = readonly [top: number, tags: number];

/** A number in a register. */
export interface StackNumber {
  /** significand */
  readonly sig: I64;
  /** sign and exponent */
  readonly se: I32;
}

/** What is supposed at a place in the code, and whether it is sure there. */
export interface StackMark {
  readonly position: StackPosition | undefined;
  readonly isSure: boolean;
  readonly isClear: boolean;
}

/** Where the number of pops is among a function's arguments. */
const POPS: ReadonlyMap<string, number> = new Map<RuntimeName, number>([
  ["x87Binary", 3],
  ["x87Compare", 2],
  ["x87CompareFlags", 2],
  ["x87CompareMemory", 2],
  ["x87Stored", 1],
]);
const PUSHES: ReadonlySet<string> = new Set<RuntimeName>(
  ["x87Load", "x87LoadRegister", "x87LoadConstant", "x87Split"],
);
const NO_MOVES: ReadonlySet<string> = new Set<RuntimeName>(
  ["x87BinaryMemory", "x87Unary", "x87Pair", "x87Test", "x87Examine"]
    .concat([
      "x87Store",
      "x87SetControl",
      "x87Exchange",
      "x87Move",
    ]) as RuntimeName[],
);

function pushed([top, tags]: StackPosition): StackPosition {
  const to = (top - 1) & 7;
  return [to, tags | 1 << to];
}

function popped([top, tags]: StackPosition): StackPosition {
  return [(top + 1) & 7, tags & ~(1 << top)];
}

/** The register stack as code supposes it. */
export class FixedStack {
  readonly #f: FunctionBuilder;
  readonly #state: Memory<"i32">;
  readonly #leave: () => void;
  #position: StackPosition | undefined;
  #isSure = false;
  #isClear = false;

  /**
   * @param f the function that the code goes into
   * @param state memory 0
   * @param leave leaves for the handler of the instruction
   */
  constructor(f: FunctionBuilder, state: Memory<"i32">, leave: () => void) {
    this.#f = f;
    this.#state = state;
    this.#leave = leave;
  }

  /** What is supposed here. */
  get position(): StackPosition | undefined {
    return this.#position;
  }

  /** A block begins, for which this is supposed. */
  begin(position: StackPosition | undefined): void {
    this.rewind({ position, isSure: false, isClear: false });
  }

  /** Whether no exception can be pending here. */
  get isClear(): boolean {
    return this.#isClear;
  }

  /** None is pending here. */
  setClear(): void {
    this.#isClear = true;
  }

  /** What is known now. */
  mark(): StackMark {
    return {
      position: this.#position,
      isSure: this.#isSure,
      isClear: this.#isClear,
    };
  }

  /** Goes back to what was known. */
  rewind({ position, isSure, isClear }: StackMark): void {
    this.#isClear = isClear;
    this.#position = position;
    this.#isSure = isSure;
  }

  /** Something else wrote TOP or the tags. */
  forget(): void {
    this.begin(undefined);
  }

  /** A runtime function that moves the stack was called; what for is told by the rest. */
  called(name: string, values: readonly Expr[]): void {
    const at = this.#position;
    const pops = POPS.get(name);
    if (name === "x87Pending") return;
    if (at === undefined) return this.forget();
    if (PUSHES.has(name)) return this.begin(pushed(at));
    if (name === "x87Reduce") return this.begin(popped(at));
    if (NO_MOVES.has(name)) return this.begin(at);
    if (pops === undefined) return this.forget();
    let to = at;
    const count = (values[pops] as I32).value ?? 0;
    for (let n = 0; n < count; n++) to = popped(to);
    this.begin(to);
  }

  /**
   * Whether these registers ST(i) have numbers; then the code is sure of it.
   *
   * @param hasRoom whether another number must fit, too
   */
  holds(registers: readonly (number | undefined)[], hasRoom = false): boolean {
    const at = this.#position;
    if (at === undefined) return false;
    const isThere = (i: number) => (at[1] >> ((at[0] + i) & 7) & 1) === 1;
    if (!registers.every((i) => i !== undefined && isThere(i))) return false;
    if (hasRoom && isThere(-1)) return false;
    this.#makeSure(at);
    return true;
  }

  #makeSure([top, tags]: StackPosition): void {
    if (this.#isSure) return;
    // TAGS follows TOP.
    const expected = i64(BigInt(tags) << 32n | BigInt(top));
    this.leaveWhere(this.#state.load64(0, FPU_TOP).ne(expected));
    this.#isSure = true;
  }

  /** Leaves for the instruction's handler; nothing of it may have been done. */
  leaveWhere(condition: I32): void {
    this.#f.rarely(condition, this.#leave);
  }

  #address(i: number): number {
    return FPR + 16 * ((this.#position![0] + i) & 7);
  }

  /** The number in ST(i). */
  read(i: number): StackNumber {
    const at = this.#address(i);
    return {
      sig: this.#f.let(this.#state.load64(0, at)),
      se: this.#f.let(this.#state.load16(0, at + 8)),
    };
  }

  /** Writes ST(i), which has a number. */
  write(i: number, { sig, se }: StackNumber): void {
    const at = this.#address(i);
    this.#f.do(this.#state.store64(0, sig, at));
    this.#f.do(this.#state.store16(0, se, at + 8));
  }

  /** Pushes a number where there is room. */
  push(number: StackNumber): void {
    this.#move(pushed(this.#position!));
    this.write(0, number);
  }

  /** Pops numbers that are there. */
  pop(count: number): void {
    if (count === 0) return;
    let to = this.#position!;
    for (let n = 0; n < count; n++) to = popped(to);
    this.#move(to);
  }

  #move(to: StackPosition): void {
    const both = BigInt(to[1]) << 32n | BigInt(to[0]);
    this.#f.do(this.#state.store64(0, i64(both), FPU_TOP));
    this.#position = to;
  }

  /** Sets C1 and makes PE sticky, by flags that have nothing else. */
  rounded(flags: I32): void {
    this.#setStatus(this.#state.load32(0, FPU_SW).and(~C1).or(flags));
  }

  /** Clears C1. */
  clearCode(): void {
    this.#setStatus(this.#state.load32(0, FPU_SW).and(~C1));
  }

  /** Replaces the condition codes. */
  setCodes(codes: I32, all: number): void {
    this.#setStatus(this.#state.load32(0, FPU_SW).and(~all).or(codes));
  }

  #setStatus(value: I32): void {
    this.#f.do(this.#state.store32(0, value, FPU_SW));
  }
}
