// Ourselves: `deno task bench guest`, a process that runs bhyve.

import { V8_FLAGS } from "../../bhyve/v8_flags.ts";
import type { Bits } from "./guest.ts";
import type { Peer } from "./peer.ts";

const BENCH = new URL("../main.ts", import.meta.url).pathname;

/** This project. */
export function ours(bits: Bits): Peer {
  return {
    name: `bhyve${bits}`,
    bits,
    launch: ({ kernel, words }) =>
      Promise.resolve({
        command: Deno.execPath(),
        args: [
          // The flags of `deno task bhyve`.
          ...["run", "-A", V8_FLAGS, BENCH],
          ...["guest", kernel.replace(/\/[^/]*$/, "")],
          ...words.split(" "),
        ],
      }),
  };
}
