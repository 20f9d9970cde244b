// ACPI fixed hardware of bhyve's chipset (ACPI 6.5, 4.8.3 and 4.8.4; platform.md
// section 6): PM1 status, enable and control, GPE0, and the port by which the guest
// switches ACPI on. The SCI is up while an enabled event waits.

import type { Bus } from "../../vmm/bus.ts";
import type { DeviceState, IrqLine, Lifecycle } from "../../vmm/device.ts";
import type { InterruptInputs } from "../pci/intx.ts";
import { allOnes, type RegisterCore, RegisterMap } from "../register_map.ts";
import { flag, StateSchema, u16, u8 } from "../state.ts";

/** PM1 event and control registers: 400h, 402h, 404h. */
export const PM1_PORT = 0x400;
/** General-purpose event registers. */
export const GPE0_PORT = 0x40c;
/** Where ACPI is switched on and off. */
export const SMI_COMMAND_PORT = 0xb2;
/** Written to the SMI command port to switch ACPI on. */
export const ACPI_ENABLE = 0xa0;
/** Written to the SMI command port to switch ACPI off. */
export const ACPI_DISABLE = 0xa1;
/** The ISA interrupt of the SCI. */
export const SCI_IRQ = 9;

const POWER_BUTTON = 1 << 8;
// Status bits that a one clears: bus master, power and sleep button, RTC, wake.
const STATUS_CLEARABLE = 1 << 4 | POWER_BUTTON | 1 << 9 | 1 << 10 | 1 << 15;
// Events that may be enabled: global lock release, power button, RTC.
const ENABLE_BITS = 1 << 5 | POWER_BUTTON | 1 << 10;
const SCI_ENABLE = 1 << 0;
const SLEEP_ENABLE = 1 << 13;
const SLEEP_TYPE_SHIFT = 10;
const SOFT_OFF = 5;
// Bits that are never read back: SLP_EN, reserved ones, GBL_RLS is kept as memory.
const CONTROL_READ_AS_ZERO = 1 << 15 | 1 << 14 | SLEEP_ENABLE | 1 << 1 | 1;
const GPE_GENERATION = 1 << 0;

const SCHEMA = new StateSchema("acpi-pm", 1, {
  status: u16(),
  enable: u16(),
  control: u16(),
  sciEnabled: flag(),
  gpeStatus: u8(),
  gpeEnable: u8(),
});

/** The registers by name. */
export type AcpiRegister =
  | "status"
  | "enable"
  | "control"
  | "gpeStatus"
  | "gpeEnable";

const PM1_REGISTERS = new RegisterMap<AcpiRegister>(6, [
  { offset: 0, width: 2, access: "w1c", name: "status" },
  { offset: 2, width: 2, access: "rw", name: "enable" },
  { offset: 4, width: 2, access: "rw", name: "control" },
]);

const GPE_REGISTERS = new RegisterMap<AcpiRegister>(2, [
  { offset: 0, width: 1, access: "w1c", name: "gpeStatus" },
  { offset: 1, width: 1, access: "rw", name: "gpeEnable" },
]);

/** What the power management registers act on. */
export interface AcpiPmOptions {
  /** where its ports are claimed */
  readonly ports: Bus;
  /** for the SCI: level-triggered ISA interrupt 9 */
  readonly interrupts: Pick<InterruptInputs, "isaIrq" | "pic">;
  /** The guest entered S5. */
  powerOff(): void;
  /** The guest switched ACPI on or off: only then the power button is its own. */
  acpiChanged?(enabled: boolean): void;
}

/** The power management registers. */
export class AcpiPm implements Lifecycle, RegisterCore<AcpiRegister> {
  readonly name = "acpi-pm";
  #s = SCHEMA.initial();
  readonly #options: AcpiPmOptions;
  readonly #sci: IrqLine;

  /** Claims its ports and its interrupt. */
  constructor(options: AcpiPmOptions) {
    this.#options = options;
    this.#sci = options.interrupts.isaIrq(SCI_IRQ);
    options.interrupts.pic.setTrigger(SCI_IRQ, true);
    options.ports.claim({
      start: PM1_PORT,
      length: PM1_REGISTERS.length,
      handler: PM1_REGISTERS.handler(this),
      name: "ACPI PM1",
    });
    options.ports.claim({
      start: GPE0_PORT,
      length: GPE_REGISTERS.length,
      handler: GPE_REGISTERS.handler(this),
      name: "ACPI GPE0",
    });
    options.ports.claim({
      start: SMI_COMMAND_PORT,
      length: 1,
      handler: {
        read: (_offset, bytes) => allOnes(bytes),
        write: (_offset, _bytes, value) => this.#command(Number(value)),
      },
      name: "SMI command",
    });
  }

  /** Whether the guest switched ACPI on. */
  get acpiEnabled(): boolean {
    return this.#s.sciEnabled;
  }

  #command(value: number): void {
    if (value !== ACPI_ENABLE && value !== ACPI_DISABLE) return;
    const enabled = value === ACPI_ENABLE;
    if (enabled === this.#s.sciEnabled) return;
    this.#s.sciEnabled = enabled;
    this.#options.acpiChanged?.(enabled);
  }

  /**
   * Presses the power button.
   *
   * @returns false where the guest did not switch ACPI on: nothing happened then
   */
  pressPowerButton(): boolean {
    if (!this.#s.sciEnabled) return false;
    this.#s.status |= POWER_BUTTON;
    this.#drive();
    return true;
  }

  /** Tells that the VM generation changed: GPE bit 0. */
  generationChanged(): void {
    this.#s.gpeStatus |= GPE_GENERATION;
    this.#drive();
  }

  #drive(): void {
    const { status, enable, gpeStatus, gpeEnable } = this.#s;
    const up = (status & enable) !== 0 || (gpeStatus & gpeEnable) !== 0;
    this.#sci.set(up);
  }

  readRegister(name: AcpiRegister): number {
    const sci = name === "control" && this.#s.sciEnabled ? SCI_ENABLE : 0;
    return this.#s[name] | sci;
  }

  writeRegister(name: AcpiRegister, value: number): void {
    this.#writers[name](value);
    this.#drive();
  }

  readonly #writers: Record<AcpiRegister, (value: number) => void> = {
    status: (value) => {
      this.#s.status &= ~(value & STATUS_CLEARABLE);
    },
    enable: (value) => {
      this.#s.enable = value & ENABLE_BITS;
    },
    control: (value) => this.#writeControl(value),
    gpeStatus: (value) => {
      this.#s.gpeStatus &= ~value;
    },
    gpeEnable: (value) => {
      this.#s.gpeEnable = value & GPE_GENERATION;
    },
  };

  #writeControl(value: number): void {
    this.#s.control = value & ~CONTROL_READ_AS_ZERO;
    const sleepType = value >> SLEEP_TYPE_SHIFT & 7;
    if ((value & SLEEP_ENABLE) !== 0 && sleepType === SOFT_OFF) {
      this.#options.powerOff();
    }
  }

  reset(): void {
    const { sciEnabled } = this.#s;
    this.#s = SCHEMA.initial();
    this.#options.interrupts.pic.setTrigger(SCI_IRQ, true);
    this.#drive();
    if (sciEnabled) this.#options.acpiChanged?.(false);
  }

  save(): DeviceState {
    return SCHEMA.save(this.#s);
  }

  restore(state: DeviceState): void {
    const before = this.#s.sciEnabled;
    this.#s = SCHEMA.restore(state);
    this.#drive();
    const after = this.#s.sciEnabled;
    if (before !== after) this.#options.acpiChanged?.(after);
  }
}
