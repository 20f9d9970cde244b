// The register layout since virtio 1.0 in a memory BAR (virtio 1.2, 4.1.4): common
// configuration, notifications, ISR and device configuration a page each.

import type { BusHandler } from "../../vmm/bus.ts";
import { type RegisterCore, RegisterMap } from "../register_map.ts";
import { NO_VECTOR, type SetupRegister, type VirtioCore } from "./core.ts";
import { checkedVector } from "./legacy_registers.ts";

const PAGE = 0x1000;
/** Bytes of the memory BAR. */
export const MODERN_BAR_SIZE = 4 * PAGE;
/** Bytes between the notification addresses of two queues. */
export const NOTIFY_MULTIPLIER = 4;
const COMMON_LENGTH = 0x38;

type Name =
  | "deviceFeatureSelect"
  | "deviceFeature"
  | "driverFeatureSelect"
  | "driverFeature"
  | "configVector"
  | "numQueues"
  | "status"
  | "generation"
  | "queueSelect"
  | "queueSize"
  | "queueVector"
  | "queueEnable"
  | "queueNotifyOff"
  | SetupRegister;

const COMMON = new RegisterMap<Name>(COMMON_LENGTH, [
  { offset: 0x00, width: 4, access: "rw", name: "deviceFeatureSelect" },
  { offset: 0x04, width: 4, access: "ro", name: "deviceFeature" },
  { offset: 0x08, width: 4, access: "rw", name: "driverFeatureSelect" },
  { offset: 0x0c, width: 4, access: "rw", name: "driverFeature" },
  { offset: 0x10, width: 2, access: "rw", name: "configVector" },
  { offset: 0x12, width: 2, access: "ro", name: "numQueues" },
  { offset: 0x14, width: 1, access: "rw", name: "status" },
  { offset: 0x15, width: 1, access: "ro", name: "generation" },
  { offset: 0x16, width: 2, access: "rw", name: "queueSelect" },
  { offset: 0x18, width: 2, access: "rw", name: "queueSize" },
  { offset: 0x1a, width: 2, access: "rw", name: "queueVector" },
  { offset: 0x1c, width: 2, access: "rw", name: "queueEnable" },
  { offset: 0x1e, width: 2, access: "ro", name: "queueNotifyOff" },
  { offset: 0x20, width: 4, access: "rw", name: "descriptorsLow" },
  { offset: 0x24, width: 4, access: "rw", name: "descriptorsHigh" },
  { offset: 0x28, width: 4, access: "rw", name: "availableLow" },
  { offset: 0x2c, width: 4, access: "rw", name: "availableHigh" },
  { offset: 0x30, width: 4, access: "rw", name: "usedLow" },
  { offset: 0x34, width: 4, access: "rw", name: "usedHigh" },
]);

type Reader = (core: VirtioCore) => number;
type Writer = (core: VirtioCore, value: number) => void;

function word(features: bigint, select: number): number {
  if (select > 1) return 0;
  return Number(features >> BigInt(32 * select) & 0xffff_ffffn);
}

const setupReader = (name: SetupRegister): Reader => (core) =>
  core.readSetup(name);

const setupWriter = (name: SetupRegister): Writer => (core, value) =>
  core.writeSetup(name, value);

const READERS: Record<Name, Reader> = {
  deviceFeatureSelect: ({ s }) => s.deviceFeatureSelect,
  deviceFeature: (core) => word(core.modernOffer, core.s.deviceFeatureSelect),
  driverFeatureSelect: ({ s }) => s.driverFeatureSelect,
  driverFeature: (core) => word(core.features, core.s.driverFeatureSelect),
  configVector: ({ s }) => s.configVector,
  numQueues: ({ queues }) => queues.length,
  status: ({ s }) => s.status,
  generation: ({ s }) => s.generation,
  queueSelect: ({ s }) => s.queueSelect,
  queueSize: ({ selected }) => selected?.state.size ?? 0,
  queueVector: ({ s }) => s.queueVectors[s.queueSelect] ?? NO_VECTOR,
  queueEnable: ({ selected }) => selected?.state.ready === true ? 1 : 0,
  queueNotifyOff: ({ selected }) => selected?.index ?? 0,
  descriptorsLow: setupReader("descriptorsLow"),
  descriptorsHigh: setupReader("descriptorsHigh"),
  availableLow: setupReader("availableLow"),
  availableHigh: setupReader("availableHigh"),
  usedLow: setupReader("usedLow"),
  usedHigh: setupReader("usedHigh"),
};

