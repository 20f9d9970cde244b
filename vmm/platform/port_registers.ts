// Registers of a byte each on an ISA bus: a wider access is as many accesses of a
// byte, at rising addresses, the lowest byte first.

import type { BusHandler } from "../bus.ts";

/** What stands behind byte registers. */
export interface ByteRegisters {
  /** The value of a register. */
  read(offset: number): number;
  /** Writes a register. */
  write(offset: number, value: number): void;
}

/** What answers for byte registers on a bus. */
export function byteRegisters(registers: ByteRegisters): BusHandler {
  return {
    read(offset, bytes) {
      if (bytes === 1) return registers.read(offset);
      let value = 0n;
      for (let n = 0; n < bytes; n++) {
        value |= BigInt(registers.read(offset + n)) << BigInt(8 * n);
      }
      return bytes === 8 ? value : Number(value);
    },
    write(offset, bytes, value) {
      for (let n = 0; n < bytes; n++) {
        registers.write(offset + n, Number(value >> BigInt(8 * n) & 0xffn));
      }
    },
  };
}
