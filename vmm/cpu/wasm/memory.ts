// Loads, stores and atomics of one memory of a module (WebAssembly Core
// Specification 3.0, 5.4.7 "Memory Instructions"; Threads proposal for 0xFE).

import {
  type Expr,
  expr,
  type ExprOf,
  F32,
  F64,
  I32,
  i32,
  type I32Like,
  I64,
  i64,
  type I64Like,
  V128,
} from "./expr.ts";
import { unsignedBytes, type Writer } from "./writer.ts";

/** What has an effect and no value: operands, then the instruction's bytes. */
export class Stmt {
  constructor(
    readonly bytes: readonly number[],
    readonly kids: readonly Expr[],
  ) {}

  /** Appends the statement's code. */
  emit(out: Writer): void {
    const { kids } = this;
    for (let n = 0; n < kids.length; n++) kids[n]!.emit(out);
    out.append(this.bytes);
  }
}

/** The type of a memory's addresses. */
export type AddressType = "i32" | "i64";

/** An address: a number or an expression of the memory's address type. */
export type AddressOf<A extends AddressType> = A extends "i64" ? I64Like
  : I32Like;

/** A read-modify-write operation. */
export type AtomicOp = "add" | "sub" | "and" | "or" | "xor" | "xchg";

const RMW_OPCODE: Readonly<Record<AtomicOp, number>> = {
  add: 0x1e,
  sub: 0x25,
  and: 0x2c,
  or: 0x33,
  xor: 0x3a,
  xchg: 0x41,
};

/** A width in bytes that an integer access can have. */
export type Width = 1 | 2 | 4 | 8;

// Offsets from the operation's 64-bit full-width opcode, by width.
const RMW_I64_WIDTH: Readonly<Record<Width, number>> = {
  8: 1,
  1: 4,
  2: 5,
  4: 6,
};

const LOAD_ZERO: Readonly<Record<Width, number>> = {
  1: 0x31,
  2: 0x33,
  4: 0x35,
  8: 0x29,
};
const STORE: Readonly<Record<Width, number>> = {
  1: 0x3c,
  2: 0x3d,
  4: 0x3e,
  8: 0x37,
};
const LOG2: Readonly<Record<Width, number>> = { 1: 0, 2: 1, 4: 2, 8: 3 };
const ATOMIC_LOAD: Readonly<Record<Width, number>> = {
  8: 0x11,
  1: 0x14,
  2: 0x15,
  4: 0x16,
};
const ATOMIC_STORE: Readonly<Record<Width, number>> = {
  8: 0x18,
  1: 0x1b,
  2: 0x1c,
  4: 0x1d,
};

/** The bytes of plain accesses, by memory, offset and opcode. */
const ACCESSES: Map<number, readonly number[]>[] = [];
const MOST_ACCESSES = 1 << 12;

/** One memory of a module. Offsets are constants added to the address. */
export class Memory<A extends AddressType = AddressType> {
  /**
   * @param index the memory's index in the module
   * @param addressType whether addresses are i32 or (memory64) i64
   */
  constructor(readonly index: number, readonly addressType: A) {}

