// PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM (Intel SDM vol. 2, 4.1): lengths come
// from registers or from terminating zeros, the result goes to ECX or to XMM0.

import { type Emitter, REG } from "../emitter.ts";
import { type Form, form } from "../form.ts";
import { type I32, i32, i64, splat, type V128 } from "../wasm/mod.ts";
import {
  type Define,
  lanes,
  lowVector,
  SSE,
  VectorEmitter,
} from "../vector.ts";

const WORDS = 1;
const AS_MASK = 0x40;
const MOST_SIGNIFICANT = 0x40;

type Length = (v: VectorEmitter, vector: V128, register: number) => I32;

const implicitLength: Length = (v, vector) =>
  v.call("stringLength", vector, v.imm.and(WORDS))[0];

/** The magnitude of a register, at most the elements of a vector. */
function explicitLength(size: 32 | 64): Length {
  return (v, _vector, register) => {
    const { x } = v;
    const value = x.gpr(register, size);
    const signed = x.let(size === 32 ? value.extend32S() : value);
    const magnitude = x.let(i64(0).sub(signed).when(signed.ltS(0), signed));
    const most = x.let(elements(v).toI64U());
    return x.let(most.when(magnitude.gtU(most), magnitude).toI32());
  };
}

function elements(v: VectorEmitter): I32 {
  return i32(16).shrU(v.imm.and(WORDS));
}

type Result = (v: VectorEmitter, bits: I32) => void;

const toIndex: Result = (v, bits) => {
  const count = v.let(elements(v));
  const least = bits.or(i32(1).shl(count)).ctz();
  const most = i32(31).sub(bits.clz());
  const last = most.when(bits, count);
  const index = last.when(v.imm.and(MOST_SIGNIFICANT), least);
  v.x.setGpr(REG.RCX, index.toI64U(), 32);
};

const toMask: Result = (v, bits) => {
  v.writeRegister0(v.f.ifValue(
    v.imm.and(AS_MASK),
    "v128",
    () =>
      v.f.ifValue(
        v.imm.and(WORDS),
        "v128",
        () => wordMask(v, bits),
        () => byteMask(v, bits),
      ),
    () => lowVector(bits.toI64U()),
  ));
};

function wordMask(v: VectorEmitter, bits: I32): V128 {
  const each = lanes("i16x8", Array.from({ length: 8 }, (_, n) => 1 << n));
  return v.let(
    splat("i16x8", bits).binary("v128.and", each).binary("i16x8.eq", each),
  );
}

function byteMask(v: VectorEmitter, bits: I32): V128 {
  const each = lanes("i8x16", Array.from({ length: 16 }, (_, n) => 1 << n % 8));
  const which = lanes(
    "i8x16",
    Array.from({ length: 16 }, (_, n) => n >> 3),
  );
  return v.let(
    splat("i16x8", bits).binary("i8x16.swizzle", which)
      .binary("v128.and", each).binary("i8x16.eq", each),
  );
}

function compare(length: Length, result: Result): Define {
  return (x: Emitter) => {
    const v = new VectorEmitter(x);
    const b = v.read(1, false)[0]!;
    const a = v.readLow(0);
    const lengthA = length(v, a, REG.RAX);
    const lengthB = length(v, b, REG.RDX);
    const [bits, flags] = v.call(
      "stringCompare",
      a,
      b,
      lengthA,
      lengthB,
      v.imm,
    );
    result(v, bits);
    x.flags.assign(flags.toI64U());
  };
}

const OPERANDS = "xmm_xmmm128_imm8";

/** The forms of this group. */
export const SSE_STRING_FORMS: readonly Form[] = [
  form(`Pcmpistri_${OPERANDS}`, compare(implicitLength, toIndex), SSE),
  form(`Pcmpistrm_${OPERANDS}`, compare(implicitLength, toMask), SSE),
  form(`Pcmpestri_${OPERANDS}`, compare(explicitLength(32), toIndex), SSE),
  form(`Pcmpestrm_${OPERANDS}`, compare(explicitLength(32), toMask), SSE),
  form(`Pcmpestri64_${OPERANDS}`, compare(explicitLength(64), toIndex), SSE),
  form(`Pcmpestrm64_${OPERANDS}`, compare(explicitLength(64), toMask), SSE),
];
