// Guest memory as devices see it: by guest-physical address, with decoded code
// dropped where they write.

import type { GuestMemory } from "../vmm/cpu/guest_memory.ts";
import type { DeviceMemory } from "../vmm/device.ts";

/** Who must hear of bytes that a device wrote: offset in guest memory, length. */
export type WriteListener = (offset: number, length: number) => void;

/** A machine's memory for its devices. */
export class GuestRam implements DeviceMemory {
  readonly #memory: GuestMemory;
  readonly #bytes: Uint8Array;
  readonly #listeners: WriteListener[] = [];

  constructor(memory: GuestMemory) {
    this.#memory = memory;
    this.#bytes = memory.bytes;
  }

  /** Calls `listener` after every write by a device. */
  onWritten(listener: WriteListener): void {
    this.#listeners.push(listener);
  }

  view(gpa: number, length: number): Uint8Array | undefined {
    const mapping = this.#memory.mappings.find((m) =>
      gpa >= m.gpa && gpa + length <= m.gpa + m.length && length >= 0
    );
    if (mapping === undefined || !mapping.writable) return undefined;
    const offset = gpa - mapping.gpa + mapping.offset;
    return this.#bytes.subarray(offset, offset + length);
  }

  written(gpa: number, length: number): void {
    const offset = this.#memory.offsetOf(gpa);
    if (offset < 0 || length <= 0) return;
    for (const listener of this.#listeners) listener(offset, length);
  }
}
