// A transitional virtio device on PCI (virtio 1.2, 4.1): legacy registers in an I/O BAR
// as bhyve has them, and modern ones in a memory BAR found through vendor capabilities,
// so that drivers of both kinds bind. MSI-X, MSI or the interrupt pin.

import type { BusHandler } from "../../vmm/bus.ts";
import type {
  Clock,
  DeviceMemory,
  DeviceState,
  Log,
} from "../../vmm/device.ts";
import type {
  BarDeclaration,
  PciCapability,
  PciDevice,
  PciIdentity,
  PciPort,
} from "../pci/device.ts";
import { CAP_VENDOR } from "../pci/registers.ts";
import { part, StateSchema } from "../state.ts";
import { coreState, NO_VECTOR, VirtioCore } from "./core.ts";
import type { VirtioDevice } from "./device.ts";
import { legacyBarSize, legacyHandler } from "./legacy_registers.ts";
import {
  MODERN_BAR_SIZE,
  modernHandler,
  type ModernRegion,
  modernRegions,
  NOTIFY_MULTIPLIER,
} from "./modern_registers.ts";

const LEGACY_BAR = 0;
const MSIX_BAR = 1;
const MODERN_BAR = 4;
const NOTIFY_TYPE = 2;
const WINDOW_TYPE = 5;
// Offsets in the window capability, from its ID.
const WINDOW_BAR = 4;
const WINDOW_OFFSET = 8;
const WINDOW_LENGTH = 12;
const WINDOW_DATA = 16;

const VIRTIO_VENDOR = 0x1af4;
const MODERN_DEVICE = 0x1040;
// PCI device numbers of types that have a transitional one (4.1.2.1).
const TRANSITIONAL: ReadonlyMap<number, number> = new Map([
  [1, 0x1000],
  [2, 0x1001],
  [5, 0x1002],
  [3, 0x1003],
  [8, 0x1004],
  [4, 0x1005],
  [9, 0x1009],
]);

/** What a machine lends to the transport. */
export interface VirtioPciOptions {
  /** in messages and snapshots */
  readonly name: string;
  /** guest memory */
  readonly memory: DeviceMemory;
  /** guest time */
  readonly clock: Clock;
  /** for messages to the operator */
  readonly log: Log;
  /** `virtio_msix`: default true */
  readonly msix?: boolean;
}

function identityOf(device: VirtioDevice): PciIdentity {
  const transitional = TRANSITIONAL.get(device.type);
  return {
    vendor: VIRTIO_VENDOR,
    device: transitional ?? MODERN_DEVICE + device.type,
    revision: transitional === undefined ? 1 : 0,
    classCode: device.classCode,
    subsystemVendor: VIRTIO_VENDOR,
    subsystem: device.type,
  };
}

/** The body of a vendor capability that points into the memory BAR. */
function regionBody(region: ModernRegion, extra: number): Uint8Array {
  const body = new Uint8Array(14 + extra);
  const view = new DataView(body.buffer);
  body[0] = body.length + 2;
  body[1] = region.type;
  body[2] = MODERN_BAR;
  view.setUint32(6, region.offset, true);
  view.setUint32(10, region.length, true);
  if (extra !== 0) view.setUint32(14, NOTIFY_MULTIPLIER, true);
  return body;
}

function regionCapability(region: ModernRegion): PciCapability {
  const extra = region.type === NOTIFY_TYPE ? 4 : 0;
  return { id: CAP_VENDOR, body: regionBody(region, extra) };
}

const schemaOf = (device: VirtioDevice) => {
  const { kind, version } = device.save();
  return new StateSchema(`virtio-pci`, 1, {
    registers: coreState(device.queueSizes.length),
    device: part({ kind, version }),
  });
};

/** A virtio device as a PCI device. */
export class VirtioPci implements PciDevice {
  readonly name: string;
  readonly model: string;
  /** identification registers */
  readonly identity: PciIdentity;
  readonly intx = true;
  readonly msiVectors = 1;
  /** base address registers */
  readonly bars: readonly BarDeclaration[];
  /** capabilities behind those for messages */
  readonly capabilities: readonly PciCapability[];
  readonly msix?: { readonly vectors: number; readonly bar: number };
  /** state behind both register layouts */
  readonly core: VirtioCore;
  readonly #schema: ReturnType<typeof schemaOf>;
  readonly #modern: BusHandler;
  readonly #window: PciCapability;
  #port: PciPort | undefined;

