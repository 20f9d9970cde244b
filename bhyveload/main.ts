// The command bhyveload: `bhyveload [options] NAME`.

import { bhyveload } from "./command.ts";
import { writeAll } from "./console.ts";

if (import.meta.main) {
  const io = {
    out: (text: string) => writeAll(Deno.stdout, text),
    err: (text: string) => writeAll(Deno.stderr, text),
  };
  Deno.exit(await bhyveload(Deno.args, io));
}
