// A disk in a file or a block device of the host, through Deno's synchronous calls.
// Deno can neither punch holes nor bypass the cache: discard is refused, `nocache` is
// accepted as the hint that it is, `direct` syncs after each write.

import { type BlockBackend, BlockError, checkRange } from "./backend.ts";
import type { BlockOptions, SectorSizes } from "./options.ts";

const SECTOR = 512;
const MOST_PHYSICAL = 65536;

function describe(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "No such file or directory";
  if (error instanceof Deno.errors.NotCapable) {
    return "Deno was not given permission for it";
  }
  if (error instanceof Deno.errors.PermissionDenied) return "Permission denied";
  return error instanceof Error ? error.message : String(error);
}

function cannotOpen(path: string, why: string): BlockError {
  return new BlockError(`Could not open backing file "${path}": ${why}`);
}

function open(path: string, write: boolean): Deno.FsFile {
  try {
    return Deno.openSync(path, { read: true, write });
  } catch (error) {
    throw cannotOpen(path, describe(error));
  }
}

/** Opens for writing where wanted and allowed, else for reading. */
function openBest(options: BlockOptions): [Deno.FsFile, boolean] {
  if (options.readOnly) return [open(options.path, false), true];
  try {
    return [open(options.path, true), false];
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    return [open(options.path, false), true];
  }
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && Number.isInteger(Math.log2(value));
}

/** The sizes of a file's sectors where no option gives them. */
function defaultSectors(info: Deno.FileInfo): SectorSizes {
  const block = info.blksize ?? SECTOR;
  const usable = isPowerOfTwo(block) && block >= SECTOR &&
    block <= MOST_PHYSICAL;
  return { logical: SECTOR, physical: usable ? block : SECTOR };
}

/** A disk in a file. */
export class FileBackend implements BlockBackend {
  /** whether writes are refused */
  readonly readOnly: boolean;
  readonly sectorSize: number;
  readonly physicalSectorSize: number;
  readonly canDiscard = false;
  readonly ident: string;
  #size: number;
  readonly #file: Deno.FsFile;
  readonly #writeThrough: boolean;
  #resized: () => void = () => {};

  /**
   * Opens a file.
   *
   * @throws {BlockError} where it cannot be opened
   */
  constructor(options: BlockOptions) {
    [this.#file, this.readOnly] = openBest(options);
    this.ident = options.path;
    this.#writeThrough = options.writeThrough;
    try {
      const info = this.#file.statSync();
      if (info.isDirectory) throw cannotOpen(options.path, "Is a directory");
      const sectors = options.sectors ?? defaultSectors(info);
      this.sectorSize = sectors.logical;
      this.physicalSectorSize = sectors.physical;
      this.#size = this.#measure();
    } catch (error) {
      this.#file.close();
      if (error instanceof BlockError) throw error;
      throw cannotOpen(options.path, describe(error));
    }
  }

  /** Whole sectors in the file; seeking finds the size of devices too. */
  #measure(): number {
    const bytes = this.#file.seekSync(0, Deno.SeekMode.End);
    return bytes - bytes % this.sectorSize;
  }

  get size(): number {
    return this.#size;
  }

  read(offset: number, target: Uint8Array): void {
    checkRange(this, offset, target.length);
    this.#attempt("read", () => {
      this.#file.seekSync(offset, Deno.SeekMode.Start);
      for (let at = 0; at < target.length;) {
        const count = this.#file.readSync(target.subarray(at));
        if (count === null) throw new BlockError("it became shorter");
        at += count;
      }
    });
  }

  write(offset: number, source: Uint8Array): void {
    this.#checkWritable();
    checkRange(this, offset, source.length);
    this.#attempt("write", () => {
      this.#file.seekSync(offset, Deno.SeekMode.Start);
      for (let at = 0; at < source.length;) {
        at += this.#file.writeSync(source.subarray(at));
      }
      if (this.#writeThrough) this.#file.syncDataSync();
    });
  }

  flush(): void {
    if (!this.readOnly) this.#attempt("flush", () => this.#file.syncDataSync());
  }

  discard(): void {
    throw new BlockError(`Cannot discard in "${this.ident}": not supported`);
  }

  #checkWritable(): void {
    if (this.readOnly) {
      throw new BlockError(`Cannot write "${this.ident}": it is read-only`);
    }
  }

  #attempt(what: string, act: () => void): void {
    try {
      act();
    } catch (error) {
      throw new BlockError(
        `Cannot ${what} "${this.ident}": ${describe(error)}`,
      );
    }
  }

  onResize(changed: () => void): void {
    this.#resized = changed;
  }

  /** Looks at the size again: whoever watches the file calls it. */
  rescan(): void {
    const before = this.#size;
    this.#attempt("measure", () => {
      this.#size = this.#measure();
    });
    if (this.#size !== before) this.#resized();
  }

  close(): void {
    this.#file.close();
  }
}
