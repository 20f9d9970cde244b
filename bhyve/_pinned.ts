// A process with one worker, for tests: pins it to the host CPUs that its argument
// names, and says what taskset(1) then shows, or what kept it from pinning.

import { pinVcpus } from "./pinning.ts";

const IDLE = `data:text/javascript,${
  encodeURIComponent("self.postMessage(0); setInterval(() => {}, 1000);")
}`;

async function output(command: string, ...args: string[]): Promise<string> {
  const { stdout } = await new Deno.Command(command, { args }).output();
  return new TextDecoder().decode(stdout);
}

async function affinity(): Promise<string> {
  const list = await output(
    "ps",
    "-L",
    "-o",
    "lwp=,comm=",
    "-p",
    `${Deno.pid}`,
  );
  const worker = list.split("\n").find((line) => line.includes("worker-"))!;
  const text = await output(
    "taskset",
    "-c",
    "-p",
    worker.trim().split(" ")[0]!,
  );
  return text.trim().split(" ").at(-1)!;
}

const worker = new Worker(IDLE, { type: "module" });
await new Promise((resolve) => worker.onmessage = resolve);
let warning: string | undefined;
await pinVcpus([{ vcpu: 0, cpus: Deno.args[0]! }], 1, (message) => {
  warning = message;
});
console.log(warning ?? `pinned to ${await affinity()}`);
Deno.exit();
