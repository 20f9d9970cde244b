// SSE's scalar arithmetic on packed binary32 and binary64, bit by bit (Intel SDM
// vol. 1, 4.8.3.5 on NaNs, 11.5 on exceptions; AMD APM vol. 1, 4.8). The control
// word is MXCSR; what is unmasked only shapes the flags that come back.

import {
  type FuncRef,
  type FunctionBuilder,
  type I32,
  i32,
  type I64,
  i64,
  type ModuleBuilder,
} from "../wasm/mod.ts";
import type { Core } from "./core.ts";
import {
  BIAS,
  DAZ,
  DE,
  F32_FORMAT,
  F64_FORMAT,
  type Format,
  IE,
  isNaN,
  isSignalling,
  joinFlags,
  minExponent,
  PE,
  QUIET_BIT,
  SPECIAL,
  sseSpec,
} from "./format.ts";
import type { Rounded } from "./round.ts";

/** A packed result and its flags. */
export type SseResult = readonly ["i64", "i32"];

/** The operations of one format. Operands are packed bits in an i64. */
export interface SseFormat {
  /** (a, b, mxcsr): a + b */
  readonly add: FuncRef<SseResult>;
  /** (a, b, mxcsr): a - b */
  readonly sub: FuncRef<SseResult>;
  /** (a, b, mxcsr): a * b */
  readonly mul: FuncRef<SseResult>;
  /** (a, b, mxcsr): a / b */
  readonly div: FuncRef<SseResult>;
  /** (a, mxcsr): square root */
  readonly sqrt: FuncRef<SseResult>;
  /** (a, b, mxcsr): b where either is a NaN or both are zero */
  readonly min: FuncRef<SseResult>;
  /** (a, b, mxcsr): b where either is a NaN or both are zero */
  readonly max: FuncRef<SseResult>;
  /**
   * (a, b, mxcsr) as COMISx: IE for any NaN. Gives EFLAGS bits, flags: 0 above,
   * 1 (CF) below, 0x40 (ZF) equal, 0x45 (ZF, PF, CF) unordered
   */
  readonly compareSignalling: FuncRef<readonly ["i32", "i32"]>;
  /** (a, b, mxcsr) as UCOMISx: IE for a signalling NaN only */
  readonly compareQuiet: FuncRef<readonly ["i32", "i32"]>;
  /** (a, imm8 as ROUNDSx has it, mxcsr): rounded to an integral value */
  readonly roundIntegral: FuncRef<SseResult>;
  /** (a, mxcsr): in the other of the two formats */
  readonly convert: FuncRef<SseResult>;
  /** (a, mxcsr): a 32-bit integer, zero-extended */
  readonly toInt32: FuncRef<SseResult>;
  /** (a, mxcsr): a 64-bit integer */
  readonly toInt64: FuncRef<SseResult>;
  /** (a, mxcsr): a 32-bit integer by truncation, zero-extended */
  readonly truncInt32: FuncRef<SseResult>;
  /** (a, mxcsr): a 64-bit integer by truncation */
  readonly truncInt64: FuncRef<SseResult>;
  /** (signed 64-bit integer, mxcsr); a 32-bit one is sign-extended first */
  readonly fromInt: FuncRef<SseResult>;
}

interface Operand {
  readonly sign: I32;
  readonly exp: I32;
  readonly sig: I64;
  readonly denormal: I32;
}

type Unpack = FuncRef<readonly ["i32", "i32", "i64", "i32"]>;
type Pack = FuncRef<readonly ["i64"]>;

interface Codec {
  readonly format: Format;
  /** (bits, mxcsr) to sign, exponent, significand, DE or 0 */
  readonly unpack: Unpack;
  /** (sign, exponent, significand) to bits */
  readonly pack: Pack;
}

interface Builder {
  readonly m: ModuleBuilder;
  readonly core: Core;
  readonly codec: Codec;
}

/** Defines both formats' operations. */
export function defineSse(
  m: ModuleBuilder,
  core: Core,
): { readonly f32: SseFormat; readonly f64: SseFormat } {
  const f32 = { m, core, codec: defineCodec(m, F32_FORMAT) };
  const f64 = { m, core, codec: defineCodec(m, F64_FORMAT) };
  return {
    f32: defineFormat(f32, f64.codec),
    f64: defineFormat(f64, f32.codec),
  };
}

