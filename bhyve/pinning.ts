// Pinning of vCPU threads to host CPUs (`-p`, `vcpu.N.cpuset`). Deno has no call for it;
// on Linux, ps(1) finds a thread's number and taskset(1) of util-linux pins it.

import type { ConfigNode } from "../vmm/config.ts";
import { reasonOf } from "../vmm/message.ts";
import { refuse, STATUS } from "./option_error.ts";

/** A vCPU and the host CPUs that it may run on, as `a,b-c`. */
export interface Pinning {
  readonly vcpu: number;
  readonly cpus: string;
}

const CPU_LIST = /^\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*$/;

/** The pinnings of a configuration. @throws {OptionError} for a list that is none */
export function pinnings(config: ConfigNode, vcpus: number): Pinning[] {
  return Array.from({ length: vcpus }, (_, vcpu) => vcpu).flatMap((vcpu) => {
    const cpus = config.get(`vcpu.${vcpu}.cpuset`);
    if (cpus === undefined) return [];
    if (CPU_LIST.test(cpus)) return [{ vcpu, cpus }];
    throw refuse(
      STATUS.ERROR,
      `Invalid value ${cpus} for vcpu.${vcpu}.cpuset: expected a list of CPUs such as 0,2-3`,
    );
  });
}

/** What finds threads, and what pins them. */
const TOOLS = ["ps", "taskset"] as const;
const WORKER = /^\s*(\d+)\s+worker-(\d+)\s*$/;

async function run(
  tool: (typeof TOOLS)[number],
  ...args: string[]
): Promise<string> {
  const command = new Deno.Command(tool, { args, stdin: "null" });
  const { success, stdout, stderr } = await command.output();
  if (success) return new TextDecoder().decode(stdout);
  throw new Error(`${tool}: ${new TextDecoder().decode(stderr).trim()}`);
}

// Deno names a worker's thread after the order in which workers are made; the machine's
// are the newest ones, vCPU 0 first.
async function vcpuThreads(count: number): Promise<string[]> {
  const list = await run("ps", "-L", "-o", "lwp=,comm=", "-p", `${Deno.pid}`);
  const workers = list.split("\n").flatMap((line) => {
    const match = WORKER.exec(line);
    return match === null ? [] : [[Number(match[2]), match[1]!] as const];
  });
  return workers.toSorted(([a], [b]) => a - b).slice(-count)
    .map(([, thread]) => thread);
}

function missing(): string | undefined {
  if (Deno.build.os !== "linux") return `not supported on ${Deno.build.os}`;
  const isDenied = (command: string) =>
    Deno.permissions.querySync({ name: "run", command }).state !== "granted";
  if (!TOOLS.some(isDenied)) return undefined;
  return `no permission, run with --allow-run=${TOOLS.join()}`;
}

/**
 * Pins the machine's newest threads, vCPU 0 first.
 *
 * @param vcpus how many threads the machine has
 * @param warn told what keeps a vCPU from being pinned
 */
export async function pinVcpus(
  wanted: readonly Pinning[],
  vcpus: number,
  warn: (message: string) => void,
): Promise<void> {
  if (wanted.length === 0) return;
  const why = missing();
  if (why !== undefined) return warn(`vCPUs are not pinned: ${why}`);
  try {
    const threads = await vcpuThreads(vcpus);
    if (threads.length !== vcpus) throw new Error("its threads are not found");
    for (const { vcpu, cpus } of wanted) {
      await run("taskset", "-c", "-p", cpus, threads[vcpu]!);
    }
  } catch (error) {
    warn(`vCPUs are not pinned: ${reasonOf(error)}`);
  }
}
