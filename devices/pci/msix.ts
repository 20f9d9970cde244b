// The MSI-X capability, its table and its pending bits (PCI 3.0, 6.8.2). The table is
// at the start of a BAR of its own, the pending bits on the page after it. Unlike
// bhyve's, a message that is raised while masked stays pending and is sent on unmasking.

import type { BusHandler } from "../../vmm/bus.ts";
import type { MsiSink } from "../../vmm/device.ts";
import { splitQuads } from "../register_map.ts";
import { type Field, flag, record, table, u32 } from "../state.ts";
import type { PciCapability } from "./device.ts";
import { CAP_MSIX } from "./registers.ts";

const ENTRY_BYTES = 16;
const PAGE = 4096;
const MOST_VECTORS = 2048;
const MASKED = 1;
const CONTROL_HIGH = 3;
const ENABLE = 0x80;
const FUNCTION_MASK = 0x40;
const ENTRY_WORDS = ["address", "upper", "data", "control"] as const;

/** One entry of the table with its pending bit. */
export interface MsixEntry {
  /** low half of the message's address */
  address: number;
  /** high half of the message's address */
  upper: number;
  /** the message's data */
  data: number;
  /** vector control: bit 0 masks the entry */
  control: number;
  /** whether a message waits for unmasking */
  pending: boolean;
}

/** The state of `vectors` entries. */
export function msixState(vectors: number): Field<MsixEntry[]> {
  const entry = record({
    address: u32(),
    upper: u32(),
    data: u32(),
    control: u32(MASKED),
    pending: flag(),
  });
  return table(entry, vectors);
}

/** Where the pending bits are in the BAR. */
export function pendingOffset(vectors: number): number {
  return Math.ceil(vectors * ENTRY_BYTES / PAGE) * PAGE;
}

/** Bytes of a BAR that holds table and pending bits. */
export function msixBarSize(vectors: number): number {
  return pendingOffset(vectors) + PAGE;
}

/** The MSI-X capability for `vectors` messages with their table in BAR `bar`. */
export function msixCapability(vectors: number, bar: number): PciCapability {
  if (vectors < 1 || vectors > MOST_VECTORS) {
    throw new RangeError(
      `Cannot offer ${vectors} MSI-X vectors: not 1 to 2048`,
    );
  }
  const body = new Uint8Array(10);
  const view = new DataView(body.buffer);
  view.setUint16(0, vectors - 1, true);
  view.setUint32(2, bar, true);
  view.setUint32(6, pendingOffset(vectors) | bar, true);
  const writable = new Uint8Array(10);
  writable[1] = ENABLE | FUNCTION_MASK;
  return { id: CAP_MSIX, body, writable };
}

/** Whether software switched MSI-X on. @param bytes the capability, from its ID */
export function msixEnabled(bytes: Uint8Array): boolean {
  return ((bytes[CONTROL_HIGH] ?? 0) & ENABLE) !== 0;
}

/** The table of a function. */
export class MsixTable {
  /**
   * Makes the table over a function's state.
   *
   * @param entries its state, which the function keeps
   * @param capability the bytes of the capability, read at each use
   */
  constructor(
    readonly entries: () => MsixEntry[],
    readonly capability: () => Uint8Array,
    readonly sink: MsiSink,
  ) {}

  /** Sends message `vector`, or leaves it pending while it is masked. */
  raise(vector: number): void {
    const entry = this.entries()[vector];
    if (entry === undefined || !msixEnabled(this.capability())) return;
    entry.pending = true;
    this.#flush(entry);
  }

  /** Sends what is pending and not masked any more. */
  flush(): void {
    for (const entry of this.entries()) this.#flush(entry);
  }

  #flush(entry: MsixEntry): void {
    const control = this.capability()[CONTROL_HIGH] ?? 0;
    const open = (control & (ENABLE | FUNCTION_MASK)) === ENABLE;
    if (!entry.pending || !open || (entry.control & MASKED) !== 0) return;
    entry.pending = false;
    this.sink.raise(entry.address, entry.data);
  }

  /** What answers for the BAR. */
  handler(): BusHandler {
    return splitQuads({
      read: (offset, bytes) => this.#read(offset, bytes),
      write: (offset, bytes, value) =>
        this.#write(offset, bytes, Number(value)),
    });
  }

  #word(offset: number): number {
    const entry = this.entries()[Math.floor(offset / ENTRY_BYTES)];
    if (entry !== undefined) return entry[ENTRY_WORDS[offset >> 2 & 3]!];
    return this.#pendingWord(offset - pendingOffset(this.entries().length));
  }

  #pendingWord(offset: number): number {
    if (offset < 0) return 0;
    const first = offset * 8;
    const bits = this.entries().slice(first, first + 32);
    return bits.reduce((sum, e, i) => sum + (e.pending ? 2 ** i : 0), 0);
  }

  #read(offset: number, bytes: number): number {
    const inWord = offset & 3;
    if (inWord + bytes > 4) return 2 ** (8 * bytes) - 1;
    const word = this.#word(offset & ~3);
    return Math.floor(word / 2 ** (8 * inWord)) % 2 ** (8 * bytes);
  }

  #write(offset: number, bytes: number, value: number): void {
    const entry = this.entries()[Math.floor(offset / ENTRY_BYTES)];
    if (entry === undefined || bytes !== 4 || (offset & 3) !== 0) return;
    const word = ENTRY_WORDS[offset >> 2 & 3]!;
    // Reserved bits: the low two of the address, all but the mask in the control.
    if (word === "control") entry.control = value & MASKED;
    else if (word === "address") entry.address = (value & ~3) >>> 0;
    else entry[word] = value;
    this.#flush(entry);
  }
}
