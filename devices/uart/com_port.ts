// COM1 to COM4 behind the LPC bridge: a 16550A at the ports and ISA interrupts of a PC.
// Interrupts are delivered as edges, as bhyve does: the ISA bus of a PC is
// edge-triggered, and COM1 and COM3, COM2 and COM4 share an input.

import type { Bus } from "../../vmm/bus.ts";
import type { DeviceState, IrqLine, Lifecycle } from "../../vmm/device.ts";
import type { CharBackend } from "./char_backend.ts";
import { SerialPort } from "./serial_port.ts";
import { UART_REGISTERS } from "./uart16550.ts";

/** Ports and ISA interrupts by name. */
export const COM_PORTS = {
  com1: { port: 0x3f8, irq: 4 },
  com2: { port: 0x2f8, irq: 3 },
  com3: { port: 0x3e8, irq: 4 },
  com4: { port: 0x2e8, irq: 3 },
} as const;

/** COM1 to COM4. */
export type ComName = keyof typeof COM_PORTS;

/** One of the LPC bridge's serial ports. */
export class ComPort implements Lifecycle {
  /** the UART and its backend */
  readonly serial: SerialPort;

  /**
   * Claims the ports.
   *
   * @param name which one
   * @param ports where its range is claimed
   * @param line its ISA interrupt
   * @param backend default: none
   */
  constructor(
    readonly name: ComName,
    ports: Bus,
    line: IrqLine,
    backend?: CharBackend,
  ) {
    this.serial = new SerialPort((level) => {
      if (level) line.pulse();
    }, backend);
    ports.claim({
      start: COM_PORTS[name].port,
      length: UART_REGISTERS,
      handler: this.serial.handler,
      name,
    });
  }

  reset(): void {
    this.serial.reset();
  }

  save(): DeviceState {
    return this.serial.save();
  }

  restore(state: DeviceState): void {
    this.serial.restore(state);
  }
}
