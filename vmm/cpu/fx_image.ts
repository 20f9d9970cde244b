// The x87, MMX and SSE state as an FXSAVE64 image (Intel SDM vol. 2, FXSAVE,
// table 3-46), for TypeScript.

import {
  FPR,
  FPU_CW,
  FPU_FCS,
  FPU_FDP,
  FPU_FDS,
  FPU_FIP,
  FPU_FOP,
  FPU_SW,
  FPU_TAGS,
  FPU_TOP,
  MXCSR,
  vectorAddress,
} from "./state.ts";

/** Bytes of an image. */
export const FX_IMAGE_SIZE = 512;
const MXCSR_MASK = 0xffff;
const TOP_SHIFT = 11;

/** The state as an image; reserved bytes are zero. */
export function readFxImage(state: DataView): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(FX_IMAGE_SIZE);
  const image = new DataView(bytes.buffer);
  const word = (at: number) => state.getInt32(at, true);
  const top = word(FPU_TOP) & 7;
  image.setUint16(0, word(FPU_CW), true);
  image.setUint16(2, word(FPU_SW) | top << TOP_SHIFT, true);
  image.setUint8(4, word(FPU_TAGS));
  image.setUint16(6, word(FPU_FOP), true);
  image.setBigUint64(8, state.getBigUint64(FPU_FIP, true), true);
  image.setBigUint64(16, state.getBigUint64(FPU_FDP, true), true);
  image.setUint32(24, word(MXCSR), true);
  image.setUint32(28, MXCSR_MASK, true);
  for (let n = 0; n < 8; n++) {
    const from = FPR + 16 * ((top + n) & 7);
    image.setBigUint64(32 + 16 * n, state.getBigUint64(from, true), true);
    image.setUint16(40 + 16 * n, state.getUint16(from + 8, true), true);
  }
  for (let n = 0; n < 16; n++) {
    for (let half = 0; half < 16; half += 8) {
      const value = state.getBigUint64(vectorAddress(n) + half, true);
      image.setBigUint64(160 + 16 * n + half, value, true);
    }
  }
  return bytes;
}

/** Sets the state from an image, as FXRSTOR64 would. */
export function writeFxImage(state: DataView, bytes: Uint8Array): void {
  if (bytes.length !== FX_IMAGE_SIZE) {
    throw new RangeError(
      `Cannot use an FXSAVE image of ${bytes.length} bytes: expected 512`,
    );
  }
  const image = new DataView(bytes.buffer, bytes.byteOffset, FX_IMAGE_SIZE);
  const put = (at: number, value: number) => state.setInt32(at, value, true);
  const sw = image.getUint16(2, true);
  const cw = image.getUint16(0, true) & 0x1f3f | 0x40;
  const top = sw >> TOP_SHIFT & 7;
  // ES and B follow from the flags and their masks.
  const isPending = (sw & ~cw & 0x3f) !== 0;
  put(FPU_CW, cw);
  put(FPU_SW, sw & 0x477f | (isPending ? 0x8080 : 0));
  put(FPU_TOP, top);
  put(FPU_TAGS, image.getUint8(4));
  put(FPU_FOP, image.getUint16(6, true) & 0x7ff);
  put(FPU_FCS, 0);
  put(FPU_FDS, 0);
  state.setBigUint64(FPU_FIP, image.getBigUint64(8, true), true);
  state.setBigUint64(FPU_FDP, image.getBigUint64(16, true), true);
  put(MXCSR, image.getUint32(24, true) & MXCSR_MASK);
  for (let n = 0; n < 8; n++) {
    const to = FPR + 16 * ((top + n) & 7);
    state.setBigUint64(to, image.getBigUint64(32 + 16 * n, true), true);
    put(to + 8, image.getUint16(40 + 16 * n, true));
  }
  for (let n = 0; n < 16; n++) {
    for (let half = 0; half < 16; half += 8) {
      const value = image.getBigUint64(160 + 16 * n + half, true);
      state.setBigUint64(vectorAddress(n) + half, value, true);
    }
  }
}
