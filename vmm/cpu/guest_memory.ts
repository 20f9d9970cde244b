// Guest RAM: memory 1 of every virtual CPU of a machine, and the map of
// guest-physical addresses onto it (vmm(4)'s memory segments and mappings).

import {
  createCommonMemory,
  createSharedCode,
  NO_PEERS,
  SharedCode,
} from "./shared_code.ts";
import { createMemory64 } from "./wasm/mod.ts";
import { MAP_MAX } from "./state.ts";

const PAGE = 4096;
const WASM_PAGE = 65536;
/** Most bytes of guest memory that one machine can have. */
export const MAX_GUEST_MEMORY = 16 * 2 ** 30;

/** A range of guest-physical addresses that is memory. */
export interface MemoryMapping {
  /** first guest-physical address, a multiple of 4096 */
  readonly gpa: number;
  /** bytes, a multiple of 4096 */
  readonly length: number;
  /** offset in the guest memory, a multiple of 4096 */
  readonly offset: number;
  /** whether writes reach it; to read-only memory they are device accesses */
  readonly writable: boolean;
}

/** What is wrong with a request about guest memory. */
export class GuestMemoryError extends RangeError {
  /** the class, for messages */
  override readonly name = "GuestMemoryError";
}

function requirePages(what: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 0 || value % PAGE !== 0) {
    throw new GuestMemoryError(
      `Cannot use ${what} ${value}: expected a multiple of ${PAGE}`,
    );
  }
}

/** What keeps code decoded from guest memory: the engine of a virtual CPU. */
export interface CodeKeeper {
  /** Whether it holds code of a page, by number. */
  hasCode(page: number): boolean;
  /** Drops the code that bytes of a page hit. */
  dropCode(page: number, from: number, length: number): void;
  /** Tells it its thread's bit among holders; 0 where it is not the only keeper. */
  holdAs(holder: number): void;
  /** Makes its next write to a page ask `GuestMemory` first. */
  protectPage(page: number): void;
  /** Makes its next write to any page ask `GuestMemory` first. */
  protectAll(): void;
}

/** What other threads need of a memory; survives structured cloning. */
export interface GuestMemoryHandle {
  readonly memory: WebAssembly.Memory;
  readonly size: number;
  readonly mappings: readonly MemoryMapping[];
  readonly common: WebAssembly.Memory;
}

/** The memory of one machine, shared by its virtual CPUs and devices. */
export class GuestMemory {
  /** The WebAssembly memory behind it (64-bit addresses, shared). */
  readonly memory: WebAssembly.Memory;
  /** Bytes that it has. */
  readonly size: number;
  readonly #mappings: MemoryMapping[] = [];
  readonly #keepers: CodeKeeper[] = [];
  /**
   * What the processors share besides: see `createCommonMemory`.
   *
   * @internal
   */
  readonly common: WebAssembly.Memory;
  #shared: SharedCode;
  #version = 0;

  /**
   * Makes memory that is zero and mapped nowhere, or another thread's view of one.
   *
   * @param from bytes: a multiple of 4096, at most 16 GiB; or another's `handle`
   * @throws {GuestMemoryError} for any other size
   */
  constructor(from: number | GuestMemoryHandle) {
    if (typeof from === "object") {
      this.memory = from.memory;
      this.size = from.size;
      this.common = from.common;
      this.#shared = this.#unshared();
      for (const mapping of from.mappings) this.map(mapping);
      return;
    }
    const size = from;
    requirePages("a memory size of", size);
    if (size === 0 || size > MAX_GUEST_MEMORY) {
      throw new GuestMemoryError(
        `Cannot create ${size} bytes of guest memory: expected 4096 to ${MAX_GUEST_MEMORY} (16 GiB)`,
      );
    }
    const pages = Math.ceil(size / WASM_PAGE);
    this.memory = createMemory64(pages, pages);
    this.size = size;
    this.common = createCommonMemory(size);
    this.#shared = this.#unshared();
  }

