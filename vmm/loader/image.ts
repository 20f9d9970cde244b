// Disk images: a file that is read by offset, never as a whole, and the partitions
// in it. Every access is checked against the image's length.

import { LoaderError } from "./file.ts";

/** What an image is read from. */
export interface RandomAccess {
  /** bytes that there are */
  readonly size: number;
  /** Reads at an offset; answers how many bytes there were. */
  readAt(offset: number, target: Uint8Array): number;
}

/** Reads an open file; block devices, whose size stat(2) does not tell, too. */
export function fileAccess(file: Deno.FsFile): RandomAccess {
  return {
    size: file.seekSync(0, Deno.SeekMode.End),
    readAt(offset, target) {
      file.seekSync(offset, Deno.SeekMode.Start);
      let done = 0;
      while (done < target.length) {
        const count = file.readSync(target.subarray(done));
        if (count === null) break;
        done += count;
      }
      return done;
    },
  };
}

/** Reads bytes in memory. */
export function bytesAccess(bytes: Uint8Array): RandomAccess {
  return {
    size: bytes.length,
    readAt(offset, target) {
      const part = bytes.subarray(offset, offset + target.length);
      target.set(part);
      return part.length;
    },
  };
}

/** A disk image, or a part of one. */
export class DiskImage {
  readonly #access: RandomAccess;
  readonly #start: number;
  /** Bytes of the image or part. */
  readonly length: number;

  /**
   * @param name for messages, such as `disk0p2`
   * @param range of bytes that this is; the whole image by default
   */
  constructor(
    readonly name: string,
    access: RandomAccess,
    range: { readonly start: number; readonly length: number } = {
      start: 0,
      length: access.size,
    },
  ) {
    this.#access = access;
    this.#start = range.start;
    this.length = range.length;
  }

  /** The error for something wrong in the image; says what it is taken for. */
  error(kind: string, problem: string): LoaderError {
    return new LoaderError(`Cannot read ${this.name} as ${kind}: ${problem}`);
  }

  /** Whether a range lies in the image. */
  has(offset: number, length: number): boolean {
    return Number.isSafeInteger(offset) && offset >= 0 && length >= 0 &&
      offset + length <= this.length;
  }

  /**
   * Fills a target from an offset on.
   *
   * @param kind what the image is taken for, for messages
   * @param what is read, for messages
   * @throws {LoaderError} where the image does not have all of it
   */
  readInto(
    target: Uint8Array,
    offset: number,
    kind: string,
    what: string,
  ): void {
    const isThere = this.has(offset, target.length) &&
      this.#access.readAt(this.#start + offset, target) === target.length;
    if (isThere) return;
    throw this.error(
      kind,
      `${what} should have ${target.length} bytes at 0x${
        offset.toString(16)
      }, the image ends at 0x${this.length.toString(16)}`,
    );
  }

  /** The bytes of a range, as fields. @throws {LoaderError} as `readInto` */
  read(offset: number, length: number, kind: string, what: string): DataView {
    const bytes = new Uint8Array(length);
    this.readInto(bytes, offset, kind, what);
    return new DataView(bytes.buffer);
  }

  /** The bytes of a range, undefined where the image does not have all of them. */
  peek(offset: number, length: number): DataView | undefined {
    if (!this.has(offset, length)) return undefined;
    return this.read(offset, length, "an image", "a sector");
  }

  /** A part of it, as far as the image goes; undefined where it begins behind. */
  part(name: string, start: number, length: number): DiskImage | undefined {
    if (!this.has(start, 1)) return undefined;
    return new DiskImage(name, this.#access, {
      start: this.#start + start,
      length: Math.min(length, this.length - start),
    });
  }
}

const UTF8 = new TextDecoder();

/** Text in a structure. The range must lie in it. */
export function textAt(
  { buffer, byteOffset }: DataView,
  offset: number,
  length: number,
): string {
  return UTF8.decode(new Uint8Array(buffer, byteOffset + offset, length));
}