  #address(address: AddressOf<A>): Expr {
    return this.addressType === "i64"
      ? i64(address as I64Like)
      : i32(address as I32Like);
  }

  // Alignment is a hint, and 0 is always right; only atomics must state it.
  #bytes(
    opcode: readonly number[],
    offset: number,
    align: number,
  ): readonly number[] {
    return this.index === 0
      ? [...opcode, align, ...unsignedBytes(offset)]
      : [...opcode, align | 0x40, this.index, ...unsignedBytes(offset)];
  }

  // As `#bytes`, for the plain accesses, of which there are many alike.
  #plain(opcode: number, offset: number): readonly number[] {
    const known = ACCESSES[this.index] ??= new Map();
    const key = offset * 256 + opcode;
    let bytes = known.get(key);
    if (bytes === undefined) {
      bytes = this.#bytes([opcode], offset, 0);
      if (known.size < MOST_ACCESSES) known.set(key, bytes);
    }
    return bytes;
  }

  #load(
    opcode: readonly number[],
    address: AddressOf<A>,
    offset: number,
    align = 0,
  ): [readonly number[], Expr[]] {
    return [this.#bytes(opcode, offset, align), [this.#address(address)]];
  }

  #store(
    opcode: readonly number[],
    address: AddressOf<A>,
    value: Expr,
    offset: number,
    align = 0,
  ): Stmt {
    return new Stmt(this.#bytes(opcode, offset, align), [
      this.#address(address),
      value,
    ]);
  }

  #put(
    opcode: number,
    address: AddressOf<A>,
    value: Expr,
    offset: number,
  ): Stmt {
    const kids = [this.#address(address), value];
    return new Stmt(this.#plain(opcode, offset), kids);
  }

  /** Loads 1, 2, 4 or 8 bytes, zero-extended to 64 bits. */
  load(width: Width, address: AddressOf<A>, offset = 0): I64 {
    return new I64(this.#plain(LOAD_ZERO[width], offset), [
      this.#address(address),
    ]);
  }
  /** Stores the low 1, 2, 4 or 8 bytes of a 64-bit value. */
  store(
    width: Width,
    address: AddressOf<A>,
    value: I64Like,
    offset = 0,
  ): Stmt {
    return this.#put(STORE[width], address, i64(value), offset);
  }
  /** `i32.load` */
  load32(address: AddressOf<A>, offset = 0): I32 {
    return new I32(this.#plain(0x28, offset), [this.#address(address)]);
  }
  /** `i32.load8_u` */
  load8(address: AddressOf<A>, offset = 0): I32 {
    return new I32(this.#plain(0x2d, offset), [this.#address(address)]);
  }
  /** `i32.load16_u` */
  load16(address: AddressOf<A>, offset = 0): I32 {
    return new I32(this.#plain(0x2f, offset), [this.#address(address)]);
  }
  /** `i64.load` */
  load64(address: AddressOf<A>, offset = 0): I64 {
    return this.load(8, address, offset);
  }
  /** `i64.load32_s`: four bytes, sign-extended */
  load32S(address: AddressOf<A>, offset = 0): I64 {
    return new I64(this.#plain(0x34, offset), [this.#address(address)]);
  }
  /** `i32.store` */
  store32(address: AddressOf<A>, value: I32Like, offset = 0): Stmt {
    return this.#put(0x36, address, i32(value), offset);
  }
  /** `i32.store8` */
  store8(address: AddressOf<A>, value: I32Like, offset = 0): Stmt {
    return this.#put(0x3a, address, i32(value), offset);
  }
  /** `i32.store16` */
  store16(address: AddressOf<A>, value: I32Like, offset = 0): Stmt {
    return this.#put(0x3b, address, i32(value), offset);
  }
  /** `i64.store` */
  store64(address: AddressOf<A>, value: I64Like, offset = 0): Stmt {
    return this.store(8, address, value, offset);
  }
  /** `f32.load` */
  loadF32(address: AddressOf<A>, offset = 0): F32 {
    return new F32(this.#plain(0x2a, offset), [this.#address(address)]);
  }
  /** `f64.load` */
  loadF64(address: AddressOf<A>, offset = 0): F64 {
    return new F64(this.#plain(0x2b, offset), [this.#address(address)]);
  }
  /** `f32.store` */
  storeF32(address: AddressOf<A>, value: F32, offset = 0): Stmt {
    return this.#put(0x38, address, value, offset);
  }
  /** `f64.store` */
  storeF64(address: AddressOf<A>, value: F64, offset = 0): Stmt {
    return this.#put(0x39, address, value, offset);
  }
  /** `v128.load` */
  loadV128(address: AddressOf<A>, offset = 0): V128 {
    return new V128(...this.#load([0xfd, 0x00], address, offset));
  }
  /** `v128.store` */
  storeV128(address: AddressOf<A>, value: V128, offset = 0): Stmt {
    return this.#store([0xfd, 0x0b], address, value, offset);
  }

  /** Atomic load, zero-extended; traps where the address is not aligned. */
  atomicLoad(width: Width, address: AddressOf<A>, offset = 0): I64 {
    return new I64(
      ...this.#load([0xfe, ATOMIC_LOAD[width]], address, offset, LOG2[width]),
    );
  }
  /** Atomic store; traps where the address is not aligned. */
  atomicStore(
    width: Width,
    address: AddressOf<A>,
    value: I64Like,
    offset = 0,
  ): Stmt {
    return this.#store(
      [0xfe, ATOMIC_STORE[width]],
      address,
      i64(value),
      offset,
      LOG2[width],
    );
  }
  /**
   * Atomic read-modify-write whose value is the old one, zero-extended. It has
   * an effect: bind it with `FunctionBuilder.let` at once.
   */
  atomicRmw(
    op: AtomicOp,
    width: Width,
    address: AddressOf<A>,
    value: I64Like,
    offset = 0,
  ): I64 {
    const opcode = [0xfe, RMW_OPCODE[op] + RMW_I64_WIDTH[width]];
    return new I64(this.#bytes(opcode, offset, LOG2[width]), [
      this.#address(address),
      i64(value),
    ]);
  }
  /** Atomic compare-exchange whose value is the old one; bind it at once. */
  atomicCmpxchg(
    width: Width,
    address: AddressOf<A>,
    expected: I64Like,
    replacement: I64Like,
    offset = 0,
  ): I64 {
    const opcode = [0xfe, 0x48 + RMW_I64_WIDTH[width]];
    return new I64(this.#bytes(opcode, offset, LOG2[width]), [
      this.#address(address),
      i64(expected),
      i64(replacement),
    ]);
  }
  /** `memory.fill`: sets `length` bytes to the low byte of `value`. */
  fill(address: AddressOf<A>, value: I32Like, length: AddressOf<A>): Stmt {
    return new Stmt([0xfc, 11, this.index], [
      this.#address(address),
      i32(value),
      this.#address(length),
    ]);
  }
  /** `memory.copy` inside this memory; the ranges may overlap. */
  copy(to: AddressOf<A>, from: AddressOf<A>, length: AddressOf<A>): Stmt {
    return new Stmt([0xfc, 10, this.index, this.index], [
      this.#address(to),
      this.#address(from),
      this.#address(length),
    ]);
  }
  /** `memory.size` in pages of 64 KiB. */
  size(): ExprOf[A] {
    return expr(this.addressType, [0x3f, this.index]);
  }
}

/** `atomic.fence` */
export const FENCE: Stmt = new Stmt([0xfe, 0x03, 0x00], []);
