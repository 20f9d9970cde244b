// The differentiated system description table (ACPI 6.4, section 5.2.11.1): what
// of the machine cannot be enumerated, in AML. No processors, sleep states but
// S5, PCI hotplug, or physical presence interface of the TPM.

import { type MachineDescription, PLATFORM } from "../description.ts";
import * as aml from "./aml.ts";
import { isaBridge } from "./isa.ts";
import { pciBus } from "./pci.ts";
import { fixedMemory, ports, template } from "./resources.ts";

/** Soft-off is sleep type 5 in PM1_CNT. */
const SOFT_OFF = 5;
const DEVICE_CHANGED = 0x80;
const PRESENT = 0x0f;

function sleepStates(): aml.AmlTerm {
  const zero = aml.integer(0);
  return aml.name("\\_S5", aml.pack(aml.integer(SOFT_OFF), zero, zero, zero));
}

function interruptModel(): aml.AmlTerm {
  return [
    ...aml.name("PICM", aml.integer(0)),
    ...aml.method(
      "_PIC",
      { args: 1 },
      aml.store(aml.argument(0), aml.path("PICM")),
    ),
  ];
}

function hpet(): aml.AmlTerm {
  return aml.device(
    "HPET",
    aml.name("_HID", aml.eisaId("PNP0103")),
    aml.name("_UID", aml.integer(0)),
    aml.name(
      "_CRS",
      template(fixedMemory(PLATFORM.HPET, PLATFORM.HPET_LENGTH)),
    ),
  );
}

function generationCounter(address: number): aml.AmlTerm {
  const low = aml.integer(address % 2 ** 32);
  const high = aml.integer(Math.floor(address / 2 ** 32));
  const device = aml.device(
    "GENC",
    aml.name("_CID", aml.string("VM_Gen_Counter")),
    aml.name("_HID", aml.string("Bhyve_V_Gen_Counter_V1")),
    aml.name("_UID", aml.integer(0)),
    aml.name("_DDN", aml.string("VM_Gen_Counter")),
    aml.name("ADDR", aml.pack(low, high)),
  );
  const changed = aml.notify(
    aml.path("\\_SB.GENC"),
    aml.integer(DEVICE_CHANGED),
  );
  return [
    ...aml.scope("\\_SB", device),
    ...aml.scope("\\_GPE", aml.method("_E00", {}, changed)),
  ];
}

function fwcfg(): aml.AmlTerm {
  return aml.device(
    "FWCF",
    aml.name("_HID", aml.string("QEMU0002")),
    aml.name("_STA", aml.integer(PRESENT)),
    aml.name("_CRS", template(ports(0x510, 2))),
  );
}

function tpm(): aml.AmlTerm {
  return aml.device(
    "TPM",
    aml.name("_HID", aml.string("MSFT0101")),
    aml.name("_STA", aml.integer(PRESENT)),
    aml.name("_CRS", template(fixedMemory(PLATFORM.TPM, PLATFORM.TPM_LENGTH))),
  );
}

const NO_WINDOW = { start: 0, length: 0 };

/** The body of the DSDT: everything behind its header. */
export function dsdtBody(machine: MachineDescription): aml.AmlTerm {
  const hasRoot = machine.buses.some((bus) => bus.number === 0);
  const root = {
    number: 0,
    io: NO_WINDOW,
    memory32: NO_WINDOW,
    memory64: NO_WINDOW,
    interrupts: [],
  };
  const buses = hasRoot ? machine.buses : [root, ...machine.buses];
  const bridge = machine.lpcSlot === undefined
    ? []
    : isaBridge(machine.lpcSlot);
  const nodes = buses.map((bus) =>
    pciBus(bus, bus.number === 0 ? [...bridge, ...hpet()] : [], {
      hasLinks: machine.lpcSlot !== undefined,
    })
  );
  return [
    ...sleepStates(),
    ...interruptModel(),
    ...aml.scope("\\_SB", ...nodes),
    ...(machine.generation === undefined
      ? []
      : generationCounter(machine.generation)),
    ...(machine.fwcfg ? aml.scope("\\_SB", fwcfg()) : []),
    ...(machine.tpmLog === undefined ? [] : aml.scope("\\_SB", tpm())),
  ];
}
