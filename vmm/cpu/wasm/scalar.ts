// Typed expressions of numbers (WebAssembly Core Specification 3.0, 5.4.7). The four
// types convert into each other, hence one file.

import { Expr, opcodeBytes } from "./value.ts";
import { COMPARE_I64, COMPUTE_I32, COMPUTE_I64 } from "./folding.ts";
import { signedBytes, Writer } from "./writer.ts";

/** What an `I32` parameter accepts. */
export type I32Like = I32 | number;
/** What an `I64` parameter accepts; a number must be a safe integer. */
export type I64Like = I64 | number | bigint;
/** What an `F32` parameter accepts. */
export type F32Like = F32 | number;
/** What an `F64` parameter accepts. */
export type F64Like = F64 | number;

/** A 32-bit integer. */
export class I32 extends Expr {
  override get type(): "i32" {
    return "i32";
  }

  /** The value of a constant, as a signed 32-bit number. */
  declare readonly value: number | undefined;

  constructor(
    bytes: readonly number[],
    kids: readonly Expr[] = [],
    stable = false,
    value?: number,
  ) {
    super(bytes, kids, stable);
    this.value = value;
  }

  /** `i32.add` */
  add(other: I32Like): I32 {
    return foldI32(this, 0x6a, other, ZERO_I32);
  }
  /** `i32.sub` */
  sub(other: I32Like): I32 {
    return foldI32(this, 0x6b, other, ZERO_I32);
  }
  /** `i32.mul` */
  mul(other: I32Like): I32 {
    return foldI32(this, 0x6c, other, ONE_I32);
  }
  /** `i32.div_s`: traps on zero and on overflow */
  divS(other: I32Like): I32 {
    return binaryI32(this, 0x6d, other);
  }
  /** `i32.div_u`: traps on zero */
  divU(other: I32Like): I32 {
    return binaryI32(this, 0x6e, other);
  }
  /** `i32.rem_s`: traps on zero */
  remS(other: I32Like): I32 {
    return binaryI32(this, 0x6f, other);
  }
  /** `i32.rem_u`: traps on zero */
  remU(other: I32Like): I32 {
    return binaryI32(this, 0x70, other);
  }
  /** `i32.and` */
  and(other: I32Like): I32 {
    return foldI32(this, 0x71, other, ONES_I32);
  }
  /** `i32.or` */
  or(other: I32Like): I32 {
    return foldI32(this, 0x72, other, ZERO_I32);
  }
  /** `i32.xor` */
  xor(other: I32Like): I32 {
    return foldI32(this, 0x73, other, ZERO_I32);
  }
  /** `i32.shl` */
  shl(other: I32Like): I32 {
    return foldI32(this, 0x74, other, ZERO_I32);
  }
  /** `i32.shr_s` */
  shrS(other: I32Like): I32 {
    return foldI32(this, 0x75, other, ZERO_I32);
  }
  /** `i32.shr_u` */
  shrU(other: I32Like): I32 {
    return foldI32(this, 0x76, other, ZERO_I32);
  }
  /** `i32.rotl` */
  rotl(other: I32Like): I32 {
    return binaryI32(this, 0x77, other);
  }
  /** `i32.rotr` */
  rotr(other: I32Like): I32 {
    return binaryI32(this, 0x78, other);
  }
  /** `i32.clz` */
  clz(): I32 {
    return new I32(opcodeBytes(0x67), [this]);
  }
  /** `i32.ctz` */
  ctz(): I32 {
    return new I32(opcodeBytes(0x68), [this]);
  }
  /** `i32.popcnt` */
  popcnt(): I32 {
    return new I32(opcodeBytes(0x69), [this]);
  }
  /** `i32.eqz` */
  eqz(): I32 {
    if (this.value !== undefined) return i32(this.value === 0 ? 1 : 0);
    return new I32(opcodeBytes(0x45), [this]);
  }
  /** `i32.eq` */
  eq(other: I32Like): I32 {
    return foldI32(this, 0x46, other);
  }
  /** `i32.ne` */
  ne(other: I32Like): I32 {
    return foldI32(this, 0x47, other);
  }
  /** `i32.lt_s` */
  ltS(other: I32Like): I32 {
    return foldI32(this, 0x48, other);
  }
  /** `i32.lt_u` */
  ltU(other: I32Like): I32 {
    return foldI32(this, 0x49, other);
  }
  /** `i32.gt_s` */
  gtS(other: I32Like): I32 {
    return foldI32(this, 0x4a, other);
  }
  /** `i32.gt_u` */
  gtU(other: I32Like): I32 {
    return foldI32(this, 0x4b, other);
  }
  /** `i32.le_s` */
  leS(other: I32Like): I32 {
    return foldI32(this, 0x4c, other);
  }
  /** `i32.le_u` */
  leU(other: I32Like): I32 {
    return foldI32(this, 0x4d, other);
  }
  /** `i32.ge_s` */
  geS(other: I32Like): I32 {
    return foldI32(this, 0x4e, other);
  }
  /** `i32.ge_u` */
  geU(other: I32Like): I32 {
    return foldI32(this, 0x4f, other);
  }
  /** `i32.extend8_s` */
  extend8S(): I32 {
    return new I32(opcodeBytes(0xc0), [this]);
  }
  /** `i32.extend16_s` */
  extend16S(): I32 {
    return new I32(opcodeBytes(0xc1), [this]);
  }
  /** `i64.extend_i32_s` */
  toI64S(): I64 {
    if (this.value !== undefined) return i64(this.value);
    return new I64(opcodeBytes(0xac), [this]);
  }
  /** `i64.extend_i32_u` */
  toI64U(): I64 {
    if (this.value !== undefined) return i64(this.value >>> 0);
    const [wide] = this.kids;
    if (this.bytes[0] === WRAP && bitsOf(wide as I64) <= 32) return wide as I64;
    return new I64(opcodeBytes(0xad), [this]);
  }
  /** `f32.convert_i32_s` */
  toF32S(): F32 {
    return new F32(opcodeBytes(0xb2), [this]);
  }
  /** `f64.convert_i32_s` */
  toF64S(): F64 {
    return new F64(opcodeBytes(0xb7), [this]);
  }
  /** `f64.convert_i32_u` */
  toF64U(): F64 {
    return new F64(opcodeBytes(0xb8), [this]);
  }
  /** `f32.reinterpret_i32` */
  asF32(): F32 {
    return new F32(opcodeBytes(0xbe), [this]);
  }
  /** `select`: `this` where `condition` is not zero, else `other` */
  when(condition: I32Like, other: I32Like): I32 {
    const c = i32(condition);
    if (c.value !== undefined) return c.value ? this : i32(other);
    return new I32(opcodeBytes(0x1b), [this, i32(other), c]);
  }
}

