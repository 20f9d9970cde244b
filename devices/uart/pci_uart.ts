// The `uart` PCI device: a 16550A behind an I/O BAR of 8 bytes with a level-triggered
// interrupt pin, under the identity of a single-port serial card (devices.md section 0).

import type { DeviceState } from "../../vmm/device.ts";
import type {
  BarDeclaration,
  PciDevice,
  PciIdentity,
  PciPort,
} from "../pci/device.ts";
import type { CharBackend } from "./char_backend.ts";
import { SerialPort } from "./serial_port.ts";
import { UART_REGISTERS } from "./uart16550.ts";

/** The `uart` emulation. */
export class PciUart implements PciDevice {
  readonly model = "uart";
  /** identification registers */
  readonly identity: PciIdentity = {
    vendor: 0x131f,
    device: 0x2000,
    classCode: 0x07_00_00,
  };
  readonly intx = true;
  /** base address registers */
  readonly bars: readonly BarDeclaration[];
  /** the UART and its backend */
  readonly serial: SerialPort;
  #port: PciPort | undefined;

  /**
   * Makes a PCI UART.
   *
   * @param name in messages and snapshots
   * @param backend default: none
   */
  constructor(readonly name: string, backend?: CharBackend) {
    this.serial = new SerialPort(
      (level) => this.#port?.raiseIntx(level),
      backend,
    );
    const { handler } = this.serial;
    this.bars = [{ index: 0, kind: "io", size: UART_REGISTERS, handler }];
  }

  connect(port: PciPort): void {
    this.#port = port;
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
