// What the main thread tells a machine that never returns to its event loop:
// console input and requests, in shared memory. The machine looks in between
// instructions, and waits on it while its processors are halted.

const WAKE = 0;
const HEAD = 1;
const TAIL = 2;
const REQUESTS = 3;
const HEADER_BYTES = 16;
/** Bytes of console input that may wait; a power of two. */
const CAPACITY = 4096;

/** Requests, as bits. */
export const REQUEST = {
  /** press the power button */
  POWER_BUTTON: 1,
  /** end the machine at once */
  STOP: 2,
} as const;

/** Shared words and a ring of bytes with one writer and one reader. */
export class Mailbox {
  readonly #words: Int32Array;
  readonly #ring: Uint8Array;

  /** @param buffer what `create` made, perhaps in another thread */
  constructor(readonly buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer, 0, HEADER_BYTES / 4);
    this.#ring = new Uint8Array(buffer, HEADER_BYTES, CAPACITY);
  }

  /** Makes an empty mailbox. */
  static create(): Mailbox {
    return new Mailbox(new SharedArrayBuffer(HEADER_BYTES + CAPACITY));
  }

  /** Puts bytes in; answers how many there was room for. */
  send(bytes: Uint8Array): number {
    const head = Atomics.load(this.#words, HEAD);
    const tail = Atomics.load(this.#words, TAIL);
    const count = Math.min(bytes.length, CAPACITY - (tail - head));
    for (let n = 0; n < count; n++) {
      this.#ring[(tail + n) % CAPACITY] = bytes[n]!;
    }
    Atomics.store(this.#words, TAIL, tail + count);
    this.#wake();
    return count;
  }

  /** Makes a request. */
  request(bits: number): void {
    Atomics.or(this.#words, REQUESTS, bits);
    this.#wake();
  }

  #wake(): void {
    Atomics.add(this.#words, WAKE, 1);
    Atomics.notify(this.#words, WAKE);
  }

  /** Bytes that wait, without taking them. */
  peek(): Uint8Array {
    const head = Atomics.load(this.#words, HEAD);
    const count = Atomics.load(this.#words, TAIL) - head;
    return Uint8Array.from(
      { length: count },
      (_, n) => this.#ring[(head + n) % CAPACITY]!,
    );
  }

  /** Takes bytes that `peek` showed. */
  take(count: number): void {
    Atomics.add(this.#words, HEAD, count);
  }

  /** Whether anything waits. */
  get isEmpty(): boolean {
    return Atomics.load(this.#words, REQUESTS) === 0 &&
      Atomics.load(this.#words, HEAD) === Atomics.load(this.#words, TAIL);
  }

  /** Takes the requests. */
  takeRequests(): number {
    if (Atomics.load(this.#words, REQUESTS) === 0) return 0;
    return Atomics.exchange(this.#words, REQUESTS, 0);
  }

  /** The count to wait on: read it before looking whether anything waits. */
  get mark(): number {
    return Atomics.load(this.#words, WAKE);
  }

  /** Waits until something comes after `mark`, or for a time. */
  wait(mark: number, milliseconds: number): void {
    Atomics.wait(this.#words, WAKE, mark, milliseconds);
  }
}