function binaryI32(self: I32, opcode: number, other: I32Like): I32 {
  return new I32(opcodeBytes(opcode), [self, i32(other)]);
}

function foldI32(
  self: I32,
  opcode: number,
  other: I32Like,
  identity?: I32,
): I32 {
  const b = i32(other);
  if (b === identity) return self;
  if (self.value !== undefined && b.value !== undefined) {
    return i32(COMPUTE_I32[opcode]!(self.value, b.value));
  }
  return new I32(opcodeBytes(opcode), [self, b]);
}

/** A 64-bit integer. */
export class I64 extends Expr {
  override get type(): "i64" {
    return "i64";
  }

  /** The value of a constant, as a signed 64-bit bigint. */
  declare readonly value: bigint | undefined;
  /** How many low bits may be set, where its maker knows; see `bitsOf`. */
  declare readonly bits: number | undefined;

  constructor(
    bytes: readonly number[],
    kids: readonly Expr[] = [],
    stable = false,
    value?: bigint,
    bits?: number,
  ) {
    super(bytes, kids, stable);
    this.value = value;
    this.bits = bits;
  }

  /** The same value, of which only the low bits may be set. */
  within(bits: number | undefined): I64 {
    if (bits === undefined) return this;
    const { bytes, kids, stable, value } = this;
    const same = new I64(bytes, kids, stable, value, bits);
    same.from = this.from;
    return same;
  }

