// Accesses to devices by vCPUs that have none in their thread: a call through shared
// words, answered by the machine's thread between its own blocks or while it is idle.
// The caller counts as not running while it waits, so that no circle of waits is closed.

/** What is called for. */
export const CALL = {
  READ_PORT: 0,
  WRITE_PORT: 1,
  READ_MEMORY: 2,
  WRITE_MEMORY: 3,
  /** acknowledges the interrupt of the 8259s: its vector */
  ACKNOWLEDGE: 4,
} as const;

/** Whether a device answered. */
export const ANSWER = { NONE: 0, DONE: 1, UNCLAIMED: 2 } as const;

const STATUS = 0;
const KIND = 1;
const BYTES = 2;
const ADDRESS_LOW = 3;
const ADDRESS_HIGH = 4;
const VALUE = 6;
/** Words of one vCPU's calls. */
export const CALL_WORDS = 8;

/** One call. */
export interface DeviceCall {
  /** of `CALL` */
  readonly kind: number;
  readonly address: number;
  readonly bytes: number;
  /** what is written */
  readonly value: bigint;
}

/** The words of one vCPU's calls, from either side. */
export class DeviceCallWords {
  readonly #words: Int32Array;
  readonly #value: BigUint64Array;

  /** @param words `CALL_WORDS` of shared memory, at a multiple of 8 bytes */
  constructor(words: Int32Array) {
    this.#words = words;
    const { buffer, byteOffset } = words;
    this.#value = new BigUint64Array(buffer, byteOffset + 4 * VALUE, 1);
  }

  // --- The caller ----------------------------------------------------------

  /** Writes a call down; the machine's thread must then be told. */
  begin({ kind, address, bytes, value }: DeviceCall): void {
    const words = this.#words;
    words[KIND] = kind;
    words[BYTES] = bytes;
    words[ADDRESS_LOW] = address >>> 0;
    words[ADDRESS_HIGH] = Math.floor(address / 2 ** 32);
    this.#value[0] = value;
    Atomics.store(words, STATUS, ANSWER.NONE);
  }

  /** How the call was answered; NONE until then. */
  get status(): number {
    return Atomics.load(this.#words, STATUS);
  }

  /** The value that was read. */
  get value(): bigint {
    return this.#value[0]!;
  }

  /** Sleeps until there is an answer, or for a time. */
  wait(milliseconds: number): void {
    Atomics.wait(this.#words, STATUS, ANSWER.NONE, milliseconds);
  }

  // --- The machine's thread ------------------------------------------------

  /** The call that waits. */
  get call(): DeviceCall {
    const words = this.#words;
    const high = words[ADDRESS_HIGH]! >>> 0;
    return {
      kind: words[KIND]!,
      bytes: words[BYTES]!,
      address: high * 2 ** 32 + (words[ADDRESS_LOW]! >>> 0),
      value: this.#value[0]!,
    };
  }

  /** Answers it: what was read, or undefined where no device claims the address. */
  answer(value: bigint | undefined): void {
    this.#value[0] = value ?? 0n;
    const status = value === undefined ? ANSWER.UNCLAIMED : ANSWER.DONE;
    Atomics.store(this.#words, STATUS, status);
    Atomics.notify(this.#words, STATUS);
  }
}
