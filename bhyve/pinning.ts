// Pinning of vCPU threads to host CPUs (`-p`, `vcpu.N.cpuset`). Deno has no call for it;
// on Linux, taskset(1) of util-linux does it for a thread by its number.

import type { ConfigNode } from "../vmm/config.ts";
import { reasonOf } from "../vmm/message.ts";
import { refuse, STATUS } from "./option_error.ts";
import { isAllowedAll } from "./permissions.ts";

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

const TASKS = "/proc/self/task";
const WORKER = /^worker-(\d+)\s*$/;

// Deno names a worker's thread after the order in which workers are made; the machine's
// are the newest ones, vCPU 0 first.
function vcpuThreads(count: number): string[] {
  const workers: [order: number, thread: string][] = [];
  for (const { name } of Deno.readDirSync(TASKS)) {
    const comm = Deno.readTextFileSync(`${TASKS}/${name}/comm`);
    const match = WORKER.exec(comm);
    if (match !== null) workers.push([Number(match[1]), name]);
  }
  return workers.toSorted(([a], [b]) => a - b).slice(-count)
    .map(([, thread]) => thread);
}

async function pin(thread: string, cpus: string): Promise<void> {
  const command = new Deno.Command("taskset", {
    args: ["-c", "-p", cpus, thread],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  });
  const { success, stderr } = await command.output();
  if (!success) throw new Error(new TextDecoder().decode(stderr).trim());
}

function missing(): string | undefined {
  if (Deno.build.os !== "linux") return `not supported on ${Deno.build.os}`;
  if (isAllowedAll()) return undefined;
  return "Deno shows a process its threads only with --allow-all";
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
    const threads = vcpuThreads(vcpus);
    if (threads.length !== vcpus) throw new Error("its threads are not found");
    for (const { vcpu, cpus } of wanted) await pin(threads[vcpu]!, cpus);
  } catch (error) {
    warn(`vCPUs are not pinned: ${reasonOf(error)}`);
  }
}
