// Message-signalled interrupts: the write that a device makes, decoded (Intel SDM
// vol. 3, 11.11.1 and 11.11.2). Like vmm(4)'s they are always edges, whatever bit 15
// of the data says. Unlike there the destination mode counts without the redirection
// hint too, as on hardware: Linux on i386 addresses its processors that way.

import type { MsiSink } from "../device.ts";
import {
  DELIVERY,
  MESSAGE,
  type MessageBus,
  widenDestination,
} from "./apic_bus.ts";

const LOGICAL = 1 << 2;

// The modes that a message can have; STARTUP and the reserved 3 are dropped.
const LEGAL_MODES = 1 << DELIVERY.FIXED | 1 << DELIVERY.LOWEST_PRIORITY |
  1 << DELIVERY.SMI | 1 << DELIVERY.NMI | 1 << DELIVERY.INIT |
  1 << DELIVERY.EXTINT;

/** How messages are decoded. */
export interface MsiOptions {
  /**
   * whether address bits 11:5 are bits 14:8 of the destination: what bhyve's CPUID
   * leaf 40000001h offers
   */
  readonly extendedDestination?: boolean;
}

/** Whether an address is one that messages are written to: FEExxxxxh. */
export function isMsiAddress(address: number): boolean {
  return Math.floor(address / 0x10_0000) === 0xfee;
}

/** Sends devices' messages to local APICs. */
export class MsiRouter implements MsiSink {
  readonly #bus: MessageBus;
  readonly #isExtended: boolean;

  /**
   * Makes a router onto a bus.
   *
   * @param bus what connects the local APICs
   */
  constructor(bus: MessageBus, options: MsiOptions = {}) {
    this.#bus = bus;
    this.#isExtended = options.extendedDestination ?? false;
  }

  raise(address: number, data: number): void {
    if (!isMsiAddress(address)) return;
    const mode = data >>> MESSAGE.MODE_SHIFT & 7;
    if ((LEGAL_MODES >>> mode & 1) === 0) return;
    const isLogical = (address & LOGICAL) !== 0;
    const message = data & MESSAGE.VECTOR | mode << MESSAGE.MODE_SHIFT |
      MESSAGE.ASSERT | (isLogical ? MESSAGE.LOGICAL : 0);
    this.#bus.deliver(message, this.#destination(address), -1);
  }

  #destination(address: number): number {
    const low = address >>> 12 & 0xff;
    const high = this.#isExtended ? address >>> 5 & 0x7f : 0;
    return widenDestination(high << 8 | low);
  }
}
