// A machine to run, as plain data that survives structured cloning: what bhyve's main
// thread gives to the threads that run it.

import type { CpuTopology } from "../vmm/ioctl.ts";
import type { VcpuState } from "../vmm/root/state.ts";
import type { DeviceState } from "../vmm/device.ts";

/** What a machine is run from. */
export interface MachinePlan {
  readonly name: string;
  /** raw values of the configuration tree by path; devices read only these */
  readonly config: readonly (readonly [path: string, value: string])[];
  readonly topology: CpuTopology;
  /** bytes of RAM from 0, and from 4 GiB */
  readonly lowmem: number;
  readonly highmem: number;
  /** what the vCPUs start from, by number; null: as after reset, waiting for SIPI */
  readonly vcpus: readonly (VcpuState | null)[];
  /** the real-time clock with its memory at the start; null: as after power-on */
  readonly rtc: DeviceState | null;
  /** channels of TTY backends, by what the configuration calls them (`stdio`) */
  readonly chars: Readonly<Record<string, SharedArrayBuffer>>;
  /** files that the machine's threads may read and write, and nothing else */
  readonly permissions: {
    readonly read: readonly string[];
    readonly write: readonly string[];
  };
}
