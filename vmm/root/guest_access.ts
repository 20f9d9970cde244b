// Reads and writes of a machine's device: guest-physical memory at an offset. Holes
// below the end of memory read as zeros; nothing else is outside of it.

import { VmmError } from "../errno.ts";
import type { RestingMachine } from "./resting_machine.ts";

/** Cuts a range at the ends of mappings. */
function* pieces(
  machine: RestingMachine,
  gpa: bigint,
  length: number,
): Generator<{ at: number; offset: number; length: number; isRam: boolean }> {
  const maps = machine.memory.mappings;
  const top = maps.reduce((most, m) => {
    const end = m.gpa + BigInt(m.len);
    return end > most ? end : most;
  }, 0n);
  if (gpa + BigInt(length) > top) throw new VmmError("EFAULT");
  for (let offset = 0; offset < length;) {
    const at = gpa + BigInt(offset);
    const map = maps.find((m) => m.gpa + BigInt(m.len) > at)!;
    const isRam = map.gpa <= at;
    const end = isRam ? map.gpa + BigInt(map.len) : map.gpa;
    const count = Math.min(length - offset, Number(end - at));
    yield { at: Number(at), offset, length: count, isRam };
    offset += count;
  }
}

/** Reads memory. @throws {VmmError} EFAULT beyond its end */
export function peekGuest(
  machine: RestingMachine,
  gpa: bigint,
  length: number,
): Uint8Array {
  const bytes = new Uint8Array(length);
  for (const piece of pieces(machine, gpa, length)) {
    if (!piece.isRam) continue;
    const part = machine.ram.peek(piece.at, piece.length);
    if (part !== undefined) bytes.set(part, piece.offset);
  }
  return bytes;
}

/** Writes memory. @throws {VmmError} EFAULT where it is not all RAM */
export function pokeGuest(
  machine: RestingMachine,
  gpa: bigint,
  bytes: Uint8Array,
): void {
  const parts = [...pieces(machine, gpa, bytes.length)];
  if (parts.some(({ isRam }) => !isRam)) throw new VmmError("EFAULT");
  for (const { at, offset, length } of parts) {
    const view = machine.ram.view(at, length);
    if (view === undefined) throw new VmmError("EFAULT");
    view.set(bytes.subarray(offset, offset + length));
  }
}
