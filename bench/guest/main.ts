// `deno task bench guest DIR [WORDS]`: boots the vmlinuz and initrd.img of a directory,
// its console on standard output. The guest's command line is "console=ttyS0" and the
// words, such as "bench" for a guest that has benchmarks.

import { startAhead } from "../../bhyve/compiler_worker.ts";

const NAME = "bench";
const MEMORY = "512M";

async function boot(
  root: string,
  directory: string,
  words: readonly string[],
): Promise<number> {
  const loader = {
    kernel: `${directory}/vmlinuz`,
    initrd: `${directory}/initrd.img`,
    append: ["console=ttyS0", ...words].join(" "),
  };
  startAhead();
  const { run } = await import("../../bhyve/command.ts");
  const { processHost } = await import("../../bhyve/host.ts");
  const { VmmRoot } = await import("../../vmm/root/root.ts");
  return await run([
    ...["-H", "-m", MEMORY, "-s", "0,hostbridge", "-s", "31,lpc"],
    ...["-l", "com1,stdio"],
    ...Object.entries(loader)
      .flatMap(([key, value]) => ["-o", `loader.${key}=${value}`]),
    NAME,
  ], processHost(new VmmRoot(root)));
}

/** Boots the guest in `args[0]`. */
export async function benchGuest(args: readonly string[]): Promise<void> {
  const [guest, ...words] = args;
  if (guest === undefined) {
    console.error("usage: deno task bench guest DIR [WORDS]");
    Deno.exit(2);
  }
  const directory = await Deno.makeTempDir({ prefix: "bhyve-bench-" });
  const start = performance.now();
  try {
    const status = await boot(`${directory}/vmm`, guest, words);
    const seconds = ((performance.now() - start) / 1000).toFixed(2);
    console.log(`status ${status} after ${seconds} seconds`);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
  // A read of standard input may still wait.
  Deno.exit();
}
