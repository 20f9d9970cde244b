// A virtio driver for unit tests: finds a device through configuration space, sets its
// queues up by either register layout, and makes requests as Linux does.

import { slot, TestPci } from "../pci/testing.ts";
import { TestClock, TestLog, TestMemory } from "../testing.ts";
import type { VirtioDevice } from "./device.ts";
import { VirtioPci } from "./transport.ts";

const DESCRIPTORS = 0x10000;
const BUFFERS = 0x20000;
const AT = slot(1);

/** A part of a request: bytes for the device, or room for it to write. */
export type Part = Uint8Array | number;

/** A machine with one virtio device, and a driver of its first queue. */
export class TestDriver {
  readonly memory = new TestMemory();
  readonly clock = new TestClock();
  readonly log = new TestLog();
  readonly pci: TestPci;
  readonly virtio: VirtioPci;
  readonly size: number;
  available = 0;
  used = 0;
  head = 0;
  #next = BUFFERS;
  #notify: () => void = () => {};
  #free = 0;

  constructor(device: VirtioDevice, msix = true) {
    this.virtio = new VirtioPci(device, {
      name: `${device.model}@1`,
      memory: this.memory,
      clock: this.clock,
      log: this.log,
      msix,
    });
    this.pci = new TestPci().with(this.virtio);
    this.size = device.queueSizes[0] ?? 0;
  }

  /** The I/O BAR. */
  get io(): number {
    return this.pci.read(AT, 0x10) - 1;
  }

  /** Where a structure of the modern layout is, by its type. */
  region(type: number): number {
    for (let nth = 0; nth < 5; nth++) {
      const at = this.pci.findCapability(AT, 9, nth);
      if (at === 0 || this.pci.read(AT, at + 3, 1) !== type) continue;
      const bar = this.pci.read(AT, at + 4, 1);
      return this.pci.read(AT, 0x10 + 4 * bar) + this.pci.read(AT, at + 8);
    }
    return 0;
  }

  /** Sets queue 0 up through the legacy registers. */
  startLegacy(features = 0): void {
    const { pci, io } = this;
    pci.outPort(io + 0x12, 1, 3);
    pci.outPort(io + 4, 4, features);
    pci.outPort(io + 0x0e, 2, 0);
    pci.outPort(io + 8, 4, DESCRIPTORS >> 12);
    pci.outPort(io + 0x12, 1, 7);
    this.#notify = () => pci.outPort(io + 0x10, 2, 0);
    this.available = DESCRIPTORS + 16 * this.size;
    const end = this.available + 6 + 2 * this.size;
    this.used = Math.ceil(end / 4096) * 4096;
  }

  /** Sets queue 0 up through the modern registers. @returns the status then */
  startModern(features = 0n): number {
    const { pci } = this;
    const common = this.region(1);
    const all = features | 1n << 32n;
    pci.store(common + 0x14, 1, 3);
    for (const word of [0, 1]) {
      pci.store(common + 8, 4, word);
      pci.store(
        common + 0xc,
        4,
        Number(all >> BigInt(32 * word) & 0xffff_ffffn),
      );
    }
    pci.store(common + 0x14, 1, 11);
    this.available = 0x14000;
    this.used = 0x15000;
    pci.store(common + 0x16, 2, 0);
    pci.store(common + 0x20, 4, DESCRIPTORS);
    pci.store(common + 0x28, 4, this.available);
    pci.store(common + 0x30, 4, this.used);
    pci.store(common + 0x1c, 2, 1);
    pci.store(common + 0x14, 1, 15);
    const notify = this.region(2);
    this.#notify = () => pci.store(notify, 2, 0);
    return pci.load(common + 0x14, 1);
  }

  /** Writes a descriptor. */
  describe(
    index: number,
    gpa: number,
    length: number,
    flags: number,
    next = 0,
    table = DESCRIPTORS,
  ): void {
    const { data } = this.memory;
    const at = table + 16 * index;
    data.setBigUint64(at, BigInt(gpa), true);
    data.setUint32(at + 8, length, true);
    data.setUint16(at + 12, flags, true);
    data.setUint16(at + 14, next, true);
  }

  /** Makes a chain of parts from the first descriptors. @returns their addresses */
  chain(parts: readonly Part[], table = DESCRIPTORS): number[] {
    const first = table === DESCRIPTORS ? this.#free : 0;
    if (table === DESCRIPTORS) this.#free += parts.length;
    return parts.map((part, i) => {
      const gpa = this.#next;
      const length = typeof part === "number" ? part : part.length;
      this.#next += length + 1;
      if (typeof part !== "number") this.memory.bytes.set(part, gpa);
      const flags = (typeof part === "number" ? 2 : 0) |
        (i + 1 < parts.length ? 1 : 0);
      this.describe(first + i, gpa, length, flags, first + i + 1, table);
      return gpa;
    });
  }

  /** Makes a chain available without telling. */
  offer(head: number): void {
    const { data } = this.memory;
    data.setUint16(
      this.available + 4 + 2 * (this.head % this.size),
      head,
      true,
    );
    this.head = this.head + 1 & 0xffff;
    data.setUint16(this.available + 2, this.head, true);
  }

  /** Tells the device. */
  kick(): void {
    this.#notify();
  }

  /** Makes one request and waits. @returns addresses and bytes written, or none */
  request(parts: readonly Part[]): { at: number[]; written?: number } {
    this.#free = 0;
    this.#next = BUFFERS;
    const before = this.usedIndex;
    const at = this.chain(parts);
    this.offer(0);
    this.kick();
    const done = this.usedIndex !== before;
    return done ? { at, written: this.usedEntry(before).length } : { at };
  }

  /** The used index. */
  get usedIndex(): number {
    return this.memory.data.getUint16(this.used + 2, true);
  }

  /** An entry of the used ring. */
  usedEntry(index: number): { id: number; length: number } {
    const at = this.used + 4 + 8 * (index % this.size);
    const { data } = this.memory;
    return {
      id: data.getUint32(at, true),
      length: data.getUint32(at + 4, true),
    };
  }

  /** Bytes of memory. */
  bytes(gpa: number, length: number): Uint8Array {
    return this.memory.bytes.slice(gpa, gpa + length);
  }
}