  /** `i64.add` */
  add(other: I64Like): I64 {
    return foldI64(this, 0x7c, other, ZERO_I64);
  }
  /** `i64.sub` */
  sub(other: I64Like): I64 {
    return foldI64(this, 0x7d, other, ZERO_I64);
  }
  /** `i64.mul` */
  mul(other: I64Like): I64 {
    return foldI64(this, 0x7e, other, ONE_I64);
  }
  /** `i64.div_s`: traps on zero and on overflow */
  divS(other: I64Like): I64 {
    return binaryI64(this, 0x7f, other);
  }
  /** `i64.div_u`: traps on zero */
  divU(other: I64Like): I64 {
    return binaryI64(this, 0x80, other);
  }
  /** `i64.rem_s`: traps on zero */
  remS(other: I64Like): I64 {
    return binaryI64(this, 0x81, other);
  }
  /** `i64.rem_u`: traps on zero */
  remU(other: I64Like): I64 {
    return binaryI64(this, 0x82, other);
  }
  /** `i64.and` */
  and(other: I64Like): I64 {
    if (isLowMask(other) && bitsOf(this) <= bitsOf(i64(other))) return this;
    return foldI64(this, 0x83, other, ONES_I64);
  }
  /** `i64.or` */
  or(other: I64Like): I64 {
    return foldI64(this, 0x84, other, ZERO_I64);
  }
  /** `i64.xor` */
  xor(other: I64Like): I64 {
    return foldI64(this, 0x85, other, ZERO_I64);
  }
  /** `i64.shl` */
  shl(other: I64Like): I64 {
    return foldI64(this, 0x86, other, ZERO_I64);
  }
  /** `i64.shr_s` */
  shrS(other: I64Like): I64 {
    return foldI64(this, 0x87, other, ZERO_I64);
  }
  /** `i64.shr_u` */
  shrU(other: I64Like): I64 {
    return foldI64(this, 0x88, other, ZERO_I64);
  }
  /** `i64.rotl` */
  rotl(other: I64Like): I64 {
    return binaryI64(this, 0x89, other);
  }
  /** `i64.rotr` */
  rotr(other: I64Like): I64 {
    return binaryI64(this, 0x8a, other);
  }
  /** `i64.clz` */
  clz(): I64 {
    return new I64(opcodeBytes(0x79), [this]);
  }
  /** `i64.ctz` */
  ctz(): I64 {
    return new I64(opcodeBytes(0x7a), [this]);
  }
  /** `i64.popcnt` */
  popcnt(): I64 {
    return new I64(opcodeBytes(0x7b), [this]);
  }
  /** `i64.eqz` */
  eqz(): I32 {
    if (this.value !== undefined) return i32(this.value === 0n ? 1 : 0);
    return new I32(opcodeBytes(0x50), [this]);
  }
  /** `i64.eq` */
  eq(other: I64Like): I32 {
    return compareI64(this, 0x51, other);
  }
  /** `i64.ne` */
  ne(other: I64Like): I32 {
    return compareI64(this, 0x52, other);
  }
  /** `i64.lt_s` */
  ltS(other: I64Like): I32 {
    return compareI64(this, 0x53, other);
  }
  /** `i64.lt_u` */
  ltU(other: I64Like): I32 {
    return compareI64(this, 0x54, other);
  }
  /** `i64.gt_s` */
  gtS(other: I64Like): I32 {
    return compareI64(this, 0x55, other);
  }
  /** `i64.gt_u` */
  gtU(other: I64Like): I32 {
    return compareI64(this, 0x56, other);
  }
  /** `i64.le_s` */
  leS(other: I64Like): I32 {
    return compareI64(this, 0x57, other);
  }
  /** `i64.le_u` */
  leU(other: I64Like): I32 {
    return compareI64(this, 0x58, other);
  }
  /** `i64.ge_s` */
  geS(other: I64Like): I32 {
    return compareI64(this, 0x59, other);
  }
  /** `i64.ge_u` */
  geU(other: I64Like): I32 {
    return compareI64(this, 0x5a, other);
  }
  /** `i64.extend8_s` */
  extend8S(): I64 {
    if (this.value !== undefined) return i64(BigInt.asIntN(8, this.value));
    return new I64(opcodeBytes(0xc2), [this]);
  }
  /** `i64.extend16_s` */
  extend16S(): I64 {
    if (this.value !== undefined) return i64(BigInt.asIntN(16, this.value));
    return new I64(opcodeBytes(0xc3), [this]);
  }
  /** `i64.extend32_s` */
  extend32S(): I64 {
    if (this.value !== undefined) return i64(BigInt.asIntN(32, this.value));
    return new I64(opcodeBytes(0xc4), [this]);
  }
  /** `i32.wrap_i64` */
  toI32(): I32 {
    if (this.value !== undefined) {
      return i32(Number(BigInt.asIntN(32, this.value)));
    }
    return new I32(opcodeBytes(0xa7), [this]);
  }
  /** `f32.convert_i64_s` */
  toF32S(): F32 {
    return new F32(opcodeBytes(0xb4), [this]);
  }
  /** `f64.convert_i64_s` */
  toF64S(): F64 {
    return new F64(opcodeBytes(0xb9), [this]);
  }
  /** `f64.convert_i64_u` */
  toF64U(): F64 {
    return new F64(opcodeBytes(0xba), [this]);
  }
  /** `f64.reinterpret_i64` */
  asF64(): F64 {
    return new F64(opcodeBytes(0xbf), [this]);
  }
  /** `select`: `this` where `condition` is not zero, else `other` */
  when(condition: I32Like, other: I64Like): I64 {
    const c = i32(condition);
    if (c.value !== undefined) return c.value ? this : i64(other);
    return new I64(opcodeBytes(0x1b), [this, i64(other), c]);
  }
}

