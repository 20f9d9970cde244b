// A machine at rest, in this process: every request of vmm(4) on its plain state. Who
// holds the machine's lock makes one from the node, uses it, and saves it again.

import type { GuestMemory } from "../cpu/guest_memory.ts";
import { VmmError } from "../errno.ts";
import {
  type CpuTopology,
  MAX_VCPUS,
  vcpuOf,
  VM_IOCTLS,
  type VmIn,
  type VmOut,
  type VmRequest,
} from "../ioctl.ts";
import type { SharedTarget } from "../vm_target.ts";
import {
  changesDescription,
  machineIoctl,
  sharedIoctl,
  staticIoctl,
  type StaticTarget,
  vcpuIoctl,
} from "../vm_ioctls.ts";
import { VmMemory } from "../vm_memory.ts";
import { type LoadMemory, RestingMemory } from "./resting_memory.ts";
import { RestingPlatform } from "./resting_platform.ts";
import { RestingVcpu, type SavedVcpu } from "./resting_vcpu.ts";
import type { VmState } from "./state.ts";

const ALL_CPUS = -1;
/** Requests after which a machine is as before. */
const READS = /_GET|_STAT|_READ|PINCOUNT|NOFAULT/;

/** A machine at rest. */
export class RestingMachine implements StaticTarget, SharedTarget {
  readonly memory: VmMemory;
  readonly ram: RestingMemory;
  topology: CpuTopology;
  readonly #state: VmState;
  readonly #vcpus = new Map<number, SavedVcpu>();
  readonly #active: Set<number>;
  readonly #debug: Set<number>;
  #platform: RestingPlatform | undefined;
  #suspend: number;
  #isReset = false;
  #isChanged = false;

  /**
   * @param state what it goes on from
   * @param load fills its system memory
   * @throws {VmmError} for a damaged state
   */
  constructor(state: VmState, load: LoadMemory) {
    this.#state = state;
    this.memory = new VmMemory(state);
    this.ram = new RestingMemory(this.memory, load);
    this.topology = state.topology;
    this.#active = new Set(state.active);
    this.#debug = new Set(state.debug);
    this.#suspend = state.suspend;
  }

  /** Whether anything but memory may differ from what it was made from. */
  get isChanged(): boolean {
    return this.#isChanged;
  }

  /** System memory. @throws {VmmError} EFAULT where it has none */
  get guestMemory(): GuestMemory {
    return this.ram.memory;
  }

  /** Its state, without memory. */
  save(): VmState {
    const platform = this.#platform?.save() ?? this.#state;
    const before = this.#isReset ? [] : this.#state.vcpus;
    return {
      kind: "vmm machine",
      version: 1,
      topology: this.topology,
      segments: this.memory.segments,
      mappings: this.memory.mappings,
      vcpus: Array.from(
        { length: MAX_VCPUS },
        (_, n) => this.#vcpus.get(n)?.save() ?? before[n] ?? null,
      ),
      active: this.active,
      debug: this.debug,
      suspend: this.#suspend,
      rtc: platform.rtc,
      interrupts: platform.interrupts,
    };
  }

  // --- Parts, made when they are first used --------------------------------

