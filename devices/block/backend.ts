// What a disk's contents are kept in, as device models see it: bytes at offsets. A
// request is whole sectors, its pieces need not be: drivers frame them as they like.
// Calls are synchronous and work straight on guest memory.

/** Why a request could not be done. */
export class BlockError extends Error {
  /** its kind, for callers that tell errors apart */
  override readonly name = "BlockError";
}

/** A disk's contents. */
export interface BlockBackend {
  /** bytes; a multiple of `sectorSize` */
  readonly size: number;
  /** bytes of a logical sector: a power of two, at least 512 */
  readonly sectorSize: number;
  /** bytes of a physical sector: a power of two, at least `sectorSize` */
  readonly physicalSectorSize: number;
  /** whether writes are refused */
  readonly readOnly: boolean;
  /** whether `discard` gives space back */
  readonly canDiscard: boolean;
  /** what a serial number is made of: the path */
  readonly ident: string;
  /** Reads bytes. @throws {BlockError} */
  read(offset: number, target: Uint8Array): void;
  /** Writes bytes. @throws {BlockError} */
  write(offset: number, source: Uint8Array): void;
  /** Makes what was written survive a crash of the host. @throws {BlockError} */
  flush(): void;
  /** Gives the space of whole sectors back; they read as zeros. @throws {BlockError} */
  discard(offset: number, length: number): void;
  /** Calls back when the size changed from outside. */
  onResize(changed: () => void): void;
  /** Gives the host resources back. */
  close(): void;
}

/** Checks that a request lies inside of a disk. @throws {BlockError} */
export function checkRange(
  { size }: Pick<BlockBackend, "size">,
  offset: number,
  length: number,
): void {
  const inside = Number.isSafeInteger(offset) && offset >= 0 && length >= 0 &&
    offset + length <= size;
  if (!inside) {
    throw new BlockError(
      `Cannot access ${length} bytes at ${offset}: the disk has ${size}`,
    );
  }
}
