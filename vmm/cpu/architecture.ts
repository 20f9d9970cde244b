// The architectural state in memory 0, by name: what reset clears and what a
// saved state holds. The engine's own words (TLB, records, budgets) are not in it.

import * as at from "./state.ts";

/** A field of the architectural state. */
export interface StateField {
  /** its name in a saved state */
  readonly name: string;
  /** its address in memory 0 */
  readonly address: number;
  /** its size in bytes: a multiple of 4 */
  readonly bytes: number;
}

const QUADS = [
  ...["RIP", "FLAG_RESULT", "FLAG_CARRY", "SYSTEM_FLAGS", "XCR0", "EFER"],
  ...["STAR", "LSTAR", "CSTAR", "SFMASK", "KERNEL_GS_BASE", "SYSENTER_CS"],
  ...["SYSENTER_ESP", "SYSENTER_EIP", "TSC_AUX", "TSC_OFFSET", "FPU_FIP"],
  ...["FPU_FDP", "SHADOW_RIP"],
] as const;

const WORDS = [
  ...["FPU_CW", "FPU_SW", "FPU_TOP", "FPU_TAGS", "FPU_FOP", "FPU_FCS"],
  ...["FPU_FDS", "MXCSR", "SHADOW_KIND", "NMI_BLOCKED", "WATCH_HITS", "CPL"],
] as const;

/** Every field, in the order of a saved state. */
export const STATE_FIELDS: readonly StateField[] = [
  { name: "GPR", address: at.GPR, bytes: 16 * 8 },
  { name: "SEGMENTS", address: at.SEGMENTS, bytes: 10 * at.SEGMENT_STRIDE },
  { name: "CR", address: at.CR, bytes: 9 * 8 },
  { name: "DR", address: at.DR, bytes: 8 * 8 },
  { name: "PDPTE", address: at.PDPTE, bytes: 4 * 8 },
  { name: "FPR", address: at.FPR, bytes: 8 * 16 },
  { name: "XMM", address: at.XMM, bytes: 16 * at.VECTOR_STRIDE },
  ...QUADS.map((name) => ({ name, address: at[name], bytes: 8 })),
  ...WORDS.map((name) => ({ name, address: at[name], bytes: 4 })),
];
