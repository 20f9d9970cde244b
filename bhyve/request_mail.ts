// Requests to a thread that never returns to its event loop: frames of JSON in a ring in
// shared memory, which the thread looks at between blocks. Answers go the usual way.

import type { VmIn, VmRequest } from "../vmm/ioctl.ts";
import { decodeJson, encodeJson } from "../vmm/root/codec.ts";
import { ByteRing } from "./byte_ring.ts";

/** The largest request is a set of registers: a few KiB. */
const RING_BYTES = 1 << 16;
const HEADER_BYTES = 64;
const LENGTH_BYTES = 4;

/** A request with the number that its answer has. */
export interface MailedRequest<R extends VmRequest = VmRequest> {
  readonly id: number;
  readonly request: R;
  readonly payload: VmIn<R>;
}

/** One side's view of a thread's requests. */
export class RequestMail {
  readonly #ring: ByteRing;

  /** @param buffer what `create` made */
  constructor(buffer: SharedArrayBuffer) {
    const words = new Int32Array(buffer, 0, HEADER_BYTES / 4);
    const bytes = new Uint8Array(buffer, HEADER_BYTES, RING_BYTES);
    this.#ring = new ByteRing(words, 0, bytes);
  }

  /** Makes an empty mail. */
  static create(): SharedArrayBuffer {
    return new SharedArrayBuffer(HEADER_BYTES + RING_BYTES);
  }

  /** Sends a request; false where there is no room for it now. */
  send(request: MailedRequest): boolean {
    const text = new TextEncoder().encode(encodeJson(request));
    const frame = new Uint8Array(LENGTH_BYTES + text.length);
    new DataView(frame.buffer).setUint32(0, text.length, true);
    frame.set(text, LENGTH_BYTES);
    if (frame.length > this.#ring.room) return false;
    this.#ring.write(frame);
    return true;
  }

  /** Whether a request waits. */
  get isPending(): boolean {
    return this.#ring.used > 0;
  }

  /** Takes the first request that waits. */
  take(): MailedRequest | undefined {
    const bytes = this.#ring.peek();
    if (bytes.length === 0) return undefined;
    const length = new DataView(bytes.buffer).getUint32(0, true);
    const frame = bytes.subarray(LENGTH_BYTES, LENGTH_BYTES + length);
    this.#ring.drop(LENGTH_BYTES + length);
    return decodeJson(new TextDecoder().decode(frame)) as MailedRequest;
  }
}
