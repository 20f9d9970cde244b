// The interrupt controllers and timers of a machine, built and wired as vmm(4) has them
// in the kernel (addresses: bhyve's platform). A machine gives the buses, time and what
// reaches its processors; it gets lines, messages and interrupt sources.

import type { Bus, BusHandler } from "../bus.ts";
import type { InterruptSource } from "../cpu/cpu.ts";
import type {
  Clock,
  DeviceState,
  IrqLine,
  Lifecycle,
  MsiSink,
} from "../device.ts";
import { ApicBus, type ApicTarget } from "./apic_bus.ts";
import type { ApicEvent, ApicWords } from "./apic_host.ts";
import type { TimeStamp } from "./apic_timer.ts";
import { APIC_BASE } from "./apic_window.ts";
import { Hpet, HPET_BASE, HPET_LENGTH } from "./hpet.ts";
import { IoApic, IOAPIC_BASE, IOAPIC_LENGTH } from "./ioapic.ts";
import {
  type CountedPin,
  ioapicPin,
  isaPins,
  picPin,
  PinLine,
} from "./isa_irq.ts";
import { LocalApic } from "./local_apic.ts";
import { MsiRouter } from "./msi.ts";
import { PicPair } from "./pic.ts";
import { Pit } from "./pit.ts";
import { PM_TIMER_PORT, PmTimer } from "./pm_timer.ts";
import { Rtc } from "./rtc.ts";
import {
  type Check,
  flag,
  integer,
  part,
  record,
  StateFormat,
  table,
} from "./state.ts";

/** What a machine gives its interrupt controllers and timers. */
export interface InterruptsOptions {
  /** how many virtual CPUs have their local APIC here; number 0 starts the machine */
  readonly vcpus: number;
  /** local APICs of the virtual CPUs that follow, in other threads */
  readonly others?: readonly ApicTarget[];
  /** where the registers of the local APICs here are, by CPU */
  readonly words?: readonly ApicWords[];
  /** what other threads tell the time by; zero at first */
  readonly times?: SharedTimes;
  /** Told when the 8259s' INTR output changes. */
  intrChanged?(level: boolean): void;
  /** its ports */
  readonly ports: Bus;
  /** its device memory */
  readonly memory: Bus;
  /** guest time */
  readonly clock: Clock;
  /** the host's seconds since 1970, with fractions, in the zone that the guest sees */
  readonly wallClock: () => number;
  /** The CPU should look at its source: there is something new. */
  attend(vcpu: number): void;
  /** A non-maskable interrupt for a CPU. */
  nmi(vcpu: number): void;
  /** Something of a CPU's local APIC is counted. */
  counted?(vcpu: number, event: ApicEvent, source?: number): void;
  /** the time stamp counter of a CPU; the default counts guest nanoseconds */
  readonly tsc?: (vcpu: number) => TimeStamp;
  /** whether MSI destinations have 15 bits */
  readonly extendedDestination?: boolean;
}

/** Numbers by which timers can be read in any thread. */
export interface SharedTimes {
  /** the HPET's main counter: `HPET_COUNTER_WORDS` */
  readonly hpet: Float64Array;
  /** the ACPI timer's start: one */
  readonly pmTimer: Float64Array;
}

/** A CPU was told to wait or to start. */
export type StartupEvent =
  /** reset it; all but the first CPU then wait */
  | { readonly kind: "init"; readonly vcpu: number }
  /** start it in real mode at `address`, that is CS = vector << 8, IP = 0 */
  | {
    readonly kind: "startup";
    readonly vcpu: number;
    readonly vector: number;
    readonly address: number;
  };

// The pins that the HPET may drive.
const HPET_PINS = [24, 25, 26, 27, 28, 29, 30, 31] as const;
const RTC_IRQ = 8;
const PIT_IRQ = 0;
const APIC_LENGTH = 0x1000;
// More of either than any machine has: caps what a forged state can hold.
const MOST_LINES = 1 << 16;

const anyList = <T>(item: Check<T>): Check<T[]> => (value, path) =>
  table(item, Array.isArray(value) ? value.length : 0)(value, path);

const STATE = new StateFormat("interrupts", 1, {
  devices: record({
    pic: part,
    ioapic: part,
    pit: part,
    hpet: part,
    rtc: part,
    pmTimer: part,
  }),
  lapics: anyList(part),
  lines: anyList(flag),
  turn: integer(MOST_LINES),
});