function binaryI64(self: I64, opcode: number, other: I64Like): I64 {
  return new I64(opcodeBytes(opcode), [self, i64(other)]);
}

function compareI64(self: I64, opcode: number, other: I64Like): I32 {
  const b = i64(other);
  if (b.value !== undefined && self.value !== undefined) {
    const holds = COMPARE_I64[opcode]!;
    return i32(Number(holds(self.value, b.value)));
  }
  return new I32(opcodeBytes(opcode), [self, b]);
}

function foldI64(
  self: I64,
  opcode: number,
  other: I64Like,
  identity?: I64,
): I64 {
  const b = i64(other);
  if (b === identity) return self;
  if (self.value !== undefined && b.value !== undefined) {
    return i64(COMPUTE_I64[opcode]!(self.value, b.value));
  }
  return new I64(opcodeBytes(opcode), [self, b]);
}

/** A single-precision number. */
export class F32 extends Expr {
  override get type(): "f32" {
    return "f32";
  }

  /** `f32.add` */
  add(other: F32Like): F32 {
    return binaryF32(this, 0x92, other);
  }
  /** `f32.sub` */
  sub(other: F32Like): F32 {
    return binaryF32(this, 0x93, other);
  }
  /** `f32.mul` */
  mul(other: F32Like): F32 {
    return binaryF32(this, 0x94, other);
  }
  /** `f32.div` */
  div(other: F32Like): F32 {
    return binaryF32(this, 0x95, other);
  }
  /** `f32.sqrt` */
  sqrt(): F32 {
    return new F32(opcodeBytes(0x91), [this]);
  }
  /** `f32.abs` */
  abs(): F32 {
    return new F32(opcodeBytes(0x8b), [this]);
  }
  /** `f32.neg` */
  neg(): F32 {
    return new F32(opcodeBytes(0x8c), [this]);
  }
  /** `f32.ceil` */
  ceil(): F32 {
    return new F32(opcodeBytes(0x8d), [this]);
  }
  /** `f32.floor` */
  floor(): F32 {
    return new F32(opcodeBytes(0x8e), [this]);
  }
  /** `f32.trunc` */
  trunc(): F32 {
    return new F32(opcodeBytes(0x8f), [this]);
  }
  /** `f32.nearest` */
  nearest(): F32 {
    return new F32(opcodeBytes(0x90), [this]);
  }
  /** `f32.eq` */
  eq(other: F32Like): I32 {
    return compareF32(this, 0x5b, other);
  }
  /** `f32.ne` */
  ne(other: F32Like): I32 {
    return compareF32(this, 0x5c, other);
  }
  /** `f32.lt` */
  lt(other: F32Like): I32 {
    return compareF32(this, 0x5d, other);
  }
  /** `f32.gt` */
  gt(other: F32Like): I32 {
    return compareF32(this, 0x5e, other);
  }
  /** `f32.le` */
  le(other: F32Like): I32 {
    return compareF32(this, 0x5f, other);
  }
  /** `f32.ge` */
  ge(other: F32Like): I32 {
    return compareF32(this, 0x60, other);
  }
  /** `f64.promote_f32` */
  toF64(): F64 {
    return new F64(opcodeBytes(0xbb), [this]);
  }
  /** `i32.reinterpret_f32` */
  asI32(): I32 {
    return new I32(opcodeBytes(0xbc), [this]);
  }
  /** `i32.trunc_sat_f32_s` */
  toI32SatS(): I32 {
    return new I32([0xfc, 0], [this]);
  }
  /** `i64.trunc_sat_f32_s` */
  toI64SatS(): I64 {
    return new I64([0xfc, 4], [this]);
  }
  /** `select`: `this` where `condition` is not zero, else `other` */
  when(condition: I32Like, other: F32Like): F32 {
    return new F32(opcodeBytes(0x1b), [this, f32(other), i32(condition)]);
  }
}

