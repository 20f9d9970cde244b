// The PCI functions that the configuration has, `pci.BUS.SLOT.FUNC`.

import type { PciLocation } from "../devices/pci/device.ts";
import type { ConfigNode } from "../vmm/config.ts";
import { refuse, STATUS } from "./option_error.ts";
import { parseSlot } from "./slots.ts";

/** A PCI function of the configuration. */
export interface PciFunctionNode {
  readonly location: PciLocation;
  readonly node: ConfigNode;
  /** name of its emulation */
  readonly device: string;
}

function inOrder(a: PciFunctionNode, b: PciFunctionNode): number {
  const [x, y] = [a.location, b.location];
  return x.bus - y.bus || x.slot - y.slot || x.func - y.func;
}

function functionOf(node: ConfigNode): PciFunctionNode {
  const place = node.path.replace(/^pci\./, "").replaceAll(".", ":");
  const location = parseSlot(place);
  if (location === undefined) {
    throw refuse(
      STATUS.ERROR,
      `Invalid PCI slot ${node.path}: expected pci.BUS.SLOT.FUNC`,
    );
  }
  const device = node.get("device");
  if (device === undefined) {
    throw refuse(STATUS.ERROR, `pci slot ${place}: missing "device" value`);
  }
  return { location, node, device };
}

/**
 * Every function, by bus, slot and function.
 *
 * @throws {OptionError} for a place that is none, a function without an emulation, a
 *   second LPC bridge, or one that is not on bus 0
 */
export function pciFunctions(config: ConfigNode): PciFunctionNode[] {
  const nodes = (config.find("pci")?.nodes ?? [])
    .flatMap((bus) => bus.nodes).flatMap((slot) => slot.nodes);
  const functions = nodes.map(functionOf).toSorted(inOrder);
  const bridges = functions.filter(({ device }) => device === "lpc");
  if (bridges.length > 1) {
    throw refuse(STATUS.ERROR, "Only one LPC bridge is allowed.");
  }
  if (bridges.some(({ location }) => location.bus !== 0)) {
    throw refuse(STATUS.ERROR, "LPC bridge can be present only on bus 0.");
  }
  return functions;
}
