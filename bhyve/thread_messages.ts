// What the main thread sends a machine's threads and what they answer. All of it
// survives structured cloning.

import type { GuestMemoryHandle } from "../vmm/cpu/guest_memory.ts";
import type { RegionStatistics } from "../vmm/cpu/regions/tier.ts";
import type { SharedCodeBuffers } from "../vmm/cpu/shared_code.ts";
import type { DeviceState } from "../vmm/device.ts";
import type { ErrnoName } from "../vmm/errno.ts";
import type { CompileStart } from "./compiler_thread.ts";
import type { MachinePlan } from "./plan.ts";

/** What every thread is made from. */
export interface ThreadStart {
  readonly plan: MachinePlan;
  /** the vCPU that the thread runs */
  readonly vcpu: number;
  readonly memory: GuestMemoryHandle;
  readonly code: SharedCodeBuffers;
  readonly board: SharedArrayBuffer;
  /** what each vCPU compiles, and where */
  readonly compilers: readonly CompileStart[];
  /** memory 0 of every vCPU */
  readonly states: readonly WebAssembly.Memory[];
  /** the thread's own requests */
  readonly mail: SharedArrayBuffer;
  /** words for agreeing on the time, by vCPU; that of vCPU 0 is not used */
  readonly clocks: readonly SharedArrayBuffer[];
}

/** What every thread is sent next. */
export interface ThreadCode {
  /** emitted code that every vCPU starts with; without it, each builds its own */
  readonly runtime: WebAssembly.Module | undefined;
}

/** What a thread answers. */
export type ThreadMessage =
  /** it is built, and waits until the machine may run */
  | { readonly kind: "ready" }
  /** it was asked something */
  | { readonly kind: "reply"; readonly id: number; readonly result: unknown }
  | {
    readonly kind: "refusal";
    readonly id: number;
    readonly code: ErrnoName;
    readonly message: string;
  }
  /** what its vCPU has compiled so far, where that is to be told */
  | {
    readonly kind: "compiled";
    readonly vcpu: number;
    readonly statistics: RegionStatistics;
  }
  /** the machine ended: of vCPU 0's thread, after every other stopped */
  | {
    readonly kind: "end";
    readonly how: number;
    /** the real-time clock with its memory, which outlives a run */
    readonly rtc: DeviceState;
  }
  /** it cannot go on, or could not be built */
  | {
    readonly kind: "failure";
    readonly message: string;
    readonly status: number;
  };