/** Every interrupt controller and timer of one machine. */
export class Interrupts implements Lifecycle {
  readonly name = "interrupts";
  /** local APICs by CPU */
  readonly lapics: readonly LocalApic[];
  /** the I/O APIC */
  readonly ioapic: IoApic;
  /** the 8259s */
  readonly pic: PicPair;
  /** the 8254 */
  readonly pit: Pit;
  /** the high precision event timer */
  readonly hpet: Hpet;
  /** the real-time clock */
  readonly rtc: Rtc;
  /** ACPI's timer */
  readonly pmTimer: PmTimer;
  /** what connects the APICs */
  readonly apicBus: ApicBus = new ApicBus();
  /** where devices' messages go */
  readonly msi: MsiSink;
  readonly #options: InterruptsOptions;
  readonly #lines: PinLine[] = [];
  readonly #startup: ((event: StartupEvent) => void)[] = [];
  #selected = 0;

  /**
   * Builds everything and claims its addresses.
   *
   * @throws {RangeError} where there is no CPU
   * @throws {BusConflictError} where something else has the addresses
   */
  constructor(options: InterruptsOptions) {
    const { vcpus, clock, wallClock, times } = options;
    const { extendedDestination = false } = options;
    if (!Number.isInteger(vcpus) || vcpus < 1) {
      throw new RangeError(`Cannot make ${vcpus} CPUs: expected 1 or more`);
    }
    this.#options = options;
    this.msi = new MsiRouter(this.apicBus, { extendedDestination });
    this.ioapic = new IoApic(this.apicBus);
    this.pic = new PicPair((level) => this.#driveIntr(level));
    this.lapics = Array.from({ length: vcpus }, (_, n) => this.#lapic(n));
    for (const target of [...this.lapics, ...options.others ?? []]) {
      this.apicBus.connect(target);
    }
    this.pit = new Pit(clock, this.isaIrq(PIT_IRQ));
    this.rtc = new Rtc({ clock, wallClock, irq: this.isaIrq(RTC_IRQ) });
    this.hpet = new Hpet({
      clock,
      lines: HPET_PINS.map((pin) => this.ioapicPin(pin)),
      msi: this.msi,
      ...times && { counter: times.hpet },
    });
    this.pmTimer = new PmTimer(clock, times?.pmTimer);
    this.#claim();
  }

  #lapic(id: number): LocalApic {
    const { clock, tsc, words } = this.#options;
    const own = words?.[id];
    return new LocalApic({
      id,
      clock,
      bus: this.apicBus,
      extInt: this.pic,
      ...(tsc && { tsc: tsc(id) }),
      ...(own && { words: own }),
      host: {
        attend: () => this.#options.attend(id),
        nmi: () => this.#options.nmi(id),
        init: () => this.#tell({ kind: "init", vcpu: id }),
        startup: (vector) =>
          this.#tell({
            kind: "startup",
            vcpu: id,
            vector,
            address: vector << 12,
          }),
        endOfInterrupt: (vector) => this.ioapic.endOfInterrupt(vector),
        counted: (event, source) => this.#options.counted?.(id, event, source),
      },
    });
  }

  // INTR is CPU 0's LINT0, and pin 0 of the I/O APIC for virtual wire mode through it
  // (MultiProcessor Specification 1.4, 3.6.2).
  #driveIntr(level: boolean): void {
    this.lapics[0]!.setPin(0, level);
    if (level) this.ioapic.assert(0);
    else this.ioapic.deassert(0);
    this.#options.intrChanged?.(level);
  }

  #tell(event: StartupEvent): void {
    for (const callback of this.#startup) callback(event);
  }

  #claim(): void {
    const { ports, memory } = this.#options;
    const { pic, pit, rtc } = this;
    const table: readonly [Bus, number, number, BusHandler, string][] = [
      [ports, 0x20, 2, pic.masterPorts, "pic"],
      [ports, 0xa0, 2, pic.slavePorts, "pic"],
      [ports, 0x4d0, 2, pic.elcrPorts, "pic"],
      [ports, 0x40, 4, pit.ports, "pit"],
      [ports, 0x61, 1, pit.systemControl, "pit"],
      [ports, 0x70, 2, rtc.ports, "rtc"],
      [ports, PM_TIMER_PORT, 4, this.pmTimer, "pm-timer"],
      [memory, IOAPIC_BASE, IOAPIC_LENGTH, this.ioapic, "ioapic"],
      [memory, HPET_BASE, HPET_LENGTH, this.hpet, "hpet"],
      [memory, APIC_BASE, APIC_LENGTH, this.#apicWindow(), "lapic"],
    ];
    for (const [bus, start, length, handler, name] of table) {
      bus.claim({ start, length, handler, name });
    }
  }

  // Each CPU sees its own local APIC at the one address.
  #apicWindow(): BusHandler {
    return {
      read: (offset, bytes) => this.lapics[this.#selected]!.read(offset, bytes),
      write: (offset, bytes, value) =>
        this.lapics[this.#selected]!.write(offset, bytes, value),
    };
  }

  // --- For processors ------------------------------------------------------

  /** Interrupt sources by CPU. */
  get sources(): readonly InterruptSource[] {
    return this.lapics;
  }

  /**
   * Says whose accesses to the memory bus follow: CPU 0's at first. Only FEE00000h
   * depends on it. A CPU may also use its `lapics` entry as the handler itself.
   *
   * @throws {RangeError} for a CPU that there is not
   */
  select(vcpu: number): void {
    if (this.lapics[vcpu] === undefined) {
      throw new RangeError(
        `Cannot select CPU ${vcpu}: expected 0 to ${this.lapics.length - 1}`,
      );
    }
    this.#selected = vcpu;
  }

  /** Calls back when a CPU is told to wait (INIT) or to start (STARTUP). */
  onStartup(callback: (event: StartupEvent) => void): void {
    this.#startup.push(callback);
  }

  // --- For devices ---------------------------------------------------------

  #line(pins: readonly CountedPin[]): IrqLine {
    const line = new PinLine(pins);
    this.#lines.push(line);
    return line;
  }

  /**
   * A new line to an ISA interrupt: the 8259s' pin and the I/O APIC's. Snapshots hold
   * the levels of lines in the order in which they were made, so make each once, when
   * the machine is built.
   *
   * @param irq 0 to 15 but not 2
   * @throws {RangeError} for another
   */
  isaIrq(irq: number): IrqLine {
    return this.#line(isaPins(this.pic, this.ioapic, irq));
  }

  /** A new line to a pin of the I/O APIC, 0 to 31. @throws {RangeError} */
  ioapicPin(pin: number): IrqLine {
    return this.#line([ioapicPin(this.ioapic, pin)]);
  }

  /** A new line to a pin of the 8259s only, 0 to 15. @throws {RangeError} */
  picIrq(irq: number): IrqLine {
    return this.#line([picPin(this.pic, irq)]);
  }

  // --- Lifecycle -----------------------------------------------------------

  reset(): void {
    for (const line of this.#lines) line.assume(false);
    this.#selected = 0;
    this.apicBus.turn = 0;
    this.pic.reset();
    this.ioapic.reset();
    for (const lapic of this.lapics) lapic.reset();
    for (const device of [this.pit, this.hpet, this.rtc, this.pmTimer]) {
      device.reset();
    }
  }

  save(): DeviceState {
    const { pic, ioapic, pit, hpet, rtc, pmTimer } = this;
    return STATE.save({
      devices: {
        pic: pic.save(),
        ioapic: ioapic.save(),
        pit: pit.save(),
        hpet: hpet.save(),
        rtc: rtc.save(),
        pmTimer: pmTimer.save(),
      },
      lapics: this.lapics.map((lapic) => lapic.save()),
      lines: this.#lines.map((line) => line.level),
      turn: this.apicBus.turn,
    });
  }

  /**
   * Goes on from a state, whole or not at all. Restore the clock before, the devices
   * after.
   *
   * @throws {PlatformStateError} for one of another machine, or a damaged one
   */
  restore(state: DeviceState): void {
    const before = this.save();
    try {
      this.#apply(state);
    } catch (error) {
      this.#apply(before);
      throw error;
    }
  }

  #apply(state: DeviceState): void {
    const { devices, lapics, lines, turn } = STATE.check(state);
    const { length } = this.lapics;
    table(part, length)(lapics, "interrupts.lapics");
    table(flag, this.#lines.length)(lines, "interrupts.lines");
    const { others = [] } = this.#options;
    integer(length + others.length - 1)(turn, "interrupts.turn");
    // Timers drive lines and the 8259s the APICs while they are restored; so what is
    // driven comes after what drives it, and has the last word.
    this.hpet.restore(devices.hpet);
    this.pit.restore(devices.pit);
    this.rtc.restore(devices.rtc);
    this.pmTimer.restore(devices.pmTimer);
    lines.forEach((level, n) => this.#lines[n]!.assume(level));
    this.pic.restore(devices.pic);
    this.ioapic.restore(devices.ioapic);
    lapics.forEach((lapic, n) => this.lapics[n]!.restore(lapic));
    this.apicBus.turn = turn;
  }
}
