// A machine's memory segments and where they are mapped (vmm(4)'s vmm_mem): tables
// with the checks and errno of the requests; the bytes are elsewhere.

import { VmmError } from "./errno.ts";
import { type MemoryMap, type MemorySegment, PROT } from "./ioctl.ts";

const PAGE = 4096;
/** Segments of system memory are 0 to 7, those of devices 8 to 10. */
const LAST_SEGMENT = 10;
const LAST_SYSTEM_SEGMENT = 7;
const MOST_MAPPINGS = 22;
const KNOWN_FLAGS = 3;
const NAME_MAX = 15;
/** Most bytes of a segment that this machine can hold. */
const MOST_BYTES = 16 * 2 ** 30;
/** Guest-physical addresses have 46 bits at most. */
const LAST_ADDRESS = 1n << 46n;
/** A leaf of the nested page table: present, writable, user, accessed, dirty. */
const LEAF = 0x67n;

function isPages(value: number): boolean {
  return Number.isSafeInteger(value) && value > 0 && value % PAGE === 0;
}

function end({ gpa, len }: MemoryMap): bigint {
  return gpa + BigInt(len);
}

/** Segments and mappings. */
export class VmMemory {
  readonly #segments = new Map<number, MemorySegment>();
  readonly #mappings: MemoryMap[] = [];

  /** @param from tables of another, for a copy */
  constructor(from?: {
    readonly segments: readonly MemorySegment[];
    readonly mappings: readonly MemoryMap[];
  }) {
    for (const segment of from?.segments ?? []) this.allocate(segment);
    for (const mapping of from?.mappings ?? []) this.map(mapping);
  }

  /** The segments, by number. */
  get segments(): readonly MemorySegment[] {
    return [...this.#segments.values()].sort((a, b) => a.segid - b.segid);
  }

  /** The mappings, by address. */
  get mappings(): readonly MemoryMap[] {
    return this.#mappings;
  }

  /** Bytes of system memory. */
  get systemBytes(): number {
    return this.segments.filter((s) => s.segid <= LAST_SYSTEM_SEGMENT)
      .reduce((sum, s) => sum + s.len, 0);
  }

  /** Makes a segment. @throws {VmmError} EINVAL, EEXIST, ENAMETOOLONG, ENOMEM */
  allocate(segment: MemorySegment): void {
    const { segid, len, name } = segment;
    requireSegment(segid);
    if (name.length > NAME_MAX) throw new VmmError("ENAMETOOLONG");
    const old = this.#segments.get(segid);
    if (old !== undefined) {
      throw new VmmError(old.len === len ? "EEXIST" : "EINVAL");
    }
    if (!isPages(len)) throw new VmmError("EINVAL");
    if (len > MOST_BYTES - this.#bytes) throw new VmmError("ENOMEM");
    this.#segments.set(segid, { segid, len, name });
  }

  get #bytes(): number {
    return this.segments.reduce((sum, s) => sum + s.len, 0);
  }

  /** A segment; with length 0 there is none. @throws {VmmError} EINVAL */
  segment(segid: number): MemorySegment {
    requireSegment(segid);
    return this.#segments.get(segid) ?? { segid, len: 0, name: "" };
  }

  /** Maps a part of a segment. @throws {VmmError} EINVAL, ENOSPC, EFAULT */
  map(mapping: MemoryMap): void {
    this.#check(mapping);
    const isTaken = this.#mappings.some((m) =>
      mapping.gpa < end(m) && m.gpa < end(mapping)
    );
    if (isTaken || end(mapping) > LAST_ADDRESS) throw new VmmError("EFAULT");
    if (this.#mappings.length === MOST_MAPPINGS) throw new VmmError("ENOSPC");
    this.#mappings.push({ ...mapping });
    this.#mappings.sort((a, b) => a.gpa < b.gpa ? -1 : 1);
  }

  #check({ gpa, segid, segoff, len, prot, flags }: MemoryMap): void {
    const { len: size } = this.segment(segid);
    const isGood = isPages(len) && gpa >= 0n && gpa % BigInt(PAGE) === 0n &&
      (segoff === 0 || isPages(segoff)) && segoff + len <= size &&
      prot > 0 && (prot & ~PROT.ALL) === 0 && (flags & ~KNOWN_FLAGS) === 0;
    if (!isGood) throw new VmmError("EINVAL");
  }

  /** Removes a mapping. @throws {VmmError} EINVAL where none has this range */
  unmap(gpa: bigint, len: number): void {
    const at = this.#mappings.findIndex((m) => m.gpa === gpa && m.len === len);
    if (at < 0) throw new VmmError("EINVAL");
    this.#mappings.splice(at, 1);
  }

  /** The first mapping that ends above an address. @throws {VmmError} ENOENT */
  next(gpa: bigint): MemoryMap {
    const found = this.#mappings.find((m) => end(m) > gpa);
    if (found === undefined) throw new VmmError("ENOENT");
    return found;
  }

  /**
   * What a nested page table's walk to an address shows: the one entry of this
   * machine's flat map, or a 0 where nothing is mapped.
   */
  pageMap(gpa: bigint): bigint[] {
    const m = this.#mappings.find((m) => gpa >= m.gpa && gpa < end(m));
    if (m === undefined) return [0n];
    const page = gpa & ~BigInt(PAGE - 1);
    return [BigInt(m.segoff) + page - m.gpa | LEAF];
  }

  /** Removes every mapping and segment of devices, as a reset does. */
  reinit(): void {
    for (const { segid } of this.segments) {
      if (segid > LAST_SYSTEM_SEGMENT) this.#segments.delete(segid);
    }
    const kept = this.#mappings.filter((m) => m.segid <= LAST_SYSTEM_SEGMENT);
    this.#mappings.splice(0, this.#mappings.length, ...kept);
  }
}

function requireSegment(segid: number): void {
  if (!Number.isInteger(segid) || segid < 0 || segid > LAST_SEGMENT) {
    throw new VmmError("EINVAL");
  }
}
