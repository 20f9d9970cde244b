// A ring of bytes in shared memory with one writer and one reader, each in a thread of
// its own. Head and tail count bytes and wrap at 2^32; neither side ever waits here.

/** One side's view of a ring; both sides make their own over the same memory. */
export class ByteRing {
  readonly #words: Int32Array;
  readonly #head: number;
  readonly #tail: number;
  readonly #bytes: Uint8Array;
  readonly #mask: number;

  /**
   * @param words shared words
   * @param at index of two of them, zero at first: bytes taken, bytes put in
   * @param bytes shared memory, a power of two long
   */
  constructor(words: Int32Array, at: number, bytes: Uint8Array) {
    this.#words = words;
    this.#head = at;
    this.#tail = at + 1;
    this.#bytes = bytes;
    this.#mask = bytes.length - 1;
  }

  /** Bytes that wait. */
  get used(): number {
    const words = this.#words;
    return (Atomics.load(words, this.#tail) - Atomics.load(words, this.#head)) |
      0;
  }

  /** Bytes that it takes now. */
  get room(): number {
    return this.#bytes.length - this.used;
  }

  /** Puts one byte in; false where there is no room. Writer only. */
  put(byte: number): boolean {
    if (this.room === 0) return false;
    const tail = Atomics.load(this.#words, this.#tail);
    this.#bytes[tail & this.#mask] = byte;
    Atomics.store(this.#words, this.#tail, tail + 1);
    return true;
  }

  /** Puts bytes in; answers how many there was room for. Writer only. */
  write(bytes: Uint8Array): number {
    const count = Math.min(bytes.length, this.room);
    const tail = Atomics.load(this.#words, this.#tail);
    const from = tail & this.#mask;
    const first = Math.min(count, this.#bytes.length - from);
    this.#bytes.set(bytes.subarray(0, first), from);
    this.#bytes.set(bytes.subarray(first, count), 0);
    Atomics.store(this.#words, this.#tail, tail + count);
    return count;
  }

  /** A copy of the bytes that wait. Reader only. */
  peek(): Uint8Array<ArrayBuffer> {
    const count = this.used;
    const from = Atomics.load(this.#words, this.#head) & this.#mask;
    const first = Math.min(count, this.#bytes.length - from);
    const copy = new Uint8Array(count);
    copy.set(this.#bytes.subarray(from, from + first));
    copy.set(this.#bytes.subarray(0, count - first), first);
    return copy;
  }

  /** Takes bytes that `peek` showed. Reader only. */
  drop(count: number): void {
    Atomics.add(this.#words, this.#head, count);
  }
}
