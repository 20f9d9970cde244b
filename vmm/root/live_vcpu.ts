// A vCPU of a machine at rest that this process runs, one exit at a time (VM_RUN):
// with vmm(4)'s own devices, everything else exits. What other vCPUs are sent, they see
// when they are run.

import { CAPABILITY, type DeviceBus, VirtualCpu } from "../cpu/cpu.ts";
import { EXIT_CODE, SUSPEND, type VmEntry, type VmExit } from "../cpu/exits.ts";
import type { SegmentDescriptor } from "../cpu/options.ts";
import type { CpuTopology } from "../ioctl.ts";
import { REGISTER, type RegisterNumber } from "../cpu/registers.ts";
import type { PendingEvent } from "../cpu/save.ts";
import { VmmError } from "../errno.ts";
import { ApicAccess } from "../platform/apic_access.ts";
import { Counters, STAT } from "../statistics.ts";
import type { VcpuTarget } from "../vm_target.ts";
import type { VmcbFacts } from "../vmcb.ts";
import type { RestingMemory } from "./resting_memory.ts";
import type { RestingPlatform } from "./resting_platform.ts";
import type { SavedVcpu } from "./resting_vcpu.ts";
import type { VcpuState } from "./state.ts";

const RFLAGS_IF = 0x200n;
const NS_PER_MS = 1e6;

/** What a vCPU runs with. */
export interface LiveParts {
  readonly id: number;
  readonly ram: RestingMemory;
  readonly platform: RestingPlatform;
  /** the machine's sets and suspension */
  readonly machine: {
    readonly topology: CpuTopology;
    readonly how: number;
    readonly active: readonly number[];
    readonly debug: readonly number[];
    suspend(how: number): void;
  };
}

/** A vCPU that runs in this process. */
export class LiveVcpu implements SavedVcpu {
  readonly exitIntinfo = 0n;
  readonly memory: VcpuTarget["memory"];
  readonly #parts: LiveParts;
  readonly #apic: ApicAccess;
  readonly #cpu: VirtualCpu;
  readonly #counters = new Counters();
  readonly #capabilities: Record<string, number>;
  #lastExit: VmExit | undefined;

