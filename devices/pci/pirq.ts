// The eight PCI interrupt request pins of the LPC bridge and the ISA interrupts that
// their registers route them to (as in Intel's ICH10, 13.1.11 and 13.1.15; which IRQ is
// chosen: platform.md section 4). A register with bit 7 set routes to none.

import type { DeviceState, IrqLine } from "../../vmm/device.ts";
import { StateSchema, table, u8 } from "../state.ts";

/** Pins PIRQA to PIRQH. */
export const PIRQ_PINS = 8;
const DISABLED = 0x80;
const IRQ_BITS = 0x0f;
/** ISA interrupts that a pin may be routed to: 3-7, 9-12, 14, 15. */
export const PIRQ_PERMITTED = 0xdef8;
const SCI = 9;

/** The 8259 side of a machine's interrupts. */
export interface PicInputs {
  /** A new source of an 8259 input: the input is up while any source is. */
  picIrq(irq: number): IrqLine;
  /** The 8259s, for what makes an ISA interrupt a level or an edge (ELCR). */
  readonly pic: { setTrigger(irq: number, isLevel: boolean): void };
}

const SCHEMA = new StateSchema("pirq", 1, {
  registers: table(u8(DISABLED), PIRQ_PINS),
});

function routedIrq(register: number): number | undefined {
  const irq = register & IRQ_BITS;
  const valid = (register & DISABLED) === 0 &&
    (PIRQ_PERMITTED >> irq & 1) === 1;
  return valid ? irq : undefined;
}

/** The routing registers and the lines behind them. */
export class PirqRouter {
  #registers = SCHEMA.initial().registers;
  #routed = SCHEMA.initial().registers;
  readonly #active: number[] = new Array(PIRQ_PINS).fill(0);
  readonly #users: number[] = new Array(PIRQ_PINS).fill(0);
  readonly #irqUsers: number[] = new Array(16).fill(0);
  readonly #lines = new Map<number, IrqLine>();
  readonly #inputs: PicInputs;
  #held = false;

  /** Makes a router with every pin disabled. */
  constructor(inputs: PicInputs) {
    this.#inputs = inputs;
    this.#irqUsers[SCI] = 1;
    // All at once: snapshots know lines by the order in which they were made.
    for (let irq = 0; irq < 16; irq++) {
      const permitted = (PIRQ_PERMITTED >> irq & 1) === 1;
      if (permitted) this.#lines.set(irq, inputs.picIrq(irq));
    }
  }

  /** Keeps an ISA interrupt away from automatic choice: a device has it. */
  reserve(irq: number): void {
    this.#irqUsers[irq] = Infinity;
  }

  /**
   * Takes a pin into use, and routes it if it is not yet.
   *
   * @param fixed which pin; undefined takes the least used one
   * @returns the pin, 0 to 7
   */
  allocate(fixed?: number): number {
    const pin = fixed ?? this.#users.indexOf(Math.min(...this.#users));
    this.#users[pin]!++;
    if (this.#registers[pin] === DISABLED) this.#route(pin);
    return pin;
  }

  #route(pin: number): void {
    const permitted = this.#irqUsers.map((users, irq) =>
      (PIRQ_PERMITTED >> irq & 1) === 1 ? users : Infinity
    );
    const irq = permitted.indexOf(Math.min(...permitted));
    if (permitted[irq] === Infinity) return;
    this.#irqUsers[irq]!++;
    this.#registers[pin] = irq;
    this.#routed[pin] = irq;
    this.#inputs.pic.setTrigger(irq, true);
  }

  /** Whether functions use a pin. */
  used(pin: number): boolean {
    return (this.#users[pin] ?? 0) > 0;
  }

  /** The ISA interrupt that a pin is routed to. */
  irq(pin: number): number | undefined {
    return routedIrq(this.#registers[pin] ?? DISABLED);
  }

  /** The routing register of a pin. */
  read(pin: number): number {
    return this.#registers[pin] ?? 0xff;
  }

  /** Writes the routing register of a pin; an asserted pin moves its line. */
  write(pin: number, value: number): void {
    if (pin < 0 || pin >= PIRQ_PINS) return;
    this.#registers[pin] = value & (DISABLED | IRQ_BITS);
    this.#drive();
  }

  /** Adds a source to a pin, or takes one away. */
  change(pin: number, asserted: boolean): void {
    const count = (this.#active[pin] ?? 0) + (asserted ? 1 : -1);
    this.#active[pin] = Math.max(0, count);
    this.#drive();
  }

  /** Changes several things, and drives the lines once: none of them flickers. */
  batch(act: () => void): void {
    this.#held = true;
    try {
      act();
    } finally {
      this.#held = false;
      this.#drive();
    }
  }

  /** Drives every ISA interrupt that pins can be routed to. */
  #drive(): void {
    if (this.#held) return;
    const up = new Set<number>();
    for (let pin = 0; pin < PIRQ_PINS; pin++) {
      const irq = this.irq(pin);
      if (irq !== undefined && this.#active[pin]! > 0) up.add(irq);
    }
    for (const [irq, line] of this.#lines) line.set(up.has(irq));
  }

  /** Routes as after allocation. The 8259s are reset before. */
  reset(): void {
    this.#registers = [...this.#routed];
    for (const register of this.#routed) {
      const irq = routedIrq(register);
      if (irq !== undefined) this.#inputs.pic.setTrigger(irq, true);
    }
    this.#drive();
  }

  /** The registers. */
  save(): DeviceState {
    return SCHEMA.save({ registers: this.#registers });
  }

  /** Takes registers back. */
  restore(state: DeviceState): void {
    this.#registers = SCHEMA.restore(state).registers;
    this.#drive();
  }
}
