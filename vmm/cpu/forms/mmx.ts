// MMX, and what SSE, SSE2 and SSSE3 added for its registers (Intel SDM vol. 1, chapter
// 9, 10.4.4, 12.6). Operations are SSE's, on the low half of a vector; those that
// take lanes of both sources get them joined first.

import type { Emitter } from "../emitter.ts";
import { type Form, form, type FormOptions, forms } from "../form.ts";
import { splat, type V128 } from "../wasm/mod.ts";
import {
  type Binary,
  checkPending,
  counting,
  type Define,
  enterMmx,
  lanes,
  low64,
  MMX,
  readMmx,
  table,
  type Unary,
  VectorEmitter,
  writeMmx,
} from "../vector.ts";
import {
  ABSOLUTE,
  HORIZONTAL,
  LANEWISE,
  LANEWISE_SSSE3,
  shiftByImmediate,
  shiftByVector,
  SHIFTS,
} from "./sse_integer.ts";
import {
  extractLane,
  insertLane,
  PACKS,
  shuffleBytes,
  shuffleLow16,
  UNPACK_LOW,
} from "./sse_shuffles.ts";

const MMX_WRITE: FormOptions = { ...MMX, access: "write" };

/** Both sources to the destination; the result is the low half. */
function binary(op: Binary, secondBits: 32 | 64 = 64): Define {
  return (x) => {
    checkPending(x);
    const v = new VectorEmitter(x);
    const b = readMmx(x, 1, secondBits);
    const a = readMmx(x, 0);
    writeMmx(x, 0, low64(op(v, a, b)));
    enterMmx(x);
  };
}

function unary(op: Unary): Define {
  return binary((v, _a, b) => op(v, b));
}

function inPlace(op: Unary): Define {
  return (x) => {
    checkPending(x);
    const v = new VectorEmitter(x);
    writeMmx(x, 0, low64(op(v, readMmx(x, 0))));
    enterMmx(x);
  };
}

/** `b` above `a`. */
function join(v: VectorEmitter, a: V128, b: V128): V128 {
  return v.let(a.withLane("i64x2", 1, low64(b)));
}

// Lanes of both sources side by side, so that the low half is all of the result.
function joined(op: Binary): Binary {
  return (v, a, b) => {
    const both = join(v, a, b);
    return op(v, both, both);
  };
}

// Interleaving the low halves of vectors leaves the upper lanes' half above.
function upper(low: Binary): Binary {
  return (v, a, b) => {
    const whole = low(v, a, b);
    return whole.shuffle(whole, counting(8).map((n) => n & 15));
  };
}

function upperName(low: string): string {
  return low.replace("Punpckl", "Punpckh");
}

const align: Binary = (v, a, b) =>
  join(v, b, a).binary(
    "i8x16.swizzle",
    lanes("i8x16", counting())
      .binary("i8x16.add_sat_u", splat("i8x16", v.imm)),
  );

// --- Moves -----------------------------------------------------------------

function load(bits: 32 | 64): Define {
  return (x) => {
    checkPending(x);
    writeMmx(x, 0, x.read(1, bits));
    enterMmx(x);
  };
}

function store(bits: 32 | 64): Define {
  return (x) => {
    checkPending(x);
    x.write(0, x.read(1, bits), bits);
    enterMmx(x);
  };
}

function moveQuad(x: Emitter): void {
  checkPending(x);
  const value = x.read(1, 64);
  if (x.isMemory(0)) x.write(0, value, 64);
  else writeMmx(x, 0, value);
  enterMmx(x);
}

function insertWord(x: Emitter): void {
  checkPending(x);
  const v = new VectorEmitter(x);
  const value = x.read(1, 16);
  writeMmx(x, 0, low64(insertLane(v, "i16x8", readMmx(x, 0), value, 4)));
  enterMmx(x);
}

function extractWord(x: Emitter): void {
  checkPending(x);
  x.write(0, extractLane(x, 2, 4));
  enterMmx(x);
}

function signMask(x: Emitter): void {
  checkPending(x);
  const bits = readMmx(x, 1).test("i8x16.bitmask");
  x.write(0, bits.toI64U());
  enterMmx(x);
}

// --- Rows ------------------------------------------------------------------

const BINARY = "mm_mmm64";
const IMMEDIATE = "mm_mmm64_imm8";
const JOINED = { ...PACKS, ...HORIZONTAL };

/** The forms of this group. */
export const MMX_FORMS: readonly Form[] = [
  ...table({ ...LANEWISE, ...LANEWISE_SSSE3 }, BINARY, binary, MMX),
  ...table(ABSOLUTE, BINARY, unary, MMX),
  ...table(JOINED, BINARY, (op) => binary(joined(op)), MMX),
  ...table(UNPACK_LOW, "mm_mmm32", (op) => binary(op, 32), MMX),
  ...Object.entries(UNPACK_LOW).map(([name, op]) =>
    form(`${upperName(name)}_${BINARY}`, binary(upper(op)), MMX)
  ),
  ...table(SHIFTS, BINARY, (row) => binary(shiftByVector(row)), MMX),
  ...table(SHIFTS, "mm_imm8", (row) => inPlace(shiftByImmediate(row)), MMX),
  form(`Pshufb_${BINARY}`, binary(shuffleBytes(7)), MMX),
  form(`Pshufw_${IMMEDIATE}`, unary(shuffleLow16), MMX),
  form(`Palignr_${IMMEDIATE}`, binary(align), MMX),
  form("Movd_mm_rm32", load(32), MMX),
  form("Movq_mm_rm64", load(64), MMX),
  form("Movq_mm_mmm64", load(64), MMX),
  form("Movd_rm32_mm", store(32), MMX_WRITE),
  form("Movq_rm64_mm", store(64), MMX_WRITE),
  form("Movq_mmm64_mm", moveQuad, MMX_WRITE),
  form("Movntq_m64_mm", store(64), MMX_WRITE),
  ...forms(["Pinsrw_mm_r32m16_imm8", "Pinsrw_mm_r64m16_imm8"], insertWord, MMX),
  ...forms(["Pextrw_r32_mm_imm8", "Pextrw_r64_mm_imm8"], extractWord, MMX),
  ...forms(["Pmovmskb_r32_mm", "Pmovmskb_r64_mm"], signMask, MMX),
];
