// Registers declared once: offset, width, access, name. The map turns what a bus asks
// for into whole reads and writes of registers, so that a device core never sees an
// odd width: accesses are split over registers and widened to them.

import type { BusHandler } from "../vmm/bus.ts";

/**
 * What may be done to a register. A partial write of an `rw` register keeps the bytes
 * that it leaves out, of `wo` and `w1c` (write one to clear) ones it sets them to zero.
 */
export type Access = "rw" | "ro" | "wo" | "w1c";

/** One register. */
export interface Register<Name extends string> {
  /** its first byte, from the start of the map */
  readonly offset: number;
  /** its bytes: 1, 2 or 4 */
  readonly width: 1 | 2 | 4;
  /** what software may do to it */
  readonly access: Access;
  /** what the core knows it by */
  readonly name: Name;
}

/** What stands behind the registers of a map. */
export interface RegisterCore<Name extends string> {
  /** The value of a whole register; side effects of reading happen. */
  readRegister(name: Name): number;
  /** Writes a whole register. */
  writeRegister(name: Name, value: number): void;
}

/** How a map treats accesses that are not one whole register. */
export interface RegisterMapOptions {
  /** true refuses them: they read all ones and write nothing */
  readonly exact?: boolean;
}

/** All ones of a width, as a number or (8 bytes) a bigint. */
export function allOnes(bytes: number): number | bigint {
  return bytes === 8 ? 0xffff_ffff_ffff_ffffn : 2 ** (8 * bytes) - 1;
}

/** Splits 8-byte accesses in two of 4, low one first, as bhyve does for BARs. */
export function splitQuads(handler: BusHandler): BusHandler {
  return {
    read(offset, bytes) {
      if (bytes !== 8) return handler.read(offset, bytes);
      const low = BigInt(handler.read(offset, 4));
      return low | BigInt(handler.read(offset + 4, 4)) << 32n;
    },
    write(offset, bytes, value) {
      if (bytes !== 8) return handler.write(offset, bytes, value);
      handler.write(offset, 4, value & 0xffff_ffffn);
      handler.write(offset + 4, 4, value >> 32n);
    },
  };
}

/** The registers of one range. */
export class RegisterMap<Name extends string> {
  readonly #byteOwner: (Register<Name> | undefined)[];
  readonly #exact: boolean;

  /**
   * Declares the registers of a range.
   *
   * @param length bytes in the range
   * @param registers what is in it; holes read all ones
   * @throws {RangeError} where two overlap or one leaves the range
   */
  constructor(
    readonly length: number,
    registers: readonly Register<Name>[],
    options: RegisterMapOptions = {},
  ) {
    this.#exact = options.exact ?? false;
    this.#byteOwner = new Array(length).fill(undefined);
    for (const register of registers) this.#declare(register);
  }

  #declare(register: Register<Name>): void {
    const end = register.offset + register.width;
    for (let at = register.offset; at < end; at++) {
      if (at >= this.length || this.#byteOwner[at] !== undefined) {
        throw new RangeError(
          `Cannot declare register ${register.name}: offset ${at} is taken or outside`,
        );
      }
      this.#byteOwner[at] = register;
    }
  }

  /** What answers on a bus for these registers with a core behind them. */
  handler(core: RegisterCore<Name>): BusHandler {
    return splitQuads({
      read: (offset, bytes) => this.#read(core, offset, bytes),
      write: (offset, bytes, value) =>
        this.#write(core, offset, bytes, Number(value)),
    });
  }

  #whole(offset: number, bytes: number): Register<Name> | undefined {
    const register = this.#byteOwner[offset];
    return register?.offset === offset && register.width === bytes
      ? register
      : undefined;
  }

  /** The registers that an access touches, in order. */
  *#touched(offset: number, bytes: number): Generator<Register<Name>> {
    for (let at = offset; at < offset + bytes;) {
      const register = this.#byteOwner[at];
      if (register !== undefined) yield register;
      at = register === undefined ? at + 1 : register.offset + register.width;
    }
  }

  #read(core: RegisterCore<Name>, offset: number, bytes: number): number {
    const whole = this.#whole(offset, bytes);
    if (whole !== undefined) return readOne(core, whole);
    const value = new Uint8Array(8).fill(0xff);
    if (!this.#exact) {
      for (const register of this.#touched(offset, bytes)) {
        const part = readOne(core, register);
        for (let i = 0; i < register.width; i++) {
          const at = register.offset + i - offset;
          if (at >= 0 && at < bytes) value[at] = part / 2 ** (8 * i);
        }
      }
    }
    const view = new DataView(value.buffer);
    return bytes === 4
      ? view.getUint32(0, true)
      : bytes === 2
      ? view.getUint16(0, true)
      : view.getUint8(0);
  }

  #write(
    core: RegisterCore<Name>,
    offset: number,
    bytes: number,
    value: number,
  ): void {
    const whole = this.#whole(offset, bytes);
    if (whole !== undefined) {
      if (whole.access !== "ro") core.writeRegister(whole.name, value);
      return;
    }
    if (this.#exact) return;
    for (const register of this.#touched(offset, bytes)) {
      if (register.access === "ro") continue;
      const merged = merge(core, register, offset, bytes, value);
      core.writeRegister(register.name, merged);
    }
  }
}

function readOne<Name extends string>(
  core: RegisterCore<Name>,
  register: Register<Name>,
): number {
  return register.access === "wo"
    ? 2 ** (8 * register.width) - 1
    : core.readRegister(register.name);
}

/** The whole value that a partial write gives a register. */
function merge<Name extends string>(
  core: RegisterCore<Name>,
  register: Register<Name>,
  offset: number,
  bytes: number,
  value: number,
): number {
  const covered = offset <= register.offset &&
    offset + bytes >= register.offset + register.width;
  const old = register.access === "rw" && !covered
    ? core.readRegister(register.name)
    : 0;
  let merged = 0;
  for (let i = 0; i < register.width; i++) {
    const at = register.offset + i - offset;
    const byte = at >= 0 && at < bytes
      ? Math.floor(value / 2 ** (8 * at)) % 256
      : Math.floor(old / 2 ** (8 * i)) % 256;
    merged += byte * 2 ** (8 * i);
  }
  return merged;
}
