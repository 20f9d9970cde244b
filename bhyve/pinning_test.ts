import { assertEquals } from "@std/assert";
import { pinVcpus } from "./pinning.ts";

// A worker that says that it is there, and stays.
const IDLE = `data:text/javascript,${
  encodeURIComponent("self.postMessage(0); setInterval(() => {}, 1000);")
}`;

async function output(command: string, ...args: string[]): Promise<string> {
  const { stdout } = await new Deno.Command(command, { args }).output();
  return new TextDecoder().decode(stdout);
}

async function workerAffinity(): Promise<string | undefined> {
  const list = await output(
    "ps",
    "-L",
    "-o",
    "lwp=,comm=",
    "-p",
    `${Deno.pid}`,
  );
  const workers = list.split("\n").filter((line) => /worker-\d+/.test(line))
    .map((line) => line.trim().split(/\s+/) as [string, string])
    .sort(([, a], [, b]) => Number(a.slice(7)) - Number(b.slice(7)));
  const text = await output("taskset", "-c", "-p", workers.at(-1)![0]);
  return text.trim().split(" ").at(-1);
}

Deno.test({
  name: "pinVcpus() pins the newest worker",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const worker = new Worker(IDLE, { type: "module" });
    await new Promise((resolve) => worker.onmessage = resolve);
    const warnings: string[] = [];
    const pinned = [{ vcpu: 0, cpus: "0" }];
    await pinVcpus(pinned, 1, (message) => warnings.push(message));
    assertEquals(warnings, []);
    assertEquals(await workerAffinity(), "0");
    worker.terminate();
  },
});

Deno.test("pinVcpus() says why a vCPU is not pinned", async () => {
  const warnings: string[] = [];
  const pinned = [{ vcpu: 0, cpus: "1023" }];
  await pinVcpus(pinned, 1, (message) => warnings.push(message));
  assertEquals(warnings.length, 1);
  assertEquals(warnings[0]!.startsWith("vCPUs are not pinned: "), true);
});