const WRITERS: Partial<Record<Name, Writer>> = {
  deviceFeatureSelect: ({ s }, value) => {
    s.deviceFeatureSelect = value;
  },
  driverFeatureSelect: ({ s }, value) => {
    s.driverFeatureSelect = value;
  },
  driverFeature: (core, value) =>
    core.acceptModern(core.s.driverFeatureSelect, value),
  configVector: (core, value) => {
    core.s.configVector = checkedVector(value, core);
  },
  status: (core, value) => core.writeStatus(value),
  queueSelect: ({ s }, value) => {
    s.queueSelect = value;
  },
  queueSize: ({ selected }, value) => {
    // Not while the queue is in use: its bounds were checked for the old size.
    if (selected?.state.ready === false) selected.state.size = value;
  },
  queueVector: (core, value) => {
    const { s } = core;
    if (s.queueSelect < s.queueVectors.length) {
      s.queueVectors[s.queueSelect] = checkedVector(value, core);
    }
  },
  queueEnable: (core, value) => {
    if (value === 1) core.enableSelected();
  },
  descriptorsLow: setupWriter("descriptorsLow"),
  descriptorsHigh: setupWriter("descriptorsHigh"),
  availableLow: setupWriter("availableLow"),
  availableHigh: setupWriter("availableHigh"),
  usedLow: setupWriter("usedLow"),
  usedHigh: setupWriter("usedHigh"),
};

function commonHandler(core: VirtioCore): BusHandler {
  const registers: RegisterCore<Name> = {
    readRegister: (name) => READERS[name](core),
    writeRegister: (name, value) => WRITERS[name]?.(core, value),
  };
  return COMMON.handler(registers);
}

function isrHandler(core: VirtioCore): BusHandler {
  return {
    read: (offset) => offset === 0 ? core.readIsr() : 0,
    write() {
      // Reading clears it; nothing is written.
    },
  };
}

function configHandler(core: VirtioCore): BusHandler {
  return {
    read: (offset, bytes) => core.readConfig(offset, bytes),
    write: (offset, bytes, value) =>
      core.writeConfig(offset, bytes, Number(value)),
  };
}

function notifyHandler(core: VirtioCore): BusHandler {
  return {
    read: () => 0,
    write: (offset) => core.notify(Math.floor(offset / NOTIFY_MULTIPLIER)),
  };
}

/** A structure in the BAR: its number in capabilities, place and length. */
export interface ModernRegion {
  /** number in capabilities */
  readonly type: number;
  /** where in the BAR */
  readonly offset: number;
  /** bytes; 0 where the device has none of it */
  readonly length: number;
  /** what answers for it */
  readonly handler: BusHandler;
}

/** The structures of a device (4.1.4): types 1 common, 3 ISR, 4 device, 2 notify. */
export function modernRegions(core: VirtioCore): ModernRegion[] {
  const regions = [
    { type: 1, length: COMMON_LENGTH, handler: commonHandler(core) },
    { type: 3, length: 4, handler: isrHandler(core) },
    { type: 4, length: core.device.configLength, handler: configHandler(core) },
    {
      type: 2,
      length: NOTIFY_MULTIPLIER * core.queues.length,
      handler: notifyHandler(core),
    },
  ];
  return regions.map((region, i) => ({ ...region, offset: i * PAGE }));
}

/** What answers for the memory BAR. */
export function modernHandler(regions: readonly ModernRegion[]): BusHandler {
  const at = (offset: number, bytes: number) => {
    const region = regions[Math.floor(offset / PAGE)];
    const inside = region !== undefined &&
      offset % PAGE + bytes <= region.length;
    return inside ? region.handler : undefined;
  };
  return {
    read: (offset, bytes) =>
      at(offset, bytes)?.read(offset % PAGE, bytes) ?? 2 ** (8 * bytes) - 1,
    write: (offset, bytes, value) =>
      at(offset, bytes)?.write(offset % PAGE, bytes, value),
  };
}
