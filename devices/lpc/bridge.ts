// The LPC bridge (`lpc`): the PCI function that an ISA bus hangs on. Its registers are
// the routing of the eight PIRQ pins, laid out as in Intel's ICH10 (13.1.11, 13.1.15)
// under the identity of a PIIX3; only writes of a byte reach them, as in bhyve.

import type { DeviceState } from "../../vmm/device.ts";
import type { PciDevice, PciIdentity } from "../pci/device.ts";
import type { PirqRouter } from "../pci/pirq.ts";
import { StateSchema } from "../state.ts";

const ISA_BRIDGE = 0x06_01_00;
const PIRQA_TO_D = 0x60;
const PIRQE_TO_H = 0x68;
const SCHEMA = new StateSchema("lpc", 1, {});

/** The PIRQ pin whose routing register is at an offset. */
function pinAt(offset: number): number | undefined {
  if (offset >= PIRQA_TO_D && offset < PIRQA_TO_D + 4) {
    return offset - PIRQA_TO_D;
  }
  return offset >= PIRQE_TO_H && offset < PIRQE_TO_H + 4
    ? offset - PIRQE_TO_H + 4
    : undefined;
}

/** The `lpc` emulation: its ports are devices of their own. */
export class LpcBridge implements PciDevice {
  readonly model = "lpc";
  readonly name = "lpc";
  /** identification registers */
  readonly identity: PciIdentity;
  readonly #pirq: PirqRouter;

  /**
   * Makes a bridge.
   *
   * @param pirq the routing of the host, which saves it
   * @param identity overrides of the model's identity
   */
  constructor(pirq: PirqRouter, identity: Partial<PciIdentity> = {}) {
    this.#pirq = pirq;
    this.identity = {
      vendor: 0x8086,
      device: 0x7000,
      classCode: ISA_BRIDGE,
      ...identity,
    };
  }

  connect(): void {
    // It has no interrupts of its own.
  }

  readConfig(offset: number): number | undefined {
    const pin = pinAt(offset);
    return pin === undefined ? undefined : this.#pirq.read(pin);
  }

  writeConfig(offset: number, bytes: number, value: number): boolean {
    const pin = pinAt(offset);
    if (pin === undefined) return false;
    if (bytes === 1) this.#pirq.write(pin, value);
    return true;
  }

  reset(): void {
    // The routing is the host's, and reset with it.
  }

  save(): DeviceState {
    return SCHEMA.save({});
  }

  restore(state: DeviceState): void {
    SCHEMA.restore(state);
  }
}
