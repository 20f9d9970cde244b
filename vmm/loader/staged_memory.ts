// Memory that a loader fills before there is a machine: only what it places takes
// space, and nothing reaches the machine until all of it is known to be good.

import { isZero } from "../zeros.ts";
import { LoaderError } from "./file.ts";
import type { LoaderMemory } from "./guest_ram.ts";

/** What is copied at a time. */
const CHUNK = 1 << 16;

interface Range {
  readonly gpa: number;
  readonly bytes: Uint8Array;
}

/** RAM below 4 GiB and above, as a machine of some size has it. */
export interface MemoryLayout {
  readonly lowmem: number;
  readonly highmem: number;
}

/** Guest RAM of which only the ranges that were asked for exist. */
export class StagedMemory implements LoaderMemory {
  readonly lowmem: number;
  readonly highmem: number;
  readonly #ranges: Range[] = [];

  /** @param layout of the machine to come */
  constructor({ lowmem, highmem }: MemoryLayout) {
    this.lowmem = lowmem;
    this.highmem = highmem;
  }

  /** Bytes of all ranges. */
  get size(): number {
    return this.#ranges.reduce((sum, { bytes }) => sum + bytes.length, 0);
  }

  /**
   * A range of low memory, zeros at first. Ranges lie in earlier ones or beside
   * them, as loaders place things.
   *
   * @throws {LoaderError} where the range crosses the end of an earlier one, or
   *   this host does not have the memory for it
   */
  view(gpa: number, length: number): Uint8Array | undefined {
    const end = gpa + length;
    if (gpa < 0 || length < 0 || end > this.lowmem) return undefined;
    const known = this.#ranges.find((range) =>
      gpa < range.gpa + range.bytes.length && range.gpa < end
    );
    if (known === undefined) return this.#add(gpa, length);
    const at = gpa - known.gpa;
    if (at >= 0 && at + length <= known.bytes.length) {
      return known.bytes.subarray(at, at + length);
    }
    throw new LoaderError(
      `Cannot place 0x${length.toString(16)} bytes at 0x${
        gpa.toString(16)
      }: something else is at 0x${known.gpa.toString(16)}`,
    );
  }

  #add(gpa: number, length: number): Uint8Array {
    try {
      const bytes = new Uint8Array(length);
      this.#ranges.push({ gpa, bytes });
      return bytes;
    } catch {
      throw new LoaderError(
        `Cannot place ${length} bytes at 0x${
          gpa.toString(16)
        }: this host has no memory for them`,
      );
    }
  }

  /** Copies everything to a machine's memory. @throws {LoaderError} if smaller */
  applyTo(memory: Pick<LoaderMemory, "view">): void {
    for (const { gpa, bytes } of this.#ranges) {
      const target = memory.view(gpa, bytes.length);
      if (target === undefined) {
        throw new LoaderError(
          `Cannot place ${bytes.length} bytes at 0x${
            gpa.toString(16)
          }: the machine has no memory there`,
        );
      }
      copyInto(target, bytes);
    }
  }
}

// A kernel's range is mostly what it will clear itself: that stays untouched.
function copyInto(target: Uint8Array, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; at += CHUNK) {
    const from = bytes.subarray(at, at + CHUNK);
    const to = target.subarray(at, at + CHUNK);
    if (!isZero(from) || !isZero(to)) to.set(from);
  }
}
