// `deno task bench guest DIR [WORDS]`: boots the vmlinuz and initrd.img of a directory,
// its console on standard output. The guest's command line is "console=ttyS0" and the
// words, such as "bench" for a guest that has benchmarks.

import { run } from "../../bhyve/command.ts";
import { processHost } from "../../bhyve/host.ts";
import { VmmRoot } from "../../vmm/root/root.ts";

const NAME = "bench";
const MEMORY = "512M";

async function boot(
  root: VmmRoot,
  directory: string,
  words: readonly string[],
): Promise<number> {
  const loader = {
    kernel: `${directory}/vmlinuz`,
    initrd: `${directory}/initrd.img`,
    append: ["console=ttyS0", ...words].join(" "),
  };
  return await run([
    ...["-H", "-m", MEMORY, "-s", "0,hostbridge", "-s", "31,lpc"],
    ...["-l", "com1,stdio"],
    ...Object.entries(loader)
      .flatMap(([key, value]) => ["-o", `loader.${key}=${value}`]),
    NAME,
  ], processHost(root));
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
    const status = await boot(new VmmRoot(`${directory}/vmm`), guest, words);
    const seconds = ((performance.now() - start) / 1000).toFixed(2);
    console.log(`status ${status} after ${seconds} seconds`);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
  // A read of standard input may still wait.
  Deno.exit();
}