function defineCodec(m: ModuleBuilder, format: Format): Codec {
  return {
    format,
    unpack: m.func(
      `${format.name}_unpack`,
      ["i64", "i32"],
      ["i32", "i32", "i64", "i32"],
      (f) => emitUnpack(f, format),
    ),
    pack: m.func(
      `${format.name}_pack`,
      ["i32", "i32", "i64"],
      ["i64"],
      (f) => emitPack(f, format),
    ),
  };
}

function emitUnpack(f: FunctionBuilder, format: Format): void {
  const bits = f.param(0, "i64");
  const fractionBits = format.precision - 1;
  const emax = (1 << format.exponentBits) - 1;
  const sign = f.let(
    bits.shrU(fractionBits + format.exponentBits).toI32().and(1),
  );
  const field = f.let(bits.shrU(fractionBits).toI32().and(emax));
  const fraction = f.let(bits.shl(64 - fractionBits));
  f.if(field.eqz(), () => {
    const daz = f.param(1, "i32").and(DAZ);
    f.if(
      fraction.eqz().or(daz),
      () => f.return(sign, i32(0), i64(0), i32(0)),
    );
    const shift = f.let(fraction.clz());
    const exp = i32(minExponent(format) - 1).sub(shift.toI32());
    f.return(sign, exp, fraction.shl(shift), i32(DE));
  });
  const rebias = minExponent(format) - 1;
  const exp = i32(SPECIAL).when(field.eq(emax), field.add(rebias));
  const sig = fraction.shrU(1).or(1n << 63n);
  f.return(sign, exp, sig, i32(0));
}

function emitPack(f: FunctionBuilder, format: Format): void {
  const sign = f.param(0, "i32").toI64U();
  const exp = f.param(1, "i32");
  const sig = f.param(2, "i64");
  const fractionBits = format.precision - 1;
  const emax = (1 << format.exponentBits) - 1;
  const normal = i32(emax).when(
    exp.eq(SPECIAL),
    exp.sub(minExponent(format) - 1),
  );
  const field = normal.when(sig.ltS(0), 0).toI64U();
  const fraction = sig.shl(1).shrU(64 - fractionBits);
  f.return(
    sign.shl(format.exponentBits).or(field).shl(fractionBits).or(fraction),
  );
}

function unpack(
  f: FunctionBuilder,
  codec: Codec,
  bits: I64,
  mxcsr: I32,
): Operand {
  const [sign, exp, sig, denormal] = f.call(codec.unpack, bits, mxcsr);
  return { sign, exp, sig, denormal };
}

function nan(n: Operand): I32 {
  return isNaN(n.exp, n.sig);
}

function signalling(n: Operand): I32 {
  return nan(n).and(isSignalling(n.sig));
}

/** Returns a packed number with the flags of an operation. */
function finish(
  f: FunctionBuilder,
  codec: Codec,
  result: readonly [I32, I32, I64, I32],
  denormal: I32,
  spec: I32,
): void {
  const [sign, exp, sig, flags] = result;
  const [bits] = f.call(codec.pack, sign, exp, sig);
  f.return(bits, joinFlags(flags, denormal, spec));
}

/** Returns a NaN operand, quieted. */
function returnQuiet(
  f: FunctionBuilder,
  codec: Codec,
  n: Operand,
  invalid: I32,
): void {
  const [bits] = f.call(codec.pack, n.sign, n.exp, n.sig.or(QUIET_BIT));
  f.return(bits, invalid);
}

function defineFormat(b: Builder, other: Codec): SseFormat {
  const { core } = b;
  return {
    add: defineBinary(b, "add", core.add, false),
    sub: defineBinary(b, "sub", core.add, true),
    mul: defineBinary(b, "mul", core.mul, false),
    div: defineBinary(b, "div", core.div, false),
    sqrt: defineSqrt(b),
    ...defineMinMax(b),
    compareSignalling: defineCompare(b, "compare_signalling", true),
    compareQuiet: defineCompare(b, "compare_quiet", false),
    roundIntegral: defineRoundIntegral(b),
    convert: defineConvert(b, other),
    toInt32: defineToInt(b, 32, false),
    toInt64: defineToInt(b, 64, false),
    truncInt32: defineToInt(b, 32, true),
    truncInt64: defineToInt(b, 64, true),
    fromInt: defineFromInt(b),
  };
}

