// The I/O APIC (Intel 82093AA data sheet, chapter 3) as vmm(4) has it: 32 pins,
// version 11h without an EOI register, polarity without meaning, pins that count who
// asserts them. Accesses are of 32 bits; others read 0 and write nothing.

import type { BusHandler } from "../bus.ts";
import type { DeviceState, Lifecycle } from "../device.ts";
import {
  DELIVERY,
  MESSAGE,
  type MessageBus,
  widenDestination,
} from "./apic_bus.ts";
import {
  integer,
  PlatformStateError,
  StateFormat,
  table,
  u32,
  u8,
} from "./state.ts";

/** Where it is in memory. */
export const IOAPIC_BASE = 0xfec0_0000;
/** How many addresses it has. */
export const IOAPIC_LENGTH = 0x1000;
/** Its pins. */
export const IOAPIC_PINS = 32;

const VERSION = (IOAPIC_PINS - 1) << 16 | 0x11;

// Addresses.
const SELECT = 0x00;
const WINDOW = 0x10;

// Registers behind the window; redirection entries are pairs.
const REGISTER = { ID: 0, VERSION: 1, ARBITRATION: 2, ENTRIES: 0x10 } as const;

// Bits of an entry's lower half; those of a message are the same ones.
const REMOTE_IRR = 1 << 14;
const LEVEL = 1 << 15;
const MASKED = 1 << 16;
const WRITABLE = 0x1_afff;
// Vector, mode, destination mode, trigger.
const IN_MESSAGE = 0x8fff;

// More users than a pin can have: only a forged state exceeds it.
const MOST_USERS = 1 << 20;

const STATE = new StateFormat("ioapic", 1, {
  id: integer(15),
  select: u8,
  low: table(integer(WRITABLE | REMOTE_IRR), IOAPIC_PINS),
  high: table(u32, IOAPIC_PINS),
  users: table(integer(MOST_USERS), IOAPIC_PINS),
});

/** One I/O APIC. */
export class IoApic implements BusHandler, Lifecycle {
  readonly name = "ioapic";
  readonly #bus: MessageBus;
  readonly #low = new Uint32Array(IOAPIC_PINS);
  readonly #high = new Uint32Array(IOAPIC_PINS);
  // How many assert a pin.
  readonly #users = new Int32Array(IOAPIC_PINS);
  #id = 0;
  #select = 0;

  /**
   * Makes it as it is after power-on.
   *
   * @param bus where its messages go
   */
  constructor(bus: MessageBus) {
    this.#bus = bus;
    this.reset();
  }

  reset(): void {
    this.#id = 0;
    this.#select = 0;
    this.#low.fill(MASKED);
    this.#high.fill(MASKED);
    this.#users.fill(0);
  }

  // --- Pins ----------------------------------------------------------------

  /** One more asserts a pin. @throws {RangeError} for a pin that it has not */
  assert(pin: number): void {
    requirePin(pin);
    const users = this.#users[pin]!;
    if (users >= MOST_USERS) return;
    this.#users[pin] = users + 1;
    if (users === 0) this.#send(pin);
  }

  /** One less asserts a pin; nothing happens where none does. @throws {RangeError} */
  deassert(pin: number): void {
    requirePin(pin);
    if (this.#users[pin]! > 0) this.#users[pin]!--;
  }

  /** Asserts and deasserts a pin. @throws {RangeError} */
  pulse(pin: number): void {
    this.assert(pin);
    this.deassert(pin);
  }

  /** Whether a pin is asserted. */
  isAsserted(pin: number): boolean {
    return this.#users[pin]! > 0;
  }

  // A masked edge is lost. A level waits for the end of the interrupt before.
  #send(pin: number): void {
    const low = this.#low[pin]!;
    if ((low & MASKED) !== 0) return;
    if (isLevel(low)) {
      if ((low & REMOTE_IRR) !== 0) return;
      this.#low[pin] = low | REMOTE_IRR;
    }
    const destination = widenDestination(this.#high[pin]! >>> 24);
    const message = low & IN_MESSAGE | MESSAGE.ASSERT;
    this.#bus.deliver(message, destination, -1);
  }

  /** A local APIC ended a level-triggered interrupt. */
  endOfInterrupt(vector: number): void {
    for (let pin = 0; pin < IOAPIC_PINS; pin++) {
      const low = this.#low[pin]!;
      if ((low & REMOTE_IRR) === 0 || (low & 0xff) !== vector) continue;
      this.#low[pin] = low & ~REMOTE_IRR;
      if (this.#users[pin]! > 0) this.#send(pin);
    }
  }

  // --- Registers -----------------------------------------------------------

  read(offset: number, bytes: number): number {
    if (bytes !== 4) return 0;
    if (offset === SELECT) return this.#select;
    return offset === WINDOW ? this.#readSelected() : 0;
  }

  write(offset: number, bytes: number, value: bigint): void {
    if (bytes !== 4) return;
    if (offset === SELECT) this.#select = Number(value & 0xffn);
    if (offset === WINDOW) this.#writeSelected(Number(value & 0xffff_ffffn));
  }

  #readSelected(): number {
    switch (this.#select) {
      case REGISTER.ID:
      case REGISTER.ARBITRATION:
        return this.#id << 24;
      case REGISTER.VERSION:
        return VERSION;
    }
    const pin = (this.#select - REGISTER.ENTRIES) >> 1;
    if (pin < 0 || pin >= IOAPIC_PINS) return 0;
    return (this.#select & 1) === 0 ? this.#low[pin]! : this.#high[pin]!;
  }

  #writeSelected(value: number): void {
    if (this.#select === REGISTER.ID) this.#id = value >>> 24 & 15;
    const pin = (this.#select - REGISTER.ENTRIES) >> 1;
    if (pin < 0 || pin >= IOAPIC_PINS) return;
    if ((this.#select & 1) === 0) this.#redirect(pin, value);
    else this.#high[pin] = value;
  }

  #redirect(pin: number, value: number): void {
    // An edge has no remote IRR: systems write one to get rid of a stuck level.
    const kept = isLevel(value) ? this.#low[pin]! & REMOTE_IRR : 0;
    this.#low[pin] = value & WRITABLE | kept;
    if (isLevel(value) && this.#users[pin]! > 0) this.#send(pin);
  }

  // --- Save and restore ----------------------------------------------------

  save(): DeviceState {
    return STATE.save({
      id: this.#id,
      select: this.#select,
      low: [...this.#low],
      high: [...this.#high],
      users: [...this.#users],
    });
  }

  restore(state: DeviceState): void {
    const { id, select, low, high, users } = STATE.check(state);
    if (low.some((entry) => (entry & ~(WRITABLE | REMOTE_IRR)) !== 0)) {
      throw new PlatformStateError(
        "Cannot restore ioapic: an entry has bits that do not exist",
      );
    }
    this.#id = id;
    this.#select = select;
    this.#low.set(low);
    this.#high.set(high);
    this.#users.set(users);
  }
}

// Only vectors are levels: nobody ends an NMI.
function isLevel(entry: number): boolean {
  return (entry & LEVEL) !== 0 &&
    (entry >>> MESSAGE.MODE_SHIFT & 7) <= DELIVERY.LOWEST_PRIORITY;
}

/** Checks the number of a pin. @throws {RangeError} */
export function requirePin(pin: number): void {
  if (!Number.isInteger(pin) || pin < 0 || pin >= IOAPIC_PINS) {
    throw new RangeError(
      `Cannot drive I/O APIC pin ${pin}: expected 0 to ${IOAPIC_PINS - 1}`,
    );
  }
}
