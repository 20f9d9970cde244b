// The legacy register layout in an I/O BAR (virtio 1.2, 4.1.4.10; devices.md section 1):
// registers take only their own width; device configuration follows them, further back
// while MSI-X is on.

import type { BusHandler } from "../../vmm/bus.ts";
import { type RegisterCore, RegisterMap } from "../register_map.ts";
import { NO_VECTOR, type VirtioCore } from "./core.ts";
import { legacyAreas } from "./virtqueue.ts";

const CONFIG = 0x14;
const CONFIG_MSIX = 0x18;
const PAGE_SHIFT = 12;

type Name =
  | "hostFeatures"
  | "guestFeatures"
  | "queuePfn"
  | "queueSize"
  | "queueSelect"
  | "queueNotify"
  | "status"
  | "isr"
  | "configVector"
  | "queueVector";

const REGISTERS = new RegisterMap<Name>(CONFIG_MSIX, [
  { offset: 0x00, width: 4, access: "ro", name: "hostFeatures" },
  { offset: 0x04, width: 4, access: "rw", name: "guestFeatures" },
  { offset: 0x08, width: 4, access: "rw", name: "queuePfn" },
  { offset: 0x0c, width: 2, access: "ro", name: "queueSize" },
  { offset: 0x0e, width: 2, access: "rw", name: "queueSelect" },
  { offset: 0x10, width: 2, access: "rw", name: "queueNotify" },
  { offset: 0x12, width: 1, access: "rw", name: "status" },
  { offset: 0x13, width: 1, access: "ro", name: "isr" },
  { offset: 0x14, width: 2, access: "rw", name: "configVector" },
  { offset: 0x16, width: 2, access: "rw", name: "queueVector" },
], { exact: true });

/** Vector numbers that drivers write and read: none where there is no such vector. */
export function checkedVector(vector: number, core: VirtioCore): number {
  return vector <= core.queues.length ? vector : NO_VECTOR;
}

const READERS: Record<Name, (core: VirtioCore) => number> = {
  hostFeatures: (core) => core.legacyOffer,
  guestFeatures: ({ s }) => s.featuresLow,
  queuePfn: ({ selected }) =>
    selected?.state.ready === true
      ? Math.floor(selected.state.descriptors / 2 ** PAGE_SHIFT) % 2 ** 32
      : 0,
  queueSize: ({ selected }) => selected?.maxSize ?? 0,
  queueSelect: ({ s }) => s.queueSelect,
  queueNotify: () => 0,
  status: ({ s }) => s.status,
  isr: (core) => core.readIsr(),
  configVector: ({ s }) => s.configVector,
  queueVector: ({ s }) => s.queueVectors[s.queueSelect] ?? NO_VECTOR,
};

const WRITERS: Partial<
  Record<Name, (core: VirtioCore, value: number) => void>
> = {
  guestFeatures: (core, value) => core.acceptLegacy(value),
  queuePfn: (core, value) => {
    const { selected } = core;
    if (selected === undefined) return;
    const areas = value === 0
      ? undefined
      : legacyAreas(value, selected.maxSize);
    core.enableLegacy(selected, areas);
  },
  queueSelect: ({ s }, value) => {
    s.queueSelect = value;
  },
  queueNotify: (core, value) => core.notify(value),
  status: (core, value) => core.writeStatus(value),
  configVector: (core, value) => {
    core.s.configVector = checkedVector(value, core);
  },
  queueVector: (core, value) => {
    const { s } = core;
    if (s.queueSelect < s.queueVectors.length) {
      s.queueVectors[s.queueSelect] = checkedVector(value, core);
    }
  },
};

/** Bytes of the I/O BAR before rounding. */
export function legacyBarSize(core: VirtioCore): number {
  return CONFIG_MSIX + core.device.configLength;
}

/** What answers for the I/O BAR. @param msix whether MSI-X is on */
export function legacyHandler(
  core: VirtioCore,
  msix: () => boolean,
): BusHandler {
  const registers: RegisterCore<Name> = {
    readRegister: (name) => READERS[name](core),
    writeRegister: (name, value) => WRITERS[name]?.(core, value),
  };
  const handler = REGISTERS.handler(registers);
  const configStart = () => msix() ? CONFIG_MSIX : CONFIG;
  return {
    read(offset, bytes) {
      const start = configStart();
      return offset >= start
        ? core.readConfig(offset - start, bytes)
        : handler.read(offset, bytes);
    },
    write(offset, bytes, value) {
      const start = configStart();
      if (offset < start) return handler.write(offset, bytes, value);
      core.writeConfig(offset - start, bytes, Number(value));
    },
  };
}
