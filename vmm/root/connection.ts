// The socket of a running machine, as its clients use it.

import { VmmError } from "../errno.ts";
import { isErrno } from "./server.ts";
import { encodeFrame, type Frame, FrameReader, writeFrame } from "./wire.ts";

/** Names the flag that lets Deno use a Unix socket, where one is needed. */
export function socketRefusal(path: string): VmmError {
  return new VmmError(
    "EACCES",
    `no permission for socket ${path}: run with --allow-read=${path} --allow-write=${path} --allow-net=unix:${path}`,
  );
}

/** The machine's process ended before it did a request: ask anew who has it. */
export class ConnectionEndedError extends Error {
  override readonly name = "ConnectionEndedError";
}

const ENDED = "The machine's process ended";

/** A connection to a running machine. */
export class MachineConnection {
  readonly #connection: Deno.Conn;
  readonly #reader: FrameReader;
  #next = 1;
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(connection: Deno.Conn) {
    this.#connection = connection;
    this.#reader = new FrameReader(connection);
  }

  /**
   * Connects; undefined where nobody listens any more.
   *
   * @throws {VmmError} EACCES
   */
  static async open(path: string): Promise<MachineConnection | undefined> {
    try {
      return new MachineConnection(
        await Deno.connect({ transport: "unix", path }),
      );
    } catch (error) {
      if (error instanceof Deno.errors.NotCapable) throw socketRefusal(path);
      if (error instanceof Deno.errors.PermissionDenied) {
        throw new VmmError("EACCES");
      }
      if (
        error instanceof Deno.errors.ConnectionRefused ||
        error instanceof Deno.errors.NotFound
      ) return undefined;
      throw error;
    }
  }

  /**
   * Does one request; several wait for each other.
   *
   * @throws {VmmError} what the machine answers; ENXIO where it ends meanwhile
   * @throws {ConnectionEndedError} where it had ended before
   */
  call(
    request: string,
    payload: unknown,
    bytes?: Uint8Array,
  ): Promise<Frame> {
    const done = this.#turn.then(() => this.#call(request, payload, bytes));
    this.#turn = done.catch(() => {});
    return done;
  }

  async #call(
    request: string,
    payload: unknown,
    bytes?: Uint8Array,
  ): Promise<Frame> {
    const id = this.#next++;
    const frame = await this.#exchange(
      encodeFrame({ id, request, payload }, bytes),
    );
    const reply = frame.json as {
      readonly id?: unknown;
      readonly errno?: unknown;
      readonly message?: unknown;
      readonly farewell?: unknown;
    };
    if (reply.farewell === true) throw new ConnectionEndedError(ENDED);
    if (reply.id !== id) throw new VmmError("EIO", "an answer out of turn");
    if (reply.errno === undefined) return frame;
    const code = String(reply.errno);
    throw new VmmError(isErrno(code) ? code : "EIO", String(reply.message));
  }

  async #exchange(request: Uint8Array): Promise<Frame> {
    try {
      await writeFrame(this.#connection, request);
    } catch (error) {
      throw new ConnectionEndedError(ENDED, { cause: error });
    }
    // Whether the request was done is not known from here on.
    const frame = await this.#reader.next().catch(() => undefined);
    if (frame === undefined) throw new VmmError("ENXIO");
    return frame;
  }

  /** Waits until the other side ends. */
  async ended(): Promise<void> {
    try {
      while (await this.#reader.next() !== undefined);
    } catch {
      // It ended in a frame.
    }
  }

  /** Ends the connection. */
  close(): void {
    try {
      this.#connection.close();
    } catch {
      // It ended by itself.
    }
  }
}