  #vcpu(id: number): SavedVcpu {
    let vcpu = this.#vcpus.get(id);
    if (vcpu === undefined) {
      const before = this.#isReset ? null : this.#state.vcpus[id] ?? null;
      vcpu = new RestingVcpu(id, this.ram, before ?? undefined);
      this.#vcpus.set(id, vcpu);
    }
    return vcpu;
  }

  get #devices(): RestingPlatform {
    this.#platform ??= new RestingPlatform(
      this.#state,
      (vcpu) => this.#vcpu(vcpu).injectNmi(),
      () => this.#reinit(),
    );
    return this.#platform;
  }

  #reinit(): void {
    this.#isReset = true;
    this.#vcpus.clear();
    this.#active.clear();
    this.#debug.clear();
    this.#suspend = 0;
    this.#devices.reset();
    this.memory.reinit();
    this.ram.remap();
  }

  /**
   * Puts a processor that can run in a vCPU's place. It is loaded only now, since no
   * other request needs one.
   *
   * @throws {VmmError} EFAULT where the machine has no memory
   */
  async makeRunnable(id: number): Promise<void> {
    const { LiveVcpu } = await import("./live_vcpu.ts");
    const vcpu = this.#vcpu(id);
    if (vcpu instanceof LiveVcpu) return;
    this.ram.touchAll();
    const parts = { id, ram: this.ram, platform: this.#devices, machine: this };
    this.#vcpus.set(id, new LiveVcpu(parts, vcpu.save()));
  }

  /** Why the machine was suspended; 0: it was not. */
  get how(): number {
    return this.#suspend;
  }

  // --- SharedTarget --------------------------------------------------------

  suspend(how: number): void {
    if (this.#suspend !== 0) throw new VmmError("EALREADY");
    this.#suspend = how;
  }

  activate(vcpu: number): void {
    if (this.#active.has(vcpu)) throw new VmmError("EBUSY");
    this.#active.add(vcpu);
  }

  suspendCpu(vcpu: number): void {
    if (!this.#active.has(vcpu)) throw new VmmError("EINVAL");
    this.#debug.add(vcpu);
  }

  resumeCpu(vcpu: number): void {
    if (!this.#debug.delete(vcpu)) throw new VmmError("EINVAL");
  }

  get active(): readonly number[] {
    return [...this.#active].sort((a, b) => a - b);
  }

  /** Nobody runs it, so that nobody stopped. */
  get suspended(): readonly number[] {
    return [];
  }

  get debug(): readonly number[] {
    return [...this.#debug].sort((a, b) => a - b);
  }

  // --- Requests ------------------------------------------------------------

  /** Does one request. @throws {VmmError} */
  ioctl<R extends VmRequest>(request: R, payload: VmIn<R>): VmOut<R> {
    const { scope } = VM_IOCTLS[request];
    const id = vcpuOf(payload);
    if (id !== undefined) requireVcpu(id, request);
    if (!READS.test(request)) this.#isChanged = true;
    switch (scope) {
      case "vcpu":
        return vcpuIoctl(this.#vcpu(id!), request, payload);
      case "machine":
        return this.#machineIoctl(request, payload);
      case "shared":
        return sharedIoctl<R>(this, request, payload);
      case "static":
        return this.#staticIoctl(request, payload);
    }
  }

  #machineIoctl<R extends VmRequest>(request: R, payload: VmIn<R>): VmOut<R> {
    const id = vcpuOf(payload);
    const isForAll = request === "VM_LAPIC_LOCAL_IRQ" && id === ALL_CPUS;
    if (!isForAll) return machineIoctl(this.#devices, request, payload);
    let result = {} as VmOut<R>;
    for (const cpuid of this.active) {
      const one = { ...payload, cpuid };
      result = machineIoctl(this.#devices, request, one);
    }
    return result;
  }

  #staticIoctl<R extends VmRequest>(request: R, payload: VmIn<R>): VmOut<R> {
    const result = staticIoctl<R>(this, request, payload);
    if (changesDescription(request)) this.ram.remap();
    return result;
  }
}

const FOR_ALL: readonly VmRequest[] = [
  ...["VM_SUSPEND_CPU", "VM_RESUME_CPU", "VM_LAPIC_LOCAL_IRQ"] as const,
];

/** Checks a vCPU's number. @throws {VmmError} EINVAL */
export function requireVcpu(id: number, request: VmRequest): void {
  if (id === ALL_CPUS && FOR_ALL.includes(request)) return;
  if (!Number.isInteger(id) || id < 0 || id >= MAX_VCPUS) {
    throw new VmmError("EINVAL");
  }
}
