// The process that runs a machine answers requests on the machine's socket: one frame a
// request, in order a connection, several connections at once. Only the machine's owner
// and the super-user can connect: the socket's mode says so.

import { ERRNO, VmmError } from "../errno.ts";
import type { VmIn, VmOut, VmRequest } from "../ioctl.ts";
import { requirePayload, requireRequest } from "../ioctl_fields.ts";
import {
  encodeFrame,
  FAREWELL,
  type Frame,
  FrameReader,
  TRANSFER_BYTES_MAX,
  type WireRequest,
  writeFrame,
} from "./wire.ts";

/** What answers requests. Checks of the payload's types are done before. */
export interface RequestHandler {
  /** Does one request. @throws {VmmError} */
  ioctl<R extends VmRequest>(
    request: R,
    payload: VmIn<R>,
  ): VmOut<R> | Promise<VmOut<R>>;
  /** Reads guest memory. @throws {VmmError} EFAULT */
  read(gpa: bigint, length: number): Uint8Array | Promise<Uint8Array>;
  /** Writes guest memory. @throws {VmmError} EFAULT */
  write(gpa: bigint, bytes: Uint8Array): void | Promise<void>;
}

/** A client that sends more at once than this waits. */
const CONNECTIONS_MAX = 64;
/** How long a client has to take a farewell. */
const FAREWELL_MS = 100;

function requestOf(frame: Frame): WireRequest {
  const { id, request, payload } = frame.json as Partial<WireRequest>;
  if (typeof id !== "number" || typeof request !== "string") {
    throw new VmmError("EINVAL", "a frame that is no request");
  }
  return { id, request, payload };
}

function requireRange(payload: unknown): { gpa: bigint; length: number } {
  const { gpa, length } = payload as { gpa?: unknown; length?: unknown };
  const isGood = typeof gpa === "bigint" && gpa >= 0n &&
    typeof length === "number" && Number.isInteger(length) && length >= 0 &&
    length <= TRANSFER_BYTES_MAX;
  if (!isGood) throw new VmmError("EINVAL");
  return { gpa, length };
}

async function answer(
  handler: RequestHandler,
  { request, payload }: WireRequest,
  bytes: Uint8Array,
): Promise<{ result: unknown; bytes?: Uint8Array }> {
  switch (request) {
    case "read": {
      const { gpa, length } = requireRange(payload);
      return { result: {}, bytes: await handler.read(gpa, length) };
    }
    case "write": {
      const { gpa } = requireRange({ ...payload as object, length: 0 });
      await handler.write(gpa, bytes);
      return { result: {} };
    }
    default: {
      const name = requireRequest(request);
      const checked = requirePayload(name, payload);
      return { result: await handler.ioctl(name, checked) };
    }
  }
}

async function reply(
  handler: RequestHandler,
  request: WireRequest,
  bytes: Uint8Array,
): Promise<Uint8Array> {
  const { id } = request;
  try {
    const done = await answer(handler, request, bytes);
    return encodeFrame({ id, result: done.result }, done.bytes);
  } catch (error) {
    const code = error instanceof VmmError ? error.code : "EIO";
    const message = error instanceof Error ? error.message : String(error);
    return encodeFrame({ id, errno: code, message });
  }
}

/** A client, served until it or the machine ends. */
class ServedConnection {
  readonly #connection: Deno.Conn;
  #isAsked = false;
  #isLeaving = false;

  constructor(connection: Deno.Conn) {
    this.#connection = connection;
  }

  /** Answers requests, one after the other. */
  async serve(handler: () => RequestHandler): Promise<void> {
    try {
      const reader = new FrameReader(this.#connection);
      for (;;) {
        const frame = await reader.next();
        // What comes after the farewell is not done: its sender asks anew.
        if (frame === undefined || this.#isLeaving) break;
        await this.#answer(handler(), frame);
      }
    } catch {
      // A client that vanishes or does not keep to the protocol is let go.
    } finally {
      this.#close();
    }
  }

  async #answer(handler: RequestHandler, frame: Frame): Promise<void> {
    this.#isAsked = true;
    const bytes = await reply(handler, requestOf(frame), frame.bytes);
    await writeFrame(this.#connection, bytes);
    this.#isAsked = false;
  }

  /** Ends the connection; a client that waits for no answer is told so. */
  async leave(): Promise<void> {
    this.#isLeaving = true;
    if (!this.#isAsked) await this.#sayFarewell();
    this.#close();
  }

  // A client that reads nothing does not hold the machine up.
  async #sayFarewell(): Promise<void> {
    const timer = setTimeout(() => this.#close(), FAREWELL_MS);
    await writeFrame(this.#connection, encodeFrame(FAREWELL)).catch(() => {});
    clearTimeout(timer);
  }

  #close(): void {
    try {
      this.#connection.close();
    } catch {
      // It ended before.
    }
  }
}

/** A machine's socket, served. */
export class MachineServer {
  readonly #listener: Deno.Listener;
  readonly #connections = new Set<ServedConnection>();

  /**
   * @param listener the machine's socket
   * @param handler what answers, asked anew for each request
   */
  constructor(listener: Deno.Listener, handler: () => RequestHandler) {
    this.#listener = listener;
    void this.#accept(handler);
  }

  async #accept(handler: () => RequestHandler): Promise<void> {
    try {
      for await (const connection of this.#listener) {
        if (this.#connections.size >= CONNECTIONS_MAX) {
          connection.close();
          continue;
        }
        const served = new ServedConnection(connection);
        this.#connections.add(served);
        void served.serve(handler).finally(() =>
          this.#connections.delete(served)
        );
      }
    } catch {
      // The listener was closed.
    }
  }

  /** Ends every connection and listens no longer. */
  async close(): Promise<void> {
    this.#listener.close();
    await Promise.all([...this.#connections].map((client) => client.leave()));
  }
}

/** Whether a text names an errno. */
export function isErrno(code: string): code is keyof typeof ERRNO {
  return Object.hasOwn(ERRNO, code);
}
