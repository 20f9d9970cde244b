// Files that loaders read: every access is checked against the file's length, so
// that a truncated or hostile file ends in an error and nowhere else.

/** A file that cannot be loaded, or does not fit into the guest's memory. */
export class LoaderError extends Error {
  override readonly name = "LoaderError";
}

/** A file as bytes, with its name for messages. */
export interface LoaderFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** Little-endian access to a file. */
export class FileReader {
  readonly #view: DataView;
  /** Bytes of the file. */
  readonly length: number;

  /**
   * @param file what is read
   * @param kind what it is taken for, such as `ELF`, for messages
   */
  constructor(readonly file: LoaderFile, readonly kind: string) {
    const { buffer, byteOffset, byteLength } = file.bytes;
    this.#view = new DataView(buffer, byteOffset, byteLength);
    this.length = byteLength;
  }

  /** The error for something wrong in the file; says what it is. */
  error(problem: string): LoaderError {
    return new LoaderError(
      `Cannot load ${this.file.name} as ${this.kind}: ${problem}`,
    );
  }

  /** Checks that a range lies in the file. @throws {LoaderError} */
  require(offset: number, bytes: number, what: string): void {
    if (offset >= 0 && bytes >= 0 && offset + bytes <= this.length) return;
    throw this.error(
      `${what} is truncated: expected ${bytes} bytes at 0x${
        offset.toString(16)
      }, the file has ${this.length}`,
    );
  }

  /** Reads 8 bits. @throws {LoaderError} outside the file */
  u8(offset: number, what = "a field"): number {
    this.require(offset, 1, what);
    return this.#view.getUint8(offset);
  }

  /** Reads 16 bits. @throws {LoaderError} outside the file */
  u16(offset: number, what = "a field"): number {
    this.require(offset, 2, what);
    return this.#view.getUint16(offset, true);
  }

  /** Reads 32 bits. @throws {LoaderError} outside the file */
  u32(offset: number, what = "a field"): number {
    this.require(offset, 4, what);
    return this.#view.getUint32(offset, true);
  }

  /** Reads 64 bits. @throws {LoaderError} outside the file */
  u64(offset: number, what = "a field"): bigint {
    this.require(offset, 8, what);
    return this.#view.getBigUint64(offset, true);
  }

  /** A view of a range. @throws {LoaderError} where it is not in the file */
  slice(offset: number, bytes: number, what: string): Uint8Array {
    this.require(offset, bytes, what);
    return this.file.bytes.subarray(offset, offset + bytes);
  }
}
