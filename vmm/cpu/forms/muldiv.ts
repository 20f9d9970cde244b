// Multiplication and division of integers: MUL IMUL MULX, DIV IDIV (Intel SDM vol. 2).
// Flags that the manuals leave undefined are AMD's.

import { type Emitter, REG } from "../emitter.ts";
import { type OpSize, signExtend, zeroExtend } from "../flags.ts";
import { type Form, form } from "../form.ts";
import { type I32, type I64, i64, MOSTLY } from "../wasm/mod.ts";
import { signedHigh, unsignedHigh } from "../softfloat/wide.ts";
import { VECTOR } from "../runtime/traps.ts";

const SIZES = [8, 16, 32, 64] as const;

// Twice the operand's size in one register is AX for bytes, else rDX:rAX.
function writePair(x: Emitter, size: OpSize, high: I64, low: I64): void {
  if (size === 8) {
    x.setGpr(REG.RAX, low.and(0xff).or(high.shl(8)), 16);
  } else {
    x.setGpr(REG.RAX, low, size);
    x.setGpr(REG.RDX, high, size);
  }
}

// Product of two numbers extended to 64 bits: high and low part of an operand's
// size; what lies above in them does not count.
function product(
  x: Emitter,
  size: OpSize,
  signed: boolean,
  a: I64,
  b: I64,
): { high: I64; low: I64 } {
  const low = x.let(a.mul(b));
  if (size < 64) return { high: x.let(low.shrS(size)), low };
  const high = signed ? signedHigh(x.f, a, b) : unsignedHigh(x.f, a, b);
  return { high: x.let(high), low };
}

function extended(value: I64, size: OpSize, signed: boolean): I64 {
  return signed ? signExtend(value, size) : value;
}

// CF and OF: whether the high half is more than the low one's extension.
function exceeds(size: OpSize, signed: boolean, high: I64, low: I64): I32 {
  return signed
    ? signExtend(high, size).ne(signExtend(low, size).shrS(63))
    : zeroExtend(high, size).ne(0);
}

function multiply(signed: boolean): Form[] {
  return SIZES.map((size) =>
    form(`${signed ? "Imul" : "Mul"}_rm${size}`, (x) => {
      const a = x.let(extended(x.read(0), size, signed));
      const b = x.let(extended(x.gpr(REG.RAX, size), size, signed));
      const { high, low } = product(x, size, signed, a, b);
      writePair(x, size, high, low);
      x.flags.product(exceeds(size, signed, high, low).toI64U());
    })
  );
}

// The low half alone: of the high one only the flags tell, which few look at.
function multiplyInto(
  x: Emitter,
  size: OpSize,
  factor: I64,
  other: I64,
): void {
  const a = x.let(signExtend(factor, size));
  const b = x.let(signExtend(other, size));
  const low = x.let(a.mul(b));
  x.write(0, low);
  x.flags.product(
    size === 64
      ? x.compute("productExceeds", a, b)
      : low.ne(signExtend(low, size)).toI64U(),
  );
}

function multiplyTwoOperands(): Form[] {
  return ([16, 32, 64] as const).flatMap((n) => [
    form(
      `Imul_r${n}_rm${n}`,
      (x) => multiplyInto(x, n, x.read(1), x.read(0)),
    ),
    ...[8, Math.min(n, 32)].map((bits) =>
      form(
        `Imul_r${n}_rm${n}_imm${bits}`,
        (x) => multiplyInto(x, n, x.read(1), x.fields.imm()),
      )
    ),
  ]);
}

function mulx(): Form[] {
  return ([32, 64] as const).map((n) =>
    form(`VEX_Mulx_r${n}_r${n}_rm${n}`, (x) => {
      const a = x.read(2);
      const b = x.gpr(REG.RDX, n);
      const { high, low } = product(x, n, false, a, b);
      // Where both destinations are the same register, the high half stays.
      x.write(1, low);
      x.write(0, high);
    })
  );
}

// The dividend of twice a size below 64 bits, extended to 64.
function dividend(x: Emitter, size: 8 | 16 | 32, signed: boolean): I64 {
  if (size === 8) return x.let(extended(x.gpr(REG.RAX, 16), 16, signed));
  const both = x.gpr(REG.RDX, size).shl(size).or(x.gpr(REG.RAX, size));
  return x.let(size === 16 ? extended(both, 32, signed) : both);
}

function raiseIf(x: Emitter, condition: I32): void {
  x.f.rarely(condition, () => x.raise(VECTOR.DE));
}

// What AMD's processors leave in the flags: AF alone.
function divisionFlags(x: Emitter): void {
  x.flags.resultWith(64, i64(1), 0, 0, 1);
}

function divideNarrow(x: Emitter, size: 8 | 16 | 32, signed: boolean): void {
  const divisor = x.let(extended(x.read(0), size, signed));
  const n = dividend(x, size, signed);
  raiseIf(x, divisor.eqz());
  if (signed && size === 32) {
    // The one quotient that 64 bits cannot hold would trap in the host.
    const isMost = n.eq(-(2n ** 63n)).and(divisor.eq(-1));
    raiseIf(x, isMost);
  }
  const quotient = x.let(signed ? n.divS(divisor) : n.divU(divisor));
  const fits = signed ? signExtend(quotient, size) : zeroExtend(quotient, size);
  raiseIf(x, quotient.ne(fits));
  const remainder = x.let(n.sub(quotient.mul(divisor)));
  writePair(x, size, remainder, quotient);
  divisionFlags(x);
}

// A dividend of 64 bits is by far the most frequent: the host divides it, unless
// the quotient could trap or not fit.
function divideWide(x: Emitter, signed: boolean): void {
  const { f } = x;
  const divisor = x.read(0);
  const high = x.gpr(REG.RDX);
  const low = x.gpr(REG.RAX);
  const isNarrow = signed
    ? high.eq(low.shrS(63)).and(divisor.add(1).gtU(1))
    : high.eqz().and(divisor.ne(0));
  const quotient = f.var("i64");
  const remainder = f.var("i64");
  f.if(
    isNarrow,
    () => {
      const q = f.let(signed ? low.divS(divisor) : low.divU(divisor));
      f.set(quotient, q);
      f.set(remainder, low.sub(q.mul(divisor)));
    },
    () => {
      const name = signed ? "divideSigned" : "divide";
      const [q, r] = x.call(name, high, low, divisor, x.site());
      f.set(quotient, q);
      f.set(remainder, r);
    },
    MOSTLY,
  );
  writePair(x, 64, x.let(remainder.get()), x.let(quotient.get()));
  divisionFlags(x);
}

function divide(signed: boolean): Form[] {
  return SIZES.map((size) =>
    form(`${signed ? "Idiv" : "Div"}_rm${size}`, (x) => {
      if (size === 64) divideWide(x, signed);
      else divideNarrow(x, size, signed);
    })
  );
}

/** The forms of this group. */
export const MULDIV_FORMS: readonly Form[] = [
  ...multiply(false),
  ...multiply(true),
  ...multiplyTwoOperands(),
  ...mulx(),
  ...divide(false),
  ...divide(true),
];
