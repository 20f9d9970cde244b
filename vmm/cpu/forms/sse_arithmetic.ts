// SSE floating-point arithmetic: ADD SUB MUL DIV MIN MAX SQRT, ADDSUB, HADD, HSUB,
// DPPS, ROUND, and the approximations RCP and RSQRT (Intel SDM vol. 1, 10.4.1.1,
// 11.4.1.1, 12.4, 12.10; vol. 2).

import { type Form, form } from "../form.ts";
import { type I32, i32, type I32Like, type V128 } from "../wasm/mod.ts";
import { sseBinary, sseUnary } from "../runtime/sse.ts";
import { type Define, SSE, VectorEmitter, ZERO } from "../vector.ts";
import {
  allTrue,
  F32,
  F64,
  type FloatEmitter,
  type FloatFormat,
  type FloatOp,
  FORMATS,
  isOrdinary,
  laneMask,
  mergeLow,
  op,
  packedBinary,
  packedUnary,
  scalarBinary,
  scalarUnary,
  type Slow,
} from "./sse_float.ts";

type BinaryName = Parameters<typeof sseBinary>[0];

function slowBinary(
  v: VectorEmitter,
  format: FloatFormat,
  name: BinaryName,
  mask: I32Like,
  a: V128,
  b: V128,
): Slow {
  const runtime = format.bits === 32 ? "sseF32Binary" : "sseF64Binary";
  return v.call(runtime, sseBinary(name), i32(mask), a, b);
}

// Lanes of zero results that are exact; other zeros are underflows.
type ExactZero = (f: FloatFormat, a: V128, b: V128, r: V128) => V128;

const isZero = (format: FloatFormat, a: V128) =>
  a.binary(op(format, "eq"), ZERO);

const ARITHMETIC: Readonly<Record<"add" | "sub" | "mul" | "div", ExactZero>> = {
  add: (f, _a, _b, r) => isZero(f, r),
  sub: (f, _a, _b, r) => isZero(f, r),
  mul: (f, a, b) => isZero(f, a).binary("v128.or", isZero(f, b)),
  div: (f, a) => isZero(f, a),
};

/** Whether a result in the usual mode raised nothing but, maybe, PE. */
function isClean(
  format: FloatFormat,
  exactZero: V128,
  result: V128,
): V128 {
  const magnitude = result.unary(`${format.shape}.abs`);
  // The least normal number may be a rounded denormal, which is an underflow.
  const isNormal = magnitude.binary(op(format, "gt"), format.least);
  const isFinite = magnitude.binary(op(format, "lt"), format.infinity);
  return isNormal.binary("v128.or", exactZero).binary("v128.and", isFinite);
}

function isFastResult(
  format: FloatFormat,
  name: keyof typeof ARITHMETIC,
  a: V128,
  b: V128,
  result: V128,
): V128 {
  const exactZero = ARITHMETIC[name](format, a, b, result);
  return isOrdinary(format, a).binary("v128.and", isOrdinary(format, b))
    .binary("v128.and", isClean(format, exactZero, result));
}

/** `result`, which raised nothing but, maybe, PE where it is clean. */
function rounded(
  v: FloatEmitter,
  clean: I32,
  result: V128,
  isExact: () => I32,
  slow: () => Slow,
): V128 {
  const isClean = v.let(clean);
  return v.unless(v.isUsual().and(isClean), result, () => {
    const value = v.f.var("v128", result);
    const flags = v.f.var("i32");
    const isFast = v.f.ifValue(
      isClean.and(v.isUsualIfExact()),
      "i32",
      isExact,
      () => i32(0),
    );
    v.f.if(isFast.eqz(), () => {
      const [found, raised] = slow();
      v.f.set(value, found);
      v.f.set(flags, raised);
    });
    return [value.get(), flags.get()];
  });
}

function isSum(v: VectorEmitter, f: FloatFormat, a: V128, b: V128, r: V128) {
  return v.call(f.bits === 32 ? "sseF32IsSum" : "sseF64IsSum", a, b, r)[0];
}

