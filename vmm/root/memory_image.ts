// System memory of a machine at rest, in a file: the parts that are not zero, one
// behind another, by a list of extents that the node holds. A new image is a new file.

import type { GuestMemory } from "../cpu/guest_memory.ts";
import { VmmError } from "../errno.ts";
import { isZero } from "../zeros.ts";
import type { RootPaths } from "./paths.ts";

/** A part of memory that is in the file. */
export interface Extent {
  /** offset in system memory */
  readonly offset: number;
  readonly length: number;
}

/** What a node says about its memory's file. */
export interface MemoryImage {
  /** number of the file */
  readonly generation: number;
  /** bytes of system memory */
  readonly size: number;
  /** in the order in which they follow each other in the file */
  readonly extents: readonly Extent[];
}

/** What is looked at, and copied, at a time. */
export const CHUNK = 1 << 16;
const COPY_BYTES = 1 << 20;
const IMAGE_MODE = 0o600;

/** The extents of what is not zero in some chunks, by number in ascending order. */
function extentsOf(bytes: Uint8Array, chunks: readonly number[]): Extent[] {
  const extents: { offset: number; length: number }[] = [];
  for (const chunk of chunks) {
    const offset = chunk * CHUNK;
    const view = bytes.subarray(offset, offset + CHUNK);
    if (isZero(view)) continue;
    const last = extents.at(-1);
    if (last !== undefined && last.offset + last.length === offset) {
      last.length += view.length;
    } else extents.push({ offset, length: view.length });
  }
  return extents;
}

// Files are neither read into nor written from memory that threads share.
function copyExtents(
  extents: readonly Extent[],
  copy: (at: number, length: number, buffer: Uint8Array) => void,
): void {
  const buffer = new Uint8Array(COPY_BYTES);
  for (const { offset, length } of extents) {
    for (let done = 0; done < length;) {
      const count = Math.min(COPY_BYTES, length - done);
      copy(offset + done, count, buffer.subarray(0, count));
      done += count;
    }
  }
}

/**
 * Writes memory to a file of its own.
 *
 * @param chunks numbers of the chunks that may hold something, ascending
 */
export function saveImage(
  path: string,
  generation: number,
  bytes: Uint8Array,
  chunks: readonly number[],
): MemoryImage {
  const extents = extentsOf(bytes, chunks);
  const options = { createNew: true, write: true, mode: IMAGE_MODE };
  using file = Deno.openSync(path, options);
  copyExtents(extents, (at, length, buffer) => {
    buffer.set(bytes.subarray(at, at + length));
    for (let done = 0; done < length;) {
      done += file.writeSync(buffer.subarray(done));
    }
  });
  return { generation, size: bytes.length, extents };
}

function checkImage({ extents, size }: MemoryImage, memory: GuestMemory): void {
  const isGood = size <= memory.size && Array.isArray(extents) &&
    extents.every(({ offset, length }) =>
      Number.isSafeInteger(offset) && Number.isSafeInteger(length) &&
      offset >= 0 && length > 0 && offset % CHUNK === 0 &&
      offset + length <= memory.size
    );
  if (!isGood) throw new VmmError("EIO", "the memory image does not fit");
}

/**
 * Reads memory from its file, into memory that is zero.
 *
 * @returns the numbers of the chunks that now hold something
 * @throws {VmmError} EIO where the file and its description do not fit
 */
export function loadImage(
  paths: RootPaths,
  name: string,
  image: MemoryImage,
  memory: GuestMemory,
): number[] {
  checkImage(image, memory);
  const path = paths.memory(name, image.generation);
  const { bytes } = memory;
  using file = Deno.openSync(path);
  copyExtents(image.extents, (at, length, buffer) => {
    for (let done = 0; done < length;) {
      const count = file.readSync(buffer.subarray(done));
      if (count === null) throw new VmmError("EIO", `${path} is truncated`);
      done += count;
    }
    bytes.set(buffer, at);
  });
  return image.extents.flatMap(({ offset, length }) =>
    Array.from(
      { length: Math.ceil(length / CHUNK) },
      (_, n) => offset / CHUNK + n,
    )
  );
}
