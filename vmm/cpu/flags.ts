// Arithmetic flags, kept lazily in two words (Intel SDM vol. 1, 3.4.3.1):
//   result  the last result, sign-extended to 64 bits: ZF, SF, PF
//   carry   bit 63 CF; bit 62 CF xor OF; bit 3 AF; bit 2 inverts PF;
//           bit 1 inverts SF; all others zero
// No reader needs to know which operation wrote them.

import {
  type FunctionBuilder,
  type I32,
  type I32Like,
  type I64,
  i64,
  type I64Like,
  type Memory,
} from "./wasm/mod.ts";
import { FLAG_CARRY, FLAG_RESULT } from "./state.ts";

/** Operand sizes in bits. */
export type OpSize = 8 | 16 | 32 | 64;

/** RFLAGS bits. */
export const FLAG = {
  CF: 1 << 0,
  PF: 1 << 2,
  AF: 1 << 4,
  ZF: 1 << 6,
  SF: 1 << 7,
  TF: 1 << 8,
  IF: 1 << 9,
  DF: 1 << 10,
  OF: 1 << 11,
  IOPL: 3 << 12,
  NT: 1 << 14,
  RF: 1 << 16,
  VM: 1 << 17,
  AC: 1 << 18,
  VIF: 1 << 19,
  VIP: 1 << 20,
  ID: 1 << 21,
} as const;

/** The six arithmetic flags. */
export const ARITHMETIC = FLAG.CF | FLAG.PF | FLAG.AF | FLAG.ZF | FLAG.SF |
  FLAG.OF;

// Bits of the carry word, made once.
const CF_BIT = i64(1n << 63n);
const AF_BIT = i64(8);
const TOP_BITS = i64(0xc000_0000_0000_0000n);
const TOP_AF_BITS = i64(0xc000_0000_0000_0008n);
const INVERT_BITS = i64(6);
const AF_INVERT_BITS = i64(14);

/** How two floating-point numbers compare: each 0 or 1, at most one of them 1. */
export interface Relation {
  readonly less: I32;
  readonly equal: I32;
  readonly unordered: I32;
}

/** The relation that CF, PF and ZF (as in RFLAGS, all set for unordered) tell. */
export function relationOf(f: FunctionBuilder, bits: I32): Relation {
  const kept = f.let(bits);
  const unordered = f.let(kept.shrU(2).and(1));
  return {
    less: f.let(kept.and(1).xor(unordered)),
    equal: f.let(kept.shrU(6).and(1).xor(unordered)),
    unordered,
  };
}

/** Sign-extends a value of `size` bits to 64; what is above is ignored. */
export function signExtend(value: I64, size: OpSize): I64 {
  switch (size) {
    case 8:
      return value.extend8S();
    case 16:
      return value.extend16S();
    case 32:
      return value.extend32S();
    default:
      return value;
  }
}

/** Zero-extends a value of `size` bits to 64; what is above is cleared. */
export function zeroExtend(value: I64, size: OpSize): I64 {
  switch (size) {
    case 8:
      return value.and(0xff);
    case 16:
      return value.and(0xffff);
    case 32:
      return value.toI32().toI64U();
    default:
      return value;
  }
}

// Carries out of each bit lie one position higher in a ^ b ^ r; for 64 bits the
// topmost has no place there and is computed.

/** The carry word after `r = a ± b` of less than 64 bits, `shift` being 63 - bits. */
export function carriesBelow(
  f: FunctionBuilder,
  a: I64,
  b: I64,
  r: I64,
  shift: I64,
): I64 {
  const x = f.share(a.xor(b).xor(r));
  return x.shl(shift).or(x.shrU(1).and(AF_BIT));
}

/** The carry word after `r = a + b` of 64 bits. */
export function carriesOfSum(
  _f: FunctionBuilder,
  a: I64,
  b: I64,
  r: I64,
): I64 {
  return a.and(b).or(a.or(b).and(r.xor(-1))).and(TOP_AF_BITS);
}

/** The carry word after `r = a - b` of 64 bits. */
export function carriesOfDifference(
  f: FunctionBuilder,
  a: I64,
  b: I64,
  r: I64,
): I64 {
  const notA = f.share(a.xor(-1));
  return notA.and(b).or(notA.or(b).and(r)).and(TOP_AF_BITS);
}

