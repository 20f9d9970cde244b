// The guest's memory while it is loaded: what was placed where, so that nothing
// lies over something else, outside RAM, or where the firmware tables go.

import { e820, type E820Entry } from "../firmware/e820.ts";
import { LoaderError } from "./file.ts";

/** Guest RAM as loaders reach it. */
export interface LoaderMemory {
  /** bytes of RAM from 0 */
  readonly lowmem: number;
  /** bytes of RAM from 4 GiB */
  readonly highmem: number;
  /** a view of RAM at a guest-physical address, undefined where it is not all RAM */
  view(gpa: number, length: number): Uint8Array | undefined;
}

/** A range in use. */
export interface Placed {
  readonly name: string;
  readonly start: number;
  readonly end: number;
}

const PAGE = 4096;
/** VGA, ROMs, and bhyve's firmware tables, which are written after the loader. */
const FIRMWARE: Placed = {
  name: "the firmware's area",
  start: 0xa_0000,
  end: 0x10_0000,
};

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

/** Rounds up to a multiple of a power of two. */
export function roundUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment;
}

/** RAM with a record of what is in use. */
export class GuestRam {
  readonly #placed: Placed[] = [FIRMWARE];

  constructor(readonly memory: LoaderMemory) {}

  /** Bytes of RAM from 0. */
  get lowmem(): number {
    return this.memory.lowmem;
  }

  /** The map that a guest is given. */
  get map(): E820Entry[] {
    return e820(this.memory);
  }

  #overlap(start: number, end: number): Placed | undefined {
    return this.#placed.find((p) => start < p.end && p.start < end);
  }

  /**
   * Takes a range of low memory for something and gives a view of it.
   *
   * @throws {LoaderError} where it is not all low RAM or is in use
   */
  take(name: string, start: number, length: number): Uint8Array {
    const end = start + length;
    const range = `${hex(start)}-${hex(end)}`;
    const isInside = Number.isSafeInteger(start) && start >= 0 && length >= 0 &&
      end <= this.lowmem;
    const other = isInside ? this.#overlap(start, end) : undefined;
    if (other !== undefined) {
      throw new LoaderError(
        `Cannot place ${name} at ${range}: ${other.name} is at ${
          hex(other.start)
        }-${hex(other.end)}`,
      );
    }
    const view = isInside ? this.memory.view(start, length) : undefined;
    if (view === undefined) {
      throw new LoaderError(
        `Cannot place ${name} at ${range}: low memory ends at ${
          hex(this.lowmem)
        }`,
      );
    }
    if (length > 0) this.#placed.push({ name, start, end });
    return view;
  }

  /** Places bytes. @throws {LoaderError} as `take` */
  put(name: string, start: number, bytes: Uint8Array): void {
    this.take(name, start, bytes.length).set(bytes);
  }

  /** Whether a range is free low RAM. */
  isFree(start: number, length: number): boolean {
    return start >= 0 && start + length <= this.lowmem &&
      this.#overlap(start, start + length) === undefined;
  }

  /**
   * Places bytes as high as possible in low memory, at a page.
   *
   * @param options `limit`: first address behind; the default is low memory's end
   * @throws {LoaderError} where nothing is free above 1 MiB
   */
  putHigh(
    name: string,
    bytes: Uint8Array,
    options: { readonly limit?: number } = {},
  ): number {
    const top = Math.min(options.limit ?? Infinity, this.lowmem);
    const start = this.#highest(top, bytes.length);
    if (start === undefined) {
      throw new LoaderError(
        `Cannot place ${name} of ${bytes.length} bytes: not enough free memory below ${
          hex(top)
        }`,
      );
    }
    this.put(name, start, bytes);
    return start;
  }

  #highest(top: number, length: number): number | undefined {
    let end = top;
    for (;;) {
      const start = Math.floor((end - length) / PAGE) * PAGE;
      if (start < FIRMWARE.end) return undefined;
      const other = this.#overlap(start, start + Math.max(length, 1));
      if (other === undefined) return start;
      end = other.start;
    }
  }
}
