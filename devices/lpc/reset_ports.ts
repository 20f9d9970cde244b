// Small ports of the chipset: reset control CF9 (Intel ICH10, 13.7.5), system control
// port A at 92h (fast reset; the A20 gate is always open), diagnostic port 84h.

import type { Bus, BusHandler } from "../../vmm/bus.ts";
import type { DeviceState, Lifecycle } from "../../vmm/device.ts";
import { allOnes } from "../register_map.ts";
import { StateSchema, u8 } from "../state.ts";

const RESET_CONTROL_PORT = 0xcf9;
const RESET_CPU = 1 << 2;
const SYSTEM_CONTROL_PORT = 0x92;
const FAST_RESET = 1 << 0;
const A20_OPEN = 1 << 1;
const DIAGNOSTIC_PORT = 0x84;

const SCHEMA = new StateSchema("reset-ports", 1, {
  resetControl: u8(),
  systemControl: u8(A20_OPEN),
});

/** Where a byte register inside of the ports CF8 to CFB is put. */
export interface ConfigOverlay {
  /** Lets a byte register answer at a port. */
  overlay(port: number, handler: BusHandler): void;
}

/** CF9, 92h and 84h. */
export class ResetPorts implements Lifecycle {
  readonly name = "reset-ports";
  #s = SCHEMA.initial();
  readonly #reset: () => void;

  /**
   * Claims its ports.
   *
   * @param pci has the ports around CF9
   * @param reset called when the guest resets the machine
   */
  constructor(ports: Bus, pci: ConfigOverlay, reset: () => void) {
    this.#reset = reset;
    const claim = (start: number, handler: BusHandler, name: string) =>
      ports.claim({ start, length: 1, handler, name });
    pci.overlay(RESET_CONTROL_PORT, this.#resetControl);
    claim(SYSTEM_CONTROL_PORT, this.#systemControl, "system control A");
    claim(DIAGNOSTIC_PORT, this.#diagnostic, "diagnostic port");
  }

  readonly #resetControl: BusHandler = {
    read: () => this.#s.resetControl,
    write: (_offset, _bytes, value) => {
      this.#s.resetControl = Number(value & 0xffn);
      if ((this.#s.resetControl & RESET_CPU) !== 0) this.#reset();
    },
  };

  readonly #systemControl: BusHandler = {
    read: () => this.#s.systemControl,
    write: (_offset, _bytes, value) => {
      const bits = Number(value & 0xffn);
      this.#s.systemControl = bits & ~FAST_RESET | A20_OPEN;
      if ((bits & FAST_RESET) !== 0) this.#reset();
    },
  };

  readonly #diagnostic: BusHandler = {
    read: (_offset, bytes) => allOnes(bytes),
    write() {
      // bhyve gives up at a write here; firmware writes progress codes, so we do not.
    },
  };

  reset(): void {
    this.#s = SCHEMA.initial();
  }

  save(): DeviceState {
    return SCHEMA.save(this.#s);
  }

  restore(state: DeviceState): void {
    this.#s = SCHEMA.restore(state);
  }
}
