// Rearranging lanes: packs, unpacks, shuffles, blends, insertions, extractions and
// widening (Intel SDM vol. 1, 10.4.4, 11.4.1.3, 12.6, 12.10; vol. 2). An immediate is
// a value of the record, so index vectors are computed from it.

import type { Emitter } from "../emitter.ts";
import { type Form, form, forms } from "../form.ts";
import {
  type I32,
  type I64,
  type SimdBinary,
  type SimdShape,
  type SimdUnary,
  splat,
  type V128,
} from "../wasm/mod.ts";
import {
  type Binary,
  binary,
  counting,
  type Define,
  fill32,
  high64,
  laneBytes,
  lanes,
  low64,
  lowVector,
  SSE,
  SSE_WRITE,
  table,
  type Unary,
  unary,
  VectorEmitter,
  ZERO,
} from "../vector.ts";

// --- Fixed -----------------------------------------------------------------

/** Interleaves the lower or upper lanes of `bytes` bytes. */
function interleave(bytes: number, half: 0 | 1): Binary {
  const index = counting().map((n) => {
    const lane = Math.floor(n / (2 * bytes));
    const source = Math.floor(n / bytes) & 1;
    return half * 8 + lane * bytes + n % bytes + 16 * source;
  });
  return (_v, a, b) => a.shuffle(b, index);
}

function pick(index: readonly number[]): Unary {
  return (_v, a) => a.shuffle(a, index);
}

function narrow(name: SimdBinary): Binary {
  return (_v, a, b) => a.binary(name, b);
}

/** Interleaving the lower lanes. */
export const UNPACK_LOW: Readonly<Record<string, Binary>> = {
  Punpcklbw: interleave(1, 0),
  Punpcklwd: interleave(2, 0),
  Punpckldq: interleave(4, 0),
};

/** Interleaving the upper lanes. */
const UNPACK_HIGH: Readonly<Record<string, Binary>> = {
  Punpckhbw: interleave(1, 1),
  Punpckhwd: interleave(2, 1),
  Punpckhdq: interleave(4, 1),
};

/** Narrowing with saturation. */
export const PACKS: Readonly<Record<string, Binary>> = {
  Packsswb: narrow("i8x16.narrow_i16x8_s"),
  Packuswb: narrow("i8x16.narrow_i16x8_u"),
  Packssdw: narrow("i16x8.narrow_i32x4_s"),
};

const UNPACK_WIDE: Readonly<Record<string, Binary>> = {
  Punpcklqdq: interleave(8, 0),
  Punpckhqdq: interleave(8, 1),
  Unpcklps: interleave(4, 0),
  Unpckhps: interleave(4, 1),
  Unpcklpd: interleave(8, 0),
  Unpckhpd: interleave(8, 1),
};

const DUPLICATE: Readonly<Record<string, Unary>> = {
  Movsldup: pick(counting().map((n) => n & ~4)),
  Movshdup: pick(counting().map((n) => n | 4)),
};

// --- Chosen by an immediate ------------------------------------------------

// Lane n's two bits of an immediate come to bits 7:6 by a multiplication.
const FIELD_SHIFTS = [64, 16, 4, 1];

/** Byte indices for four 32-bit lanes that two bits of the immediate each choose. */
function indices32(v: VectorEmitter): V128 {
  const fields = splat("i32x4", v.imm)
    .binary("i32x4.mul", lanes("i32x4", FIELD_SHIFTS))
    .shift("i32x4.shr_u", 6)
    .binary("v128.and", fill32(3));
  return fields.binary("i32x4.mul", fill32(0x04040404))
    .binary("i32x4.add", fill32(0x03020100));
}

/** Byte indices for eight 16-bit lanes, each four chosen among the low four. */
function indices16(v: VectorEmitter): V128 {
  const all = (value: number) => lanes("i16x8", Array(8).fill(value));
  const shifts = lanes("i16x8", [...FIELD_SHIFTS, ...FIELD_SHIFTS]);
  const fields = splat("i16x8", v.imm).binary("i16x8.mul", shifts)
    .shift("i16x8.shr_u", 6)
    .binary("v128.and", all(3));
  return fields.binary("i16x8.mul", all(0x0202))
    .binary("i16x8.add", all(0x0100));
}

