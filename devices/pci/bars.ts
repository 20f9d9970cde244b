// Base address registers: what software reads and writes in them (sizing included) and
// the ranges that they claim on the buses while they are decoded (PCI 3.0, 6.2.5.1).

import { type Bus, BusConflictError, type BusRange } from "../../vmm/bus.ts";
import { splitQuads } from "../register_map.ts";
import type { BarDeclaration } from "./device.ts";
import { BAR0, BAR_64, BAR_IO } from "./registers.ts";

interface KindFacts {
  /** smallest size */
  readonly least: number;
  /** the register's low bits that tell the kind */
  readonly type: number;
  /** address bits of the low register */
  readonly mask: number;
  // Ranges that reach it are what sizing leaves behind, not a place for a BAR.
  readonly end: number;
}

const KINDS: Record<BarDeclaration["kind"], KindFacts> = {
  io: { least: 4, type: BAR_IO, mask: 0xfffc, end: 0x10000 },
  mem32: { least: 16, type: 0, mask: 0xffff_fff0, end: 2 ** 32 },
  mem64: { least: 16, type: BAR_64, mask: 0xffff_fff0, end: 2 ** 52 },
};
const WORD = 2 ** 32;

/** One BAR of a function over the bytes of its configuration space. */
export class Bar {
  /** bytes, a power of two */
  readonly size: number;
  readonly #config: () => DataView;
  readonly #at: number;
  readonly #facts: KindFacts;
  // Writable bits of the low and the high register.
  readonly #masks: readonly [number, number];
  readonly #range: Pick<BusRange, "handler" | "name">;
  #claimed: BusRange | undefined;

  /** Makes a BAR; its address comes later. */
  constructor(
    readonly declaration: BarDeclaration,
    owner: string,
    config: () => DataView,
  ) {
    const { kind, index } = declaration;
    this.#facts = KINDS[kind];
    const least = Math.max(declaration.size, this.#facts.least);
    this.size = 2 ** Math.ceil(Math.log2(least));
    this.#masks = [
      (Math.max(0, WORD - this.size) & this.#facts.mask) >>> 0,
      Math.min(WORD - this.size / WORD, WORD - 1),
    ];
    this.#config = config;
    this.#at = BAR0 + 4 * index;
    this.#range = {
      handler: splitQuads(declaration.handler),
      name: `${owner} BAR${index}`,
    };
  }

  /** First of its registers' offsets, and the number of registers. */
  get registers(): { offset: number; count: number } {
    const count = this.declaration.kind === "mem64" ? 2 : 1;
    return { offset: this.#at, count };
  }

  /** The address in the registers. */
  get address(): number {
    const config = this.#config();
    const low = (config.getUint32(this.#at, true) & this.#facts.mask) >>> 0;
    const high = this.declaration.kind === "mem64"
      ? config.getUint32(this.#at + 4, true)
      : 0;
    return high * WORD + low;
  }

  /** Puts an address into the registers. */
  set address(address: number) {
    this.write(0, address % WORD);
    if (this.declaration.kind === "mem64") {
      this.write(1, Math.floor(address / WORD));
    }
  }

  /** Writes a register (1: the high one): bits below the size and the type stay. */
  write(register: number, value: number): void {
    const type = register === 0 ? this.#facts.type : 0;
    const bits = value & this.#masks[register === 0 ? 0 : 1];
    this.#config().setUint32(this.#at + 4 * register, bits | type, true);
  }

  /** The range that it decodes at its address, if that is a place for one. */
  get #wanted(): BusRange | undefined {
    const start = this.address;
    return start > 0 && start + this.size < this.#facts.end
      ? { start, length: this.size, ...this.#range }
      : undefined;
  }

  /** Whether its range is claimed. */
  get mapped(): boolean {
    return this.#claimed !== undefined;
  }

  /** Gives its range back. @returns whether it had one */
  unmap(bus: Bus): boolean {
    const range = this.#claimed;
    if (range !== undefined) bus.release(range);
    this.#claimed = undefined;
    return range !== undefined;
  }

  /** Claims its range. @returns false where another has the addresses */
  map(bus: Bus): boolean {
    const range = this.#wanted;
    if (range === undefined || this.mapped) return true;
    try {
      bus.claim(range);
    } catch (error) {
      if (error instanceof BusConflictError) return false;
      throw error;
    }
    this.#claimed = range;
    return true;
  }
}

/** Claims and releases the ranges of all BARs of a machine. */
export class BarMapper {
  // BARs that software put where another range is: they are tried again when a
  // range becomes free, since firmware moves BARs one after the other.
  readonly #blocked = new Set<Bar>();

  /** Makes a mapper of the BARs on two buses. */
  constructor(readonly ports: Bus, readonly memory: Bus) {}

  #bus(bar: Bar): Bus {
    return bar.declaration.kind === "io" ? this.ports : this.memory;
  }

  /** Makes a BAR's range what its registers say, or nothing where not decoded. */
  update(bar: Bar, decoded: boolean): void {
    this.#blocked.delete(bar);
    const freed = bar.unmap(this.#bus(bar));
    if (decoded && !bar.map(this.#bus(bar))) this.#blocked.add(bar);
    if (freed) this.#retry();
  }

  #retry(): void {
    for (const bar of this.#blocked) {
      if (bar.map(this.#bus(bar))) this.#blocked.delete(bar);
    }
  }

  /** BARs that are decoded but cannot be reached. */
  get blocked(): number {
    return this.#blocked.size;
  }
}
