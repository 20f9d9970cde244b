// What a device declares to be a PCI function, and what it is given in return.
// PCI Local Bus Specification 3.0, chapter 6; no bus or CPU is known here.

import type { BusHandler } from "../../vmm/bus.ts";
import type { Lifecycle } from "../../vmm/device.ts";

/** Where a function is. */
export interface PciLocation {
  /** 0 to 255 */
  readonly bus: number;
  /** 0 to 31 */
  readonly slot: number;
  /** 0 to 7 */
  readonly func: number;
}

/** Identification registers of the configuration header. */
export interface PciIdentity {
  /** vendor ID */
  readonly vendor: number;
  /** device ID */
  readonly device: number;
  /** base class, subclass and interface: 0xBBSSII */
  readonly classCode: number;
  /** revision: default 0 */
  readonly revision?: number;
  /** subsystem vendor ID: default 0 */
  readonly subsystemVendor?: number;
  /** subsystem ID: default 0 */
  readonly subsystem?: number;
}

/** Address space of a BAR; `mem64` takes two BAR registers. */
export type BarKind = "io" | "mem32" | "mem64";

/** A base address register and what answers behind it. */
export interface BarDeclaration {
  /** 0 to 5 */
  readonly index: number;
  /** address space */
  readonly kind: BarKind;
  /** bytes; rounded up to a power of two */
  readonly size: number;
  /** accesses of 1, 2 and 4 bytes; those of 8 come as two of 4 */
  readonly handler: BusHandler;
}

/** A capability of the list in configuration space. */
export interface PciCapability {
  /** capability ID */
  readonly id: number;
  /** its bytes after ID and next pointer */
  readonly body: Uint8Array;
  /** which bits of `body` software may write: none where left out */
  readonly writable?: Uint8Array;
  /** Reads instead of the bytes; `offset` counts from the ID. */
  read?(offset: number, bytes: number): number | undefined;
  /** Called after a write of the capability; `offset` counts from the ID. */
  written?(offset: number, bytes: number): void;
}

/** What a PCI function is given: its interrupts and what it must know of itself. */
export interface PciPort {
  /** where the function is */
  readonly location: PciLocation;
  /** Whether messages of the kind are switched on. */
  readonly msiEnabled: boolean;
  /** As `msiEnabled`, for MSI-X. */
  readonly msixEnabled: boolean;
  /** Drives the interrupt pin: it shows while no messages are enabled. */
  raiseIntx(level: boolean): void;
  /** Sends message `vector` if MSI is enabled and software allotted it. */
  raiseMsi(vector: number): void;
  /** Sends message `vector` of the MSI-X table, or leaves it pending while masked. */
  raiseMsix(vector: number): void;
  /** The bytes of one of its capabilities, to read what software wrote. */
  capability(capability: PciCapability): Uint8Array;
}

/** A device on the PCI bus. */
export interface PciDevice extends Lifecycle {
  /** emulation name, as `-s` gives it */
  readonly model: string;
  /** identification registers */
  readonly identity: PciIdentity;
  /** base address registers */
  readonly bars?: readonly BarDeclaration[];
  /** capabilities behind those for messages */
  readonly capabilities?: readonly PciCapability[];
  /** how many messages it asks for by MSI: a power of two up to 32 */
  readonly msiVectors?: number;
  /** MSI-X: messages and the BAR for table and pending bits */
  readonly msix?: { readonly vectors: number; readonly bar: number };
  /** whether it has an interrupt pin */
  readonly intx?: boolean;
  /** initial bytes of configuration space beyond header and capabilities */
  readonly configBytes?: ReadonlyMap<number, number>;
  /** Takes its interrupts: called once, before anything else. */
  connect(port: PciPort): void;
  /** A configuration byte that the device keeps itself; undefined leaves it be. */
  readConfig?(offset: number): number | undefined;
  /** Takes a configuration write; false leaves it to the function. */
  writeConfig?(offset: number, bytes: number, value: number): boolean;
}

/** `bus:slot:func` in decimal, as bhyve writes it. */
export function locationText(at: PciLocation): string {
  return `${at.bus}:${at.slot}:${at.func}`;
}
