// The ISA side of the chipset, put together: what stands behind the `lpc` bridge and at
// fixed ports of every machine. Timers, interrupt controllers, RTC and port 61h are the
// platform's.

import type { Bus } from "../../vmm/bus.ts";
import type { Lifecycle } from "../../vmm/device.ts";
import type { InterruptInputs } from "../pci/intx.ts";
import type { PirqRouter } from "../pci/pirq.ts";
import type { CharBackend } from "../uart/char_backend.ts";
import { COM_PORTS, type ComName, ComPort } from "../uart/com_port.ts";
import { AcpiPm } from "./acpi_pm.ts";
import { I8042, KEYBOARD_IRQ, MOUSE_IRQ } from "./i8042.ts";
import { type ConfigOverlay, ResetPorts } from "./reset_ports.ts";

/** What the guest asks of the machine through the chipset. */
export interface ChipsetEvents {
  /** It resets the machine. */
  reset(): void;
  /** It switches the machine off. */
  powerOff(): void;
  /** It switched ACPI on or off. */
  acpiChanged?(enabled: boolean): void;
}

/** What a chipset is made from. */
export interface ChipsetOptions {
  /** where its ports are claimed */
  readonly ports: Bus;
  /** inputs of the interrupt controllers */
  readonly interrupts: InterruptInputs;
  /** the PCI host: interrupt routing, and the ports around CF9 */
  readonly pci: ConfigOverlay & { readonly pirq: PirqRouter };
  /** who is told what the guest asks for */
  readonly events: ChipsetEvents;
  /** whether an `lpc` bridge is configured: COM ports are behind it */
  readonly lpc: boolean;
  /** what COM ports are connected to */
  readonly backends?: Readonly<Partial<Record<ComName, CharBackend>>>;
}

/** Devices at fixed ports. */
export class Chipset {
  /** keyboard controller */
  readonly i8042: I8042;
  /** power management registers */
  readonly acpi: AcpiPm;
  /** small ports that reset the machine */
  readonly reset: ResetPorts;
  /** serial ports */
  readonly coms: readonly ComPort[];

  /** Makes every device; each claims its ports. */
  constructor(options: ChipsetOptions) {
    const { ports, interrupts, events, pci } = options;
    for (const irq of [KEYBOARD_IRQ, MOUSE_IRQ]) pci.pirq.reserve(irq);
    this.i8042 = new I8042({
      ports,
      keyboardIrq: interrupts.isaIrq(KEYBOARD_IRQ),
      mouseIrq: interrupts.isaIrq(MOUSE_IRQ),
      reset: () => events.reset(),
    });
    this.acpi = new AcpiPm({
      ports,
      interrupts,
      powerOff: () => events.powerOff(),
      acpiChanged: (enabled) => events.acpiChanged?.(enabled),
    });
    this.reset = new ResetPorts(ports, pci, () => events.reset());
    this.coms = options.lpc ? comPorts(options) : [];
  }

  /** Every device, in the order in which they are saved. */
  get devices(): readonly Lifecycle[] {
    return [this.i8042, this.acpi, this.reset, ...this.coms];
  }
}

function comPorts(options: ChipsetOptions): ComPort[] {
  const { ports, interrupts, pci, backends = {} } = options;
  const names = Object.keys(COM_PORTS) as ComName[];
  return names.map((name) => {
    const { irq } = COM_PORTS[name];
    pci.pirq.reserve(irq);
    return new ComPort(name, ports, interrupts.isaIrq(irq), backends[name]);
  });
}
