// The command bhyve: `bhyve [options] NAME`.

import { startAhead } from "./bhyve/compiler_worker.ts";

if (import.meta.main) {
  // Before the rest is loaded: nothing else takes a guest's first instruction as long.
  startAhead();
  const { run } = await import("./bhyve/command.ts");
  Deno.exit(await run(Deno.args));
}
