// A vCPU's counters while it runs: what its local APIC tells of, and levels that are
// looked up when somebody asks.

import type { ApicEvent } from "../vmm/platform/mod.ts";
import { Counters, STAT } from "../vmm/statistics.ts";

const APIC_STATISTICS: Readonly<Record<ApicEvent, number>> = {
  interrupt: STAT.EXTERNAL_INTERRUPT,
  extInt: STAT.EXTINT,
  emptyEnd: STAT.EOI_WITHOUT_ISR,
  ipi: STAT.IPI_SENT,
  local: STAT.LVT_0,
};

/** Local interrupts that have counters of their own, by index in the vector table. */
const LOCAL_STATISTICS: ReadonlyMap<number, number> = new Map([
  [2, STAT.APIC_TIMER],
  [3, STAT.APIC_ERROR],
  [6, STAT.APIC_CMC],
]);

/** Counters that a local APIC adds to. */
export class VcpuCounters extends Counters {
  /** Counts an event of the local APIC. */
  addApic(event: ApicEvent, source = 0): void {
    this.add(APIC_STATISTICS[event] + source);
    const own = event === "local" ? LOCAL_STATISTICS.get(source) : undefined;
    if (own !== undefined) this.add(own);
  }
}
