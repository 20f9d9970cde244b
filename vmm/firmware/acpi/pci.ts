// A PCI bus in AML: what its host bridge hands on (_CRS) and where its INTx pins
// go (_PRT; ACPI 6.4, section 6.2.13), through link devices or to the I/O APIC.

import type { IntxRoute, PciBus, Window } from "../description.ts";
import * as aml from "./aml.ts";
import {
  busNumbers,
  memoryWindow32,
  memoryWindow64,
  ports,
  portWindow,
  type Resource,
  template,
} from "./resources.ts";

const LINKS = "ABCDEFGH";

/** The path of link device 0 to 7. */
export function linkPath(pirq: number): string {
  return `\\_SB.PC00.ISA.LNK${LINKS[pirq]}`;
}

// Ports below the BARs' belong to bus 0, except the PCI configuration's own.
const ROOT_PORTS: readonly Resource[] = [
  ports(0xcf8, 8),
  portWindow(0, 0xcf8),
  portWindow(0xd00, 0x2000 - 0xd00),
];

function windowOf(
  window: Window,
  encode: (start: number, length: number) => Resource,
): readonly Resource[] {
  return window.length === 0 ? [] : [encode(window.start, window.length)];
}

function currentResources(bus: PciBus): aml.AmlTerm {
  return aml.name(
    "_CRS",
    template(
      busNumbers(bus.number, 1),
      ...(bus.number === 0 ? ROOT_PORTS : []),
      ...windowOf(bus.io, portWindow),
      ...windowOf(bus.memory32, memoryWindow32),
      ...windowOf(bus.memory64, memoryWindow64),
    ),
  );
}

function route(
  { slot, pin }: IntxRoute,
  source: aml.AmlValue,
  index: number,
): aml.AmlValue {
  // the address of every function of the slot
  const address = aml.integer(slot * 0x1_0000 + 0xffff);
  return aml.pack(address, aml.integer(pin), source, aml.integer(index));
}

/**
 * The device node of a bus.
 *
 * @param children nodes below it
 * @param options `hasLinks`: whether the ISA bridge's link devices exist
 */
export function pciBus(
  bus: PciBus,
  children: aml.AmlTerm,
  options: { readonly hasLinks: boolean },
): aml.AmlTerm {
  const node = `PC${bus.number.toString(16).toUpperCase().padStart(2, "0")}`;
  const byLink = options.hasLinks
    ? bus.interrupts.map((pin) => route(pin, aml.path(linkPath(pin.pirq)), 0))
    : [];
  const byGsi = bus.interrupts.map((pin) =>
    route(pin, aml.integer(0), pin.gsi)
  );
  return aml.device(
    node,
    aml.name("_HID", aml.eisaId("PNP0A03")),
    aml.name("_UID", aml.integer(bus.number)),
    aml.name("_BBN", aml.integer(bus.number)),
    currentResources(bus),
    aml.name("PPRT", aml.pack(...byLink)),
    aml.name("APRT", aml.pack(...byGsi)),
    aml.method(
      "_PRT",
      {},
      aml.when(
        aml.path("PICM"),
        aml.give(aml.path("APRT")),
        aml.give(aml.path("PPRT")),
      ),
    ),
    children,
  );
}