function staticFields(imm: number): number[] {
  return [0, 2, 4, 6].map((shift) => imm >> shift & 3);
}

function expand(fields: readonly number[], bytes: number): number[] {
  return fields.flatMap((lane) => counting(lane * bytes).slice(0, bytes));
}

const shuffle32: Unary = (v, a) => {
  const known = v.imm.value;
  if (known === undefined) return a.binary("i8x16.swizzle", indices32(v));
  return a.shuffle(a, expand(staticFields(known), 4));
};

const IDENTITY = lanes("i8x16", counting());
const LOW_OF_FIRST = [...counting().slice(0, 8), ...counting(16).slice(8)];

/** PSHUFW is its low half. */
export const shuffleLow16: Unary = (v, a) => {
  const index = indices16(v).shuffle(IDENTITY, LOW_OF_FIRST);
  return a.binary("i8x16.swizzle", index);
};

const shuffleHigh16: Unary = (v, a) => {
  const upper = indices16(v).binary(
    "i8x16.add",
    lanes("i8x16", Array(16).fill(8)),
  );
  return a.binary("i8x16.swizzle", IDENTITY.shuffle(upper, LOW_OF_FIRST));
};

const shuffleSingles: Binary = (v, a, b) => {
  const known = v.imm.value;
  if (known !== undefined) {
    const [first, second, third, fourth] = staticFields(known) as [
      ...[number, number, number, number],
    ];
    return a.shuffle(b, expand([first, second, third + 4, fourth + 4], 4));
  }
  const index = v.let(indices32(v));
  const low = a.binary("i8x16.swizzle", index);
  const high = b.binary("i8x16.swizzle", index);
  return low.shuffle(high, [
    ...counting().slice(0, 8),
    ...counting(16).slice(8),
  ]);
};

const shuffleDoubles: Binary = (v, a, b) => {
  const choose = (from: V128, bit: number) =>
    high64(from).when(v.imm.and(bit), low64(from));
  return lowVector(choose(a, 1)).withLane("i64x2", 1, choose(b, 2));
};

/** Bytes from `imm` on of `b` followed by `a`. */
const align: Binary = (v, a, b) => {
  const count = v.let(splat("i8x16", v.imm));
  const low = b.binary(
    "i8x16.swizzle",
    IDENTITY.binary("i8x16.add_sat_u", count),
  );
  const fromA = lanes("i8x16", counting(-16)).binary("i8x16.add", count);
  return low.binary("v128.or", a.binary("i8x16.swizzle", fromA));
};

// --- Blends ----------------------------------------------------------------

/** Ones in the lanes whose bit of the immediate is set. */
function chosen(v: VectorEmitter, shape: SimdShape): V128 {
  const count = 16 / laneBytes(shape);
  const integer = ({ f32x4: "i32x4", f64x2: "i64x2" } as const)[
    shape as "f32x4" | "f64x2"
  ] ?? shape as "i16x8";
  const bits = lanes(
    integer,
    Array.from({ length: count }, (_, n) => 1 << n),
  );
  const imm = integer === "i64x2" ? v.imm.toI64U() : v.imm;
  return splat(integer, imm).binary("v128.and", bits)
    .binary(`${integer}.eq`, bits);
}

function blend(shape: SimdShape): Binary {
  return (v, a, b) => b.bitselect(a, chosen(v, shape));
}

const BLENDS: Readonly<Record<string, Binary>> = {
  Blendps: blend("f32x4"),
  Blendpd: blend("f64x2"),
  Pblendw: blend("i16x8"),
};

/** By the top bits of the lanes of register 0. */
function blendVariable(shape: "i8x16" | "i32x4" | "i64x2"): Define {
  return (x) => {
    const v = new VectorEmitter(x);
    const b = v.read(1);
    const a = v.read(0);
    const mask = v.readRegister0();
    v.write(
      0,
      a.map((group, n) =>
        b[n]!.bitselect(group, mask[n]!.binary(`${shape}.lt_s`, ZERO))
      ),
    );
  };
}