  /** @throws {CpuError} for a damaged state */
  constructor(parts: LiveParts, state: VcpuState) {
    this.#parts = parts;
    this.memory = parts.ram;
    const isX2apic = state.x2apic !== 0;
    this.#apic = new ApicAccess(parts.platform.lapic(parts.id), isX2apic);
    this.#capabilities = {};
    const { id, ram, platform, machine } = parts;
    const { clock } = platform;
    const { sockets, cores, threads } = machine.topology;
    this.#cpu = new VirtualCpu({
      memory: ram.memory,
      cpuid: { vcpu: id, sockets, cores, threads, x2apic: isX2apic },
      bus: this.#bus(),
      interrupts: platform.lapic(id),
      readTsc: () => BigInt(Math.floor(clock.now())),
      poll: () => clock.runDue(),
    });
    platform.onAttend(id, () => this.#cpu.attend());
    this.#cpu.restore(state.cpu);
    for (const [number, value] of Object.entries(state.capabilities)) {
      this.setCapability(Number(number), value);
    }
  }

  // The local APIC, I/O APIC and HPET; what else there is exits.
  #bus(): DeviceBus {
    const { id, platform } = this.#parts;
    return {
      readMemory: (gpa, bytes) => platform.tryRead(id, gpa, bytes),
      writeMemory: (gpa, bytes, value) =>
        platform.tryWrite(id, gpa, bytes, value),
      readPort: (port, bytes) => platform.readPort(port, bytes),
      writePort: (port, bytes, value) => platform.writePort(port, bytes, value),
      readMsr: (index) => this.#apic.readMsr(index),
      writeMsr: (index, value) => this.#apic.writeMsr(index, value),
    };
  }

  save(): VcpuState {
    return {
      cpu: this.#cpu.save(),
      capabilities: { ...this.#capabilities },
      x2apic: this.x2apic,
    };
  }

  // --- VcpuTarget ----------------------------------------------------------

  getRegister(register: RegisterNumber): bigint {
    return this.#cpu.getRegister(register);
  }

  setRegister(register: RegisterNumber, value: bigint): void {
    this.#cpu.setRegister(register, value);
  }

  getDescriptor(register: RegisterNumber): SegmentDescriptor {
    return this.#cpu.getDescriptor(register);
  }

  setDescriptor(register: RegisterNumber, value: SegmentDescriptor): void {
    this.#cpu.setDescriptor(register, value);
  }

  getCapability(capability: number): number {
    return this.#cpu.getCapability(capability);
  }

  setCapability(capability: number, value: number): void {
    this.#cpu.setCapability(capability, value);
    this.#capabilities[capability] = value;
  }

  get x2apic(): number {
    return this.#apic.x2apic ? 1 : 0;
  }
  set x2apic(state: number) {
    this.#apic.x2apic = state !== 0;
  }

  get pendingEvent(): PendingEvent | undefined {
    return this.#cpu.pendingEvent;
  }
  set pendingEvent(event: PendingEvent | undefined) {
    this.#cpu.pendingEvent = event;
  }

  injectException(vector: number, errorCode?: number): void {
    this.#cpu.injectException(vector, errorCode);
  }

  injectNmi(): void {
    this.#cpu.injectNmi();
  }

  get statistics(): readonly bigint[] {
    this.#counters.setCpu(this.#cpu.statistics);
    return this.#counters.values();
  }

  get vmcb(): VmcbFacts {
    return {
      cpu: this.#cpu,
      lastExit: this.#lastExit,
      tscOffset: this.#cpu.tscOffset,
      exitIntInfo: this.exitIntinfo,
    };
  }

  // --- Running -------------------------------------------------------------

  run(entry: VmEntry | null): VmExit {
    const { machine, id, platform } = this.#parts;
    if (!machine.active.includes(id)) throw new VmmError("EINVAL");
    if (machine.how !== SUSPEND.NONE) return this.#suspended(machine.how);
    if (machine.debug.includes(id)) {
      return { code: EXIT_CODE.DEBUG, length: 0, rip: this.#rip };
    }
    platform.clock.resume();
    try {
      return this.#untilExit(entry ?? undefined);
    } finally {
      platform.clock.pause();
    }
  }

  get #rip(): bigint {
    return this.#cpu.getRegister(REGISTER.RIP);
  }

  #suspended(how: number): VmExit {
    const reason = how as (typeof SUSPEND)[keyof typeof SUSPEND];
    return {
      code: EXIT_CODE.SUSPENDED,
      length: 0,
      rip: this.#rip,
      how: reason,
    };
  }

  #untilExit(first: VmEntry | undefined): VmExit {
    const { machine } = this.#parts;
    let entry = first;
    for (;;) {
      const exit = this.#cpu.run(entry);
      entry = undefined;
      this.#lastExit = exit;
      this.#counters.add(STAT.EXITS);
      if (exit.code === EXIT_CODE.SUSPENDED) machine.suspend(exit.how);
      if (exit.code !== EXIT_CODE.HLT) return exit;
      this.#counters.add(STAT.HLT);
      const isWanted = this.#cpu.getCapability(CAPABILITY.HALT_EXIT) !== 0;
      if (isWanted) return exit;
      if (!this.#hasInterruptsOn) {
        machine.suspend(SUSPEND.HALT);
        return this.#suspended(SUSPEND.HALT);
      }
      if (!this.#sleep()) return exit;
    }
  }

  get #hasInterruptsOn(): boolean {
    return (this.#cpu.getRegister(REGISTER.RFLAGS) & RFLAGS_IF) !== 0n;
  }

  // Sleeps until an interrupt comes; false where none ever will.
  #sleep(): boolean {
    const { clock } = this.#parts.platform;
    const never = new Int32Array(new SharedArrayBuffer(4));
    while (!this.#cpu.hasEvent) {
      const deadline = clock.nextDeadline();
      if (deadline === undefined) return false;
      const wait = (deadline - clock.now()) / NS_PER_MS;
      if (wait > 0) Atomics.wait(never, 0, 0, wait);
      clock.runDue();
    }
    return true;
  }
}
