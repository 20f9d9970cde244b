// A disk in memory that is lost with the machine: RAM disks (`ram=`) and tests.

import { type BlockBackend, BlockError, checkRange } from "./backend.ts";

/** How to make a disk in memory. */
export interface MemoryBackendOptions {
  /** bytes of a sector: default 512 */
  readonly sectorSize?: number;
  /** whether writes are refused */
  readonly readOnly?: boolean;
  /** what a serial number is made of: default `ram` */
  readonly ident?: string;
}

/** A disk in memory. */
export class MemoryBackend implements BlockBackend {
  readonly sectorSize: number;
  readonly physicalSectorSize: number;
  /** whether writes are refused */
  readonly readOnly: boolean;
  readonly canDiscard: boolean;
  readonly ident: string;
  #bytes: Uint8Array;
  #resized: () => void = () => {};

  /**
   * Makes a disk of zeros.
   *
   * @param size bytes; a multiple of the sector size
   */
  constructor(size: number, options: MemoryBackendOptions = {}) {
    this.sectorSize = options.sectorSize ?? 512;
    this.physicalSectorSize = this.sectorSize;
    this.readOnly = options.readOnly ?? false;
    this.canDiscard = !this.readOnly;
    this.ident = options.ident ?? "ram";
    if (size % this.sectorSize !== 0) {
      throw new BlockError(`Cannot make a disk of ${size} bytes: not sectors`);
    }
    this.#bytes = new Uint8Array(size);
  }

  get size(): number {
    return this.#bytes.length;
  }

  read(offset: number, target: Uint8Array): void {
    checkRange(this, offset, target.length);
    target.set(this.#bytes.subarray(offset, offset + target.length));
  }

  write(offset: number, source: Uint8Array): void {
    this.#checkWritable();
    checkRange(this, offset, source.length);
    this.#bytes.set(source, offset);
  }

  flush(): void {
    // Nothing outlives the machine.
  }

  discard(offset: number, length: number): void {
    this.#checkWritable();
    checkRange(this, offset, length);
    this.#bytes.fill(0, offset, offset + length);
  }

  #checkWritable(): void {
    if (this.readOnly) throw new BlockError("Cannot write: it is read-only");
  }

  onResize(changed: () => void): void {
    this.#resized = changed;
  }

  /** Gives it another size, and keeps what fits. */
  resize(size: number): void {
    const bytes = new Uint8Array(size);
    bytes.set(this.#bytes.subarray(0, size));
    this.#bytes = bytes;
    this.#resized();
  }

  close(): void {
    this.#bytes = new Uint8Array(0);
  }
}
