// The pair of 8259As of a PC, cascaded through pin 2, with the ELCRs at 4D0h and 4D1h.
// Pins count who asserts them, as vmm(4) does, so that devices can share one.

import type { BusHandler } from "../bus.ts";
import type { DeviceState, Lifecycle } from "../device.ts";
import type { ExtIntSource } from "./apic_host.ts";
import { PicChip, SPURIOUS_PIN } from "./pic_chip.ts";
import { byteRegisters } from "./port_registers.ts";
import { integer, StateFormat, table } from "./state.ts";

/** Interrupts of the pair. */
export const PIC_PINS = 16;
const CASCADE = 2;
// The timer, the keyboard, the cascade, the clock and the FPU are edges always.
const ELCR_MASKS = [0xf8, 0xde] as const;
const MOST_USERS = 1 << 20;

const STATE = new StateFormat("pic", 1, {
  master: PicChip.CHECK,
  slave: PicChip.CHECK,
  users: table(integer(MOST_USERS), PIC_PINS),
});

/** The two chips. */
export class PicPair implements ExtIntSource, Lifecycle {
  readonly name = "pic";
  readonly #master = new PicChip(1 << CASCADE, ELCR_MASKS[0]);
  readonly #slave = new PicChip(0, ELCR_MASKS[1]);
  readonly #users = new Int32Array(PIC_PINS);
  readonly #output: (level: boolean) => void;
  #isRequesting = false;

  /**
   * Makes it as it is after power-on.
   *
   * @param output driven with INTR; it falls between two interrupts
   */
  constructor(output: (level: boolean) => void) {
    this.#output = output;
  }

  reset(): void {
    this.#users.fill(0);
    this.#master.reset();
    this.#slave.reset();
    this.#propagate();
  }

  // --- Pins ----------------------------------------------------------------

  /**
   * One more asserts an interrupt, 0 to 15. The cascade's own pin, 2, is nobody's.
   *
   * @throws {RangeError} for another number
   */
  assert(irq: number): void {
    requireIrq(irq);
    const users = this.#users[irq]!;
    if (users >= MOST_USERS) return;
    this.#users[irq] = users + 1;
    if (users === 0) this.#drive(irq, true);
  }

  /** One less asserts an interrupt; nothing where none does. @throws {RangeError} */
  deassert(irq: number): void {
    requireIrq(irq);
    const users = this.#users[irq]!;
    if (users === 0) return;
    this.#users[irq] = users - 1;
    if (users === 1) this.#drive(irq, false);
  }

  /** Asserts and deasserts an interrupt. @throws {RangeError} */
  pulse(irq: number): void {
    this.assert(irq);
    this.deassert(irq);
  }

  #drive(irq: number, level: boolean): void {
    if (irq === CASCADE) return;
    this.#chip(irq).setPin(irq & 7, level);
    this.#propagate();
  }

  #chip(irq: number): PicChip {
    return irq < 8 ? this.#master : this.#slave;
  }

  /**
   * Makes an interrupt a level or an edge, as writing ELCR does.
   *
   * @throws {RangeError} for a number that there is not, or a level that is refused
   */
  setTrigger(irq: number, isLevel: boolean): void {
    requireIrq(irq);
    const bit = 1 << (irq & 7);
    if (isLevel && (ELCR_MASKS[irq >> 3]! & bit) === 0) {
      throw new RangeError(
        `Cannot make ISA interrupt ${irq} level-triggered: it is always an edge`,
      );
    }
    const chip = this.#chip(irq);
    chip.elcr = isLevel ? chip.elcr | bit : chip.elcr & ~bit;
    this.#propagate();
  }

  // --- The processor's side ------------------------------------------------

  get isRequesting(): boolean {
    return this.#isRequesting;
  }

  acknowledge(): number {
    const vector = this.#take();
    if (this.#isRequesting) {
      this.#isRequesting = false;
      this.#output(false);
    }
    this.#propagate();
    return vector;
  }

  #take(): number {
    const pin = this.#master.request;
    if (pin < 0) return this.#master.vector(SPURIOUS_PIN);
    this.#master.acknowledge(pin);
    if (pin !== CASCADE) return this.#master.vector(pin);
    const second = this.#slave.request;
    if (second < 0) return this.#slave.vector(SPURIOUS_PIN);
    this.#slave.acknowledge(second);
    return this.#slave.vector(second);
  }

  #propagate(): void {
    this.#master.setPin(CASCADE, this.#slave.request >= 0);
    const isRequesting = this.#master.request >= 0;
    if (isRequesting === this.#isRequesting) return;
    this.#isRequesting = isRequesting;
    this.#output(isRequesting);
  }

  // --- Registers -----------------------------------------------------------

  #ports(chip: PicChip): BusHandler {
    return byteRegisters({
      read: (offset) => {
        const value = chip.read(offset);
        this.#propagate();
        return value;
      },
      write: (offset, value) => {
        chip.write(offset, value);
        this.#propagate();
      },
    });
  }

  /** Ports 20h and 21h. */
  readonly masterPorts: BusHandler = this.#ports(this.#master);
  /** Ports A0h and A1h. */
  readonly slavePorts: BusHandler = this.#ports(this.#slave);
  /** Ports 4D0h and 4D1h. */
  readonly elcrPorts: BusHandler = byteRegisters({
    read: (offset) => this.#chip(8 * offset).elcr,
    write: (offset, value) => {
      this.#chip(8 * offset).elcr = value;
      this.#propagate();
    },
  });

  // --- Save and restore ----------------------------------------------------

  save(): DeviceState {
    return STATE.save({
      master: this.#master.save(),
      slave: this.#slave.save(),
      users: [...this.#users],
    });
  }

  restore(state: DeviceState): void {
    const { master, slave, users } = STATE.check(state);
    this.#users.set(users);
    this.#master.restore(master);
    this.#slave.restore(slave);
    this.#propagate();
  }
}

/** Checks the number of an ISA interrupt. @throws {RangeError} */
export function requireIrq(irq: number): void {
  if (!Number.isInteger(irq) || irq < 0 || irq >= PIC_PINS) {
    throw new RangeError(
      `Cannot drive ISA interrupt ${irq}: expected 0 to ${PIC_PINS - 1}`,
    );
  }
}
