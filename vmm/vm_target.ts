// What the requests of vmm(4) act on: a vCPU that is idle, a machine's own devices, and
// what all of a machine's threads share. A machine at rest and a running one offer the
// same; `vm_ioctls.ts` says what each request does with it.

import type { PendingEvent } from "./cpu/save.ts";
import type { SegmentDescriptor } from "./cpu/options.ts";
import type { RegisterNumber } from "./cpu/registers.ts";
import type { VmEntry, VmExit } from "./cpu/exits.ts";
import type { MappedMemory } from "./vmm_device.ts";
import type { VmcbFacts } from "./vmcb.ts";

/** A vCPU that nobody runs for the moment. */
export interface VcpuTarget {
  /** Reads a register. @throws {CpuError} for an unknown one */
  getRegister(register: RegisterNumber): bigint;
  /** Writes a register. @throws {CpuError} for an unknown one */
  setRegister(register: RegisterNumber, value: bigint): void;
  /** Reads a hidden part. @throws {CpuError} where it has none */
  getDescriptor(register: RegisterNumber): SegmentDescriptor;
  /** Writes a hidden part. @throws {CpuError} where it has none */
  setDescriptor(register: RegisterNumber, value: SegmentDescriptor): void;
  /** A capability's value. @throws {CpuError} for an unknown one */
  getCapability(capability: number): number;
  /** Sets a capability. @throws {CpuError} for one that cannot be set */
  setCapability(capability: number, value: number): void;
  /** the event that is delivered before the next instruction, if any */
  pendingEvent: PendingEvent | undefined;
  /** Ends the shadow of STI or MOV SS, as an injected exception does. */
  injectException(vector: number, errorCode?: number): void;
  /** the event that was being delivered at the last exit: an intinfo word, or 0 */
  readonly exitIntinfo: bigint;
  /** whether its local APIC may be in x2APIC mode: 0 or 1 */
  x2apic: number;
  /** counters in the order of `STATISTICS` */
  readonly statistics: readonly bigint[];
  /** what the fields of a VMCB would say */
  readonly vmcb: VmcbFacts;
  /** guest memory, for translations */
  readonly memory: Pick<MappedMemory, "view">;
  /**
   * Runs until an exit.
   *
   * @param entry the answer to the exit before
   * @throws {VmmError} EBUSY where something else runs it, EINVAL where it is not active
   */
  run(entry: VmEntry | null): VmExit;
}

/** A machine's interrupt controllers and timers. */
export interface MachineTarget {
  /** Puts everything into its state after creation. @throws {VmmError} EBUSY */
  reinit(): void;
  /** Raises an edge interrupt of a vCPU's local APIC; the vector is good. */
  lapicIrq(vcpu: number, vector: number): void;
  /** Raises a local interrupt, by index in the local vector table, 0 to 6. */
  lapicLocalIrq(vcpu: number, index: number): void;
  /** Latches a non-maskable interrupt. */
  injectNmi(vcpu: number): void;
  /** Delivers a message; the address is good. */
  lapicMsi(address: number, data: number): void;
  /** the I/O APIC */
  readonly ioapic: PinController;
  /** the 8259s */
  readonly pic: PinController & {
    /** Makes an input level-triggered. @throws {RangeError} where it cannot be */
    setTrigger(irq: number, isLevel: boolean): void;
  };
  /** the real-time clock: seconds since 1970, and its memory */
  readonly rtc: {
    time: number;
    /** Reads a byte, 0 to 127. */
    readMemory(offset: number): number;
    /** Writes a byte. @throws {RangeError} for registers of the clock */
    writeMemory(offset: number, value: number): void;
  };
  /** low half of the HPET's capability register */
  readonly hpetCapabilities: number;
  /**
   * Reads a register of a device in the local APIC's, I/O APIC's or HPET's range.
   *
   * @param vcpu whose local APIC
   */
  readKernemu(vcpu: number, gpa: number, bytes: number): bigint;
  /** Writes such a register. */
  writeKernemu(vcpu: number, gpa: number, bytes: number, value: bigint): void;
}

/** Inputs of an interrupt controller. */
export interface PinController {
  /** Asserts an input. @throws {RangeError} */
  assert(pin: number): void;
  /** Deasserts an input. @throws {RangeError} */
  deassert(pin: number): void;
  /** An edge at an input. @throws {RangeError} */
  pulse(pin: number): void;
}

/** What all threads of a machine share. */
export interface SharedTarget {
  /** Suspends the machine. @throws {VmmError} EALREADY */
  suspend(how: number): void;
  /** Activates a vCPU. @throws {VmmError} EBUSY where it is active */
  activate(vcpu: number): void;
  /** Holds a vCPU for a debugger. @throws {VmmError} EINVAL where it is not active */
  suspendCpu(vcpu: number): void;
  /** Lets a vCPU go on. @throws {VmmError} EINVAL where it is not held */
  resumeCpu(vcpu: number): void;
  /** the activated vCPUs, in order */
  readonly active: readonly number[];
  /** the vCPUs that stopped since the machine was suspended, in order */
  readonly suspended: readonly number[];
  /** the vCPUs that a debugger holds, in order */
  readonly debug: readonly number[];
}
