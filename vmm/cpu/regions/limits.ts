// How much a region may hold, and when blocks are compiled. Measured on the boot of
// Debian's cloud kernel, guestbench, and a second workload that nothing was made for;
// see bench/README.md.

/** How much a region may hold. */
export interface RegionLimits {
  /** blocks in a region, at most */
  readonly blocks: number;
  /**
   * instructions in a region, at most, besides those of its first block; no more than
   * `MOST_INSTRUCTIONS` counts
   */
  readonly instructions: number;
  /** calls inside each other that a region follows */
  readonly calls: number;
  /** whether registers stay in memory 0, which is faster to compile and slower to run */
  readonly inPlace: boolean;
}

/** When and how much is compiled. */
export interface RegionOptions extends RegionLimits {
  /** executions after which a block is compiled; 0: nothing is */
  readonly threshold: number;
  /** executions after which it is though the thread that compiles has work */
  readonly insistent: number;
  /**
   * entries after which a region is grown and compiled again, as large as it may be; 0:
   * regions are so from the beginning
   */
  readonly again: number;
  /** how much a region may hold until then */
  readonly small: RegionLimits;
  /** regions that are compiled together in one module, at most */
  readonly batch: number;
  /** a successor joins a region where it ran this fraction of the threshold */
  readonly share: number;
  /** whether the processor's own thread compiles, so that it is determined when */
  readonly sync: boolean;
  /** how often, at most, drops of a page's code double its blocks' threshold */
  readonly doublings: number;
  /** looks at events, of at most 20,000 instructions each, that a batch may wait */
  readonly patience: number;
}

/**
 * The options where nothing else is asked for.
 *
 * Emitting a region costs about 0.3 µs a byte and V8's optimizing it 0.4 with registers
 * in memory, 0.8 with registers in locals; an instruction comes to some 200 bytes, and
 * threaded code takes 70 ns for a block. Of a boot's instructions it executes 217 million
 * where 8000 executions are hot, 100 with 2000, 65 with 1000; but then two and three times
 * as much is compiled, and V8's threads want the core that the processor runs on. So 1000
 * are hot while the compiler rests, and 8000 in any case. That takes 15 % off
 * the processor's thread in a boot; 500, 2000 and 4000 in any case were all slower.
 *
 * So regions begin small, in memory, and without the functions that they call: following
 * one call each doubled the bytes. One that is entered 100,000 times, or loops for long,
 * is grown again with locals, which takes a third of the time to run (muldiv 0.05 s, 0.21
 * before). Twice as large as here gains nothing and costs 15 MiB, four times 55.
 *
 * Small ones end where another begins, and what one will have is not compiled for itself:
 * else two in five of the instructions that are compiled for a boot would be copies.
 *
 * A page's code is dropped a few times while a kernel patches itself: with ten doublings
 * of the threshold a hundred of its hottest blocks were never compiled.
 */
export const DEFAULT_REGIONS: RegionOptions = {
  threshold: 1000,
  insistent: 8000,
  again: 100_000,
  small: { blocks: 8, instructions: 60, calls: 0, inPlace: true },
  batch: 32,
  blocks: 8,
  instructions: 100,
  calls: 3,
  inPlace: false,
  share: 1 / 8,
  sync: false,
  doublings: 3,
  patience: 80,
};

/**
 * Entries that a slice of 20,000 instructions spent in a region's loop counts for: a loop
 * is hot after fifty, a million instructions, which take it some milliseconds.
 */
export const ENTRIES_OF_SLICE = 2000;

/**
 * Of all of a region's instructions may be executed before the budget is looked at, and
 * its first block has up to 64 more: limits are exact by half of `EXACT_BELOW`. Paths in a
 * region nest when it is emitted, too, for which the stack must do.
 */
export const MOST_INSTRUCTIONS = 448;

/** Compiles every block when it is first executed. */
export const FORCED_REGIONS: RegionOptions = {
  ...DEFAULT_REGIONS,
  threshold: 1,
  insistent: 0,
  again: 0,
  batch: 1,
  share: 0,
  doublings: 0,
};

/** The options that a `CpuOptions.compile` stands for; undefined: nothing is compiled. */
export function regionOptions(
  compile: boolean | Partial<RegionOptions> | undefined,
): RegionOptions | undefined {
  if (compile === false) return undefined;
  if (compile === true) return FORCED_REGIONS;
  const options = { ...DEFAULT_REGIONS, ...compile };
  const instructions = Math.min(options.instructions, MOST_INSTRUCTIONS);
  return { ...options, instructions };
}

const NUMBERS =
  /^(threshold|insistent|again|batch|blocks|instructions|calls|doublings|patience)=(\d{1,9})$/;

/**
 * What the text of `BHYVE_JIT` stands for: `off`, `always` (every block when it is first
 * executed), `sync` (in the processor's own thread, so that it is determined when), and
 * settings such as `threshold=500`; several with commas between them.
 *
 * @throws {RangeError} for any other text
 */
export function parseCompile(text: string): boolean | Partial<RegionOptions> {
  if (text === "off") return false;
  if (text === "always") return true;
  let options: Partial<RegionOptions> = {};
  for (const part of text.split(",").filter((part) => part !== "")) {
    const [, name, value] = NUMBERS.exec(part) ?? [];
    if (part === "sync") {
      options = { ...options, sync: true };
    } else if (name !== undefined) {
      options = { ...options, [name]: Number(value) };
    } else {
      throw new RangeError(
        `BHYVE_JIT "${part}": expected off, always, sync, log or NAME=NUMBER`,
      );
    }
  }
  return options;
}
