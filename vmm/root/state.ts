// A machine at rest as plain data: what is on disk in its node, and what a run starts
// from. Versioned and self-describing; memory is in a file of its own, which this names.

import type { CpuState } from "../cpu/save.ts";
import type { DeviceState } from "../device.ts";
import type { CpuTopology, MemoryMap, MemorySegment } from "../ioctl.ts";

/** One vCPU at rest. */
export interface VcpuState {
  /** registers, MSRs and events that wait */
  readonly cpu: CpuState;
  /** capabilities that were set, by number */
  readonly capabilities: Readonly<Record<string, number>>;
  /** whether its local APIC may be in x2APIC mode: 0 or 1 */
  readonly x2apic: number;
}

/** A machine at rest. */
export interface VmState {
  /** what it is the state of */
  readonly kind: "vmm machine";
  /** version of the layout */
  readonly version: 1;
  /** packages, cores, threads */
  readonly topology: CpuTopology;
  /** memory segments, by number */
  readonly segments: readonly MemorySegment[];
  /** where they are mapped, by address */
  readonly mappings: readonly MemoryMap[];
  /** by number; null: as after reset */
  readonly vcpus: readonly (VcpuState | null)[];
  /** vCPUs that were activated */
  readonly active: readonly number[];
  /** vCPUs that a debugger holds */
  readonly debug: readonly number[];
  /** why it was suspended, of `SUSPEND`; 0: it was not */
  readonly suspend: number;
  /** the real-time clock with its memory; null: as after power-on */
  readonly rtc: DeviceState | null;
  /** interrupt controllers and timers; null: as after power-on */
  readonly interrupts: DeviceState | null;
}