function define(
  b: Builder,
  name: string,
  operands: 1 | 2,
  build: (f: FunctionBuilder) => void,
): FuncRef<SseResult> {
  const params = operands === 1
    ? ["i64", "i32"] as const
    : ["i64", "i64", "i32"] as const;
  const full = `${b.codec.format.name}_${name}`;
  return b.m.func(full, params, ["i64", "i32"], build);
}

function defineBinary(
  b: Builder,
  name: string,
  op: FuncRef<Rounded>,
  negate: boolean,
): FuncRef<SseResult> {
  return define(b, name, 2, (f) => {
    const mxcsr = f.param(2, "i32");
    const x = unpack(f, b.codec, f.param(0, "i64"), mxcsr);
    const y = unpack(f, b.codec, f.param(1, "i64"), mxcsr);
    f.if(nan(x).or(nan(y)), () => {
      const invalid = f.let(signalling(x).or(signalling(y)));
      f.if(nan(x), () => returnQuiet(f, b.codec, x, invalid));
      returnQuiet(f, b.codec, y, invalid);
    });
    const spec = f.let(sseSpec(mxcsr, b.codec.format));
    const ySign = negate ? y.sign.xor(1) : y.sign;
    const result = f.call(
      op,
      ...[x.sign, x.exp, x.sig, ySign, y.exp, y.sig, spec],
    );
    finish(f, b.codec, result, x.denormal.or(y.denormal), spec);
  });
}

function defineSqrt(b: Builder): FuncRef<SseResult> {
  return define(b, "sqrt", 1, (f) => {
    const mxcsr = f.param(1, "i32");
    const x = unpack(f, b.codec, f.param(0, "i64"), mxcsr);
    f.if(nan(x), () => returnQuiet(f, b.codec, x, signalling(x)));
    const spec = f.let(sseSpec(mxcsr, b.codec.format));
    const result = f.call(b.core.sqrt, x.sign, x.exp, x.sig, spec);
    finish(f, b.codec, result, x.denormal, spec);
  });
}

/** Whether x < y; neither is a NaN, and a zero's exponent is below all others. */
function less(x: Operand, y: Operand): I32 {
  const bothZero = x.sig.or(y.sig).eqz();
  const smaller = x.exp.ltS(y.exp).or(
    x.exp.eq(y.exp).and(x.sig.ltU(y.sig)),
  );
  const larger = y.exp.ltS(x.exp).or(
    y.exp.eq(x.exp).and(y.sig.ltU(x.sig)),
  );
  const signed = larger.when(x.sign, smaller);
  return signed.when(x.sign.eq(y.sign), x.sign).and(bothZero.eqz());
}

function defineMinMax(b: Builder): Pick<SseFormat, "min" | "max"> {
  const one = (name: "min" | "max") =>
    define(b, name, 2, (f) => {
      const mxcsr = f.param(2, "i32");
      const x = unpack(f, b.codec, f.param(0, "i64"), mxcsr);
      const y = unpack(f, b.codec, f.param(1, "i64"), mxcsr);
      const unordered = f.let(nan(x).or(nan(y)));
      const flags = i32(IE).when(unordered, x.denormal.or(y.denormal));
      const before = name === "min" ? less(x, y) : less(y, x);
      const first = f.let(before.and(unordered.eqz()));
      const bits = f.let(f.param(0, "i64").when(first, f.param(1, "i64")));
      // DAZ makes a zero of a denormal operand, which is what is returned.
      const sig = x.sig.when(first, y.sig);
      const signBit = 1n <<
        BigInt(b.codec.format.precision + b.codec.format.exponentBits - 1);
      f.return(bits.and(i64(signBit).when(sig.eqz(), -1)), flags);
    });
  return { min: one("min"), max: one("max") };
}

