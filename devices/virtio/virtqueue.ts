// A split virtqueue (virtio 1.2, 2.7). Everything in guest memory is hostile: each ring
// field is read once into a local, chains are bounded, descriptors must be RAM, an
// available index that runs away is an error. Never keeps a view of memory.

import type { DeviceMemory } from "../../vmm/device.ts";
import { address, type Field, flag, record, u16 } from "../state.ts";
import { Chain, type Segment } from "./chain.ts";
import { VirtqueueError } from "./errors.ts";
import { EVENT_IDX, INDIRECT_DESC, NOTIFY_ON_EMPTY } from "./features.ts";

const DESCRIPTOR_BYTES = 16;
const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;
const NO_INTERRUPT = 1;
// Bounds what one request may cost, beyond what drivers use.
const MOST_INDIRECT = 1024;
const LEGACY_ALIGN = 4096;
/** A 64-bit address that a double does not hold exactly: nothing is there. */
const NOWHERE = Number.MAX_SAFE_INTEGER;

/** Registers and positions of a queue. */
export interface QueueState {
  /** entries */
  size: number;
  /** whether it is in use */
  ready: boolean;
  /** address of the descriptor table */
  descriptors: number;
  /** address of the available ring */
  available: number;
  /** address of the used ring */
  used: number;
  /** index of the next available entry to take */
  nextAvailable: number;
  /** index of the next used entry to fill */
  nextUsed: number;
  /** used index when the driver was last considered for an interrupt */
  signalled: number;
}

/** What a snapshot has of a queue. */
export const QUEUE_STATE: Field<QueueState> = record({
  size: u16(),
  ready: flag(),
  descriptors: address(),
  available: address(),
  used: address(),
  nextAvailable: u16(),
  nextUsed: u16(),
  signalled: u16(),
});

interface Descriptor {
  readonly gpa: number;
  readonly length: number;
  readonly flags: number;
  readonly next: number;
}

/** Where the three areas of a queue are. */
export interface QueueAreas {
  /** descriptor table */
  readonly descriptors: number;
  /** available ring (driver area) */
  readonly available: number;
  /** used ring (device area) */
  readonly used: number;
}

/** The areas of a legacy queue: one after the other from a page on. */
export function legacyAreas(pageFrame: number, size: number): QueueAreas {
  const descriptors = pageFrame * LEGACY_ALIGN;
  const available = descriptors + DESCRIPTOR_BYTES * size;
  // The ring, its flags, its index and the event index.
  const end = available + 6 + 2 * size;
  const used = Math.ceil(end / LEGACY_ALIGN) * LEGACY_ALIGN;
  return { descriptors, available, used };
}

/** Reads each field once: they may change between two looks. */
function readDescriptor(table: DataView, at: number): Descriptor {
  const low = table.getUint32(at, true);
  const high = table.getUint32(at + 4, true);
  return {
    gpa: high >= 2 ** 20 ? NOWHERE : high * 2 ** 32 + low,
    length: table.getUint32(at + 8, true),
    flags: table.getUint16(at + 12, true),
    next: table.getUint16(at + 14, true),
  };
}

/** One queue of a device. */
export class Virtqueue {
  /** registers and positions */
  state: QueueState = QUEUE_STATE.initial();
  #generation = 0;
  #features = 0n;

  /**
   * Makes a queue that is not in use.
   *
   * @param maxSize most entries; a power of two
   */
  constructor(
    readonly index: number,
    readonly maxSize: number,
    readonly memory: DeviceMemory,
  ) {
    this.reset();
  }

  /** Forgets everything; chains that are out come back to nothing. */
  reset(): void {
    this.state = { ...QUEUE_STATE.initial(), size: this.maxSize };
    this.#generation++;
  }

  /** Takes negotiated features. */
  negotiate(features: bigint): void {
    this.#features = features;
  }

  #has(feature: bigint): boolean {
    return (this.#features & feature) !== 0n;
  }

  /**
   * Takes the areas into use.
   *
   * @throws {VirtqueueError} for a size or areas that cannot be
   */
  enable(areas: QueueAreas): void {
    const { size } = this.state;
    if (size < 1 || size > this.maxSize || (size & (size - 1)) !== 0) {
      throw new VirtqueueError(
        `size ${size} is not a power of two up to limit`,
      );
    }
    Object.assign(this.state, areas, {
      ready: true,
      nextAvailable: 0,
      nextUsed: 0,
      signalled: 0,
    });
    this.#area(areas.descriptors, DESCRIPTOR_BYTES * size, 16);
    this.#area(areas.available, 4 + 2 * size, 2);
    this.#area(areas.used, 4 + 8 * size, 4);
  }

  /** Puts a queue back from a snapshot; hostile values show when it is used. */
  restore(state: QueueState, features: bigint): void {
    this.state = { ...state, size: Math.min(state.size, this.maxSize) };
    if ((this.state.size & (this.state.size - 1)) !== 0) {
      this.state.ready = false;
    }
    this.#features = features;
    this.#generation++;
  }

