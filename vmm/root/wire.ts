// What goes over a machine's socket: frames of a length, a JSON text and raw bytes. A
// request has a number that its reply repeats. Both ends check what they read.

import { decodeJson, encodeJson } from "./codec.ts";

/** More than any request, and than what is read or written of memory at a time. */
const FRAME_BYTES_MAX = 4 * 2 ** 20;
/** Length of the frame behind the header, and of the JSON in it. */
const HEADER_BYTES = 8;

/** Most bytes of memory in one request. */
export const TRANSFER_BYTES_MAX = 1 << 20;

/** A request: one of vmm(4)'s, or an access to memory. */
export interface WireRequest {
  readonly id: number;
  /** name of the request; `read` and `write` are the device's own */
  readonly request: string;
  readonly payload: unknown;
}

/** The reply to a request. */
export type WireReply =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly errno: string; readonly message: string };

/** What a machine sends last: a request that was not answered by then is not done. */
export const FAREWELL = { farewell: true };

/** A frame: JSON, and bytes that go with it. */
export interface Frame {
  readonly json: unknown;
  readonly bytes: Uint8Array;
}

/** The other side does not keep to the protocol. */
export class WireError extends Error {
  override readonly name = "WireError";
}

/** A frame as it is sent. */
export function encodeFrame(
  json: unknown,
  bytes: Uint8Array = new Uint8Array(),
): Uint8Array {
  const text = new TextEncoder().encode(encodeJson(json));
  const frame = new Uint8Array(HEADER_BYTES + text.length + bytes.length);
  const view = new DataView(frame.buffer);
  view.setUint32(0, text.length + bytes.length, true);
  view.setUint32(4, text.length, true);
  frame.set(text, HEADER_BYTES);
  frame.set(bytes, HEADER_BYTES + text.length);
  return frame;
}

/** A byte stream as frames. */
export class FrameReader {
  readonly #source: Pick<Deno.Conn, "read">;
  #buffer = new Uint8Array(4096);
  #length = 0;

  constructor(source: Pick<Deno.Conn, "read">) {
    this.#source = source;
  }

  /**
   * The next frame; undefined at the end.
   *
   * @throws {WireError} for what is no frame, or ends in one
   */
  async next(): Promise<Frame | undefined> {
    if (!await this.#fill(HEADER_BYTES)) {
      if (this.#length === 0) return undefined;
      throw new WireError("The connection ended in a frame");
    }
    const view = new DataView(this.#buffer.buffer);
    const length = view.getUint32(0, true);
    const textLength = view.getUint32(4, true);
    if (length > FRAME_BYTES_MAX || textLength > length) {
      throw new WireError(
        `A frame of ${length} bytes: expected at most ${FRAME_BYTES_MAX}`,
      );
    }
    if (!await this.#fill(HEADER_BYTES + length)) {
      throw new WireError("The connection ended in a frame");
    }
    return this.#take(length, textLength);
  }

  #take(length: number, textLength: number): Frame {
    const end = HEADER_BYTES + length;
    const body = this.#buffer.slice(HEADER_BYTES, end);
    this.#buffer.copyWithin(0, end, this.#length);
    this.#length -= end;
    try {
      const text = new TextDecoder().decode(body.subarray(0, textLength));
      return { json: decodeJson(text), bytes: body.subarray(textLength) };
    } catch (error) {
      throw new WireError(`A frame that is no JSON: ${error}`);
    }
  }

  // Reads until so many bytes are there; false where the stream ended before.
  async #fill(wanted: number): Promise<boolean> {
    if (wanted > this.#buffer.length) {
      const larger = new Uint8Array(Math.max(wanted, 2 * this.#buffer.length));
      larger.set(this.#buffer.subarray(0, this.#length));
      this.#buffer = larger;
    }
    while (this.#length < wanted) {
      const room = this.#buffer.subarray(this.#length);
      const count = await this.#source.read(room);
      if (count === null) return false;
      this.#length += count;
    }
    return true;
  }
}

/** Writes all of a frame. */
export async function writeFrame(
  target: Pick<Deno.Conn, "write">,
  frame: Uint8Array,
): Promise<void> {
  for (let done = 0; done < frame.length;) {
    done += await target.write(frame.subarray(done));
  }
}
