// Message-signalled interrupts of a function: the MSI capability with a 64-bit address
// and no per-vector masks (PCI 3.0, 6.8.1).

import type { MsiSink } from "../../vmm/device.ts";
import type { PciCapability } from "./device.ts";
import { CAP_MSI } from "./registers.ts";

const CONTROL_64BIT = 1 << 7;
const ENABLE = 0x01;
// Offsets from the capability's ID.
const CONTROL = 2;
const ADDRESS = 4;
const DATA = 12;

/** The MSI capability for `vectors` messages. */
export function msiCapability(vectors: number): PciCapability {
  const log2 = Math.log2(vectors);
  if (!Number.isInteger(log2) || log2 > 5) {
    throw new RangeError(`Cannot offer ${vectors} MSI vectors: not 1 to 32`);
  }
  const body = new Uint8Array(12);
  body[0] = CONTROL_64BIT | log2 << 1;
  const writable = new Uint8Array(12);
  // Enable and the count allotted; address without its low bits; data.
  writable.set([0x71, 0, 0xfc, 0xff, 0xff, 0xff, 255, 255, 255, 255, 255, 255]);
  return { id: CAP_MSI, body, writable };
}

/** Whether software switched MSI on. @param bytes the capability, from its ID */
export function msiEnabled(bytes: Uint8Array): boolean {
  return ((bytes[CONTROL] ?? 0) & ENABLE) !== 0;
}

/** How many messages software allotted. */
export function msiAllotted(bytes: Uint8Array): number {
  const control = bytes[CONTROL] ?? 0;
  const offered = control >> 1 & 7;
  return 1 << Math.min(control >> 4 & 7, offered);
}

/** Sends one of a function's messages; the low bits of the data tell which. */
export function sendMsi(
  bytes: Uint8Array,
  vector: number,
  sink: MsiSink,
): void {
  if (!msiEnabled(bytes) || vector >= msiAllotted(bytes)) return;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const data = view.getUint16(DATA, true) + vector & 0xffff;
  sink.raise(view.getUint32(ADDRESS, true), data);
}
