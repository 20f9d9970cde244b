// Writes to devices that their vCPU does not wait for, as writes to a PCI device are
// posted: a ring in shared memory for each vCPU that has no devices in its thread. They
// are done in their order, before the vCPU's next call and before any access of another
// vCPU that follows.

const HEAD = 0;
const TAIL = 1;
const ENTRIES = 16;
const ENTRY_WORDS = 8;
const CAPACITY = 32;
/** Words of one vCPU's posted writes. */
export const POSTED_WRITE_WORDS: number = ENTRIES + CAPACITY * ENTRY_WORDS;

const SPACE = 0;
const BYTES = 1;
const ADDRESS = 2;
const VALUE = 4;

/** Which address space a write is to. */
export const SPACE_PORTS = 0;
export const SPACE_MEMORY = 1;

/** Does a write. */
export type WriteSink = (
  space: number,
  address: number,
  bytes: number,
  value: bigint,
) => void;

/** One vCPU's posted writes, from either side. */
export class PostedWrites {
  readonly #words: Int32Array;
  readonly #quads: BigUint64Array;

  /** @param words `POSTED_WRITE_WORDS` of shared memory, at a multiple of 8 bytes */
  constructor(words: Int32Array) {
    this.#words = words;
    const { buffer, byteOffset } = words;
    this.#quads = new BigUint64Array(buffer, byteOffset, words.length / 2);
  }

  /** Posts a write to an address below 4 GiB; false where there is no room. */
  post(space: number, address: number, bytes: number, value: bigint): boolean {
    const words = this.#words;
    const tail = Atomics.load(words, TAIL);
    if ((tail - Atomics.load(words, HEAD) | 0) >= CAPACITY) return false;
    const at = this.#entry(tail);
    words[at + SPACE] = space;
    words[at + BYTES] = bytes;
    words[at + ADDRESS] = address | 0;
    this.#quads[at + VALUE >> 1] = value;
    Atomics.store(words, TAIL, tail + 1 | 0);
    return true;
  }

  #entry(number: number): number {
    return ENTRIES + (number & CAPACITY - 1) * ENTRY_WORDS;
  }

  /** Does what was posted. */
  take(sink: WriteSink): void {
    const words = this.#words;
    let head = Atomics.load(words, HEAD);
    while (head !== Atomics.load(words, TAIL)) {
      const at = this.#entry(head);
      const value = this.#quads[at + VALUE >> 1]!;
      const address = words[at + ADDRESS]! >>> 0;
      const { [at + SPACE]: space, [at + BYTES]: bytes } = words;
      head = head + 1 | 0;
      Atomics.store(words, HEAD, head);
      sink(space!, address, bytes!, value);
    }
  }
}
