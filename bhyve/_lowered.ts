// A process with two workers, for tests: lowers what compiles, and prints the niceness
// and the name of each thread.

import { lowerCompilers } from "./priority.ts";

const IDLE = `data:text/javascript,${
  encodeURIComponent("self.postMessage(0); setInterval(() => {}, 1000);")
}`;

for (let n = 0; n < 2; n++) {
  const worker = new Worker(IDLE, { type: "module" });
  await new Promise((resolve) => worker.onmessage = resolve);
}
await lowerCompilers();
const args = ["-L", "-o", "ni=,comm=", "-p", `${Deno.pid}`];
const { stdout } = await new Deno.Command("ps", { args }).output();
await Deno.stdout.write(stdout);
Deno.exit();