function defineCompare(
  b: Builder,
  name: string,
  quietIsInvalid: boolean,
): FuncRef<readonly ["i32", "i32"]> {
  const full = `${b.codec.format.name}_${name}`;
  return b.m.func(full, ["i64", "i64", "i32"], ["i32", "i32"], (f) => {
    const mxcsr = f.param(2, "i32");
    const x = unpack(f, b.codec, f.param(0, "i64"), mxcsr);
    const y = unpack(f, b.codec, f.param(1, "i64"), mxcsr);
    f.if(nan(x).or(nan(y)), () => {
      const invalid = signalling(x).or(signalling(y));
      f.return(i32(0x45), quietIsInvalid ? i32(IE) : invalid);
    });
    const above = i32(0x40).when(less(y, x).eqz(), 0);
    f.return(
      i32(1).when(less(x, y), above),
      x.denormal.or(y.denormal),
    );
  });
}

/** The rounding control that ROUNDSx's immediate selects. */
function immediateRounding(imm: I32, mxcsr: I32): I32 {
  return mxcsr.shrU(13).when(imm.and(4), imm).and(3);
}

function defineRoundIntegral(b: Builder): FuncRef<SseResult> {
  const { codec, core } = b;
  const name = `${codec.format.name}_round_integral`;
  const params = ["i64", "i32", "i32"] as const;
  return b.m.func(name, params, ["i64", "i32"], (f) => {
    const bits = f.param(0, "i64");
    const imm = f.param(1, "i32");
    const mxcsr = f.param(2, "i32");
    const x = unpack(f, codec, bits, mxcsr);
    f.if(nan(x), () => returnQuiet(f, codec, x, signalling(x)));
    const integral = codec.format.precision - 1 + BIAS;
    f.if(x.exp.geS(integral), () => f.return(bits, i32(0)));
    const rc = immediateRounding(imm, mxcsr);
    const [value, lost] = f.call(core.toInteger, x.sign, x.exp, x.sig, rc);
    // Small integers are exact, and an integer's zero takes the operand's sign.
    const spec = sseSpec(mxcsr, codec.format);
    const [, exp, sig] = f.call(core.fromInteger, value, spec);
    const [result] = f.call(codec.pack, x.sign, exp, sig);
    f.return(result, i32(0).when(imm.and(8), lost.and(PE)));
  });
}

function defineConvert(b: Builder, to: Codec): FuncRef<SseResult> {
  return define(b, `to_${to.format.name}`, 1, (f) => {
    const mxcsr = f.param(1, "i32");
    const x = unpack(f, b.codec, f.param(0, "i64"), mxcsr);
    f.if(nan(x), () => returnQuiet(f, to, x, signalling(x)));
    const spec = f.let(sseSpec(mxcsr, to.format));
    f.if(x.exp.eq(SPECIAL).or(x.sig.eqz()), () => {
      const [bits] = f.call(to.pack, x.sign, x.exp, x.sig);
      f.return(bits, i32(0));
    });
    const result = f.call(
      b.core.round,
      ...[x.sign, x.exp, x.sig, i64(0), spec],
    );
    finish(f, to, result, x.denormal, spec);
  });
}

function defineToInt(
  b: Builder,
  bits: 32 | 64,
  truncate: boolean,
): FuncRef<SseResult> {
  const limit = 1n << BigInt(bits - 1);
  return define(b, `${truncate ? "trunc" : "to"}_int${bits}`, 1, (f) => {
    const mxcsr = f.param(1, "i32");
    const x = unpack(f, b.codec, f.param(0, "i64"), mxcsr);
    const rc = truncate ? i32(3) : mxcsr.shrU(13).and(3);
    const [value, flags] = f.call(b.core.toInteger, x.sign, x.exp, x.sig, rc);
    const tooLarge = value.gtU(i64(limit - 1n).add(x.sign.toI64U()));
    f.if(
      tooLarge.or(flags.and(IE)),
      () => f.return(i64(limit), i32(IE)),
    );
    const signed = i64(0).sub(value).when(x.sign, value);
    const result = bits === 32 ? signed.and(0xffffffffn) : signed;
    f.return(result, flags.and(PE));
  });
}

function defineFromInt(b: Builder): FuncRef<SseResult> {
  return define(b, "from_int", 1, (f) => {
    const spec = f.let(sseSpec(f.param(1, "i32"), b.codec.format));
    const result = f.call(b.core.fromInteger, f.param(0, "i64"), spec);
    finish(f, b.codec, result, i32(0), spec);
  });
}