// --- One lane --------------------------------------------------------------

type IntegerShape = "i8x16" | "i16x8" | "i32x4" | "i64x2";

/** `a` with `value` in lane `imm` modulo `count`. */
export function insertLane(
  v: VectorEmitter,
  shape: IntegerShape,
  a: V128,
  value: I64,
  count = 16 / laneBytes(shape),
): V128 {
  const isWide = shape === "i64x2";
  const lane = v.imm.and(count - 1);
  const number = lanes(shape, counting().slice(0, 16 / laneBytes(shape)));
  const here = splat(shape, isWide ? lane.toI64U() : lane)
    .binary(`${shape}.eq`, number);
  return splat(shape, isWide ? value : value.toI32()).bitselect(a, here);
}

function insert(shape: IntegerShape): Define {
  const bits = laneBytes(shape) * 8 as 8 | 16 | 32 | 64;
  return (x) => {
    const v = new VectorEmitter(x);
    const value = x.read(1, bits);
    v.writeOne(0, insertLane(v, shape, v.readLow(0), value));
  };
}

/** Lane `imm` modulo `count` of operand 1, zero-extended. */
export function extractLane(
  x: Emitter,
  bytes: 1 | 2 | 4 | 8,
  count = 16 / bytes,
): I64 {
  const lane = x.imm(8).toI32().and(count - 1);
  const at = x.register(1).add(lane.shl(Math.log2(bytes)));
  return x.let(x.cpu.state.load(bytes, at));
}

/** In memory the lane's bytes, in a register zero-extended. */
function extract(bytes: 1 | 2 | 4 | 8): Define {
  return (x) => {
    const value = extractLane(x, bytes);
    const bits = bytes * 8 as 8 | 16 | 32 | 64;
    x.write(0, value, x.isMemory(0) ? bits : x.size(0));
  };
}

function insertSingle(x: Emitter): void {
  const v = new VectorEmitter(x);
  const value = x.isMemory(1) ? x.read(1, 32) : v.let(
    x.cpu.state.load(
      4,
      x.register(1).add(v.imm.shrU(6).shl(2)),
    ),
  );
  const lane: I32 = v.imm.shrU(4).and(3);
  const here = splat("i32x4", lane)
    .binary("i32x4.eq", lanes("i32x4", [0, 1, 2, 3]));
  const merged = splat("i32x4", value.toI32()).bitselect(v.readLow(0), here);
  const cleared = chosen(v, "f32x4");
  v.writeOne(0, merged.binary("v128.andnot", cleared));
}

// --- Widening --------------------------------------------------------------

const WIDENING: readonly (readonly [string, 16 | 32 | 64, string])[] = [
  ["bw", 64, "i16x8.extend_low_i8x16"],
  ["bd", 32, "i16x8.extend_low_i8x16 i32x4.extend_low_i16x8"],
  [
    "bq",
    16,
    "i16x8.extend_low_i8x16 i32x4.extend_low_i16x8 i64x2.extend_low_i32x4",
  ],
  ["wd", 64, "i32x4.extend_low_i16x8"],
  ["wq", 32, "i32x4.extend_low_i16x8 i64x2.extend_low_i32x4"],
  ["dq", 64, "i64x2.extend_low_i32x4"],
];

function widen(bits: 16 | 32 | 64, steps: SimdUnary[]): Define {
  return (x) => {
    const v = new VectorEmitter(x);
    const source = lowVector(x.read(1, bits));
    v.writeOne(0, steps.reduce((value, name) => value.unary(name), source));
  };
}

function widenForms(): Form[] {
  return (["s", "z"] as const).flatMap((kind) =>
    WIDENING.map(([suffix, bits, chain]) => {
      const sign = kind === "s" ? "s" : "u";
      const steps = chain.split(" ").map((s) => `${s}_${sign}` as SimdUnary);
      const name = `Pmov${kind}x${suffix}_xmm_xmmm${bits}`;
      return form(name, widen(bits, steps), SSE);
    })
  );
}