/**
 * Numbers whose difference the flags tell of, zero-extended from `size` bits: the note
 * of the subtraction's carry word. Where that was put off, a condition compares them.
 */
class Comparison {
  constructor(readonly size: OpSize, readonly a: I64, readonly b: I64) {}
}

/**
 * What instructions that keep some flags keep, as expressions of its own: the note of
 * a carry word. So what none of them keeps is not made where the word was put off.
 */
interface Kept {
  /** CF, in its place */
  readonly cf?: I64;
  /** AF, and what tells SF and PF from the result */
  readonly low?: I64;
}

function borrow({ a, b }: Comparison): I64 {
  return a.ltU(b).toI64U();
}

function signed({ size, a, b }: Comparison): readonly [I64, I64] {
  return [signExtend(a, size), signExtend(b, size)];
}

type Relate = (comparison: Comparison) => I32;

const RELATIONS: Readonly<Record<number, Relate>> = {
  2: ({ a, b }) => a.ltU(b),
  3: ({ a, b }) => a.geU(b),
  4: ({ a, b }) => a.eq(b),
  5: ({ a, b }) => a.ne(b),
  6: ({ a, b }) => a.leU(b),
  7: ({ a, b }) => a.gtU(b),
  12: (c) => signed(c)[0].ltS(signed(c)[1]),
  13: (c) => signed(c)[0].geS(signed(c)[1]),
  14: (c) => signed(c)[0].leS(signed(c)[1]),
  15: (c) => signed(c)[0].gtS(signed(c)[1]),
};

/**
 * Writes and reads the flags. Operands `a`, `b` and results `r` are kept values,
 * zero-extended from `size` bits unless it says otherwise.
 */
export class Flags {
  // The words that stay where the condition of `where` does not hold.
  #before: { isSet: I32; result: I64; carry: I64 } | undefined;

  constructor(readonly f: FunctionBuilder, readonly state: Memory<"i32">) {}