function binaryF32(self: F32, opcode: number, other: F32Like): F32 {
  return new F32(opcodeBytes(opcode), [self, f32(other)]);
}

function compareF32(self: F32, opcode: number, other: F32Like): I32 {
  return new I32(opcodeBytes(opcode), [self, f32(other)]);
}

/** A double-precision number. */
export class F64 extends Expr {
  override get type(): "f64" {
    return "f64";
  }

  /** `f64.add` */
  add(other: F64Like): F64 {
    return binaryF64(this, 0xa0, other);
  }
  /** `f64.sub` */
  sub(other: F64Like): F64 {
    return binaryF64(this, 0xa1, other);
  }
  /** `f64.mul` */
  mul(other: F64Like): F64 {
    return binaryF64(this, 0xa2, other);
  }
  /** `f64.div` */
  div(other: F64Like): F64 {
    return binaryF64(this, 0xa3, other);
  }
  /** `f64.sqrt` */
  sqrt(): F64 {
    return new F64(opcodeBytes(0x9f), [this]);
  }
  /** `f64.abs` */
  abs(): F64 {
    return new F64(opcodeBytes(0x99), [this]);
  }
  /** `f64.neg` */
  neg(): F64 {
    return new F64(opcodeBytes(0x9a), [this]);
  }
  /** `f64.ceil` */
  ceil(): F64 {
    return new F64(opcodeBytes(0x9b), [this]);
  }
  /** `f64.floor` */
  floor(): F64 {
    return new F64(opcodeBytes(0x9c), [this]);
  }
  /** `f64.trunc` */
  trunc(): F64 {
    return new F64(opcodeBytes(0x9d), [this]);
  }
  /** `f64.nearest` */
  nearest(): F64 {
    return new F64(opcodeBytes(0x9e), [this]);
  }
  /** `f64.eq` */
  eq(other: F64Like): I32 {
    return compareF64(this, 0x61, other);
  }
  /** `f64.ne` */
  ne(other: F64Like): I32 {
    return compareF64(this, 0x62, other);
  }
  /** `f64.lt` */
  lt(other: F64Like): I32 {
    return compareF64(this, 0x63, other);
  }
  /** `f64.gt` */
  gt(other: F64Like): I32 {
    return compareF64(this, 0x64, other);
  }
  /** `f64.le` */
  le(other: F64Like): I32 {
    return compareF64(this, 0x65, other);
  }
  /** `f64.ge` */
  ge(other: F64Like): I32 {
    return compareF64(this, 0x66, other);
  }
  /** `f32.demote_f64` */
  toF32(): F32 {
    return new F32(opcodeBytes(0xb6), [this]);
  }
  /** `i64.reinterpret_f64` */
  asI64(): I64 {
    return new I64(opcodeBytes(0xbd), [this]);
  }
  /** `i32.trunc_sat_f64_s` */
  toI32SatS(): I32 {
    return new I32([0xfc, 2], [this]);
  }
  /** `i64.trunc_sat_f64_s` */
  toI64SatS(): I64 {
    return new I64([0xfc, 6], [this]);
  }
  /** `select`: `this` where `condition` is not zero, else `other` */
  when(condition: I32Like, other: F64Like): F64 {
    return new F64(opcodeBytes(0x1b), [this, f64(other), i32(condition)]);
  }
}

function binaryF64(self: F64, opcode: number, other: F64Like): F64 {
  return new F64(opcodeBytes(opcode), [self, f64(other)]);
}

function compareF64(self: F64, opcode: number, other: F64Like): I32 {
  return new I32(opcodeBytes(opcode), [self, f64(other)]);
}

// Constants that recur, by value: offsets, masks, register addresses, sites.
const KNOWN_I32 = new Map<number, I32>();
const KNOWN_I64 = new Map<number, I64>();
const KNOWN_LARGE_I64 = new Map<bigint, I64>();
const MOST_KNOWN = 1 << 14;