  // What one thread needs that is alone.
  #unshared(): SharedCode {
    return new SharedCode(createSharedCode(this.common), 0, NO_PEERS);
  }

  /**
   * What another thread makes its own view of the same memory from.
   *
   * @internal
   */
  get handle(): GuestMemoryHandle {
    return {
      memory: this.memory,
      size: this.size,
      mappings: [...this.#mappings],
      common: this.common,
    };
  }

  /** All of it as bytes, by offset (not by guest-physical address). */
  get bytes(): Uint8Array {
    return new Uint8Array(this.memory.buffer, 0, this.size);
  }

  /** The mappings, in the order in which they are looked up. */
  get mappings(): readonly MemoryMapping[] {
    return this.#mappings;
  }

  /** Grows with each change of the mappings. */
  get version(): number {
    return this.#version;
  }

  /**
   * Makes a part of the memory visible at a guest-physical address.
   *
   * @throws {GuestMemoryError} where it is unaligned, outside the memory, or
   *   overlaps another mapping, or where there are too many
   */
  map(mapping: MemoryMapping): void {
    const { gpa, length, offset } = mapping;
    requirePages("a mapping's address", gpa);
    requirePages("a mapping's length", length);
    requirePages("a mapping's offset", offset);
    if (length === 0 || offset + length > this.size) {
      throw new GuestMemoryError(
        `Cannot map ${length} bytes at offset ${offset}: the memory has ${this.size}`,
      );
    }
    const other = this.#mappings.find((m) =>
      gpa < m.gpa + m.length && m.gpa < gpa + length
    );
    if (other !== undefined) {
      throw new GuestMemoryError(
        `Cannot map ${hex(gpa)}-${hex(gpa + length)}: it overlaps ${
          hex(other.gpa)
        }-${hex(other.gpa + other.length)}`,
      );
    }
    if (this.#mappings.length === MAP_MAX) {
      throw new GuestMemoryError(`Cannot map more than ${MAP_MAX} ranges`);
    }
    this.#mappings.push({ ...mapping });
    this.#version++;
  }

  /**
   * Removes a mapping.
   *
   * @throws {GuestMemoryError} where no mapping has exactly this range
   */
  unmap(gpa: number, length: number): void {
    const index = this.#mappings.findIndex((m) =>
      m.gpa === gpa && m.length === length
    );
    if (index < 0) {
      throw new GuestMemoryError(
        `Cannot unmap ${hex(gpa)}-${hex(gpa + length)}: no such mapping`,
      );
    }
    this.#mappings.splice(index, 1);
    this.#version++;
  }

  /** Adds a keeper of decoded code: it hears of writes from now on. */
  addKeeper(keeper: CodeKeeper): void {
    this.#keepers.push(keeper);
    this.#tellHolder();
  }

  /** Removes a keeper. */
  removeKeeper(keeper: CodeKeeper): void {
    const at = this.#keepers.indexOf(keeper);
    if (at >= 0) this.#keepers.splice(at, 1);
    this.#tellHolder();
  }

  #tellHolder(): void {
    const holder = this.#keepers.length === 1 ? this.#shared.holder : 0;
    for (const keeper of this.#keepers) keeper.holdAs(holder);
  }

  /**
   * Tells keepers in other threads of code that this thread's keepers hold, and of
   * writes, from now on. One keeper must be here already, and stay.
   *
   * @internal
   */
  shareCode(shared: SharedCode): void {
    this.#shared = shared;
    this.#tellHolder();
    shared.connect({
      protectPage: (page) => this.#protectPage(page),
      dropPage: (page) => this.#dropHere(page, 0, PAGE),
      protectAll: () => {
        for (const keeper of this.#keepers) keeper.protectAll();
      },
    });
  }

  /**
   * Called before bytes of a page are decoded by a keeper. Whether or not a block comes of
   * them, this thread counts as a holder, who asks before it writes.
   */
  claimCode(page: number): void {
    if (this.#shared.claim(page)) this.#protectPage(page);
  }

  /** Called when all bytes of a block are decoded. */
  decodedCode(): void {
    this.#shared.decoded();
  }

  #protectPage(page: number): void {
    for (const keeper of this.#keepers) keeper.protectPage(page);
  }

  /**
   * Drops the code decoded from bytes that are written: by a processor, or by a
   * device or program, which must call it after writing `bytes` directly.
   */
  dropCode(offset: number, length: number): void {
    const end = offset + length;
    for (let at = offset; at < end;) {
      const page = Math.floor(at / PAGE);
      const next = Math.min((page + 1) * PAGE, end);
      this.#dropHere(page, at % PAGE, next - at);
      this.#shared.wrote(page);
      at = next;
    }
  }

  #dropHere(page: number, from: number, length: number): void {
    let isHeld = false;
    for (const keeper of this.#keepers) {
      if (!keeper.hasCode(page)) continue;
      keeper.dropCode(page, from, length);
      isHeld ||= keeper.hasCode(page);
    }
    if (!isHeld) this.#shared.release(page);
  }

  /** Offset of a guest-physical address, or -1 where there is no memory. */
  offsetOf(gpa: number): number {
    const m = this.#mappings.find((m) =>
      gpa >= m.gpa && gpa < m.gpa + m.length
    );
    return m === undefined ? -1 : gpa - m.gpa + m.offset;
  }
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
