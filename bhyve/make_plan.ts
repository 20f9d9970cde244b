// From a command line, and the machine that it runs, to the plan that the machine's
// threads start from.

import type { ConfigNode } from "../vmm/config.ts";
import type { CpuTopology, MemoryMap } from "../vmm/ioctl.ts";
import type { VmState } from "../vmm/root/state.ts";
import { VM_HIGHMEM_BASE } from "../vmm/vmmapi.ts";
import { configValues } from "./machine_settings.ts";
import type { MachinePlan } from "./plan.ts";
import type { Resources } from "./resources.ts";

/** What a plan is made from. */
export interface PlanParts {
  readonly name: string;
  readonly config: ConfigNode;
  /** the system's UUID, which replaces the configuration's */
  readonly uuid: string;
  readonly resources: Resources;
  /** channels of TTY backends by their text */
  readonly chars: Readonly<Record<string, SharedArrayBuffer>>;
  /** the machine at rest */
  readonly state: VmState;
}

function vcpuCount({ sockets, cores, threads }: CpuTopology): number {
  return sockets * cores * threads;
}

// Bytes of system memory from an address.
function sizeAt({ mappings }: VmState, address: number): number {
  const isThere = (map: MemoryMap) =>
    map.gpa === BigInt(address) && map.segid === 0;
  return mappings.find(isThere)?.len ?? 0;
}

const COM_PORT = /^lpc\.com\d\.path$/;

// The serial ports that no guest sees are not opened, and not in the plan.
function valuesFor({ config, uuid, chars }: PlanParts): MachinePlan["config"] {
  const values = configValues(config).filter(([path]) =>
    path !== "uuid" &&
    (!COM_PORT.test(path) || Object.hasOwn(chars, config.get(path) ?? ""))
  );
  return [...values, ["uuid", uuid]];
}

/** The files that the machine's devices use. */
export function filesOf({ disks }: Resources): MachinePlan["permissions"] {
  return {
    read: disks.map(({ path }) => path),
    write: disks.filter((disk) => !disk.readOnly).map(({ path }) => path),
  };
}

/** The plan. */
export function makePlan(parts: PlanParts): MachinePlan {
  const { name, resources, chars, state } = parts;
  const { topology, vcpus, rtc } = state;
  return {
    name,
    config: valuesFor(parts),
    topology,
    lowmem: sizeAt(state, 0),
    highmem: sizeAt(state, VM_HIGHMEM_BASE),
    vcpus: Array.from(
      { length: vcpuCount(topology) },
      (_, n) => vcpus[n] ?? null,
    ),
    rtc,
    chars,
    permissions: filesOf(resources),
  };
}
