// A PCI host on empty buses for unit tests, with configuration cycles as software
// makes them.

import { Bus } from "../../vmm/bus.ts";
import type { BusHandler } from "../../vmm/bus.ts";
import { TestInterrupts } from "../testing.ts";
import type { PciDevice, PciLocation } from "./device.ts";
import { PciHost, type PciHostOptions } from "./host.ts";
import { bhyveWindows } from "./windows.ts";

/** A host and what it was given. */
export class TestPci {
  readonly ports = new Bus("port");
  readonly memory = new Bus("memory");
  readonly interrupts = new TestInterrupts();
  readonly host: PciHost;

  constructor(options: Partial<PciHostOptions> = {}) {
    this.host = new PciHost({
      ports: this.ports,
      memory: this.memory,
      interrupts: this.interrupts,
      msi: this.interrupts,
      windows: bhyveWindows(0),
      bootRom: false,
      ...options,
    });
  }

  /** Adds devices from slot 1 on, and finishes. */
  with(...devices: PciDevice[]): this {
    devices.forEach((device, i) => this.host.add(slot(i + 1), device));
    this.host.finish();
    return this;
  }

  /** Reads configuration space through CF8 and CFC. */
  read(at: PciLocation, offset: number, bytes = 4): number {
    this.outPort(0xcf8, 4, configAddress(at, offset));
    return this.inPort(0xcfc + (offset & 3), bytes);
  }

  /** Writes configuration space through CF8 and CFC. */
  write(at: PciLocation, offset: number, bytes: number, value: number): void {
    this.outPort(0xcf8, 4, configAddress(at, offset));
    this.outPort(0xcfc + (offset & 3), bytes, value);
  }

  /** Reads a port; an unclaimed one is all ones. */
  inPort(port: number, bytes: number): number {
    return read(this.ports, port, bytes);
  }

  /** Writes a port. */
  outPort(port: number, bytes: number, value: number): void {
    write(this.ports, port, bytes, value);
  }

  /** Reads device memory. */
  load(gpa: number, bytes: number): number {
    return read(this.memory, gpa, bytes);
  }

  /** Writes device memory. */
  store(gpa: number, bytes: number, value: number): void {
    write(this.memory, gpa, bytes, value);
  }

  /** Where a capability is in a function's configuration space; 0 for nowhere. */
  findCapability(at: PciLocation, id: number, nth = 0): number {
    let offset = this.read(at, 0x34, 1);
    for (let fuel = 48; offset !== 0 && fuel > 0; fuel--) {
      if (this.read(at, offset, 1) === id && nth-- === 0) return offset;
      offset = this.read(at, offset + 1, 1);
    }
    return 0;
  }
}

/** A location on bus 0. */
export function slot(number: number, func = 0): PciLocation {
  return { bus: 0, slot: number, func };
}

function configAddress(at: PciLocation, offset: number): number {
  return 0x8000_0000 +
    (at.bus << 16 | at.slot << 11 | at.func << 8 | offset & 0xfc);
}

function read(bus: Bus, address: number, bytes: number): number {
  const range = bus.find(address, bytes);
  return Number(
    range?.handler.read(address - range.start, bytes) ?? 2 ** (8 * bytes) - 1,
  );
}

function write(bus: Bus, address: number, bytes: number, value: number): void {
  const range = bus.find(address, bytes);
  range?.handler.write(address - range.start, bytes, BigInt(value));
}

/** Configuration space of a function as a range, for the conformance suite. */
export function configRange(pci: TestPci, at: PciLocation): BusHandler {
  return {
    read: (offset, bytes) =>
      bytes > 4 ? 0n : pci.host.readConfig(at, offset, bytes),
    write: (offset, bytes, value) => {
      if (bytes > 4) return;
      pci.host.writeConfig(at, offset, bytes, Number(value));
    },
  };
}