function duplicateLow(x: Emitter): void {
  const v = new VectorEmitter(x);
  v.writeOne(0, v.readSplat(1, 64));
}

// --- Rows ------------------------------------------------------------------

const BINARY = "xmm_xmmm128";
const IMMEDIATE = "xmm_xmmm128_imm8";

/** Bytes of `a` that the bytes of `b` choose; zero where their top bit is set. */
export function shuffleBytes(indexBits: number): Binary {
  const mask = lanes("i8x16", Array(16).fill(0x80 | indexBits));
  return (_v, a, b) => a.binary("i8x16.swizzle", b.binary("v128.and", mask));
}

/** SSE2's forms. */
export const SSE_COMMON_SHUFFLE_FORMS: readonly Form[] = [
  ...table(UNPACK_LOW, BINARY, binary),
  ...table(UNPACK_HIGH, BINARY, binary),
  ...table(UNPACK_WIDE, BINARY, binary),
  ...table(PACKS, BINARY, binary),
  ...table({ Pshufd: shuffle32 }, IMMEDIATE, unary),
  ...table({ Pshuflw: shuffleLow16, Pshufhw: shuffleHigh16 }, IMMEDIATE, unary),
  ...table(
    { Shufps: shuffleSingles, Shufpd: shuffleDoubles },
    IMMEDIATE,
    binary,
  ),
  ...forms(
    ["Pinsrw_xmm_r32m16_imm8", "Pinsrw_xmm_r64m16_imm8"],
    insert("i16x8"),
    SSE,
  ),
  ...forms(
    ["Pextrw_r32_xmm_imm8", "Pextrw_r64_xmm_imm8"],
    extract(2),
    SSE,
  ),
];

/** The forms of SSE3, SSSE3 and SSE4. */
export const SSE_SHUFFLE_FORMS: readonly Form[] = [
  ...table(DUPLICATE, BINARY, unary),
  form("Movddup_xmm_xmmm64", duplicateLow, SSE),
  form("Packusdw_xmm_xmmm128", binary(narrow("i16x8.narrow_i32x4_u")), SSE),
  form("Pshufb_xmm_xmmm128", binary(shuffleBytes(15)), SSE),
  form("Palignr_xmm_xmmm128_imm8", binary(align), SSE),
  ...table(BLENDS, IMMEDIATE, binary),
  form("Pblendvb_xmm_xmmm128", blendVariable("i8x16"), SSE),
  form("Blendvps_xmm_xmmm128", blendVariable("i32x4"), SSE),
  form("Blendvpd_xmm_xmmm128", blendVariable("i64x2"), SSE),
  ...forms(
    ["Pinsrb_xmm_r32m8_imm8", "Pinsrb_xmm_r64m8_imm8"],
    insert("i8x16"),
    SSE,
  ),
  form("Pinsrd_xmm_rm32_imm8", insert("i32x4"), SSE),
  form("Pinsrq_xmm_rm64_imm8", insert("i64x2"), SSE),
  ...forms(
    ["Pextrb_r32m8_xmm_imm8", "Pextrb_r64m8_xmm_imm8"],
    extract(1),
    SSE_WRITE,
  ),
  ...forms(
    ["Pextrw_r32m16_xmm_imm8", "Pextrw_r64m16_xmm_imm8"],
    extract(2),
    SSE_WRITE,
  ),
  ...forms(
    ["Pextrd_rm32_xmm_imm8", "Extractps_rm32_xmm_imm8"],
    extract(4),
    SSE_WRITE,
  ),
  form("Extractps_r64m32_xmm_imm8", extract(4), SSE_WRITE),
  form("Pextrq_rm64_xmm_imm8", extract(8), SSE_WRITE),
  form("Insertps_xmm_xmmm32_imm8", insertSingle, SSE),
  ...widenForms(),
];
