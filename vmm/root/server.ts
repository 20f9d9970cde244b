// The process that runs a machine answers requests on the machine's socket: one frame a
// request, in order a connection, several connections at once. Only the machine's owner
// and the super-user can connect: the socket's mode says so.

import { ERRNO, VmmError } from "../errno.ts";
import type { VmIn, VmOut, VmRequest } from "../ioctl.ts";
import { requirePayload, requireRequest } from "../ioctl_fields.ts";
import {
  encodeFrame,
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

/** Answers one connection until it ends. */
async function serveConnection(
  connection: Deno.Conn,
  handler: () => RequestHandler,
): Promise<void> {
  try {
    const reader = new FrameReader(connection);
    for (;;) {
      const frame = await reader.next();
      if (frame === undefined) break;
      const request = requestOf(frame);
      const bytes = await reply(handler(), request, frame.bytes);
      await writeFrame(connection, bytes);
    }
  } catch {
    // A client that vanishes or does not keep to the protocol is let go.
  } finally {
    try {
      connection.close();
    } catch {
      // It was closed by `close` below.
    }
  }
}

/** A machine's socket, served. */
export class MachineServer {
  readonly #listener: Deno.Listener;
  readonly #connections = new Set<Deno.Conn>();

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
        this.#connections.add(connection);
        void serveConnection(connection, handler).finally(() =>
          this.#connections.delete(connection)
        );
      }
    } catch {
      // The listener was closed.
    }
  }

  /** Ends every connection and listens no longer. */
  close(): void {
    this.#listener.close();
    for (const connection of this.#connections) {
      try {
        connection.close();
      } catch {
        // It ended by itself.
      }
    }
  }
}

/** Whether a text names an errno. */
export function isErrno(code: string): code is keyof typeof ERRNO {
  return Object.hasOwn(ERRNO, code);
}