function isProduct(
  v: VectorEmitter,
  f: FloatFormat,
  a: V128,
  b: V128,
  r: V128,
) {
  const name = f.bits === 32 ? "sseF32IsProduct" : "sseF64IsProduct";
  return v.call(name, a, b, r)[0];
}

type IsExact = (
  v: VectorEmitter,
  f: FloatFormat,
  a: V128,
  b: V128,
  r: V128,
) => I32;

const EXACT: Readonly<Record<keyof typeof ARITHMETIC, IsExact>> = {
  add: isSum,
  sub: (v, f, a, b, r) => isSum(v, f, a, b.binary("v128.xor", f.sign), r),
  mul: isProduct,
  div: (v, f, a, b, r) => isProduct(v, f, r, b, a),
};

function arithmetic(name: keyof typeof ARITHMETIC): FloatOp {
  return (v, format, isScalar, a, b) => {
    const result = v.let(a!.binary(op(format, name), b!));
    const clean = isFastResult(format, name, a!, b!, result);
    return rounded(
      v,
      allTrue(format, clean),
      result,
      () => EXACT[name](v, format, a!, b!, result),
      () => slowBinary(v, format, name, laneMask(format, isScalar), a!, b!),
    );
  };
}

/** `b` where either is a NaN or both are zero; comparing rounds nothing. */
function extreme(name: "min" | "max"): FloatOp {
  return (v, format, isScalar, a, b) => {
    const ordinary = isOrdinary(format, a!)
      .binary("v128.and", isOrdinary(format, b!));
    return v.unless(
      allTrue(format, ordinary),
      b!.binary(`${format.shape}.p${name}`, a!),
      () => slowBinary(v, format, name, laneMask(format, isScalar), a!, b!),
    );
  };
}

const squareRoot: FloatOp = (v, format, isScalar, a) => {
  const isNormal = a!.binary(op(format, "ge"), format.least)
    .binary("v128.and", a!.binary(op(format, "lt"), format.infinity));
  const clean = isNormal.binary("v128.or", isZero(format, a!));
  const name = format.bits === 32 ? "sqrtF32" : "sqrtF64";
  const count = i32(isScalar ? 1 : 128 / format.bits);
  const result = v.let(a!.unary(`${format.shape}.sqrt`));
  return rounded(
    v,
    allTrue(format, clean),
    result,
    () => isProduct(v, format, result, result, a!),
    () => v.call("sseUnary", sseUnary(name), count, a!),
  );
};

/** The even lanes are subtracted, the odd ones added. */
const addSubtract: FloatOp = (v, format, _isScalar, a, b) => {
  const even = format.bits === 32 ? 0b0101 : 0b01;
  const bytes = format.bits / 8;
  const alternate = (first: V128, second: V128) =>
    first.shuffle(
      second,
      Array.from({ length: 16 }, (_, n) => n & bytes ? n + 16 : n),
    );
  const negated = v.let(b!.binary("v128.xor", alternate(format.sign, ZERO)));
  const result = v.let(a!.binary(op(format, "add"), negated));
  const clean = isFastResult(format, "add", a!, b!, result);
  const isExact = () => isSum(v, format, a!, negated, result);
  return rounded(v, allTrue(format, clean), result, isExact, () => {
    const [low, lowFlags] = slowBinary(v, format, "sub", even, a!, b!);
    const odd = format.all & ~even;
    const [high, highFlags] = slowBinary(v, format, "add", odd, a!, b!);
    return [alternate(low, high), lowFlags.or(highFlags)];
  });
};

/** The even lanes of both sources with the odd ones. */
function horizontal(name: "add" | "sub"): FloatOp {
  const whole = arithmetic(name);
  return (v, format, isScalar, a, b) => {
    const bytes = format.bits / 8;
    const even = Array.from({ length: 16 }, (_, n) => {
      const lane = Math.floor(n / bytes);
      return lane * 2 * bytes + n % bytes;
    });
    const odd = even.map((n) => n + bytes);
    const evens = v.let(a!.shuffle(b!, even));
    const odds = v.let(a!.shuffle(b!, odd));
    return whole(v, format, isScalar, evens, odds);
  };
}

