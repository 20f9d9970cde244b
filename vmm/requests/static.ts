// Requests about a machine's description, which does not change while it runs: memory
// segments and mappings, topology, names of counters.

import { VmmError } from "../errno.ts";
import {
  type CpuTopology,
  MAX_VCPUS,
  type VmIn,
  type VmOut,
  type VmRequest,
} from "../ioctl.ts";
import { STATISTICS } from "../statistics.ts";
import type { VmMemory } from "../vm_memory.ts";
import { type Handlers, invalid, perform } from "./perform.ts";

/** What does not change while a machine runs. */
export interface StaticTarget {
  readonly memory: VmMemory;
  topology: CpuTopology;
}

const PINS = 32;
/** Requests that change the description. */
const CHANGES: ReadonlySet<VmRequest> = new Set<VmRequest>([
  ...["VM_ALLOC_MEMSEG", "VM_MMAP_MEMSEG", "VM_MUNMAP_MEMSEG"] as const,
  "VM_SET_TOPOLOGY",
]);

/** Whether a request of scope `static` changes the description. */
export function changesDescription(request: VmRequest): boolean {
  return CHANGES.has(request);
}

function setTopology(
  target: StaticTarget,
  { sockets, cores, threads }: CpuTopology,
): Record<never, never> {
  invalid([sockets, cores, threads].some((count) => count < 1));
  invalid(sockets * cores * threads > MAX_VCPUS);
  target.topology = { sockets, cores, threads, maxcpus: MAX_VCPUS };
  return {};
}

const STATIC: Handlers<StaticTarget> = {
  VM_GET_GPA_PMAP: ({ memory }, { gpa }) => ({ pte: memory.pageMap(gpa) }),
  VM_ALLOC_MEMSEG: ({ memory }, segment) => {
    memory.allocate(segment);
    return {};
  },
  VM_GET_MEMSEG: ({ memory }, { segid }) => memory.segment(segid),
  VM_MMAP_MEMSEG: ({ memory }, mapping) => {
    memory.map(mapping);
    return {};
  },
  VM_MMAP_GETNEXT: ({ memory }, { gpa }) => memory.next(gpa),
  VM_MUNMAP_MEMSEG: ({ memory }, { gpa, len }) => {
    memory.unmap(gpa, len);
    return {};
  },
  VM_IOAPIC_PINCOUNT: () => ({ pincount: PINS }),
  VM_STAT_DESC: (_, { index }) => {
    const desc = STATISTICS[index];
    if (desc === undefined) throw new VmmError("EINVAL");
    return { desc };
  },
  VM_SET_TOPOLOGY: setTopology,
  VM_GET_TOPOLOGY: ({ topology }) => topology,
};

/** Does a request of scope `static`. @throws {VmmError} */
export function staticIoctl<R extends VmRequest>(
  target: StaticTarget,
  request: R,
  payload: VmIn<R>,
): VmOut<R> {
  return perform(STATIC, target, request, payload);
}
