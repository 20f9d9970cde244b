// PCI slots on the command line: `-s slot,emulation[,conf]` to the nodes
// `pci.BUS.SLOT.FUNC` of the configuration (bhyve(8), bhyve_config(5)).

import type { ConfigNode } from "../vmm/config.ts";
import {
  ahciPorts,
  amdHostBridge,
  type ConfParser,
  consolePorts,
  nvme,
  parseSettings,
  passthru,
  scsi,
  share,
  splitFirst,
  valueThenSettings,
  wholeValue,
  xhciSlots,
} from "./conf.ts";
import { OptionError, STATUS } from "./option_error.ts";

/** Every emulation's name and what reads its conf, in the order of `-s help`. */
export const EMULATIONS: ReadonlyMap<string, ConfParser> = new Map([
  ["hostbridge", parseSettings],
  ["amd_hostbridge", amdHostBridge],
  ["passthru", passthru],
  ["virtio-net", valueThenSettings("backend")],
  ["virtio-blk", valueThenSettings("path")],
  ["virtio-scsi", scsi],
  ["virtio-9p", share],
  ["virtio-rnd", parseSettings],
  ["virtio-console", consolePorts],
  ["virtio-input", parseSettings],
  ["ahci", ahciPorts("hd")],
  ["ahci-cd", ahciPorts("cd")],
  ["ahci-hd", ahciPorts("hd")],
  ["e1000", valueThenSettings("backend")],
  ["uart", wholeValue("path")],
  ["lpc", parseSettings],
  ["fbuf", parseSettings],
  ["xhci", xhciSlots],
  ["nvme", nvme],
  ["hda", parseSettings],
]);

/** A PCI function's place. */
export interface PciAddress {
  readonly bus: number;
  readonly slot: number;
  readonly func: number;
}

/** Reads `slot[:func]` or `bus:slot:func`; undefined where it is neither. */
export function parseSlot(text: string): PciAddress | undefined {
  if (!/^\d+(:\d+){0,2}$/.test(text)) return undefined;
  const numbers = text.split(":").map(Number);
  const [bus, slot, func] = numbers.length === 3
    ? numbers as [number, number, number]
    : [0, numbers[0]!, numbers[1] ?? 0];
  return bus < 256 && slot < 32 && func < 8 ? { bus, slot, func } : undefined;
}

function refuse(message: string): OptionError {
  return new OptionError(STATUS.ERROR, message);
}

/**
 * Puts a device into a slot.
 *
 * @throws {OptionError} for a malformed or occupied slot, an unknown emulation, or
 *   a conf that this emulation cannot have
 */
export function addSlot(config: ConfigNode, text: string): void {
  const [place, rest] = splitFirst(text);
  const [emulation, conf] = splitFirst(rest);
  const address = parseSlot(place);
  if (address === undefined || emulation === "") {
    throw refuse(`Invalid PCI slot info field "${text}"`);
  }
  const { bus, slot, func } = address;
  const name = `pci slot ${bus}:${slot}:${func}`;
  const path = `pci.${bus}.${slot}.${func}`;
  if (config.find(path) !== undefined) {
    throw refuse(`${name} already occupied!`);
  }
  const parse = EMULATIONS.get(emulation);
  if (parse === undefined) {
    throw refuse(`${name}: unknown device "${emulation}"`);
  }
  const node = config.node(path);
  node.set("device", emulation);
  parse(node, conf);
}
