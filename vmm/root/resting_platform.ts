// Interrupt controllers and timers of a machine at rest: the real devices on a clock
// that stands still but while one of its vCPUs is run in this process.

import { Bus } from "../bus.ts";
import type { DeviceState } from "../device.ts";
import { MAX_VCPUS } from "../ioctl.ts";
import { GuestClock } from "../platform/clock.ts";
import { Interrupts } from "../platform/interrupts.ts";
import type { LocalApic } from "../platform/local_apic.ts";
import type { MachineTarget, PinController } from "../vm_target.ts";
import { VmmError } from "../errno.ts";

const MS_PER_S = 1000;
const NS_PER_MS = 1e6;
const HPET_CAPABILITIES = 0;
const APIC_BASE = 0xfee0_0000;

/** What a machine at rest keeps of its platform. */
export interface PlatformStates {
  readonly rtc: DeviceState | null;
  readonly interrupts: DeviceState | null;
}

/** The platform of a machine at rest. */
export class RestingPlatform implements MachineTarget {
  /** the machine's clock, which stands still */
  readonly clock = new GuestClock(() => performance.now() * NS_PER_MS);
  readonly #memory = new Bus("memory");
  readonly #ports = new Bus("port");
  readonly #attend = new Map<number, () => void>();
  readonly #interrupts: Interrupts;
  readonly #nmi: (vcpu: number) => void;
  readonly #reinit: () => void;

  /**
   * @param states what it goes on from
   * @param nmi latches an interrupt of a vCPU
   * @param reinit resets the machine
   * @throws {PlatformStateError} for damaged states
   */
  constructor(
    states: PlatformStates,
    nmi: (vcpu: number) => void,
    reinit: () => void,
  ) {
    this.#nmi = nmi;
    this.#reinit = reinit;
    this.clock.pause();
    this.#interrupts = new Interrupts({
      vcpus: MAX_VCPUS,
      ports: this.#ports,
      memory: this.#memory,
      clock: this.clock,
      wallClock: () => Date.now() / MS_PER_S,
      attend: (vcpu) => this.#attend.get(vcpu)?.(),
      nmi,
    });
    if (states.interrupts !== null) this.#interrupts.restore(states.interrupts);
    // A run leaves a newer one.
    if (states.rtc !== null) this.#interrupts.rtc.restore(states.rtc);
  }

  /** Its state. */
  save(): PlatformStates {
    return {
      rtc: this.#interrupts.rtc.save(),
      interrupts: this.#interrupts.save(),
    };
  }

  /** A vCPU's local APIC. */
  lapic(vcpu: number): LocalApic {
    return this.#interrupts.lapics[vcpu]!;
  }

  /** Calls back when a vCPU should look at its local APIC. */
  onAttend(vcpu: number, attend: () => void): void {
    this.#attend.set(vcpu, attend);
  }

  /** The reset of a machine: the clock keeps its time and memory. */
  reset(): void {
    this.#interrupts.reset();
  }

  reinit(): void {
    this.#reinit();
  }

  lapicIrq(vcpu: number, vector: number): void {
    this.#interrupts.lapics[vcpu]!.interrupt(vector);
  }

  lapicLocalIrq(vcpu: number, index: number): void {
    this.#interrupts.lapics[vcpu]!.localInterrupt(index);
  }

  injectNmi(vcpu: number): void {
    this.#nmi(vcpu);
  }

  lapicMsi(address: number, data: number): void {
    this.#interrupts.msi.raise(address, data);
  }

  get ioapic(): PinController {
    return this.#interrupts.ioapic;
  }

  get pic(): MachineTarget["pic"] {
    return this.#interrupts.pic;
  }

  get rtc(): MachineTarget["rtc"] {
    return this.#interrupts.rtc;
  }

  get hpetCapabilities(): number {
    return Number(this.#interrupts.hpet.read(HPET_CAPABILITIES, 4));
  }

  readKernemu(vcpu: number, gpa: number, bytes: number): bigint {
    return BigInt(this.#handler(vcpu, gpa, bytes).read(bytes));
  }

  writeKernemu(vcpu: number, gpa: number, bytes: number, value: bigint): void {
    this.#handler(vcpu, gpa, bytes).write(bytes, value);
  }

  /** Reads device memory; undefined where vmm(4) has no device. */
  tryRead(vcpu: number, gpa: number, bytes: number): bigint | undefined {
    if (this.#memory.find(gpa, bytes) === undefined) return undefined;
    return this.readKernemu(vcpu, gpa, bytes);
  }

  /** Writes device memory; false where vmm(4) has no device. */
  tryWrite(vcpu: number, gpa: number, bytes: number, value: bigint): boolean {
    if (this.#memory.find(gpa, bytes) === undefined) return false;
    this.writeKernemu(vcpu, gpa, bytes, value);
    return true;
  }

  /** Reads a port; undefined where vmm(4) has no device. */
  readPort(port: number, bytes: number): number | undefined {
    const range = this.#ports.find(port, bytes);
    return range && Number(range.handler.read(port - range.start, bytes));
  }

  /** Writes a port; false where vmm(4) has no device. */
  writePort(port: number, bytes: number, value: number): boolean {
    const range = this.#ports.find(port, bytes);
    range?.handler.write(port - range.start, bytes, BigInt(value));
    return range !== undefined;
  }

  #handler(vcpu: number, gpa: number, bytes: number) {
    const range = this.#memory.find(gpa, bytes);
    if (range === undefined) throw new VmmError("EINVAL");
    const isApic = range.start === APIC_BASE;
    const device = isApic ? this.#interrupts.lapics[vcpu]! : range.handler;
    const offset = gpa - range.start;
    return {
      read: (size: number) => device.read(offset, size),
      write: (size: number, value: bigint) => device.write(offset, size, value),
    };
  }
}
