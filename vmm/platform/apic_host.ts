// What a local APIC needs from the machine around it: its processor, the 8259s whose
// interrupts it passes on, the I/O APIC that hears of the ends of level-triggered
// ones, time, and the bus to the other local APICs.

import type { Clock } from "../device.ts";
import type { MessageBus } from "./apic_bus.ts";
import type { TimeStamp } from "./apic_timer.ts";

/** Who an interrupt comes from that the APIC only passes on: the 8259s. */
export interface ExtIntSource {
  /** whether its INTR output is up */
  readonly isRequesting: boolean;
  /** Takes the interrupt: its vector. */
  acknowledge(): number;
}

/** What a local APIC does to its processor and its machine. */
export interface LocalApicHost {
  /** The processor should look at `pending`: there is something new. */
  attend(): void;
  /** A non-maskable interrupt. */
  nmi(): void;
  /** INIT: the processor is reset; one that is not the first then waits. */
  init(): void;
  /** STARTUP: the processor starts in real mode at `vector << 12`. */
  startup(vector: number): void;
  /** The end of a level-triggered interrupt, for the I/O APIC. */
  endOfInterrupt(vector: number): void;
  /**
   * Something happened that is counted.
   *
   * @param source which local interrupt was triggered: an index in `LOCAL_INTERRUPTS`
   */
  counted?(event: ApicEvent, source?: number): void;
}

/** What is counted. */
export type ApicEvent =
  /** the processor took an interrupt */
  | "interrupt"
  /** the interrupt that it took is the 8259s' */
  | "extInt"
  /** an interrupt ended while none was in service */
  | "emptyEnd"
  /** a message was sent by ICR */
  | "ipi"
  /** a local interrupt was triggered */
  | "local";

/** What a local APIC is made of. */
export interface LocalApicOptions {
  /** APIC ID: the number of the virtual CPU */
  readonly id: number;
  /** whether its processor starts the machine: default for ID 0 */
  readonly isBootstrap?: boolean;
  /** guest time */
  readonly clock: Clock;
  /** where it sends interrupts between processors */
  readonly bus: MessageBus;
  /** its processor and its machine */
  readonly host: LocalApicHost;
  /** whose interrupts it passes on */
  readonly extInt: ExtIntSource;
  /** the guest's time stamp counter; the default counts guest nanoseconds */
  readonly tsc?: TimeStamp;
  /** where its registers and mode are, for other threads to see; zero at first */
  readonly words?: ApicWords;
}

/** Where a local APIC keeps what others look at. */
export interface ApicWords {
  /** registers by number */
  readonly registers: Uint32Array;
  /** the mode, in element 0 */
  readonly mode: Uint32Array;
}