  /** Makes the PCI side of a device. */
  constructor(readonly device: VirtioDevice, options: VirtioPciOptions) {
    this.name = options.name;
    this.model = device.model;
    this.identity = identityOf(device);
    this.core = new VirtioCore(device, {
      ...options,
      interrupt: (cause, vector) => this.#interrupt(cause, vector),
      quiet: () => this.#port?.raiseIntx(false),
    });
    this.#schema = schemaOf(device);
    if (options.msix ?? true) {
      this.msix = { vectors: device.queueSizes.length + 1, bar: MSIX_BAR };
    }
    const regions = modernRegions(this.core);
    this.#modern = modernHandler(regions);
    this.#window = this.#windowCapability();
    this.capabilities = [
      ...regions.filter((r) => r.length > 0).map(regionCapability),
      this.#window,
    ];
    this.bars = this.#declareBars();
  }

  #declareBars(): BarDeclaration[] {
    const msix = () => this.#port?.msixEnabled ?? false;
    return [{
      index: LEGACY_BAR,
      kind: "io",
      size: legacyBarSize(this.core),
      handler: legacyHandler(this.core, msix),
    }, {
      index: MODERN_BAR,
      kind: "mem32",
      size: MODERN_BAR_SIZE,
      handler: this.#modern,
    }];
  }

  connect(port: PciPort): void {
    this.#port = port;
  }

  #interrupt(cause: number, vector: number): void {
    const port = this.#port;
    if (port?.msixEnabled === true) {
      if (vector !== NO_VECTOR) port.raiseMsix(vector);
      return;
    }
    this.core.s.isr |= cause;
    port?.raiseMsi(0);
    port?.raiseIntx(true);
  }

  // The window through which software without access to BARs reaches the memory BAR
  // (4.1.4.9): it writes bar, offset and length, then reads or writes the data.
  #windowCapability(): PciCapability {
    const region = {
      type: WINDOW_TYPE,
      offset: 0,
      length: 0,
      handler: NOTHING,
    };
    const body = regionBody(region, 4);
    body.fill(0, 2);
    const writable = new Uint8Array(body.length).fill(0xff);
    writable.fill(0, 0, 2);
    return {
      id: CAP_VENDOR,
      body,
      writable,
      read: (offset, bytes) => {
        const at = offset === WINDOW_DATA
          ? this.#windowTarget(bytes)
          : undefined;
        return at === undefined
          ? undefined
          : Number(this.#modern.read(at, bytes));
      },
      written: (offset, bytes) => {
        const at = offset === WINDOW_DATA
          ? this.#windowTarget(bytes)
          : undefined;
        if (at !== undefined) this.#writeWindow(at, bytes);
      },
    };
  }

  #windowView(): DataView {
    const bytes = this.#port?.capability(this.#window) ?? new Uint8Array(20);
    return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  /** Where in the memory BAR the window is, if it is there and as wide as asked. */
  #windowTarget(bytes: number): number | undefined {
    const view = this.#windowView();
    const offset = view.getUint32(WINDOW_OFFSET, true);
    const fits = view.getUint8(WINDOW_BAR) === MODERN_BAR &&
      view.getUint32(WINDOW_LENGTH, true) === bytes && offset % bytes === 0 &&
      offset + bytes <= MODERN_BAR_SIZE;
    return fits ? offset : undefined;
  }

  #writeWindow(at: number, bytes: number): void {
    const data = this.#windowView().getUint32(WINDOW_DATA, true);
    this.#modern.write(at, bytes, BigInt(data % 2 ** (8 * bytes)));
  }

  reset(): void {
    this.core.reset();
    this.core.s.generation = 0;
  }

  save(): DeviceState {
    const registers = this.core.save();
    return this.#schema.save({ registers, device: this.device.save() });
  }

  restore(state: DeviceState): void {
    const { registers, device } = this.#schema.restore(state);
    this.device.restore(device);
    this.core.restore(registers);
  }
}

const NOTHING: BusHandler = {
  read: () => 0,
  write() {
    // The window has no registers of its own.
  },
};
