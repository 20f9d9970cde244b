// Pinning of vCPU threads to host CPUs (`-p`, `vcpu.N.cpuset`), on Linux by taskset(1).

import type { ConfigNode } from "../vmm/config.ts";
import { reasonOf } from "../vmm/message.ts";
import {
  type HostThread,
  hostThreads,
  missingTools,
  runTool,
  workersOf,
} from "./host_threads.ts";
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

// Deno names a worker's thread after the order in which workers are made; the machine's
// are the newest ones, vCPU 0 first.
async function vcpuThreads(count: number): Promise<HostThread[]> {
  return workersOf(await hostThreads()).slice(-count);
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
  const why = missingTools("ps", "taskset");
  if (why !== undefined) return warn(`vCPUs are not pinned: ${why}`);
  try {
    const threads = await vcpuThreads(vcpus);
    if (threads.length !== vcpus) throw new Error("its threads are not found");
    for (const { vcpu, cpus } of wanted) {
      await runTool("taskset", "-c", "-p", cpus, threads[vcpu]!.id);
    }
  } catch (error) {
    warn(`vCPUs are not pinned: ${reasonOf(error)}`);
  }
}
