// Guest memory by address, for who is no device: reads see zeros in the holes below the
// end of memory, as vmm(4)'s device file shows them.

import type { GuestMemory } from "../vmm/cpu/guest_memory.ts";
import { VmmError } from "../vmm/errno.ts";

const PAGE = 4096;

/** Copies memory out. @throws {VmmError} EFAULT beyond its end */
export function copyOut(
  memory: GuestMemory,
  gpa: bigint,
  length: number,
): Uint8Array {
  const start = Number(gpa);
  const top = Math.max(...memory.mappings.map((m) => m.gpa + m.length));
  if (start + length > top) throw new VmmError("EFAULT");
  const copy = new Uint8Array(length);
  const { bytes } = memory;
  for (let done = 0; done < length;) {
    const at = start + done;
    const count = Math.min(length - done, PAGE - at % PAGE);
    const offset = memory.offsetOf(at);
    if (offset >= 0) copy.set(bytes.subarray(offset, offset + count), done);
    done += count;
  }
  return copy;
}
