// SSE data movement without change: whole vectors, halves, scalars, general and MMX
// registers, masked and non-temporal stores, MXCSR (Intel SDM vol. 1, 10.4.1, 11.4.1,
// 12.4; vol. 2). Non-temporal hints are not followed.

import { type Emitter, REG } from "../emitter.ts";
import { type Form, form, type FormOptions, forms } from "../form.ts";
import { MXCSR } from "../state.ts";
import { type I32, type I64, splat, type V128 } from "../wasm/mod.ts";
import { VECTOR } from "../runtime/traps.ts";
import {
  checkPending,
  type Define,
  enterMmx,
  high64,
  low64,
  lowVector,
  MMX,
  readMmx,
  SSE,
  SSE_WRITE,
  VectorEmitter,
  writeMmx,
} from "../vector.ts";

/** Operand 1 to operand 0, whole vectors. */
function move(aligned: boolean): Define {
  return (x) => {
    const v = new VectorEmitter(x);
    v.write(0, v.read(1, aligned), aligned);
  };
}

// Mnemonics and whether a memory operand must be aligned.
const WHOLE: Readonly<Record<string, boolean>> = {
  Movaps: true,
  Movapd: true,
  Movdqa: true,
  Movups: false,
  Movupd: false,
  Movdqu: false,
};

const STREAMING_STORES = ["Movntps", "Movntpd", "Movntdq"];

function wholeForms(): Form[] {
  return [
    ...Object.entries(WHOLE).flatMap(([mnemonic, aligned]) => [
      form(`${mnemonic}_xmm_xmmm128`, move(aligned), SSE),
      form(`${mnemonic}_xmmm128_xmm`, move(aligned), SSE_WRITE),
    ]),
    ...STREAMING_STORES.map((mnemonic) =>
      form(`${mnemonic}_m128_xmm`, move(true), SSE_WRITE)
    ),
    form("Movntdqa_xmm_m128", move(true), SSE),
    form("Lddqu_xmm_m128", move(false), SSE),
  ];
}

// --- Scalars and halves ----------------------------------------------------

/** Loads clear what is above the scalar; register moves leave it. */
function loadScalar(bits: 32 | 64, merges: boolean): Define {
  return (x) => {
    const v = new VectorEmitter(x);
    const value = x.read(1, bits);
    if (merges && !x.isMemory(1)) x.write(0, value, 64);
    else v.writeOne(0, lowVector(value));
  };
}

// Not `x.write` for a register: 32 bits would clear the 32 above.
function moveSingle(x: Emitter, value: I64): void {
  x.f.do(x.cpu.state.store(4, x.register(0), value));
}

function loadSingle(x: Emitter): void {
  const value = x.read(1, 32);
  if (x.isMemory(1)) new VectorEmitter(x).writeOne(0, lowVector(value));
  else moveSingle(x, value);
}

function storeSingle(x: Emitter): void {
  const value = x.read(1, 32);
  if (x.isMemory(0)) x.write(0, value, 32);
  else moveSingle(x, value);
}

function storeHalf(half: 0 | 1): Define {
  return (x) => {
    const source = new VectorEmitter(x).readLow(1);
    x.write(0, x.let(half ? high64(source) : low64(source)), 64);
  };
}

function loadHalf(half: 0 | 1): Define {
  return (x) => {
    const value = x.read(1, 64);
    const v = new VectorEmitter(x);
    v.writeOne(0, v.readLow(0).withLane("i64x2", half, value));
  };
}

/** A half of the source register to a half of the destination. */
function moveHalf(from: 0 | 1, to: 0 | 1): Define {
  return (x) => {
    const v = new VectorEmitter(x);
    const source = v.readLow(1);
    const value = v.let(from ? high64(source) : low64(source));
    v.writeOne(0, v.readLow(0).withLane("i64x2", to, value));
  };
}

function storeQuad(x: Emitter): void {
  const value = x.read(1, 64);
  if (x.isMemory(0)) x.write(0, value, 64);
  else new VectorEmitter(x).writeOne(0, lowVector(value));
}

function scalarForms(): Form[] {
  return [
    form("Movss_xmm_xmmm32", loadSingle, SSE),
    form("Movss_xmmm32_xmm", storeSingle, SSE_WRITE),
    form("Movsd_xmm_xmmm64", loadScalar(64, true), SSE),
    ...forms(
      ["Movsd_xmmm64_xmm", "Movlps_m64_xmm", "Movlpd_m64_xmm"],
      storeHalf(0),
      SSE_WRITE,
    ),
    ...forms(["Movhps_m64_xmm", "Movhpd_m64_xmm"], storeHalf(1), SSE_WRITE),
    ...forms(["Movlps_xmm_m64", "Movlpd_xmm_m64"], loadHalf(0), SSE),
    ...forms(["Movhps_xmm_m64", "Movhpd_xmm_m64"], loadHalf(1), SSE),
    form("Movhlps_xmm_xmm", moveHalf(1, 0), SSE),
    form("Movlhps_xmm_xmm", moveHalf(0, 1), SSE),
    form("Movq_xmm_xmmm64", loadScalar(64, false), SSE),
    form("Movq_xmmm64_xmm", storeQuad, SSE_WRITE),
  ];
}