function remember<K, T>(known: Map<K, T>, value: K, expr: T): T {
  if (known.size < MOST_KNOWN) known.set(value, expr);
  return expr;
}

/** `i32.wrap_i64` */
const WRAP = 0xa7;
/** How far `bitsOf` looks. */
const MOST_STEPS = 6;
// `i64.load8_u`, `i64.load16_u`, `i64.load32_u`, `i64.extend_i32_u`.
const FIXED_BITS: Readonly<Record<number, number>> = {
  0x31: 8,
  0x33: 16,
  0x35: 32,
  0xad: 32,
};

function isLowMask(value: I64Like): boolean {
  return value === 0xff || value === 0xffff || value === 0xffff_ffff;
}

/** At most how many low bits of a value are set. */
export function bitsOf(value: I64, steps = MOST_STEPS): number {
  if (value.value !== undefined) return bitLength(value.value);
  if (value.bits !== undefined) return value.bits;
  if (steps === 0) return 64;
  if (value.from !== undefined) return bitsOf(value.from as I64, steps - 1);
  const opcode = value.bytes[0]!;
  const fixed = FIXED_BITS[opcode];
  if (fixed !== undefined) return fixed;
  const [a, b] = value.kids;
  if (!(a instanceof I64) || !(b instanceof I64)) return 64;
  switch (opcode) {
    case 0x83: // and
      return Math.min(bitsOf(a, steps - 1), bitsOf(b, steps - 1));
    case 0x1b: // select
    case 0x84: // or
    case 0x85: // xor
      return Math.max(bitsOf(a, steps - 1), bitsOf(b, steps - 1));
    case 0x88: // shr_u
      return bitsOf(a, steps - 1) - Number((b.value ?? 0n) & 63n);
    default:
      return 64;
  }
}

function bitLength(value: bigint): number {
  return value < 0n ? 64 : value === 0n ? 0 : value.toString(2).length;
}

// Constants that change nothing: always among those that are remembered.
const ZERO_I32 = i32(0);
const ONE_I32 = i32(1);
const ONES_I32 = i32(-1);
const ZERO_I64 = i64(0);
const ONE_I64 = i64(1);
const ONES_I64 = i64(-1);

/** An i32 expression, from a number or as it is. */
export function i32(value: I32Like): I32 {
  if (typeof value !== "number") return value;
  const signed = value | 0;
  return KNOWN_I32.get(signed) ??
    remember(
      KNOWN_I32,
      signed,
      new I32([0x41, ...signedBytes(signed)], [], true, signed),
    );
}

/** An i64 expression, from an integer or as it is. */
export function i64(value: I64Like): I64 {
  if (value instanceof I64) return value;
  if (typeof value === "number") {
    if (value === (value | 0)) return smallI64(value);
    if (!Number.isSafeInteger(value)) {
      throw new RangeError(
        `Cannot encode ${value} as i64: not a safe integer`,
      );
    }
  }
  const signed = BigInt.asIntN(64, BigInt(value));
  const low = Number(signed);
  if (low === (low | 0)) return smallI64(low);
  return KNOWN_LARGE_I64.get(signed) ??
    remember(KNOWN_LARGE_I64, signed, largeI64(signed));
}

function largeI64(value: bigint): I64 {
  const out = new Writer(11);
  out.byte(0x42);
  out.s64(value);
  return new I64([...out.bytes], [], true, value);
}

function smallI64(value: number): I64 {
  // Minus zero is zero.
  const exact = value | 0;
  return KNOWN_I64.get(exact) ??
    remember(
      KNOWN_I64,
      exact,
      new I64([0x42, ...signedBytes(exact)], [], true, BigInt(exact)),
    );
}

/** An f32 expression, from a number or as it is. */
export function f32(value: F32Like): F32 {
  if (value instanceof F32) return value;
  const bytes = new Uint8Array(new Float32Array([value]).buffer);
  return new F32([0x43, ...bytes], [], true);
}

/** An f64 expression, from a number or as it is. */
export function f64(value: F64Like): F64 {
  if (value instanceof F64) return value;
  const bytes = new Uint8Array(new Float64Array([value]).buffer);
  return new F64([0x44, ...bytes], [], true);
}
