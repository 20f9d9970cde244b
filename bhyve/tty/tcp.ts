// A serial line on a listening TCP socket (`tcp=host:port`): one client at a time, which
// may go and another come. Output while there is none is lost.

import type { HostChannel } from "../char_channel.ts";
import { forwardInput, type Tty, writeAll } from "./tty.ts";

/** Where to listen. */
export interface TcpAddress {
  readonly hostname: string;
  readonly port: number;
}

const LAST_PORT = 65535;

/** Reads `host:port` or `[v6]:port`; undefined where it is neither. */
export function parseTcpAddress(text: string): TcpAddress | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  if (match === null) return undefined;
  const port = Number(match[3]);
  if (port > LAST_PORT) return undefined;
  return { hostname: match[1] ?? match[2]!, port };
}

const BUSY = new TextEncoder().encode("Socket already connected\n");

/** A listening socket with at most one client. */
export class TcpTty implements Tty {
  readonly isPatient = false;
  readonly #listener: Deno.TcpListener;
  #client: Deno.TcpConn | undefined;

  /** Listens. @throws {Error} of the host, where it cannot */
  constructor(address: TcpAddress) {
    this.#listener = Deno.listen({ ...address, transport: "tcp" });
  }

  /** The port, also where the host chose it. */
  get port(): number {
    return this.#listener.addr.port;
  }

  async serve(channel: HostChannel): Promise<void> {
    void this.#accept(channel);
    for (;;) {
      const bytes = await channel.read();
      if (bytes === undefined) return;
      const client = this.#client;
      if (client !== undefined) {
        await writeAll(client, bytes).catch(() => this.#drop(client));
      }
    }
  }

  async #accept(channel: HostChannel): Promise<void> {
    for (;;) {
      const client = await this.#listener.accept().catch(() => undefined);
      if (client === undefined) return;
      if (this.#client === undefined) void this.#attend(client, channel);
      else void refuse(client);
    }
  }

  async #attend(client: Deno.TcpConn, channel: HostChannel): Promise<void> {
    this.#client = client;
    client.setNoDelay(true);
    await forwardInput(client, channel);
    this.#drop(client);
  }

  #drop(client: Deno.TcpConn): void {
    if (this.#client === client) this.#client = undefined;
    closeQuietly(client);
  }

  close(): void {
    closeQuietly(this.#listener);
    if (this.#client !== undefined) this.#drop(this.#client);
  }
}

async function refuse(client: Deno.TcpConn): Promise<void> {
  await writeAll(client, BUSY).catch(() => {});
  closeQuietly(client);
}

function closeQuietly(resource: { close(): void }): void {
  try {
    resource.close();
  } catch {
    // It was closed already.
  }
}
