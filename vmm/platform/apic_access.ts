// A vCPU's own local APIC as its instructions reach it: by memory and by MSR, always in
// its own thread.

import { APIC_BASE } from "./apic_window.ts";
import type { LocalApic } from "./local_apic.ts";

const APIC_END = APIC_BASE + 0x1000;
const MSR_APIC_BASE = 0x1b;
const MSR_TSC_DEADLINE = 0x6e0;
const MSR_X2APIC = 0x800;
const MSR_X2APIC_LAST = 0xbff;
const BASE_X2APIC = 0x400n;

/** Whether an access by memory is to the local APIC. */
export function isApicWindow(gpa: number): boolean {
  return gpa >= APIC_BASE && gpa < APIC_END;
}

/** The accesses of one vCPU to its local APIC. */
export class ApicAccess {
  readonly #lapic: LocalApic;

  /**
   * @param lapic the vCPU's own
   * @param x2apic whether it may be in x2APIC mode
   */
  constructor(lapic: LocalApic, public x2apic: boolean) {
    this.#lapic = lapic;
  }

  read(gpa: number, bytes: number): bigint {
    return BigInt(this.#lapic.read(gpa - APIC_BASE, bytes));
  }

  write(gpa: number, bytes: number, value: bigint): void {
    this.#lapic.write(gpa - APIC_BASE, bytes, value);
  }

  /** Reads an MSR; undefined where it is not the local APIC's, or faults. */
  readMsr(index: number): bigint | undefined {
    if (index === MSR_APIC_BASE) return this.#lapic.base;
    return isApicMsr(index) ? this.#lapic.readMsr(index) : undefined;
  }

  /** Writes an MSR. */
  writeMsr(index: number, value: bigint): "done" | "fault" | "unknown" {
    if (index !== MSR_APIC_BASE) {
      if (!isApicMsr(index)) return "unknown";
      return this.#lapic.writeMsr(index, value) ? "done" : "fault";
    }
    const isRefused = !this.x2apic && (value & BASE_X2APIC) !== 0n;
    return !isRefused && this.#lapic.setBase(value) ? "done" : "fault";
  }
}

function isApicMsr(index: number): boolean {
  return index === MSR_TSC_DEADLINE ||
    (index >= MSR_X2APIC && index <= MSR_X2APIC_LAST);
}
