// The emulations that `-s` knows (bhyve-options.md section 7), in the order in which
// bhyve lists them: what keys each reads, and how it is made. What is not built yet is
// here too, so that it is refused by name and not as unknown.

import type { Clock, DeviceMemory, Log } from "../vmm/device.ts";
import type { BlockBackend } from "./block/backend.ts";
import { FileBackend } from "./block/file.ts";
import {
  BLOCK_KEYS,
  type BlockOptions,
  blockOptions,
} from "./block/options.ts";
import { generatedSerial } from "./block/serial.ts";
import { type ConfigNode, hexKey } from "./config_node.ts";
import { LpcBridge } from "./lpc/bridge.ts";
import {
  locationText,
  type PciDevice,
  type PciIdentity,
  type PciLocation,
} from "./pci/device.ts";
import { HostBridge } from "./pci/host_bridge.ts";
import type { PirqRouter } from "./pci/pirq.ts";
import type { CharBackend } from "./uart/char_backend.ts";
import { PciUart } from "./uart/pci_uart.ts";
import type { VirtioDevice } from "./virtio/device.ts";
import { VirtioPci } from "./virtio/transport.ts";
import { VirtioBlk } from "./virtio/virtio_blk.ts";
import { VirtioRnd } from "./virtio/virtio_rnd.ts";

/** What a device is made from: its configuration and what the machine has for it. */
export interface DeviceContext {
  /** where the function is */
  readonly location: PciLocation;
  /** its keys, below `pci.B.S.F` */
  readonly node: ConfigNode;
  /** guest memory */
  readonly memory: DeviceMemory;
  /** guest time */
  readonly clock: Clock;
  /** for messages to the operator */
  readonly log: Log;
  /** interrupt routing of the PCI host, for the LPC bridge */
  readonly pirq: PirqRouter;
  /** `virtio_msix`: default true */
  readonly virtioMsix?: boolean;
  /** Opens a disk's contents: default, the file on this thread. */
  openBlock?(options: BlockOptions): BlockBackend;
  /** Opens a TTY backend: `stdio`, a terminal, `tcp=host:port`. */
  openChar(path: string): CharBackend;
}

/** One emulation. */
export interface Emulation {
  /** configuration keys with what they mean */
  readonly keys: Readonly<Record<string, string>>;
  /** the key that a first word of `-s` options without a name sets */
  readonly firstKey?: string;
  /** Makes a device; missing where the emulation is not built yet. */
  create?(context: DeviceContext): PciDevice;
}

/** A name that `-s` does not know. */
export class UnknownEmulationError extends Error {
  /** its kind, for callers that tell errors apart */
  override readonly name = "UnknownEmulationError";
}

/** An emulation of bhyve's that is not built yet. */
export class EmulationNotBuiltError extends Error {
  /** its kind, for callers that tell errors apart */
  override readonly name = "EmulationNotBuiltError";
}

const NET_KEYS = {
  backend: "tap, netmap, slirp or the like",
  mac: "station address",
};
const AHCI_KEYS = {
  ...BLOCK_KEYS,
  ser: "serial number",
  rev: "revision",
  model: "model",
  nmrr: "nominal media rotation rate",
};
const IDENTITY_KEYS = {
  "pcireg.vendor": "vendor ID in hexadecimal",
  "pcireg.device": "device ID in hexadecimal",
  "pcireg.revid": "revision in hexadecimal",
  "pcireg.subvendor": "subsystem vendor ID in hexadecimal",
  "pcireg.subdevice": "subsystem ID in hexadecimal",
};

function nameOf(model: string, context: DeviceContext): string {
  return `${model}@${locationText(context.location)}`;
}

/** What `pcireg` keys say instead of a model's identity. */
function identityFrom(node: ConfigNode): Partial<PciIdentity> {
  const entries = [
    ["vendor", hexKey(node, "pcireg.vendor", 16)],
    ["device", hexKey(node, "pcireg.device", 16)],
    ["revision", hexKey(node, "pcireg.revid", 8)],
    ["subsystemVendor", hexKey(node, "pcireg.subvendor", 16)],
    ["subsystem", hexKey(node, "pcireg.subdevice", 16)],
  ].filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as Partial<PciIdentity>;
}

function bridge(model: "hostbridge" | "amd_hostbridge"): Emulation {
  return {
    keys: {
      vendor: "vendor ID in hexadecimal",
      device: "device ID in hexadecimal",
      devid: "old name of device",
      ...IDENTITY_KEYS,
    },
    create({ node }) {
      const vendor = hexKey(node, "vendor", 16);
      const device = hexKey(node, "devid", 16);
      return new HostBridge(model, {
        ...vendor === undefined ? {} : { vendor },
        ...device === undefined ? {} : { device },
        ...identityFrom(node),
      });
    },
  };
}

