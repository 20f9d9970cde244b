// Random x87, MMX and SSE state as an FXSAVE64 image (SDM volume 1, section 10.5.1): control and
// status words, tags, registers and MXCSR, mostly as programs have them, sometimes as none should.

import type { Prng } from "./prng.ts";
import {
  type Flavour,
  writeFlavoured,
  writeFloat80,
  writePacked,
} from "./values.ts";

/** Byte offsets in the image. */
export const FX = {
  control: 0,
  status: 2,
  tags: 4,
  opcode: 6,
  mxcsr: 24,
  st: 32,
  xmm: 160,
} as const;

const X87_EXCEPTIONS = 0x3f;
const MXCSR_MASKS = 0x1f80;

function controlWord(rng: Prng): number {
  // Extended precision, rounding to nearest, all masked: what the ABI has.
  if (rng.chance(45)) return 0x37f;
  const precision = rng.pick([0, 2, 3, 3]) << 8;
  const rounding = rng.below(4) << 10;
  const masks = rng.chance(80) ? X87_EXCEPTIONS : rng.below(64);
  return 0x40 | precision | rounding | masks;
}

function statusWord(rng: Prng, control: number): number {
  const conditions = rng.u32() & 0x4700;
  const top = rng.below(8) << 11;
  let exceptions = rng.chance(60) ? 0 : rng.below(128);
  // A pending exception ends any snippet at its first waiting instruction: keep that rare.
  if (rng.chance(95)) exceptions &= control & X87_EXCEPTIONS | 0x40;
  // ES and B are not free: they say that an unmasked exception is pending.
  const pending = exceptions & ~control & X87_EXCEPTIONS ? 0x8080 : 0;
  return conditions | top | exceptions | pending;
}

function tagByte(rng: Prng): number {
  const kind = rng.below(10);
  if (kind < 7) return 0xff;
  return kind < 8 ? 0 : rng.below(256);
}

/** An MXCSR value without reserved bits. */
export function randomMxcsr(rng: Prng): number {
  if (rng.chance(50)) return rng.pick([MXCSR_MASKS, 0x1fa0]);
  const rounding = rng.below(4) << 13;
  const zeroes = rng.chance(70) ? 0 : rng.pick([0x8000, 0x0040, 0x8040]);
  const sticky = rng.chance(50) ? 0 : rng.below(64);
  const masks = rng.chance(75) ? MXCSR_MASKS : rng.below(64) << 7;
  return rounding | zeroes | sticky | masks;
}

function writeStack(rng: Prng, view: DataView, at: number, mmx: boolean): void {
  for (let register = 0; register < 8; register++) {
    const to = at + FX.st + register * 16;
    if (mmx) {
      writePacked(rng, view, to);
      writePacked(rng, view, to + 4);
      // MMX code leaves ones above; x87 registers that MMX code reads have anything there.
      view.setUint16(to + 8, rng.chance(80) ? 0xffff : rng.u32(), true);
    } else writeFloat80(rng, view, to);
  }
}

/** What makes an image fit the instructions to be run on it. */
export interface FxOptions {
  /** What the XMM registers hold. */
  flavour: Flavour;
  /** The x87 registers hold what MMX code left there. */
  mmx: boolean;
}

/** Writes an image of 416 bytes; the instruction and operand pointers are zero. */
export function writeFxImage(
  rng: Prng,
  view: DataView,
  at: number,
  options: FxOptions,
): void {
  const control = controlWord(rng);
  view.setUint16(at + FX.control, control, true);
  view.setUint16(at + FX.status, statusWord(rng, control), true);
  view.setUint8(at + FX.tags, tagByte(rng));
  view.setUint32(at + FX.mxcsr, randomMxcsr(rng), true);
  writeStack(rng, view, at, options.mmx);
  writeFlavoured(rng, options.flavour, view, at + FX.xmm, 256);
  nearPairs(rng, view, at + FX.xmm, options.flavour);
}

/** Makes some registers hold almost what another one holds: sums cancel, compares are close. */
function nearPairs(
  rng: Prng,
  view: DataView,
  at: number,
  flavour: Flavour,
): void {
  for (let count = rng.below(4); count > 0; count--) {
    const from = at + rng.below(16) * 16;
    const to = at + rng.below(16) * 16;
    for (let byte = 0; byte < 16; byte += 4) {
      view.setUint32(to + byte, view.getUint32(from + byte, true), true);
    }
    const lane = flavour === "f64" ? 8 : 4;
    for (let byte = 0; byte < 16; byte += lane) {
      const low = view.getUint32(to + byte, true);
      view.setUint32(to + byte, low + rng.between(-1, 1), true);
    }
  }
}
