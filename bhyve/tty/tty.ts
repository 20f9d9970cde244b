// What is at the host's end of a serial line (bhyve(8), "TTY backends").

import type { HostChannel } from "../char_channel.ts";

/** The host's end of a serial line, opened. */
export interface Tty {
  /** whether output that is left when the machine ends may take as long as it takes */
  readonly isPatient: boolean;

  /**
   * Carries bytes both ways.
   *
   * @returns once the channel ended and what was left of its output is out
   */
  serve(channel: HostChannel): Promise<void>;

  /** Lets go of it, and puts a terminal back into the mode that it had. */
  close(): void;
}

/** A backend that cannot be opened. */
export class TtyError extends Error {
  override readonly name = "TtyError";
}

/** What bytes come from and go to: a file, a connection, standard streams. */
export interface ByteStream {
  /** Waits for bytes; null at the end. */
  read(buffer: Uint8Array): Promise<number | null>;
  /** Writes some of the bytes; answers how many. */
  write(bytes: Uint8Array): Promise<number>;
}

/** Bytes that are read at once. */
export const CHUNK_BYTES = 4096;

/** Writes every byte. @throws {Error} where the other end is gone */
export async function writeAll(
  to: Pick<ByteStream, "write">,
  bytes: Uint8Array,
): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    at += await to.write(bytes.subarray(at));
  }
}

/** Sends what comes to the machine until one of the two ends, and never throws. */
export async function forwardInput(
  from: Pick<ByteStream, "read">,
  channel: HostChannel,
): Promise<void> {
  const buffer = new Uint8Array(CHUNK_BYTES);
  for (;;) {
    const count = await from.read(buffer).catch(() => null);
    if (count === null) return;
    if (!await channel.send(buffer.slice(0, count))) return;
  }
}

/**
 * Writes the machine's output until the channel ends, and never throws. Where the other
 * end is gone, output is lost: a guest does not wait for nobody.
 */
export async function forwardOutput(
  channel: HostChannel,
  to: Pick<ByteStream, "write">,
): Promise<void> {
  let isThere = true;
  for (;;) {
    const bytes = await channel.read();
    if (bytes === undefined) return;
    if (!isThere) continue;
    await writeAll(to, bytes).catch(() => {
      isThere = false;
    });
  }
}
