// `deno task bench NAME`: the project's measurements. Each prints a Markdown table
// for `bench/README.md`.

import { benchBoot } from "./boot/main.ts";
import { benchCpu } from "./cpu/main.ts";
import { benchGuest } from "./guest/main.ts";
import { benchPeers } from "./peers/main.ts";
import { benchThreads } from "./threads/main.ts";

const BENCHES: Readonly<
  Record<string, (args: readonly string[]) => Promise<void>>
> = {
  boot: benchBoot,
  cpu: benchCpu,
  guest: benchGuest,
  peers: benchPeers,
  threads: benchThreads,
};

const [name, ...args] = Deno.args;
const bench = name === undefined ? undefined : BENCHES[name];
if (bench === undefined) {
  console.error(
    `usage: deno task bench NAME\nNAME is one of: ${
      Object.keys(BENCHES).join(", ")
    }`,
  );
  Deno.exit(2);
}
await bench(args);
