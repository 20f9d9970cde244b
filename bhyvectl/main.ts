// The command bhyvectl: `bhyvectl --vm=NAME [--option[=value]] ...`.

import { bhyvectl } from "./command.ts";

type Sink = Pick<typeof Deno.stdout, "writeSync">;

// A reader that went away, as `head` does, is no reason to leave things half done.
function writer(sink: Sink): (text: string) => void {
  const encoder = new TextEncoder();
  return (text) => {
    let rest = encoder.encode(text);
    try {
      while (rest.length > 0) rest = rest.subarray(sink.writeSync(rest));
    } catch (error) {
      if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
    }
  };
}

if (import.meta.main) {
  const io = { out: writer(Deno.stdout), err: writer(Deno.stderr) };
  Deno.exit(await bhyvectl(Deno.args, io));
}
