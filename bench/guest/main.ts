// `deno task bench guest DIR [WORDS]`: boots the kernel and initrd of a directory in
// a machine of its own and prints when each line of its console came. The guest's
// command line is "console=ttyS0" and the words, such as "bench".

import type { EndMessage } from "../../bhyve/worker.ts";
import { Mailbox } from "../../bhyve/mailbox.ts";

/** Boots the guest in `args[0]`. */
export async function benchGuest(args: readonly string[]): Promise<void> {
  const [directory, ...words] = args;
  if (directory === undefined) {
    console.error("usage: deno task bench guest DIR [WORDS]");
    Deno.exit(2);
  }
  const start = performance.now();
  const worker = new Worker(
    new URL("../../bhyve/worker.ts", import.meta.url),
    { type: "module" },
  );
  const end = await new Promise<EndMessage>((resolve, reject) => {
    worker.onmessage = (event: MessageEvent<EndMessage>) => resolve(event.data);
    worker.onerror = (event) => reject(new Error(event.message));
    worker.postMessage({
      plan: {
        memory: 512 << 20,
        kernel: `${directory}/vmlinuz`,
        initrd: `${directory}/initrd.img`,
        commandLine: ["console=ttyS0", ...words].join(" "),
      },
      mailbox: Mailbox.create().buffer,
    });
  });
  worker.terminate();
  const seconds = (performance.now() - start) / 1000;
  console.log(JSON.stringify({ seconds, ...end }));
}
