// Shifts and rotates: SHL SHR SAR, ROL ROR RCL RCR, SHLD SHRD, and BMI2's SHLX SHRX
// SARX RORX (Intel SDM vol. 2). Flags that the manuals leave undefined are AMD's.

import { type Emitter, REG } from "../emitter.ts";
import { type OpSize, signExtend } from "../flags.ts";
import { type Form, form } from "../form.ts";
import { type I32, type I64, i64 } from "../wasm/mod.ts";

const UPDATE = { access: "update" } as const;
const SIZES = [8, 16, 32, 64] as const;

// How much to shift by: the low five bits of the count, six for 64-bit operands.
function countOf(x: Emitter, name: string, size: OpSize): I64 {
  if (name.endsWith("_1")) return i64(1);
  const count = name.endsWith("_CL") ? x.gpr(REG.RCX, 8) : x.imm(8);
  return x.let(count.and(size === 64 ? 63 : 31));
}

/** One operation, on a kept operand and a count; results may exceed the size. */
interface Operation {
  /** The result. */
  readonly compute: (x: Emitter, a: I64, count: I64, carry: I64) => I64;
  /** Sets the flags; they do not count where the count is zero. */
  readonly flags: (x: Emitter, a: I64, r: I64, count: I64) => void;
  /** Whether the carry takes part. */
  readonly takesCarry?: boolean;
}

function define(x: Emitter, name: string, operation: Operation): void {
  const count = countOf(x, name, x.size());
  const carry = operation.takesCarry ? x.let(x.flags.cf().toI64U()) : i64(0);
  x.update(
    0,
    (a) => operation.compute(x, a, count, carry),
    (a, r) =>
      x.flags.where(count.toI32(), () => operation.flags(x, a, r, count)),
  );
}

// Bit `size` - 1 of a value as 0 or 1, and the one below it.
function topBit(value: I64, size: OpSize): I32 {
  return value.shrU(size - 1).toI32().and(1);
}
function nextBit(value: I64, size: OpSize): I32 {
  return topBit(value.shl(1), size);
}

// --- Shifts ------------------------------------------------------------------

// OF is the top bit's change: CF xor the result's top bit, which lies below CF
// in the result before it is cut off.
const SHL: Operation = {
  compute: (_x, a, count) => a.shl(count),
  flags: (x, a, r, count) => {
    const size = x.size();
    const carry = size === 64 ? a.shl(count.sub(1)) : r.shl(63 - size);
    x.flags.shift(size, r, carry);
  },
};

// OF is the result's second bit: for a shift by one, the operand's top bit.
const SHR: Operation = {
  compute: (_x, a, count) => a.shrU(count),
  flags: (x, a, r, count) => {
    const size = x.size();
    const cf = x.let(a.shrU(count.sub(1)).shl(63));
    const second = r.shl(65 - size).shrU(1);
    x.flags.shift(size, r, cf.xor(cf.shrU(1)).xor(second));
  },
};

const SAR: Operation = {
  compute: (x, a, count) => signExtend(a, x.size()).shrS(count),
  flags: (x, a, r, count) => {
    const cf = signExtend(a, x.size()).shrS(count.sub(1)).shl(63);
    x.flags.shift(x.size(), r, cf.shrS(1));
  },
};

// --- Rotates -----------------------------------------------------------------

// Narrow operands are repeated through 32 bits, so that one rotation serves.
function repeated(a: I64, size: OpSize): I32 {
  const low = a.toI32();
  return size === 8
    ? low.mul(0x01010101)
    : size === 16
    ? low.mul(0x10001)
    : low;
}

const ROL: Operation = {
  compute: (x, a, count) =>
    x.size() === 64
      ? a.rotl(count)
      : repeated(a, x.size()).rotl(count.toI32()).toI64U(),
  flags: (x, _a, r) => {
    const cf = x.let(r.toI32().and(1));
    x.flags.setCfOf(cf, topBit(r, x.size()).xor(cf));
  },
};

const ROR: Operation = {
  compute: (x, a, count) =>
    x.size() === 64
      ? a.rotr(count)
      : repeated(a, x.size()).rotr(count.toI32()).toI64U(),
  flags: (x, _a, r) => {
    const cf = x.let(topBit(r, x.size()));
    x.flags.setCfOf(cf, nextBit(r, x.size()).xor(cf));
  },
};

// With the carry an operand has one more bit; narrow ones rotate modulo that.
function ringCount(size: OpSize, count: I64): I64 {
  return size < 32 ? count.remU(size + 1) : count;
}

const RCL: Operation = {
  takesCarry: true,
  compute: (x, a, count, carry) => {
    const size = x.size();
    if (size === 64) {
      const back = i64(64).sub(count);
      const low = carry.shl(count.sub(1)).or(a.shrU(1).shrU(back));
      return a.shl(count).or(low).when(count.toI32(), a);
    }
    const n = x.let(ringCount(size, count));
    const ring = x.let(a.or(carry.shl(size)));
    return ring.shl(n).or(ring.shrU(i64(size + 1).sub(n)));
  },
  flags: (x, a, r, count) => {
    const size = x.size();
    const out = size === 64 ? a.shrU(i64(64).sub(count)) : r.shrU(size);
    const cf = x.let(out.toI32().and(1));
    x.flags.setCfOf(cf, topBit(r, size).xor(cf));
  },
};

