// The devices as a vCPU's instructions reach them, its own local APIC first, with the
// accesses counted as vmm(4) counts exits.

import type { DeviceBus } from "../vmm/cpu/options.ts";
import { type Counters, STAT } from "../vmm/statistics.ts";
import { type ApicAccess, isApicWindow } from "../vmm/platform/apic_access.ts";

/** What answers for everything but the local APIC. */
export type Devices = Required<
  Pick<DeviceBus, "readPort" | "writePort" | "readMemory" | "writeMemory">
>;

/** The bus of one vCPU. */
export class CountedBus implements DeviceBus {
  readonly #devices: Devices;
  readonly #apic: ApicAccess;
  readonly #counters: Counters;

  constructor(devices: Devices, apic: ApicAccess, counters: Counters) {
    this.#devices = devices;
    this.#apic = apic;
    this.#counters = counters;
  }

  // What is answered here is an exit all the same.
  #count(statistic: number): void {
    this.#counters.add(STAT.EXITS);
    this.#counters.add(statistic);
  }

  readPort(port: number, bytes: number): number | undefined {
    this.#count(STAT.INOUT);
    return this.#devices.readPort(port, bytes);
  }

  writePort(port: number, bytes: number, value: number): boolean {
    this.#count(STAT.INOUT);
    return this.#devices.writePort(port, bytes, value);
  }

  readMemory(gpa: number, bytes: number): bigint | undefined {
    this.#count(STAT.INST_EMUL);
    return isApicWindow(gpa)
      ? this.#apic.read(gpa, bytes)
      : this.#devices.readMemory(gpa, bytes);
  }

  writeMemory(gpa: number, bytes: number, value: bigint): boolean {
    this.#count(STAT.INST_EMUL);
    if (!isApicWindow(gpa)) {
      return this.#devices.writeMemory(gpa, bytes, value);
    }
    this.#apic.write(gpa, bytes, value);
    return true;
  }

  readMsr(index: number): bigint | undefined {
    this.#count(STAT.RDMSR);
    return this.#apic.readMsr(index);
  }

  writeMsr(index: number, value: bigint): "done" | "fault" | "unknown" {
    this.#count(STAT.WRMSR);
    return this.#apic.writeMsr(index, value);
  }
}