// --- General registers -----------------------------------------------------

function toGeneral(bits: 32 | 64): Define {
  return (x) => x.write(0, x.read(1, bits), bits);
}

function signMask(shape: "i8x16" | "i32x4" | "i64x2"): Define {
  return (x) => {
    const source = new VectorEmitter(x).readLow(1);
    x.write(0, source.test(`${shape}.bitmask`).toI64U());
  };
}

function storeGeneral(x: Emitter): void {
  const bits = x.size(1) as 32 | 64;
  x.write(0, x.read(1, bits), bits);
}

function generalForms(): Form[] {
  const masks = [
    ["Movmskps", "i32x4"],
    ["Movmskpd", "i64x2"],
    ["Pmovmskb", "i8x16"],
  ] as const;
  return [
    form("Movd_xmm_rm32", loadScalar(32, false), SSE),
    form("Movq_xmm_rm64", loadScalar(64, false), SSE),
    form("Movd_rm32_xmm", toGeneral(32), SSE_WRITE),
    form("Movq_rm64_xmm", toGeneral(64), SSE_WRITE),
    ...masks.flatMap(([mnemonic, shape]) =>
      forms(
        [`${mnemonic}_r32_xmm`, `${mnemonic}_r64_xmm`],
        signMask(shape),
        SSE,
      )
    ),
    ...forms(["Movnti_m32_r32", "Movnti_m64_r64"], storeGeneral, {
      access: "write",
    }),
  ];
}

// --- MMX registers ---------------------------------------------------------

function fromMmx(x: Emitter): void {
  checkPending(x);
  const value = x.read(1, 64);
  new VectorEmitter(x).writeOne(0, lowVector(value));
  enterMmx(x);
}

function toMmx(x: Emitter): void {
  checkPending(x);
  writeMmx(x, 0, x.read(1, 64));
  enterMmx(x);
}

// --- Masked stores ---------------------------------------------------------

/** Writes the bytes of a vector whose mask byte's top bit is set, at DS:[rDI]. */
function maskedStore(x: Emitter, source: V128, mask: I32, bytes: 8 | 16): void {
  const { f } = x;
  // Operand 0 is the implied address: its field names its segment.
  const offset = x.gpr(REG.RDI, x.shape.address);
  const la = x.linearIn(x.fields.operand(0), offset, bytes, 1);
  const rest = f.var("i32", mask);
  // Pages are checked whatever the mask, and halves on their own, as AMD's processors
  // do.
  for (let n = 0; n < bytes; n += 8) x.prepareWrite(x.let(la.add(n)), 8);
  f.if(rest.get(), () => {
    f.loop((again) => {
      const n = f.let(rest.get().ctz());
      f.set(rest, rest.get().and(rest.get().sub(1)));
      const chosen = source.binary("i8x16.swizzle", splat("i8x16", n));
      const byte = chosen.lane("i8x16.extract_lane_u", 0).toI64U();
      x.store(1, la.add(n.toI64U()), byte);
      f.brIf(again, rest.get());
    });
  });
}

function maskedVector(x: Emitter): void {
  const v = new VectorEmitter(x);
  const source = v.readLow(1);
  maskedStore(x, source, v.readLow(2).test("i8x16.bitmask"), 16);
}

// Unlike other stores' faults, this one's finds the x87 state changed already.
function maskedMmx(x: Emitter): void {
  checkPending(x);
  const source = readMmx(x, 1);
  const mask = readMmx(x, 2).test("i8x16.bitmask");
  enterMmx(x);
  maskedStore(x, source, mask, 8);
}

const MASKED: FormOptions = {
  access: "write",
  axes: ["address", "code", "flat"],
};

// --- MXCSR -----------------------------------------------------------------

/** The bits of MXCSR that are not reserved. */
const MXCSR_MASK = 0xffff;

function loadMxcsr(x: Emitter): void {
  const value = x.let(x.load(4, x.address()).toI32());
  x.f.if(value.and(~MXCSR_MASK), () => x.raise(VECTOR.GP, 0));
  x.f.do(x.cpu.state.store32(0, value, MXCSR));
}

function storeMxcsr(x: Emitter): void {
  x.store(4, x.address(), x.cpu.state.load32(0, MXCSR).toI64U());
}

/** The moves that compilers use for everything. */
export const SSE_COMMON_MOVE_FORMS: readonly Form[] = [
  ...wholeForms(),
  ...scalarForms(),
  ...generalForms(),
];

/** The other forms of this group. */
export const SSE_MOVE_FORMS: readonly Form[] = [
  form("Movq2dq_xmm_mm", fromMmx, SSE),
  form("Movdq2q_mm_xmm", toMmx, SSE),
  form("Maskmovdqu_rDI_xmm_xmm", maskedVector, { ...SSE, ...MASKED }),
  form("Maskmovq_rDI_mm_mm", maskedMmx, { ...MMX, ...MASKED }),
  form("Ldmxcsr_m32", loadMxcsr, SSE),
  form("Stmxcsr_m32", storeMxcsr, SSE_WRITE),
];