function virtio(device: VirtioDevice, context: DeviceContext): VirtioPci {
  const { memory, clock, log, virtioMsix } = context;
  return new VirtioPci(device, {
    name: nameOf(device.model, context),
    memory,
    clock,
    log,
    msix: virtioMsix ?? true,
  });
}

function createBlk(context: DeviceContext): PciDevice {
  const { node, openBlock } = context;
  const options = blockOptions(node);
  const backend = openBlock?.(options) ?? new FileBackend(options);
  const serial = node.get("ser") ?? node.get("serial") ??
    generatedSerial(options.path);
  return virtio(new VirtioBlk({ backend, serial }), context);
}

function createUart(context: DeviceContext): PciDevice {
  const path = context.node.get("path");
  const backend = path === undefined ? undefined : context.openChar(path);
  return new PciUart(nameOf("uart", context), backend);
}

/** Every emulation by name. */
export const EMULATIONS: ReadonlyMap<string, Emulation> = new Map<
  string,
  Emulation
>([
  ["hostbridge", bridge("hostbridge")],
  ["amd_hostbridge", bridge("amd_hostbridge")],
  ["passthru", {
    keys: { bus: "", slot: "", func: "", rom: "option ROM", bootindex: "" },
    firstKey: "bsf",
  }],
  ["virtio-net", {
    keys: { ...NET_KEYS, type: "backend type", mtu: "told to the guest" },
    firstKey: "backend",
  }],
  ["virtio-blk", {
    keys: { ...BLOCK_KEYS, ser: "serial number of up to 20 characters" },
    firstKey: "path",
    create: createBlk,
  }],
  ["virtio-scsi", {
    keys: { dev: "CTL device", iid: "initiator", "target.N": "CTL device" },
    firstKey: "dev",
  }],
  ["virtio-9p", { keys: { sharename: "", path: "", ro: "refuse writes" } }],
  ["virtio-rnd", {
    keys: {},
    create: (context) => virtio(new VirtioRnd(), context),
  }],
  ["virtio-console", { keys: { "port.N.name": "", "port.N.path": "" } }],
  ["virtio-input", { keys: { path: "event device of the host" } }],
  ["ahci", { keys: { "port.N": "disks, as ahci-hd and ahci-cd" } }],
  ["ahci-cd", { keys: AHCI_KEYS, firstKey: "path" }],
  ["ahci-hd", { keys: AHCI_KEYS, firstKey: "path" }],
  ["e1000", { keys: NET_KEYS, firstKey: "backend" }],
  ["uart", {
    keys: { path: "TTY backend" },
    firstKey: "path",
    create: createUart,
  }],
  ["lpc", {
    keys: IDENTITY_KEYS,
    create: ({ pirq, node }) => new LpcBridge(pirq, identityFrom(node)),
  }],
  ["fbuf", {
    keys: { rfb: "", tcp: "", w: "", h: "", vga: "", wait: "", password: "" },
  }],
  ["xhci", { keys: { "slot.N.device": "tablet" } }],
  ["nvme", {
    keys: {
      ...BLOCK_KEYS,
      ram: "MiB of a RAM disk",
      maxq: "",
      qsz: "",
      ioslots: "",
      sectsz: "",
      ser: "",
      eui64: "",
      dsm: "",
    },
    firstKey: "path",
  }],
  ["hda", { keys: { play: "device for output", rec: "device for input" } }],
]);

/**
 * Makes a device.
 *
 * @param model emulation name, as `-s` gives it
 * @throws {UnknownEmulationError} for a name that bhyve does not have
 * @throws {EmulationNotBuiltError} for one that is not built yet
 * @throws {BlockError} where its disk cannot be opened
 * @throws {ConfigValueError} where a key's value is not what it takes
 */
export function createDevice(model: string, context: DeviceContext): PciDevice {
  const slot = locationText(context.location);
  const emulation = EMULATIONS.get(model);
  if (emulation === undefined) {
    throw new UnknownEmulationError(
      `pci slot ${slot}: unknown device "${model}"`,
    );
  }
  if (emulation.create === undefined) {
    throw new EmulationNotBuiltError(
      `pci slot ${slot}: device "${model}" is not supported yet`,
    );
  }
  return emulation.create(context);
}
