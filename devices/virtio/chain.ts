// A descriptor chain as a device uses it: bytes to read in order, then bytes to write
// in order, however the driver framed them (virtio 1.2, 2.7.4.2: no assumption about
// descriptor boundaries). Memory is looked up at each access, never kept.

import type { DeviceMemory } from "../../vmm/device.ts";
import { VirtqueueError } from "./errors.ts";

/** A run of guest memory that was RAM when the chain was taken. */
export interface Segment {
  /** guest-physical address */
  readonly gpa: number;
  /** bytes */
  readonly length: number;
}

/** One end of a chain: bytes in order over segments. */
export class SegmentCursor {
  readonly #memory: DeviceMemory;
  readonly #segments: readonly Segment[];
  #index = 0;
  #inSegment = 0;
  /** bytes from here to the end */
  remaining: number;

  /** Starts at the first byte. */
  constructor(memory: DeviceMemory, segments: readonly Segment[]) {
    this.#memory = memory;
    this.#segments = segments;
    this.remaining = segments.reduce((sum, s) => sum + s.length, 0);
  }

  /**
   * Gives up to `length` of the next bytes to `use`, piece by piece.
   *
   * @returns how many bytes there were
   * @throws {VirtqueueError} where memory went away
   */
  advance(
    length: number,
    use: (bytes: Uint8Array, gpa: number) => void,
  ): number {
    let left = Math.min(length, this.remaining);
    const total = left;
    while (left > 0) {
      const segment = this.#segments[this.#index];
      if (segment === undefined) break;
      const piece = Math.min(left, segment.length - this.#inSegment);
      if (piece > 0) this.#piece(segment.gpa + this.#inSegment, piece, use);
      this.#inSegment += piece;
      left -= piece;
      if (this.#inSegment < segment.length) continue;
      this.#index++;
      this.#inSegment = 0;
    }
    this.remaining -= total - left;
    return total - left;
  }

  #piece(
    gpa: number,
    length: number,
    use: (bytes: Uint8Array, gpa: number) => void,
  ): void {
    const view = this.#memory.view(gpa, length);
    if (view === undefined) {
      throw new VirtqueueError(`buffer 0x${gpa.toString(16)} is not RAM`);
    }
    use(view, gpa);
  }

  /** Copies the next bytes out. @returns how many there were */
  read(target: Uint8Array): number {
    let at = 0;
    return this.advance(target.length, (bytes) => {
      target.set(bytes, at);
      at += bytes.length;
    });
  }

  /** Copies bytes in. @returns how many found room */
  write(source: Uint8Array): number {
    let at = 0;
    return this.advance(source.length, (bytes, gpa) => {
      bytes.set(source.subarray(at, at + bytes.length));
      this.#memory.written(gpa, bytes.length);
      at += bytes.length;
    });
  }

  /** Lets a source fill the next bytes in place. @returns how many there were */
  fill(length: number, source: (target: Uint8Array) => void): number {
    return this.advance(length, (bytes, gpa) => {
      source(bytes);
      this.#memory.written(gpa, bytes.length);
    });
  }

  /** Passes over bytes. @returns how many there were */
  skip(length: number): number {
    return this.advance(length, () => {});
  }
}

/** A chain that was taken from a queue and is to be given back to it once. */
export class Chain {
  /**
   * Made by the queue that it is from.
   *
   * @param head index of its first descriptor
   * @param generation which life of the queue it is from
   */
  constructor(
    readonly head: number,
    readonly generation: number,
    readonly readable: readonly Segment[],
    readonly writable: readonly Segment[],
    readonly memory: DeviceMemory,
  ) {}

  /** Reads what the driver gave, from the start. */
  reader(): SegmentCursor {
    return new SegmentCursor(this.memory, this.readable);
  }

  /** Writes what the driver wants, from the start. */
  writer(): SegmentCursor {
    return new SegmentCursor(this.memory, this.writable);
  }
}
