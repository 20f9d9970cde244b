// Local APICs on a bus for tests, with records of what they did.

import { ApicBus } from "./apic_bus.ts";
import { APIC } from "./apic_registers.ts";
import { LocalApic } from "./local_apic.ts";
import { ManualTime } from "./testing.ts";

/** 8259s that a test lets ask. */
export class TestExtInt {
  isRequesting = false;
  vector = 0x20;

  acknowledge(): number {
    this.isRequesting = false;
    return this.vector;
  }
}

/** Some local APICs, enabled, and everything that they reported. */
export class ApicBench {
  readonly time = new ManualTime();
  readonly bus = new ApicBus();
  readonly extInt = new TestExtInt();
  readonly events: string[] = [];
  readonly apics: LocalApic[];
  /** the time stamp counter, which the tests move */
  tsc = 0n;

  constructor(count = 1, isEnabled = true) {
    this.apics = Array.from({ length: count }, (_, id) => this.#make(id));
    for (const apic of this.apics) {
      this.bus.connect(apic);
      if (isEnabled) write(apic, APIC.SVR, 0x1ff);
    }
    this.events.length = 0;
  }

  #make(id: number): LocalApic {
    const say = (what: string) => () => void this.events.push(`${what}${id}`);
    return new LocalApic({
      id,
      clock: this.time.clock,
      bus: this.bus,
      extInt: this.extInt,
      tsc: { read: () => this.tsc, frequency: 2e9 },
      host: {
        attend: say("attend"),
        nmi: say("nmi"),
        init: say("init"),
        startup: (vector) => this.events.push(`startup${id}:${vector}`),
        endOfInterrupt: (vector) => this.events.push(`eoi${id}:${vector}`),
      },
    });
  }

  /** What was reported since the last call. */
  take(): string[] {
    return this.events.splice(0);
  }
}

/** Writes a register by memory. */
export function write(apic: LocalApic, register: number, value: number): void {
  apic.write(register << 4, 4, BigInt(value >>> 0));
}

/** Reads a register by memory. */
export function read(apic: LocalApic, register: number): number {
  return Number(apic.read(register << 4, 4));
}

/** Takes every interrupt that is pending and ends it: their vectors. */
export function drain(apic: LocalApic): number[] {
  const vectors: number[] = [];
  while (apic.pending()) {
    vectors.push(apic.acknowledge());
    write(apic, APIC.EOI, 0);
  }
  return vectors;
}