const roundIntegral: FloatOp = (v, format, isScalar, a) => {
  const runtime = format.bits === 32 ? "sseF32Round" : "sseF64Round";
  const mask = laneMask(format, isScalar);
  const [result, flags] = v.call(runtime, v.imm, mask, a!);
  v.note(flags);
  return result;
};

// --- Approximations and products -------------------------------------------

function approximate(which: 0 | 1, isScalar: boolean): Define {
  return (x) => {
    const v = new VectorEmitter(x);
    if (isScalar) {
      const source = v.readSplat(1, 32);
      const [value] = v.call("sseApproximate", i32(which), i32(1), source);
      v.writeOne(0, mergeLow(F32, v.readLow(0), value));
    } else {
      const [source] = v.read(1);
      const [value] = v.call("sseApproximate", i32(which), i32(4), source!);
      v.write(0, [value]);
    }
  };
}

function approximations(): Form[] {
  return (["Rcp", "Rsqrt"] as const).flatMap((name, which) => [
    form(`${name}ps_xmm_xmmm128`, approximate(which as 0 | 1, false), SSE),
    form(`${name}ss_xmm_xmmm32`, approximate(which as 0 | 1, true), SSE),
  ]);
}

function dotProduct(format: FloatFormat): Define {
  return (x) => {
    const v = new VectorEmitter(x);
    const [b] = v.read(1);
    const [a] = v.read(0);
    const which = i32(format.bits === 32 ? 0 : 1);
    v.write(0, v.call("sseDot", which, v.imm, a!, b!, x.site()));
  };
}

// --- Rows ------------------------------------------------------------------

function binaryForms(mnemonic: string, operation: FloatOp): Form[] {
  return FORMATS.flatMap((format) => [
    form(
      `${mnemonic}p${format.letter}_xmm_xmmm128`,
      packedBinary(format, operation),
      SSE,
    ),
    form(
      `${mnemonic}s${format.letter}_xmm_xmmm${format.bits}`,
      scalarBinary(format, operation),
      SSE,
    ),
  ]);
}

function unaryForms(
  mnemonic: string,
  operation: FloatOp,
  suffix = "",
): Form[] {
  return FORMATS.flatMap((format) => [
    form(
      `${mnemonic}p${format.letter}_xmm_xmmm128${suffix}`,
      packedUnary(format, operation),
      SSE,
    ),
    form(
      `${mnemonic}s${format.letter}_xmm_xmmm${format.bits}${suffix}`,
      scalarUnary(format, operation),
      SSE,
    ),
  ]);
}

function packedForms(mnemonic: string, operation: FloatOp): Form[] {
  return FORMATS.map((format) =>
    form(
      `${mnemonic}p${format.letter}_xmm_xmmm128`,
      packedBinary(format, operation),
      SSE,
    )
  );
}

/** SSE2's forms. */
export const SSE_COMMON_ARITHMETIC_FORMS: readonly Form[] = [
  ...binaryForms("Add", arithmetic("add")),
  ...binaryForms("Sub", arithmetic("sub")),
  ...binaryForms("Mul", arithmetic("mul")),
  ...binaryForms("Div", arithmetic("div")),
  ...binaryForms("Min", extreme("min")),
  ...binaryForms("Max", extreme("max")),
  ...unaryForms("Sqrt", squareRoot),
];

/** The forms of SSE3 and SSE4.1, and the approximations. */
export const SSE_ARITHMETIC_FORMS: readonly Form[] = [
  ...packedForms("Addsub", addSubtract),
  ...packedForms("Hadd", horizontal("add")),
  ...packedForms("Hsub", horizontal("sub")),
  ...unaryForms("Round", roundIntegral, "_imm8"),
  ...approximations(),
  form("Dpps_xmm_xmmm128_imm8", dotProduct(F32), SSE),
  form("Dppd_xmm_xmmm128_imm8", dotProduct(F64), SSE),
];
