// What requests act on while a machine runs: its vCPU between two blocks, and its
// interrupt controllers in their own thread.

import { VmmError } from "../vmm/errno.ts";
import type { Hpet } from "../vmm/platform/mod.ts";
import { type ApicTarget, DELIVERY, MESSAGE } from "../vmm/platform/mod.ts";
import type { PendingEvent } from "../vmm/cpu/save.ts";
import type { SegmentDescriptor } from "../vmm/cpu/options.ts";
import type { RegisterNumber } from "../vmm/cpu/registers.ts";
import type { VmExit } from "../vmm/cpu/exits.ts";
import type {
  MachineTarget,
  PinController,
  VcpuTarget,
} from "../vmm/vm_target.ts";
import type { VmcbFacts } from "../vmm/vmcb.ts";
import type { ApicAccess } from "../vmm/platform/apic_access.ts";
import { isApicWindow } from "../vmm/platform/apic_access.ts";
import type { Machine } from "./machine.ts";
import type { VcpuThread } from "./vcpu_thread.ts";

/** The vCPU of a thread. */
export class ThreadVcpu implements VcpuTarget {
  readonly exitIntinfo = 0n;
  readonly #thread: VcpuThread;

  constructor(thread: VcpuThread, readonly memory: VcpuTarget["memory"]) {
    this.#thread = thread;
  }

  getRegister(register: RegisterNumber): bigint {
    return this.#thread.cpu.getRegister(register);
  }

  setRegister(register: RegisterNumber, value: bigint): void {
    this.#thread.cpu.setRegister(register, value);
    this.#thread.wake();
  }

  getDescriptor(register: RegisterNumber): SegmentDescriptor {
    return this.#thread.cpu.getDescriptor(register);
  }

  setDescriptor(register: RegisterNumber, value: SegmentDescriptor): void {
    this.#thread.cpu.setDescriptor(register, value);
  }

  getCapability(capability: number): number {
    return this.#thread.cpu.getCapability(capability);
  }

  setCapability(capability: number, value: number): void {
    this.#thread.cpu.setCapability(capability, value);
  }

  get pendingEvent(): PendingEvent | undefined {
    return this.#thread.cpu.pendingEvent;
  }
  set pendingEvent(event: PendingEvent | undefined) {
    this.#thread.cpu.pendingEvent = event;
  }

  injectException(vector: number, errorCode?: number): void {
    this.#thread.cpu.injectException(vector, errorCode);
  }

  get x2apic(): number {
    return this.#thread.apic.x2apic ? 1 : 0;
  }
  set x2apic(state: number) {
    this.#thread.apic.x2apic = state !== 0;
  }

  get statistics(): readonly bigint[] {
    return this.#thread.statistics;
  }

  get vmcb(): VmcbFacts {
    const { cpu, lastExit } = this.#thread;
    return {
      cpu,
      lastExit,
      tscOffset: cpu.tscOffset,
      exitIntInfo: this.exitIntinfo,
    };
  }

  run(): VmExit {
    throw new VmmError("EBUSY");
  }
}

const HPET_CAPABILITIES = 0;

function hpetCapabilities(hpet: Hpet): number {
  return Number(hpet.read(HPET_CAPABILITIES, 4));
}

/** The devices of a running machine. */
export class ThreadMachine implements MachineTarget {
  readonly #machine: Machine;
  readonly #apics: readonly ApicTarget[];
  readonly #own: ApicAccess;

  /**
   * @param apics local APICs by vCPU, stand-ins for those in other threads
   * @param own accesses to vCPU 0's
   */
  constructor(
    machine: Machine,
    apics: readonly ApicTarget[],
    own: ApicAccess,
  ) {
    this.#machine = machine;
    this.#apics = apics;
    this.#own = own;
  }

  #apic(vcpu: number): ApicTarget {
    const apic = this.#apics[vcpu];
    if (apic === undefined) throw new VmmError("EINVAL");
    return apic;
  }

  // A machine that runs is not reset under its vCPUs.
  reinit(): void {
    throw new VmmError("EBUSY");
  }

  lapicIrq(vcpu: number, vector: number): void {
    this.#apic(vcpu).accept(vector);
  }

  lapicLocalIrq(vcpu: number, index: number): void {
    const targets = vcpu === -1 ? this.#apics : [this.#apic(vcpu)];
    for (const target of targets) target.localInterrupt?.(index);
  }

  injectNmi(vcpu: number): void {
    this.#apic(vcpu).accept(DELIVERY.NMI << MESSAGE.MODE_SHIFT);
  }

  lapicMsi(address: number, data: number): void {
    this.#machine.interrupts.msi.raise(address, data);
  }

  get ioapic(): PinController {
    return this.#machine.interrupts.ioapic;
  }

  get pic(): MachineTarget["pic"] {
    return this.#machine.interrupts.pic;
  }

  get rtc(): MachineTarget["rtc"] {
    return this.#machine.interrupts.rtc;
  }

  get hpetCapabilities(): number {
    return hpetCapabilities(this.#machine.interrupts.hpet);
  }

  // Only for vCPU 0's local APIC: the others' threads are asked for theirs.
  readKernemu(_vcpu: number, gpa: number, bytes: number): bigint {
    if (isApicWindow(gpa)) return this.#own.read(gpa, bytes);
    return this.#machine.access.readMemory(gpa, bytes)!;
  }

  writeKernemu(_vcpu: number, gpa: number, bytes: number, value: bigint): void {
    if (isApicWindow(gpa)) this.#own.write(gpa, bytes, value);
    else this.#machine.access.writeMemory(gpa, bytes, value);
  }
}
