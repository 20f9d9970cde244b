// System memory of a machine at rest, in this process: loaded when it is first looked
// at, with a record of what was touched, so that saving looks at nothing else.

import { GuestMemory } from "../cpu/guest_memory.ts";
import { VmmError } from "../errno.ts";
import type { MemoryMap } from "../ioctl.ts";
import type { MappedMemory } from "../vmm_device.ts";
import type { VmMemory } from "../vm_memory.ts";
import { CHUNK } from "./memory_image.ts";

const HIGHMEM_BASE = 4 * 2 ** 30;

/** Fills memory that is zero; answers the chunks that hold something. */
export type LoadMemory = (memory: GuestMemory) => number[];

/** Where system memory is mapped, as `GuestMemory` has it. */
function mapAll(memory: GuestMemory, maps: readonly MemoryMap[]): void {
  for (const { gpa, segoff, len } of maps) {
    memory.map({
      gpa: Number(gpa),
      length: len,
      offset: segoff,
      writable: true,
    });
  }
}

/** The memory of a machine at rest. */
export class RestingMemory implements MappedMemory {
  readonly #tables: VmMemory;
  readonly #load: LoadMemory;
  readonly #touched = new Set<number>();
  #memory: GuestMemory | undefined;
  #isWritten = false;

  constructor(tables: VmMemory, load: LoadMemory) {
    this.#tables = tables;
    this.#load = load;
  }

  get #maps(): readonly MemoryMap[] {
    return this.#tables.mappings.filter(({ segid }) => segid === 0);
  }

  get lowmem(): number {
    return this.#maps.find(({ gpa }) => gpa === 0n)?.len ?? 0;
  }

  get highmem(): number {
    return this.#maps.find(({ gpa }) => gpa === BigInt(HIGHMEM_BASE))?.len ?? 0;
  }

  /** All of it, with its mappings. @throws {VmmError} EFAULT where there is none */
  get memory(): GuestMemory {
    if (this.#memory !== undefined) return this.#memory;
    const { systemBytes } = this.#tables;
    if (systemBytes === 0) throw new VmmError("EFAULT");
    const memory = new GuestMemory(systemBytes);
    for (const chunk of this.#load(memory)) this.#touched.add(chunk);
    mapAll(memory, this.#maps);
    this.#memory = memory;
    return memory;
  }

  /** Forgets what is mapped where: the tables changed. */
  remap(): void {
    const memory = this.#memory;
    if (memory === undefined) return;
    for (const { gpa, length } of [...memory.mappings]) {
      memory.unmap(gpa, length);
    }
    mapAll(memory, this.#maps);
  }

  /** Any of it may be written from now on: a vCPU runs. */
  touchAll(): void {
    const chunks = Math.ceil(this.memory.size / CHUNK);
    for (let n = 0; n < chunks; n++) this.#touched.add(n);
    this.#isWritten = true;
  }

  /** Whether it may differ from what was loaded. */
  get isWritten(): boolean {
    return this.#isWritten;
  }

  /** Chunks that may hold something, ascending. */
  get touched(): number[] {
    return [...this.#touched].sort((a, b) => a - b);
  }

  view(gpa: number, length: number): Uint8Array | undefined {
    const offset = this.#offsetOf(gpa, length);
    if (offset === undefined) return undefined;
    this.#isWritten = true;
    const last = Math.floor((offset + Math.max(length, 1) - 1) / CHUNK);
    for (let n = Math.floor(offset / CHUNK); n <= last; n++) {
      this.#touched.add(n);
    }
    return this.memory.bytes.subarray(offset, offset + length);
  }

  /** A copy of bytes; undefined where they are not all RAM. */
  peek(gpa: number, length: number): Uint8Array | undefined {
    const offset = this.#offsetOf(gpa, length);
    if (offset === undefined) return undefined;
    return this.memory.bytes.slice(offset, offset + length);
  }

  #offsetOf(gpa: number, length: number): number | undefined {
    const at = this.#maps.find((m) =>
      gpa >= Number(m.gpa) && gpa + length <= Number(m.gpa) + m.len
    );
    if (at === undefined || length < 0) return undefined;
    return gpa - Number(at.gpa) + at.segoff;
  }
}