  /** The result word. */
  result(): I64 {
    return this.state.load64(0, FLAG_RESULT);
  }
  /** The carry word. */
  carry(): I64 {
    return this.state.load64(0, FLAG_CARRY);
  }
  #setResult(value: I64): void {
    const kept = this.#before;
    const word = kept ? value.when(kept.isSet, kept.result) : value;
    this.f.do(this.state.store64(0, word, FLAG_RESULT));
  }
  #setCarry(value: I64Like, note?: Comparison | Kept): void {
    const kept = this.#before;
    const word = kept ? i64(value).when(kept.isSet, kept.carry) : i64(value);
    // What has no parts, a constant or a local, may stand for something else as well.
    if (kept === undefined && word.kids.length > 0) word.note = note;
    this.f.do(this.state.store64(0, word, FLAG_CARRY));
  }

  /**
   * Sets flags where a condition holds and keeps them elsewhere. Nothing branches, so
   * that what is never read is never made: `set` must be right to run in both cases.
   */
  where(condition: I32, set: () => void): void {
    const { f } = this;
    const isSet = f.let(condition);
    if (isSet.value !== undefined) return isSet.value ? set() : undefined;
    const result = f.let(this.result());
    this.#before = { isSet, result, carry: f.let(this.carry()) };
    set();
    this.#before = undefined;
  }

  /** After `r = a + b` or `r = a + b + CF`; below 64 bits `r` is not truncated. */
  add(size: OpSize, a: I64, b: I64, r: I64): void {
    const { f } = this;
    this.#setCarry(
      size === 64
        ? f.orCall(carriesOfSum(f, a, b, r), "carriesOfSum", a, b, r)
        : this.#carriesBelow(size, a, b, r),
    );
    this.#setResult(signExtend(r, size));
  }

  /** After `r = a - b`; below 64 bits `r` is not truncated. */
  sub(size: OpSize, a: I64, b: I64, r: I64): void {
    const carry = this.#borrows(size, a, b, r);
    this.#setCarry(carry, new Comparison(size, a, b));
    this.#setResult(signExtend(r, size));
  }

  /** After `r = a - b - CF`; below 64 bits `r` is not truncated. */
  sbb(size: OpSize, a: I64, b: I64, r: I64): void {
    this.#setCarry(this.#borrows(size, a, b, r));
    this.#setResult(signExtend(r, size));
  }

  #borrows(size: OpSize, a: I64, b: I64, r: I64): I64 {
    if (size !== 64) return this.#carriesBelow(size, a, b, r);
    const { f } = this;
    const value = carriesOfDifference(f, a, b, r);
    return f.orCall(value, "carriesOfDifference", a, b, r);
  }

  #carriesBelow(size: OpSize, a: I64, b: I64, r: I64): I64 {
    const { f } = this;
    const shift = i64(63 - size);
    const value = carriesBelow(f, a, b, r, shift);
    return f.orCall(value, "carriesBelow", a, b, r, shift);
  }

  /** After a logical operation: CF, OF and AF are cleared. */
  logic(size: OpSize, r: I64): void {
    this.#setCarry(0);
    this.#setResult(signExtend(r, size));
  }

  /**
   * After a shift: `carry` has CF in bit 63 and CF xor OF in bit 62, what is below
   * does not count. AF is set, as AMD's processors do.
   */
  shift(size: OpSize, r: I64, carry: I64): void {
    this.#setCarry(carry.and(TOP_BITS).or(AF_BIT));
    this.#setResult(signExtend(r, size));
  }

  /** Sets ZF (0 or 1) and CF (0 or 1), clears the other four. */
  setZfCf(zf: I32Like, cf: I32Like = 0): void {
    const zero = this.f.let(toI64(zf));
    // A result of 0 has PF set, 1 has not.
    const cleared = zero.shl(2);
    const carry = toI64(cf);
    this.#setCarry(carry.shl(63).or(carry.shl(62)).or(cleared));
    this.#setResult(zero.xor(1));
  }

  /** Sets ZF (0 or 1) and keeps the other five. */
  setZf(zf: I32Like): void {
    const zero = this.f.let(toI64(zf));
    const pf = this.f.let(this.pf().toI64U());
    const sf = this.f.let(this.sf().toI64U());
    const kept = this.carry().and(TOP_AF_BITS);
    this.#setCarry(kept.or(pf.xor(zero).shl(2)).or(sf.shl(1)));
    this.#setResult(zero.xor(1));
  }

  /** Sets ZF, SF and PF from a result and the others as given (0 or 1). */
  resultWith(
    size: OpSize,
    r: I64,
    cf: I32Like,
    of: I32Like,
    af: I32Like = 0,
  ): void {
    this.setCarryOverflow(cf, of, af);
    this.#setResult(signExtend(r, size));
  }

  /**
   * Sets CF, OF and AF (each 0 or 1) and keeps ZF, SF and PF where `keep` is
   * true; otherwise the inversions of PF and SF are cleared with them, which
   * suits a caller that sets the result next.
   */
  setCarryOverflow(
    cf: I32Like,
    of: I32Like,
    af: I32Like = 0,
    keep = false,
  ): void {
    const c = this.f.let(toI64(cf));
    const packed = c.shl(63).or(c.xor(toI64(of)).shl(62))
      .or(toI64(af).shl(3));
    this.#setCarry(
      keep ? packed.or(this.carry().and(INVERT_BITS)) : packed,
    );
  }

  /** Sets CF (0 or 1) and OF (0 or 1), keeps AF, ZF, SF and PF. */
  setCfOf(cf: I32Like, of: I32Like): void {
    const c = this.f.let(toI64(cf));
    const low = this.#low();
    this.#setCarry(c.shl(63).or(c.xor(toI64(of)).shl(62)).or(low), { low });
  }

  /** After a product: CF and OF as given (0 or 1), the other four are kept. */
  product(exceeds: I64): void {
    const low = this.#low();
    this.#setCarry(exceeds.shl(63).or(low), { low });
  }

  // What keeps AF, SF and PF.
  #low(): I64 {
    const carry = this.carry();
    return (carry.note as Kept | undefined)?.low ??
      this.f.share(carry.and(AF_INVERT_BITS));
  }

  // What keeps CF.
  #cfBit(): I64 {
    const carry = this.carry();
    const { note } = carry;
    if (note instanceof Comparison) return this.f.share(borrow(note).shl(63));
    return (note as Kept | undefined)?.cf ?? this.f.share(carry.and(CF_BIT));
  }

  /** Sets CF (0 or 1) and keeps the other five. */
  setCf(cf: I32Like): void {
    const old = this.f.let(this.carry());
    // OF is the xor of the top two bits: flip both where CF changes.
    const flip = toI64(cf).shl(63).xor(old).and(CF_BIT);
    this.#setCarry(old.xor(flip).xor(flip.shrU(1)));
  }

  /**
   * After INC (`r = a + 1`) or DEC (`r = a - 1`, `b` the constant 1): all but CF.
   * Below 64 bits `r` is not truncated.
   */
  incDec(size: OpSize, a: I64, r: I64, dec: boolean): void {
    const cf = this.#cfBit();
    const top = BigInt.asIntN(64, 1n << BigInt(size - 1));
    const limit = dec ? i64(top) : i64(BigInt.asIntN(64, top - 1n));
    const of = zeroExtend(a, size).eq(zeroExtend(limit, size)).toI64U();
    const af = a.xor(r).shrU(1).and(AF_BIT);
    this.#setCarry(cf.or(cf.shrU(1).xor(of.shl(62))).or(af), { cf });
    this.#setResult(signExtend(r, size));
  }

  /** After a comparison of floating-point numbers: CF, ZF and PF tell, the rest is clear. */
  compare({ less, equal, unordered }: Relation): void {
    const { f } = this;
    const neither = f.let(unordered.toI64U());
    const cf = f.let(less.toI64U().or(neither));
    const same = f.let(equal.toI64U());
    // A result of 0 has PF set, which only unordered numbers have.
    this.#setCarry(cf.shl(63).or(cf.shl(62)).or(same.shl(2)));
    this.#setResult(same.or(neither).xor(1));
  }

  /** Sets all six from RFLAGS bits. */
  assign(bits: I64): void {
    const f = this.f;
    const v = f.let(bits);
    const bit = (n: number) => v.shrU(n).and(1);
    const zf = f.let(bit(6));
    const sf = bit(7);
    const pf = bit(2);
    // With ZF the result is 0 (SF 0, PF 1); without it, 1 (SF 0, PF 0).
    this.#setResult(zf.xor(1));
    const cf = f.let(bit(0));
    this.#setCarry(
      cf.shl(63).or(cf.xor(bit(11)).shl(62)).or(bit(4).shl(3))
        .or(pf.xor(zf).shl(2)).or(sf.shl(1)),
    );
  }

  /** CF as 0 or 1. */
  cf(): I32 {
    return this.carry().ltS(0);
  }
  /** ZF as 0 or 1. */
  zf(): I32 {
    return this.result().eqz();
  }
  /** SF as 0 or 1. */
  sf(): I32 {
    return this.result().xor(this.carry().shl(62)).ltS(0);
  }
  /** OF as 0 or 1. */
  of(): I32 {
    const c = this.f.let(this.carry());
    return c.xor(c.shl(1)).ltS(0);
  }
  /** PF as 0 or 1. */
  pf(): I32 {
    const ones = this.result().and(0xff).popcnt();
    return ones.xor(this.carry().shrU(2)).toI32().and(1).xor(1);
  }
  /** AF as 0 or 1. */
  af(): I32 {
    return this.carry().toI32().shrU(3).and(1);
  }
  // SF != OF
  #less(): I32 {
    const c = this.f.let(this.carry());
    return this.result().xor(c.shl(62)).xor(c).xor(c.shl(1)).ltS(0);
  }

  /** Condition `code` of Jcc, SETcc and CMOVcc (0 O, 1 NO, ... 15 G) as 0 or 1. */
  condition(code: number): I32 {
    const { note } = this.carry();
    const direct = note instanceof Comparison && RELATIONS[code]?.(note);
    if (direct) return direct;
    const even = [
      () => this.of(),
      () => this.cf(),
      () => this.zf(),
      () => this.cf().or(this.zf()),
      () => this.sf(),
      () => this.pf(),
      () => this.#less(),
      () => this.#less().or(this.zf()),
    ][code >> 1];
    if (even === undefined) throw new RangeError(`No condition ${code}`);
    return code & 1 ? even().eqz() : even();
  }

  /** The six flags as RFLAGS bits, the rest zero. */
  value(): I64 {
    const put = (flag: I32, n: number) => flag.shl(n);
    return put(this.cf(), 0).or(put(this.pf(), 2)).or(put(this.af(), 4))
      .or(put(this.zf(), 6)).or(put(this.sf(), 7)).or(put(this.of(), 11))
      .toI64U();
  }
}

function toI64(value: I32Like): I64 {
  return typeof value === "number" ? i64(value) : value.toI64U();
}
