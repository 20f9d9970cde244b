// The command bhyve: `bhyve [options] NAME`.

import { run } from "./bhyve/command.ts";

if (import.meta.main) Deno.exit(await run(Deno.args));