const RCR: Operation = {
  takesCarry: true,
  compute: (x, a, count, carry) => {
    const size = x.size();
    if (size === 64) {
      const back = x.let(i64(64).sub(count));
      const high = carry.shl(back).or(a.shl(1).shl(back));
      return a.shrU(count).or(high).when(count.toI32(), a);
    }
    const n = x.let(ringCount(size, count));
    const ring = x.let(a.or(carry.shl(size)));
    return ring.shrU(n).or(ring.shl(i64(size + 1).sub(n)));
  },
  flags: (x, a, r, count) => {
    const size = x.size();
    const out = size === 64 ? a.shrU(count.sub(1)) : r.shrU(size);
    const of = topBit(r, size).xor(nextBit(r, size));
    x.flags.setCfOf(out.toI32().and(1), of);
  },
};

const OPERATIONS = {
  Rol: ROL,
  Ror: ROR,
  Rcl: RCL,
  Rcr: RCR,
  Shl: SHL,
  Sal: SHL,
  Shr: SHR,
  Sar: SAR,
} as const;

function single(): Form[] {
  return Object.entries(OPERATIONS).flatMap(([mnemonic, operation]) =>
    SIZES.flatMap((size) =>
      ["imm8", "1", "CL"].map((count) => `${mnemonic}_rm${size}_${count}`)
    ).map((name) => form(name, (x) => define(x, name, operation), UPDATE))
  );
}

// --- Double shifts -----------------------------------------------------------

/** What a double shift gives: bits of the result above its size do not count. */
interface Shifted {
  readonly result: I64;
  /** the last bit that left, 0 or 1 */
  readonly cf: I64;
}
type DoubleShift = (size: OpSize, a: I64, b: I64, count: I64) => Shifted;

// 32 bits rotate in one register with the other operand: what left last is at the
// other end. 16 bits by more than 16 go on with the second operand twice, as AMD's
// processors do.
const shld: DoubleShift = (size, a, b, count) => {
  if (size === 16) {
    const wide = a.shl(32).or(b.mul(0x10001)).shl(count);
    return { result: wide.shrU(32), cf: wide.shrU(48).and(1) };
  }
  if (size === 32) {
    const wide = a.shl(32).or(b).rotl(count);
    return { result: wide.shrU(32), cf: wide.and(1) };
  }
  return {
    result: a.shl(count).or(b.shrU(1).shrU(count.xor(63))),
    cf: a.shrU(i64(64).sub(count)).and(1),
  };
};

const shrd: DoubleShift = (size, a, b, count) => {
  const cf = a.shrU(count.sub(1)).and(1);
  if (size === 16) {
    return { result: a.or(b.mul(0x1_0001_0000)).shrU(count), cf };
  }
  if (size === 32) return { result: b.shl(32).or(a).shrU(count), cf };
  return {
    result: a.shrU(count).or(b.shl(1).shl(count.xor(63))),
    cf,
  };
};

const DOUBLE_SHIFTS = {
  Shld: {
    shift: shld,
    of: (size: OpSize, r: I64, cf: I64) => cf.xor(topBit(r, size).toI64U()),
  },
  Shrd: {
    shift: shrd,
    of: (size: OpSize, r: I64) =>
      topBit(r, size).xor(nextBit(r, size)).toI64U(),
  },
} as const;

function defineDouble(
  x: Emitter,
  name: string,
  { shift, of }: (typeof DOUBLE_SHIFTS)["Shld" | "Shrd"],
): void {
  const size = x.size();
  const count = countOf(x, name, size);
  const b = x.read(1);
  x.update(
    0,
    (a) => shift(size, a, b, count).result,
    (a, r) =>
      x.flags.where(count.toI32(), () => {
        const cf = x.let(shift(size, a, b, count).cf);
        const change = cf.xor(of(size, r, cf));
        x.flags.shift(size, r, cf.shl(63).or(change.shl(62)));
      }),
  );
}

function double(): Form[] {
  return (["Shld", "Shrd"] as const).flatMap((mnemonic) =>
    [16, 32, 64].flatMap((n) =>
      ["imm8", "CL"].map((count) => `${mnemonic}_rm${n}_r${n}_${count}`)
    ).map((name) =>
      form(
        name,
        (x) => defineDouble(x, name, DOUBLE_SHIFTS[mnemonic]),
        UPDATE,
      )
    )
  );
}

// --- Without flags -----------------------------------------------------------

function flagless(): Form[] {
  const shifts = {
    Shlx: (a: I64, count: I64) => a.shl(count),
    Shrx: (a: I64, count: I64) => a.shrU(count),
    Sarx: (a: I64, count: I64, size: OpSize) => signExtend(a, size).shrS(count),
  };
  const byRegister = Object.entries(shifts).flatMap(([mnemonic, compute]) =>
    ([32, 64] as const).map((n) =>
      form(`VEX_${mnemonic}_r${n}_rm${n}_r${n}`, (x) => {
        const a = x.read(1);
        const count = x.let(x.read(2).and(n - 1));
        x.write(0, compute(a, count, n));
      })
    )
  );
  const rorx = ([32, 64] as const).map((n) =>
    form(`VEX_Rorx_r${n}_rm${n}_imm8`, (x) => {
      const a = x.read(1);
      const count = x.imm(8);
      x.write(
        0,
        n === 64 ? a.rotr(count) : a.toI32().rotr(count.toI32()).toI64U(),
      );
    })
  );
  return [...byRegister, ...rorx];
}

/** The forms of this group. */
export const SHIFT_FORMS: readonly Form[] = [
  ...single(),
  ...double(),
  ...flagless(),
];
