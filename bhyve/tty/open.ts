// TTY backends by what the configuration calls them: `stdio`, `tcp=host:port`, or the
// path of a terminal (bhyve(8), "TTY backends").

import { reasonOf } from "../../vmm/message.ts";
import { DeviceTty } from "./device.ts";
import { type StandardStreams, type StdioActions, StdioTty } from "./stdio.ts";
import { parseTcpAddress, type TcpAddress, TcpTty } from "./tcp.ts";
import { type Tty, TtyError } from "./tty.ts";

/** A backend, not opened yet. */
export type TtySpec =
  | { readonly kind: "stdio" }
  | { readonly kind: "tcp"; readonly address: TcpAddress }
  | { readonly kind: "device"; readonly path: string };

const TCP = "tcp=";

/** Reads a backend's text. @throws {TtyError} for an address that is none */
export function parseTty(text: string): TtySpec {
  if (text === "stdio") return { kind: "stdio" };
  if (!text.startsWith(TCP)) return { kind: "device", path: text };
  const address = parseTcpAddress(text.slice(TCP.length));
  if (address === undefined) {
    throw new TtyError("expected tcp=host:port or tcp=[v6]:port");
  }
  return { kind: "tcp", address };
}

/** What the `stdio` backend is made of. */
export interface Stdio {
  readonly streams: StandardStreams;
  readonly actions: StdioActions;
}

/** Opens a backend. @throws {TtyError} whose message is the reason */
export function openTty(spec: TtySpec, stdio: Stdio): Tty {
  try {
    switch (spec.kind) {
      case "stdio":
        return new StdioTty(stdio.streams, stdio.actions);
      case "tcp":
        return new TcpTty(spec.address);
      case "device":
        return new DeviceTty(spec.path);
    }
  } catch (error) {
    throw new TtyError(reasonOf(error));
  }
}
