// The two ways to PCI configuration space: ports CF8-CFF (PCI 3.0, 3.2.2.3.2) and
// memory (PCI Express 3.0, 7.2.2, ECAM). Mechanism 2 is not there, as in bhyve.

import type { BusHandler } from "../../vmm/bus.ts";
import { allOnes } from "../register_map.ts";
import type { PciLocation } from "./device.ts";

/** What has configuration space. */
export interface ConfigSpace {
  /** Reads 1, 2 or 4 bytes. */
  readConfig(at: PciLocation, offset: number, bytes: number): number;
  /** Writes 1, 2 or 4 bytes. */
  writeConfig(
    at: PciLocation,
    offset: number,
    bytes: number,
    value: number,
  ): void;
}

const ENABLE = 0x8000_0000;

function location(bits: number): PciLocation {
  return { bus: bits >> 8 & 0xff, slot: bits >> 3 & 0x1f, func: bits & 7 };
}

/** CONFIG_ADDRESS and CONFIG_DATA. */
export class ConfigPorts {
  /** CONFIG_ADDRESS */
  address = 0;

  // Registers of others between CF8 and CFB: port CF9 resets machines.
  readonly #bytes = new Map<number, BusHandler>();

  /** Makes the ports of a configuration space. */
  constructor(readonly space: ConfigSpace) {}

  /** Lets another's byte register answer at one of the four ports. */
  overlay(offset: number, handler: BusHandler): void {
    this.#bytes.set(offset, handler);
  }

  /** Puts it into its state after power-on. */
  reset(): void {
    this.address = 0;
  }

  /** Four ports at CF8; only accesses of 4 bytes reach the register. */
  readonly addressHandler: BusHandler = {
    read: (offset, bytes) => {
      if (bytes === 4) return this.address;
      return this.#byte(offset, bytes)?.read(0, 1) ?? allOnes(bytes);
    },
    write: (offset, bytes, value) => {
      if (bytes === 4) this.address = Number(value);
      else this.#byte(offset, bytes)?.write(0, 1, value);
    },
  };

  #byte(offset: number, bytes: number): BusHandler | undefined {
    return bytes === 1 ? this.#bytes.get(offset) : undefined;
  }

  /** Four ports at CFC. */
  readonly dataHandler: BusHandler = {
    read: (offset, bytes) => {
      if (!this.#enabled || bytes > 4) return allOnes(bytes);
      return this.space.readConfig(this.#at, this.#register + offset, bytes);
    },
    write: (offset, bytes, value) => {
      if (!this.#enabled || bytes > 4) return;
      const register = this.#register + offset;
      this.space.writeConfig(this.#at, register, bytes, Number(value));
    },
  };

  get #enabled(): boolean {
    return this.address >= ENABLE;
  }

  get #at(): PciLocation {
    return location(this.address >> 8 & 0xffff);
  }

  get #register(): number {
    return this.address & 0xfc;
  }
}

/** The ECAM range: 4 KiB for each function, of which 256 bytes exist. */
export function ecamHandler(space: ConfigSpace): BusHandler {
  const at = (offset: number) => location(Math.floor(offset / 4096));
  return {
    read: (offset, bytes) =>
      bytes > 4
        ? allOnes(bytes)
        : space.readConfig(at(offset), offset % 4096, bytes),
    write: (offset, bytes, value) => {
      if (bytes > 4) return;
      space.writeConfig(at(offset), offset % 4096, bytes, Number(value));
    },
  };
}
