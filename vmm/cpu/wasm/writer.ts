// A growing byte buffer with the integer encodings of the WebAssembly binary
// format (WebAssembly Core Specification 3.0, 5.2.2 "Integers").

/** Appends bytes, LEB128 integers and strings to a growing buffer. */
export class Writer {
  #bytes: Uint8Array<ArrayBuffer>;
  #length = 0;

  /** @param capacity bytes to reserve at first */
  constructor(capacity = 64) {
    this.#bytes = new Uint8Array(capacity);
  }

  /** Number of bytes written so far. */
  get length(): number {
    return this.#length;
  }

  /** The bytes written so far; a view that is valid until the next write. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Drops what comes after the first `length` bytes. */
  cut(length: number): void {
    this.#length = Math.min(length, this.#length);
  }

  /** Appends one byte. */
  byte(value: number): void {
    if (this.#length === this.#bytes.length) this.#grow(1);
    this.#bytes[this.#length++] = value;
  }

  /** Appends an instruction's few bytes. */
  append(values: readonly number[]): void {
    const { length } = values;
    if (this.#length + length > this.#bytes.length) this.#grow(length);
    for (let n = 0; n < length; n++) {
      this.#bytes[this.#length + n] = values[n]!;
    }
    this.#length += length;
  }

  /** Appends many bytes. */
  copy(bytes: Uint8Array): void {
    const { length } = bytes;
    if (this.#length + length > this.#bytes.length) this.#grow(length);
    this.#bytes.set(bytes, this.#length);
    this.#length += length;
  }

  /** Appends an unsigned LEB128 integer below 2^53. */
  u(value: number): void {
    while (value > 0x7f) {
      this.byte((value % 0x80) | 0x80);
      value = Math.floor(value / 0x80);
    }
    this.byte(value);
  }

  /** Appends a signed LEB128 integer of at most 32 bits. */
  s32(value: number): void {
    for (;;) {
      const low = value & 0x7f;
      value >>= 7;
      const sign = low & 0x40;
      if ((value === 0 && !sign) || (value === -1 && sign)) {
        this.byte(low);
        return;
      }
      this.byte(low | 0x80);
    }
  }

  /** Appends a signed LEB128 integer of at most 64 bits. */
  s64(value: bigint): void {
    if (value === BigInt.asIntN(32, value)) return this.s32(Number(value));
    for (;;) {
      const low = Number(value & 0x7fn);
      value >>= 7n;
      const sign = low & 0x40;
      if ((value === 0n && !sign) || (value === -1n && sign)) {
        this.byte(low);
        return;
      }
      this.byte(low | 0x80);
    }
  }

  /** Appends a length-prefixed UTF-8 name. */
  name(text: string): void {
    const bytes = new TextEncoder().encode(text);
    this.u(bytes.length);
    this.copy(bytes);
  }

  #grow(more: number): void {
    const bytes = new Uint8Array(
      Math.max(this.#bytes.length * 4, this.#length + more),
    );
    bytes.set(this.#bytes);
    this.#bytes = bytes;
  }
}

/** The bytes of an unsigned LEB128 integer below 2^53. */
export function unsignedBytes(value: number): number[] {
  const out: number[] = [];
  while (value > 0x7f) {
    out.push((value % 0x80) | 0x80);
    value = Math.floor(value / 0x80);
  }
  out.push(value);
  return out;
}

/** The bytes of a signed LEB128 integer of at most 32 bits. */
export function signedBytes(value: number): number[] {
  const out: number[] = [];
  for (;;) {
    const low = value & 0x7f;
    value >>= 7;
    const sign = low & 0x40;
    if ((value === 0 && !sign) || (value === -1 && sign)) {
      out.push(low);
      return out;
    }
    out.push(low | 0x80);
  }
}
