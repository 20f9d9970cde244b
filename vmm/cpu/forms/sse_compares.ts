// SSE floating-point comparisons: CMPPS to masks, COMIS and UCOMIS to flags (Intel SDM
// vol. 1, 10.4.1.2, 11.4.1.2; vol. 2). They round nothing, so only NaNs and denormal
// operands are slow.

import { type Form, form } from "../form.ts";
import { relationOf } from "../flags.ts";
import { type I32, i32, type I64, splat, type V128 } from "../wasm/mod.ts";
import { SSE_ORDER } from "../runtime/sse_compare.ts";
import { type Define, SSE } from "../vector.ts";
import {
  allTrue,
  FloatEmitter,
  type FloatFormat,
  type FloatOp,
  FORMATS,
  isOrdinary,
  laneMask,
  op,
  packedBinary,
  scalarBinary,
} from "./sse_float.ts";

/** Ones in all lanes where the condition holds. */
function when(condition: I32): V128 {
  return splat("i32x4", i32(0).sub(condition));
}

/**
 * What predicate `p` gives where nothing is unordered. Of its low three bits, the
 * lower two say equal, less, less or equal, never; the third inverts.
 */
function orderedCompare(
  v: FloatEmitter,
  format: FloatFormat,
  p: I32,
  a: V128,
  b: V128,
): V128 {
  const which = v.let(p.and(3));
  const equal = a.binary(op(format, "eq"), b)
    .binary("v128.and", when(which.and(1).eqz()));
  const less = a.binary(op(format, "lt"), b)
    .binary("v128.and", when(which.add(1).and(2).ne(0)));
  return equal.binary("v128.or", less)
    .binary("v128.xor", when(p.shrU(2).and(1)));
}

/** A comparison by an immediate predicate, of which SSE has eight. */
function compare(predicates: 8 | 32): FloatOp {
  return (v, format, isScalar, a, b) => {
    const ordinary = isOrdinary(format, a!)
      .binary("v128.and", isOrdinary(format, b!));
    const predicate = v.let(v.imm.and(predicates - 1));
    const runtime = format.bits === 32 ? "sseF32Compare" : "sseF64Compare";
    return v.unless(
      allTrue(format, ordinary),
      orderedCompare(v, format, predicate, a!, b!),
      () => v.call(runtime, predicate, laneMask(format, isScalar), a!, b!),
    );
  };
}

function compareForms(): Form[] {
  return FORMATS.flatMap((format) => [
    form(
      `Cmpp${format.letter}_xmm_xmmm128_imm8`,
      packedBinary(format, compare(8)),
      SSE,
    ),
    form(
      `Cmps${format.letter}_xmm_xmmm${format.bits}_imm8`,
      scalarBinary(format, compare(8)),
      SSE,
    ),
  ]);
}

// --- To flags --------------------------------------------------------------

interface Order {
  readonly isOrdered: I32;
  readonly less: I32;
  readonly equal: I32;
}

function orderOf(format: FloatFormat, a: I64, b: I64): Order {
  if (format.bits === 32) {
    const [x, y] = [a.toI32().asF32(), b.toI32().asF32()];
    const isOrdinary = (n: typeof x) => n.abs().ge(2 ** -126).or(n.eq(0));
    return {
      isOrdered: isOrdinary(x).and(isOrdinary(y)),
      less: x.lt(y),
      equal: x.eq(y),
    };
  }
  const [x, y] = [a.asF64(), b.asF64()];
  const isOrdinary = (n: typeof x) => n.abs().ge(2 ** -1022).or(n.eq(0));
  return {
    isOrdered: isOrdinary(x).and(isOrdinary(y)),
    less: x.lt(y),
    equal: x.eq(y),
  };
}

function order(
  format: FloatFormat,
  which: (typeof SSE_ORDER)[number],
): Define {
  return (x) => {
    const v = new FloatEmitter(x);
    const b = x.read(1, format.bits);
    const a = x.read(0, format.bits);
    const { isOrdered, less, equal } = orderOf(format, a, b);
    const vars = {
      less: v.f.var("i32", less),
      equal: v.f.var("i32", equal),
      unordered: v.f.var("i32"),
    };
    v.f.if(isOrdered.eqz(), () => {
      const index = i32(SSE_ORDER.indexOf(which));
      const [bits, exceptions] = v.call("sseOrder", index, a, b);
      const found = relationOf(v.f, bits);
      v.f.set(vars.less, found.less);
      v.f.set(vars.equal, found.equal);
      v.f.set(vars.unordered, found.unordered);
      v.note(exceptions);
    });
    v.settle();
    x.flags.compare({
      less: vars.less.get(),
      equal: vars.equal.get(),
      unordered: vars.unordered.get(),
    });
  };
}

function orderForms(): Form[] {
  return SSE_ORDER.map((which) => {
    const format = FORMATS.find((one) => which.endsWith(`s${one.letter}`))!;
    const mnemonic = which[0]!.toUpperCase() + which.slice(1);
    const name = `${mnemonic}_xmm_xmmm${format.bits}`;
    return form(name, order(format, which), SSE);
  });
}

/** The forms of this group. */
export const SSE_COMPARE_FORMS: readonly Form[] = [
  ...compareForms(),
  ...orderForms(),
];