  #area(gpa: number, length: number, align: number): Uint8Array {
    const view = gpa < NOWHERE && gpa % align === 0
      ? this.memory.view(gpa, length)
      : undefined;
    if (view === undefined) {
      throw new VirtqueueError(
        `ring area 0x${gpa.toString(16)} of ${length} bytes is not aligned RAM`,
      );
    }
    return view;
  }

  // Ring words are shared with other processors: atomic accesses order them with
  // what is read and written before and after (virtio 1.2, 2.7.13 and 2.7.14).
  #load(gpa: number): number {
    return Atomics.load(this.#word(gpa), 0);
  }

  #store(gpa: number, value: number): void {
    Atomics.store(this.#word(gpa), 0, value);
    this.memory.written(gpa, 2);
  }

  #word(gpa: number): Uint16Array {
    const view = this.#area(gpa, 2, 2);
    return new Uint16Array(view.buffer, view.byteOffset, 1);
  }

  /**
   * The next chain that the driver made available.
   *
   * @throws {VirtqueueError} where the ring or the chain is not allowed
   */
  pop(): Chain | undefined {
    const s = this.state;
    if (!s.ready) return undefined;
    const waiting = this.#load(s.available + 2) - s.nextAvailable & 0xffff;
    if (waiting === 0) return undefined;
    if (waiting > s.size) {
      throw new VirtqueueError(`available index is ${waiting} entries ahead`);
    }
    const slot = s.nextAvailable & s.size - 1;
    const head = this.#load(s.available + 4 + 2 * slot);
    const chain = this.#gather(head);
    s.nextAvailable = s.nextAvailable + 1 & 0xffff;
    return chain;
  }

  #gather(head: number): Chain {
    const readable: Segment[] = [];
    const writable: Segment[] = [];
    const add = (d: Descriptor) => this.#addSegment(d, readable, writable);
    const { descriptors, size } = this.state;
    const last = this.#walk(this.#table(descriptors, size, 16), head, add);
    if (last !== undefined) {
      if (!this.#has(INDIRECT_DESC)) {
        throw new VirtqueueError("indirect descriptor was not negotiated");
      }
      this.#walkIndirect(last, add);
    }
    return new Chain(head, this.#generation, readable, writable, this.memory);
  }

  /**
   * Follows descriptors of a table from `first` on.
   *
   * @returns the indirect descriptor that ended it, if one did
   */
  #walk(
    table: DataView,
    first: number,
    add: (descriptor: Descriptor) => void,
  ): Descriptor | undefined {
    const size = table.byteLength / DESCRIPTOR_BYTES;
    let index = first;
    for (let fuel = size; fuel > 0; fuel--) {
      if (index >= size) {
        throw new VirtqueueError(`descriptor ${index} is not below ${size}`);
      }
      const descriptor = readDescriptor(table, DESCRIPTOR_BYTES * index);
      if ((descriptor.flags & INDIRECT) !== 0) return descriptor;
      add(descriptor);
      if ((descriptor.flags & NEXT) === 0) return undefined;
      index = descriptor.next;
    }
    throw new VirtqueueError("descriptor chain does not end");
  }

  #walkIndirect(
    { gpa, length, flags }: Descriptor,
    add: (descriptor: Descriptor) => void,
  ): void {
    const count = length / DESCRIPTOR_BYTES;
    const fits = Number.isInteger(count) && count >= 1 &&
      count <= MOST_INDIRECT;
    if (!fits || (flags & NEXT) !== 0) {
      throw new VirtqueueError(`indirect table of ${length} bytes`);
    }
    if (this.#walk(this.#table(gpa, count, 1), 0, add) !== undefined) {
      throw new VirtqueueError("indirect descriptor in an indirect table");
    }
  }

  #table(gpa: number, count: number, align: number): DataView {
    const bytes = this.#area(gpa, DESCRIPTOR_BYTES * count, align);
    return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  #addSegment(
    { gpa, length, flags }: Descriptor,
    readable: Segment[],
    writable: Segment[],
  ): void {
    if (length === 0) return;
    if (gpa === NOWHERE || this.memory.view(gpa, length) === undefined) {
      throw new VirtqueueError(
        `buffer 0x${gpa.toString(16)} of ${length} bytes is not RAM`,
      );
    }
    if ((flags & WRITE) !== 0) writable.push({ gpa, length });
    else if (writable.length === 0) readable.push({ gpa, length });
    else throw new VirtqueueError("readable descriptor after a writable one");
  }

  /**
   * Gives a chain back.
   *
   * @param written bytes that were written to its writable part
   */
  push(chain: Chain, written: number): void {
    const s = this.state;
    // A chain from before a reset is not the driver's any more.
    if (chain.generation !== this.#generation || !s.ready) return;
    const entry = s.used + 4 + 8 * (s.nextUsed & s.size - 1);
    const bytes = this.#area(entry, 8, 4);
    const view = new DataView(bytes.buffer, bytes.byteOffset, 8);
    view.setUint32(0, chain.head, true);
    view.setUint32(4, written, true);
    this.memory.written(entry, 8);
    s.nextUsed = s.nextUsed + 1 & 0xffff;
    this.#store(s.used + 2, s.nextUsed);
  }

  /**
   * Asks to be notified of what becomes available from now on.
   *
   * @returns whether something became available before the driver could know
   */
  arm(): boolean {
    const s = this.state;
    if (!s.ready) return false;
    if (this.#has(EVENT_IDX)) {
      this.#store(s.used + 4 + 8 * s.size, s.nextAvailable);
    }
    return this.#load(s.available + 2) !== s.nextAvailable;
  }

  /** Whether the driver wants an interrupt for what was pushed since last asked. */
  takeInterrupt(): boolean {
    const s = this.state;
    const pushed = s.nextUsed - s.signalled & 0xffff;
    if (!s.ready || pushed === 0) return false;
    s.signalled = s.nextUsed;
    const empty = () => this.#load(s.available + 2) === s.nextAvailable;
    if (this.#has(NOTIFY_ON_EMPTY) && empty()) return true;
    if (!this.#has(EVENT_IDX)) {
      return (this.#load(s.available) & NO_INTERRUPT) === 0;
    }
    const event = this.#load(s.available + 4 + 2 * s.size);
    return (s.nextUsed - event - 1 & 0xffff) < pushed;
  }
}
