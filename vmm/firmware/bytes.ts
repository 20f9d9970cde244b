// Little-endian bytes of firmware tables and boot structures, written field by
// field, and the checksum that ACPI, MP and SMBIOS tables share.

/** Fields that do not fit where a specification puts them. */
export class FirmwareError extends RangeError {
  override readonly name = "FirmwareError";
}

/** The byte that makes the sum of `bytes` and itself zero modulo 256. */
export function checksum8(bytes: Iterable<number>): number {
  let sum = 0;
  for (const byte of bytes) sum += byte;
  return -sum & 0xff;
}

/** Grows a byte string. Every method returns the writer itself. */
export class ByteWriter {
  #bytes: Uint8Array<ArrayBuffer> = new Uint8Array(256);
  #length = 0;

  /** Bytes written up to now. */
  get length(): number {
    return this.#length;
  }

  #grow(count: number): number {
    const at = this.#length;
    this.#length += count;
    if (this.#length > this.#bytes.length) {
      const larger = new Uint8Array(
        Math.max(this.#length, 2 * this.#bytes.length),
      );
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    return at;
  }

  #integer(value: number, bytes: number): this {
    if (!Number.isInteger(value) || value < 0 || value >= 2 ** (8 * bytes)) {
      throw new FirmwareError(
        `Cannot write ${value}: expected an integer below 2^${8 * bytes}`,
      );
    }
    const at = this.#grow(bytes);
    for (let n = 0; n < bytes; n++) this.#bytes[at + n] = value >>> (8 * n);
    return this;
  }

  /** Writes 8 bits. @throws {FirmwareError} for a value that does not fit */
  u8(value: number): this {
    return this.#integer(value, 1);
  }

  /** Writes 16 bits. @throws {FirmwareError} for a value that does not fit */
  u16(value: number): this {
    return this.#integer(value, 2);
  }

  /** Writes 32 bits. @throws {FirmwareError} for a value that does not fit */
  u32(value: number): this {
    return this.#integer(value, 4);
  }

  /** Writes 64 bits. @throws {FirmwareError} for a value that does not fit */
  u64(value: number | bigint): this {
    const wide = BigInt(value);
    if (wide < 0n || wide >= 1n << 64n) {
      throw new FirmwareError(
        `Cannot write ${wide}: expected an integer below 2^64`,
      );
    }
    return this.u32(Number(wide & 0xffff_ffffn)).u32(Number(wide >> 32n));
  }

  /** Writes bytes as they are. */
  bytes(bytes: ArrayLike<number>): this {
    const at = this.#grow(bytes.length);
    this.#bytes.set(bytes, at);
    return this;
  }

  /** Writes zeros. */
  zeros(count: number): this {
    const at = this.#grow(count);
    this.#bytes.fill(0, at, at + count);
    return this;
  }

  /**
   * Writes text in a field of a fixed length.
   *
   * @param fill what follows the text: 0, or 0x20 for blanks
   * @throws {FirmwareError} where the text is longer or not ASCII
   */
  text(text: string, length: number = text.length, fill = 0): this {
    if (text.length > length || /[^\x20-\x7e]/.test(text)) {
      throw new FirmwareError(
        `Cannot write "${text}": expected at most ${length} ASCII characters`,
      );
    }
    const at = this.#grow(length);
    for (let n = 0; n < length; n++) {
      this.#bytes[at + n] = n < text.length ? text.charCodeAt(n) : fill;
    }
    return this;
  }

  /** Writes zeros up to a multiple of `alignment`. */
  align(alignment: number): this {
    return this.zeros(-this.#length & (alignment - 1));
  }

  /** What was written. */
  finish(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#length);
  }
}
