// Ourselves: `deno task bench guest`, a process that runs bhyve.

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
          ...[
            "run",
            "-A",
            "--v8-flags=--no-wasm-inlining,--max-semi-space-size=8",
            BENCH,
          ],
          ...["guest", kernel.replace(/\/[^/]*$/, "")],
          ...words.split(" "),
        ],
      }),
  };
}
