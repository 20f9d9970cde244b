// What a virtual CPU counts of its own work: decoding, and the compiled tier.

import type { RegionStatistics } from "./regions/tier.ts";

/** What a virtual CPU has done so far. */
export interface CpuStatistics {
  /** blocks decoded */
  readonly blocks: number;
  /** instructions in them */
  readonly instructions: number;
  /** how often emitted code did not find the block to go on at */
  readonly lookups: number;
  /** blocks that were hot */
  readonly hot: number;
  /** how often all decoded code was forgotten */
  readonly emptied: number;
  /** the compiled tier, where it is on */
  readonly regions?: RegionStatistics;
}
