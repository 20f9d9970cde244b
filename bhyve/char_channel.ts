// A serial line between the machine's thread, which never returns to its event loop, and
// the main thread, which has the terminal or the socket: a ring of bytes each way in
// shared memory. A reader that is slow leaves no room, and the UART shows that to the
// guest; a guest that does not read leaves the sender waiting. Nothing is lost and
// neither thread blocks.

import type { CharBackend, CharSink } from "../devices/uart/char_backend.ts";
import { ByteRing } from "./byte_ring.ts";
import { Doorbell, DOORBELL_WORDS } from "./doorbell.ts";

// At 200 KB/s a main thread that is busy for a quarter of a second holds nobody back.
const OUTPUT_BYTES = 1 << 16;
const INPUT_BYTES = 1 << 12;
/** Room below which the machine asks to be woken: a UART's FIFO must fit. */
const LEAST_ROOM = 16;

const OUTPUT = 0;
const INPUT = 2;
/** 1 while the machine waits for room in the output. */
const STALLED = 4;
const OUTPUT_BELL = 5;
const INPUT_BELL = OUTPUT_BELL + DOORBELL_WORDS;
const HEADER_BYTES = 64;

interface Parts {
  readonly words: Int32Array;
  readonly output: ByteRing;
  readonly input: ByteRing;
  readonly outputBell: Doorbell;
  readonly inputBell: Doorbell;
}

function partsOf(buffer: SharedArrayBuffer): Parts {
  const words = new Int32Array(buffer, 0, HEADER_BYTES / 4);
  const bell = (at: number) => new Doorbell(words.subarray(at));
  const output = new Uint8Array(buffer, HEADER_BYTES, OUTPUT_BYTES);
  const input = new Uint8Array(
    buffer,
    HEADER_BYTES + OUTPUT_BYTES,
    INPUT_BYTES,
  );
  return {
    words,
    output: new ByteRing(words, OUTPUT, output),
    input: new ByteRing(words, INPUT, input),
    outputBell: bell(OUTPUT_BELL),
    inputBell: bell(INPUT_BELL),
  };
}

/** The machine's side. */
export class ChannelBackend implements CharBackend {
  readonly #parts: Parts;
  #sink: CharSink | undefined;
  #isStalled = false;
  #isRefused = false;

  /** @param buffer what the main thread's `HostChannel` made */
  constructor(buffer: SharedArrayBuffer) {
    this.#parts = partsOf(buffer);
  }

  write(byte: number): void {
    this.#parts.output.put(byte);
    this.#parts.outputBell.ring();
  }

  room(): number {
    const { output, words } = this.#parts;
    if (output.room < LEAST_ROOM) {
      this.#isStalled = true;
      Atomics.store(words, STALLED, 1);
    }
    return output.room;
  }

  onInput(sink: CharSink): void {
    this.#sink = sink;
  }

  ready(): void {
    this.#isRefused = false;
    this.#offerInput();
  }

  /** Looks for input and for room: to be called when the machine was woken. */
  poll(): void {
    this.#offerInput();
    if (!this.#isStalled || this.room() < LEAST_ROOM) return;
    this.#isStalled = false;
    this.#sink?.drained?.();
  }

  #offerInput(): void {
    const { input, inputBell } = this.#parts;
    if (this.#sink === undefined || this.#isRefused || input.used === 0) return;
    const bytes = input.peek();
    const taken = this.#sink.offer(bytes);
    this.#isRefused = taken < bytes.length;
    input.drop(taken);
    inputBell.ring();
  }
}

/** The main thread's side. */
export class HostChannel {
  /** shared memory for the machine's `ChannelBackend` */
  readonly buffer = new SharedArrayBuffer(
    HEADER_BYTES + OUTPUT_BYTES + INPUT_BYTES,
  );
  readonly #parts = partsOf(this.buffer);
  readonly #wake: () => void;
  #isEnded = false;

  /** @param wake wakes the machine, which then polls its backends */
  constructor(wake: () => void) {
    this.#wake = wake;
  }

  /** Output since the last call, at least a byte; undefined after the last one. */
  async read(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const { output, outputBell } = this.#parts;
    await outputBell.until(() => output.used > 0 || this.#isEnded);
    const bytes = output.peek();
    if (bytes.length === 0) return undefined;
    output.drop(bytes.length);
    this.#tellOfRoom();
    return bytes;
  }

  #tellOfRoom(): void {
    const { words } = this.#parts;
    if (Atomics.load(words, STALLED) === 0) return;
    Atomics.store(words, STALLED, 0);
    this.#wake();
  }

  /**
   * Sends input, and waits until all of it is on the way.
   *
   * @returns false where the machine ended before
   */
  async send(bytes: Uint8Array): Promise<boolean> {
    const { input, inputBell } = this.#parts;
    let rest = bytes;
    while (rest.length > 0 && !this.#isEnded) {
      const sent = input.write(rest);
      rest = rest.subarray(sent);
      if (sent > 0) this.#wake();
      if (rest.length === 0) break;
      await inputBell.until(() =>
        input.room >= INPUT_BYTES / 2 || this.#isEnded
      );
    }
    return rest.length === 0;
  }

  /** The machine ended: `read` gives what is left, `send` no longer waits. */
  end(): void {
    this.#isEnded = true;
    this.#parts.outputBell.ring();
    this.#parts.inputBell.ring();
  }
}
