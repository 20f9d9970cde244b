// Interrupt controllers and timers of a machine at rest: the real devices on a clock
// that stands still, since nothing runs.

import { Bus } from "../bus.ts";
import type { DeviceState } from "../device.ts";
import { MAX_VCPUS } from "../ioctl.ts";
import { GuestClock } from "../platform/clock.ts";
import { Interrupts } from "../platform/interrupts.ts";
import type { MachineTarget, PinController } from "../vm_target.ts";
import { VmmError } from "../errno.ts";

const MS_PER_S = 1000;
const HPET_CAPABILITIES = 0;
const APIC_BASE = 0xfee0_0000;

/** What a machine at rest keeps of its platform. */
export interface PlatformStates {
  readonly rtc: DeviceState | null;
  readonly interrupts: DeviceState | null;
}

/** The platform of a machine at rest. */
export class RestingPlatform implements MachineTarget {
  readonly #memory = new Bus("memory");
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
    const clock = new GuestClock(() => 0);
    this.#interrupts = new Interrupts({
      vcpus: MAX_VCPUS,
      ports: new Bus("port"),
      memory: this.#memory,
      clock,
      wallClock: () => Date.now() / MS_PER_S,
      attend: () => {},
      nmi,
    });
    if (states.interrupts !== null) this.#interrupts.restore(states.interrupts);
    else if (states.rtc !== null) this.#interrupts.rtc.restore(states.rtc);
  }

  /** Its state. */
  save(): PlatformStates {
    return {
      rtc: this.#interrupts.rtc.save(),
      interrupts: this.#interrupts.save(),
    };
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
