// The firmware tables of a machine: what its configuration and its PCI host say, as the
// builders in `vmm/firmware` take it.

import type { PciHost } from "../devices/pci/host.ts";
import type { ConfigNode } from "../vmm/config.ts";
import { acpiInMemory } from "../vmm/firmware/acpi/mod.ts";
import {
  type MachineDescription,
  type PciBus,
  PLATFORM,
  type Window,
} from "../vmm/firmware/description.ts";
import { mptable } from "../vmm/firmware/mptable.ts";
import { smbios } from "../vmm/firmware/smbios.ts";
import type { MachineSettings } from "./machine_settings.ts";
import type { MachinePlan } from "./plan.ts";

/** Bytes at a guest-physical address. */
export interface PlacedBytes {
  readonly gpa: number;
  readonly bytes: Uint8Array;
}

function window(range?: { base: number; limit: number }): Window {
  return {
    start: range?.base ?? 0,
    length: range === undefined ? 0 : range.limit - range.base,
  };
}

function describeBus(pci: PciHost, number: number): PciBus {
  const windows = pci.busWindows(number);
  const routes = pci.intxRoutes.filter((route) => route.bus === number);
  return {
    number,
    io: window(windows?.io),
    memory32: window(windows?.mem32),
    memory64: window(windows?.mem64),
    interrupts: routes.map(({ slot, pin, pirq, ioapicPin }) => ({
      slot,
      pin: pin - 1,
      pirq,
      gsi: ioapicPin,
    })),
  };
}

function lpcSlotOf(config: ConfigNode): number | undefined {
  const slots = config.find("pci.0")?.nodes ?? [];
  const slot = slots.find((node) =>
    node.nodes.some((func) => func.get("device") === "lpc")
  );
  return slot === undefined ? undefined : Number(slot.name);
}

/** What firmware tables tell the guest. */
export function describe(
  plan: MachinePlan,
  config: ConfigNode,
  pci: PciHost,
): MachineDescription {
  const lpcSlot = lpcSlotOf(config);
  return {
    vcpus: plan.vcpus.length,
    lowmem: plan.lowmem,
    highmem: plan.highmem,
    buses: pci.buses.map((number) => describeBus(pci, number)),
    ...(lpcSlot === undefined ? {} : { lpcSlot }),
  };
}

/** The MP, SMBIOS and ACPI tables that the settings ask for. */
export function firmwareTables(
  plan: MachinePlan,
  config: ConfigNode,
  pci: PciHost,
  settings: MachineSettings,
): PlacedBytes[] {
  const machine = describe(plan, config, pci);
  const { uuid, texts } = settings;
  const { sockets, cores, threads } = plan.topology;
  const system = smbios(machine, { uuid, sockets, cores, threads, texts });
  return [
    ...settings.mptable
      ? [{ gpa: PLATFORM.MPTABLE, bytes: mptable(machine) }]
      : [],
    { gpa: PLATFORM.SMBIOS, bytes: system },
    ...settings.acpiTables ? acpiInMemory(machine) : [],
  ];
}
