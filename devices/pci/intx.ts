// Interrupt pins of functions: which pin of its slot a function takes, and where the pin
// leads: to an I/O APIC input and to a PIRQ (platform.md section 4). Without a boot ROM
// both are given out in turn, with one they are fixed so that firmware can know them.

import type { IrqLine } from "../../vmm/device.ts";
import type { PciLocation } from "./device.ts";
import type { PicInputs, PirqRouter } from "./pirq.ts";

/** What a machine offers as interrupt inputs. */
export interface InterruptInputs extends PicInputs {
  /** A new source of an I/O APIC input: the input is up while any source is. */
  ioapicPin(pin: number): IrqLine;
  /** A new source of an ISA interrupt: its 8259 and its I/O APIC input together. */
  isaIrq(irq: number): IrqLine;
}

/** Where a pin of a slot leads. */
export interface IntxRoute {
  /** 0 to 255 */
  readonly bus: number;
  /** 0 to 31 */
  readonly slot: number;
  /** 1 to 4 for INTA to INTD */
  readonly pin: number;
  /** I/O APIC input, from 16 */
  readonly ioapicPin: number;
  /** 0 to 7 for PIRQA to PIRQH */
  readonly pirq: number;
}

const FIRST_PCI_PIN = 16;
const FIXED_PINS = 8;
const PINS = 4;

/** How pins are routed. */
export interface IntxOptions {
  /** inputs of the interrupt controllers */
  readonly inputs: InterruptInputs;
  /** routing of PIRQ pins */
  readonly pirq: PirqRouter;
  /** whether firmware expects the fixed routing */
  readonly bootRom: boolean;
  /** inputs of the I/O APIC: default 32 */
  readonly ioapicPins?: number;
}

/** The pins of every slot. */
export class IntxRouter {
  readonly #options: IntxOptions;
  readonly #users = new Map<string, number[]>();
  readonly #routes = new Map<string, IntxRoute>();
  readonly #lines = new Map<number, IrqLine>();
  readonly #active = new Map<number, number>();

  /** Makes a router without routes. */
  constructor(options: IntxOptions) {
    this.#options = options;
  }

  /** The least used pin of a function's slot, 1 to 4: it counts as used then. */
  choosePin(at: PciLocation): number {
    const key = `${at.bus}:${at.slot}`;
    const users = this.#users.get(key) ?? new Array<number>(PINS).fill(0);
    this.#users.set(key, users);
    const index = users.indexOf(Math.min(...users));
    users[index]!++;
    return index + 1;
  }

  /** Where a pin leads; the first call for a pin decides. */
  route(at: PciLocation, pin: number): IntxRoute {
    const key = `${at.bus}:${at.slot}:${pin}`;
    const known = this.#routes.get(key);
    if (known !== undefined) return known;
    const { bus, slot } = at;
    const fixed = (4 + slot + pin) % FIXED_PINS;
    const { bootRom, pirq } = this.#options;
    const route = {
      bus,
      slot,
      pin,
      ioapicPin: FIRST_PCI_PIN + (bootRom ? fixed : this.#nextInput()),
      pirq: pirq.allocate(bootRom ? fixed : undefined),
    };
    this.#routes.set(key, route);
    const { ioapicPin } = route;
    if (!this.#lines.has(ioapicPin)) {
      this.#lines.set(ioapicPin, this.#options.inputs.ioapicPin(ioapicPin));
    }
    return route;
  }

  #nextInput(): number {
    const inputs = (this.#options.ioapicPins ?? 32) - FIRST_PCI_PIN;
    return this.#routes.size % inputs;
  }

  /** Every route, in the order given out. */
  get routes(): IntxRoute[] {
    return [...this.#routes.values()];
  }

  /** A function asserts or deasserts its pin: once each. */
  drive(route: IntxRoute, asserted: boolean): void {
    const { ioapicPin } = route;
    const count = (this.#active.get(ioapicPin) ?? 0) + (asserted ? 1 : -1);
    this.#active.set(ioapicPin, count);
    this.#lines.get(ioapicPin)?.set(count > 0);
    this.#options.pirq.change(route.pirq, asserted);
  }
}
