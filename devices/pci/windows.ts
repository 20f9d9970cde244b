// Addresses for BARs: the windows of the host bridge, filled largest BAR first so that
// natural alignment wastes nothing, one bus after the other (platform.md section 4).

import type { BarKind } from "./device.ts";

/** A range of addresses. */
export interface AddressWindow {
  /** first address */
  readonly base: number;
  /** first address behind it */
  readonly limit: number;
}

/** What functions may be given. */
export interface PciWindows {
  /** I/O ports */
  readonly io: AddressWindow;
  /** memory below 4 GiB */
  readonly mem32: AddressWindow;
  /** memory above RAM and 4 GiB */
  readonly mem64: AddressWindow;
}

/** A BAR that wants an address. */
export interface BarRequest {
  /** address space */
  readonly kind: BarKind;
  /** a power of two */
  readonly size: number;
  /** who wants it, for messages */
  readonly name: string;
  /** Told the address. */
  assign(address: number): void;
}

/** The windows are full. */
export class PciWindowError extends Error {
  /** its kind, for callers that tell errors apart */
  override readonly name = "PciWindowError";
}

const GIB = 2 ** 30;
const MIB = 2 ** 20;

/** 64-bit BARs up to this size lie below 4 GiB all the same. */
export const LARGEST_LOW_BAR = 128 * MIB;

// Slack behind the BARs of a bus; the limits after it are in the bus's _CRS.
const SLACK: Record<keyof PciWindows, { add: number; align: number }> = {
  io: { add: 32, align: 32 },
  mem32: { add: MIB, align: MIB },
  mem64: { add: 512 * MIB, align: 512 * MIB },
};

/**
 * bhyve's windows.
 *
 * @param highMemory bytes of RAM above 4 GiB
 */
export function bhyveWindows(highMemory: number): PciWindows {
  const step = 32 * GIB;
  const base = Math.ceil((4 * GIB + highMemory) / step) * step;
  return {
    io: { base: 0x2000, limit: 0x10000 },
    mem32: { base: 0xc000_0000, limit: 0xe000_0000 },
    mem64: { base, limit: base + step },
  };
}

function windowOf(request: BarRequest): keyof PciWindows {
  if (request.kind === "io") return "io";
  return request.kind === "mem64" && request.size > LARGEST_LOW_BAR
    ? "mem64"
    : "mem32";
}

function alignUp(value: number, step: number): number {
  return Math.ceil(value / step) * step;
}

/** Gives addresses out, bus after bus. */
export class WindowAllocator {
  readonly #next: Record<keyof PciWindows, number>;

  /** Starts at the base of each window. */
  constructor(readonly windows: PciWindows) {
    this.#next = {
      io: windows.io.base,
      mem32: windows.mem32.base,
      mem64: windows.mem64.base,
    };
  }

  /**
   * Gives the BARs of a bus addresses.
   *
   * @returns what that bus decodes, slack included
   * @throws {PciWindowError} where they do not fit
   */
  assignBus(requests: readonly BarRequest[]): PciWindows {
    const start = { ...this.#next };
    const bySize = requests.toSorted((a, b) => b.size - a.size);
    for (const request of bySize) this.#assign(request);
    for (const kind of ["io", "mem32", "mem64"] as const) {
      const { add, align } = SLACK[kind];
      const end = alignUp(this.#next[kind] + add, align);
      this.#next[kind] = Math.min(end, this.windows[kind].limit);
    }
    return {
      io: { base: start.io, limit: this.#next.io },
      mem32: { base: start.mem32, limit: this.#next.mem32 },
      mem64: { base: start.mem64, limit: this.#next.mem64 },
    };
  }

  #assign(request: BarRequest): void {
    const kind = windowOf(request);
    const address = alignUp(this.#next[kind], request.size);
    if (address + request.size > this.windows[kind].limit) {
      throw new PciWindowError(
        `Cannot place ${request.name}: 0x${
          request.size.toString(16)
        } bytes do not fit in the ${kind} window`,
      );
    }
    request.assign(address);
    this.#next[kind] = address + request.size;
  }
}
