// Where the bytes of a serial line go and come from. A backend is opened by the host
// side (terminal, socket); the queue between it and the guest is bounded and gives out
// only what the receiver's FIFO has room for, so that input waits and is never lost.

/** What takes a backend's input. */
export interface CharSink {
  /**
   * Offers input.
   *
   * @returns how many bytes were taken; the rest stays with the backend, which offers
   * it again when `ready` is called
   */
  offer(bytes: Uint8Array): number;
  /** Called when the backend takes output again after it had no room. */
  drained?(): void;
}

/** The host's end of a serial line. */
export interface CharBackend {
  /** Takes a byte that the guest sent; it is lost where there is no room. */
  write(byte: number): void;
  /** Bytes that `write` takes now; default: any number. */
  room?(): number;
  /** Tells who takes the input from now on. */
  onInput(sink: CharSink): void;
  /** Called when there is room again after an offer was not taken whole. */
  ready?(): void;
}

/** A backend that goes nowhere: a port that nothing is connected to. */
export const NO_BACKEND: CharBackend = {
  write() {
    // Output is lost.
  },
  onInput() {
    // There is none.
  },
};

/** A bounded first-in, first-out queue of input. */
export class InputQueue implements CharSink {
  #bytes: number[] = [];
  #refused = false;

  /**
   * Makes an empty queue.
   *
   * @param capacity most bytes that wait
   * @param arrived called after bytes were put in
   */
  constructor(
    readonly capacity: number,
    readonly arrived: () => void,
  ) {}

  offer(bytes: Uint8Array): number {
    const taken = Math.min(bytes.length, this.capacity - this.#bytes.length);
    for (const byte of bytes.subarray(0, taken)) this.#bytes.push(byte);
    if (taken < bytes.length) this.#refused = true;
    if (taken > 0) this.arrived();
    return taken;
  }

  /** The next byte, if there is one. */
  take(): number | undefined {
    return this.#bytes.shift();
  }

  /** Whether the backend is to be told of room: true once after a refusal. */
  wantsReady(): boolean {
    const room = this.#bytes.length <= this.capacity / 2;
    if (!this.#refused || !room) return false;
    this.#refused = false;
    return true;
  }

  /** Drops what waits. */
  clear(): void {
    this.#bytes = [];
  }

  /** What waits, for a snapshot. */
  get contents(): number[] {
    return [...this.#bytes];
  }

  /** Puts back what a snapshot had. */
  restore(contents: readonly number[]): void {
    this.#bytes = contents.slice(0, this.capacity);
  }
}
