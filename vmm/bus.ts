// Address spaces of a machine: ports and device memory as ranges with handlers.
// An access that no range claims reads all ones and writes nothing.

/** What answers for a range. Offsets count from the range's start. */
export interface BusHandler {
  /**
   * Reads `bytes` (1, 2, 4 or 8) at an offset; the value is below 2^(8*bytes).
   * Up to 4 bytes it is a number that is exact; for 8 bytes a bigint may be given.
   */
  read(offset: number, bytes: number): number | bigint;
  /** Writes `bytes` at an offset. */
  write(offset: number, bytes: number, value: bigint): void;
}

/** A claimed range. */
export interface BusRange {
  /** first address */
  readonly start: number;
  /** addresses in it */
  readonly length: number;
  /** what answers for it */
  readonly handler: BusHandler;
  /** who claimed it, for messages */
  readonly name: string;
}

/** Two owners want the same addresses. */
export class BusConflictError extends Error {
  override readonly name = "BusConflictError";
}

/** An address space. Ranges do not overlap; look-ups cache the last hit. */
export class Bus {
  readonly #ranges: BusRange[] = [];
  #last: BusRange | undefined;

  /** @param name `port` or `memory`, for messages */
  constructor(readonly name: string) {}

  /**
   * Claims a range.
   *
   * @throws {BusConflictError} where it overlaps a claimed one
   */
  claim(range: BusRange): void {
    const end = range.start + range.length;
    const other = this.#ranges.find((r) =>
      range.start < r.start + r.length && r.start < end
    );
    if (other !== undefined) {
      throw new BusConflictError(
        `Cannot claim ${this.name} 0x${range.start.toString(16)}-0x${
          (end - 1).toString(16)
        } for ${range.name}: ${other.name} has it`,
      );
    }
    const at = this.#ranges.findIndex((r) => r.start > range.start);
    this.#ranges.splice(at < 0 ? this.#ranges.length : at, 0, range);
  }

  /** Gives a range back; nothing happens where it was not claimed. */
  release(range: BusRange): void {
    const at = this.#ranges.indexOf(range);
    if (at >= 0) this.#ranges.splice(at, 1);
    if (this.#last === range) this.#last = undefined;
  }

  /** The range that an access lies in wholly, if there is one. */
  find(address: number, bytes: number): BusRange | undefined {
    const last = this.#last;
    if (
      last !== undefined && address >= last.start &&
      address + bytes <= last.start + last.length
    ) return last;
    let low = 0;
    let high = this.#ranges.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const range = this.#ranges[middle]!;
      if (address < range.start) high = middle - 1;
      else if (address >= range.start + range.length) low = middle + 1;
      else {
        if (address + bytes > range.start + range.length) return undefined;
        this.#last = range;
        return range;
      }
    }
    return undefined;
  }

  /** Every claimed range, by address. */
  get ranges(): readonly BusRange[] {
    return this.#ranges;
  }
}
