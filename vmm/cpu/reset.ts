// The state after power-on or INIT, as vmm(4)'s vcpu_reset leaves it (Intel SDM
// vol. 3, table 9-1; the differences are bhyve's: CR0 has NE and no CD, NW).

import {
  CR0,
  CS,
  DR,
  FPU_CW,
  FPU_TAGS,
  GDTR,
  gprAddress,
  IDTR,
  LDTR,
  MXCSR,
  RIP,
  SEG_ACCESS,
  SEG_BASE,
  SEG_LIMIT,
  SEG_SELECTOR,
  SEGMENT_STRIDE,
  SEGMENTS,
  SHADOW_RIP,
  TR,
  XCR0,
} from "./state.ts";
import { STATE_FIELDS } from "./architecture.ts";
import { writeFlags } from "./flag_words.ts";

interface SegmentReset {
  readonly selector?: number;
  readonly base?: number;
  readonly limit: number;
  readonly access: number;
}

const DATA: SegmentReset = { limit: 0xffff, access: 0x93 };

const SEGMENT_RESET: ReadonlyMap<number, SegmentReset> = new Map([
  ...Array.from(
    { length: 6 },
    (_, n): [number, SegmentReset] => [SEGMENTS + n * SEGMENT_STRIDE, DATA],
  ),
  [CS, { selector: 0xf000, base: 0xffff_0000, limit: 0xffff, access: 0x93 }],
  [LDTR, { limit: 0xffff, access: 0x82 }],
  [TR, { limit: 0, access: 0x8b }],
  [GDTR, { limit: 0xffff, access: 0 }],
  [IDTR, { limit: 0xffff, access: 0 }],
]);

/** Sets every architectural register in memory 0 to its reset value. */
export function resetState(state: DataView): void {
  for (const { address, bytes } of STATE_FIELDS) {
    for (let n = 0; n < bytes; n += 4) state.setInt32(address + n, 0, true);
  }
  for (const [slot, { selector, base, limit, access }] of SEGMENT_RESET) {
    state.setBigUint64(slot + SEG_BASE, BigInt(base ?? 0), true);
    state.setUint32(slot + SEG_LIMIT, limit, true);
    state.setUint32(slot + SEG_ACCESS, access, true);
    state.setUint32(slot + SEG_SELECTOR, selector ?? 0, true);
  }
  state.setBigUint64(RIP, 0xfff0n, true);
  state.setBigUint64(CR0, 0x20n, true);
  state.setBigUint64(gprAddress(2), 0xf00n, true);
  state.setBigUint64(DR + 48, 0xffff_0ff0n, true);
  state.setBigUint64(DR + 56, 0x400n, true);
  state.setBigUint64(XCR0, 1n, true);
  state.setInt32(FPU_CW, 0x40, true);
  state.setInt32(FPU_TAGS, 0xff, true);
  state.setInt32(MXCSR, 0x1f80, true);
  state.setBigUint64(SHADOW_RIP, (1n << 64n) - 1n, true);
  writeFlags(state, 2n);
}
