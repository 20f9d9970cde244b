// bhyve's host bridge: a function without registers of its own, with the PCI Express
// capability of a root port (PCI Express 3.0, 7.8) so that guests use ECAM and MSI.

import type { DeviceState } from "../../vmm/device.ts";
import { StateSchema } from "../state.ts";
import type { PciCapability, PciDevice, PciIdentity } from "./device.ts";
import { CAP_PCIE } from "./registers.ts";

const SCHEMA = new StateSchema("hostbridge", 1, {});
const HOST_BRIDGE = 0x06_00_00;

/** Identities by emulation name. */
export const HOST_BRIDGES = {
  hostbridge: { vendor: 0x1275, device: 0x1275 },
  amd_hostbridge: { vendor: 0x1022, device: 0x7432 },
} as const;

function pciExpress(): PciCapability {
  const body = new Uint8Array(58);
  const view = new DataView(body.buffer);
  // Version 2, root port; link of the first generation with one lane.
  view.setUint16(0, 0x42, true);
  view.setUint32(0x0c - 2, 0x411, true);
  view.setUint16(0x12 - 2, 0x11, true);
  return { id: CAP_PCIE, body };
}

/** The `hostbridge` and `amd_hostbridge` emulations. */
export class HostBridge implements PciDevice {
  readonly name: string;
  /** identification registers */
  readonly identity: PciIdentity;
  /** capabilities behind those for messages */
  readonly capabilities: readonly PciCapability[] = [pciExpress()];

  /**
   * Makes a host bridge.
   *
   * @param identity overrides of the model's identity
   */
  constructor(
    readonly model: keyof typeof HOST_BRIDGES = "hostbridge",
    identity: Partial<PciIdentity> = {},
  ) {
    this.name = model;
    this.identity = {
      ...HOST_BRIDGES[model],
      classCode: HOST_BRIDGE,
      ...identity,
    };
  }

  connect(): void {
    // It has no interrupts.
  }

  reset(): void {
    // It has no state.
  }

  save(): DeviceState {
    return SCHEMA.save({});
  }

  restore(state: DeviceState): void {
    SCHEMA.restore(state);
  }
}
