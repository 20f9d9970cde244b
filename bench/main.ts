// `deno task bench NAME`: the project's measurements. Each prints a Markdown table
// for `bench/README.md`.

type Bench = (args: readonly string[]) => Promise<void>;

// Only the one that is asked for is loaded: starting is part of what is measured.
const BENCHES: Readonly<Record<string, () => Promise<Bench>>> = {
  boot: async () => (await import("./boot/main.ts")).benchBoot,
  cpu: async () => (await import("./cpu/main.ts")).benchCpu,
  guest: async () => (await import("./guest/main.ts")).benchGuest,
  peers: async () => (await import("./peers/main.ts")).benchPeers,
  threads: async () => (await import("./threads/main.ts")).benchThreads,
};

const [name, ...args] = Deno.args;
const load = name === undefined ? undefined : BENCHES[name];
if (load === undefined) {
  console.error(
    `usage: deno task bench NAME\nNAME is one of: ${
      Object.keys(BENCHES).join(", ")
    }`,
  );
  Deno.exit(2);
}
await (await load())(args);
