// The requests of vmm(4)'s device files (FreeBSD's machine/vmm_dev.h and dev/vmm/
// vmm_dev.h): name, number, direction, and what goes in and comes out. Every operation
// on a machine is one of these, whether the machine rests on disk or runs in another
// process. Structures are objects with the C structures' field names; buffers and
// lengths that only C needs are left out.

import type { VmEntry, VmExit } from "./cpu/exits.ts";
import type { SegmentDescriptor } from "./cpu/options.ts";
import type { RegisterNumber } from "./cpu/registers.ts";

/** `struct vm_guest_paging`: how a linear address is translated. */
export interface GuestPaging {
  /** CR3 */
  readonly cr3: bigint;
  /** privilege level, 0 to 3 */
  readonly cpl: number;
  /** 0 real, 1 protected, 2 compatibility, 3 64-bit */
  readonly cpu_mode: number;
  /** 0 flat, 1 32-bit, 2 PAE, 3 four levels, 4 five levels */
  readonly paging_mode: number;
}

/** `struct vm_memseg`: a memory segment. System memory has an empty name. */
export interface MemorySegment {
  /** 0 to 7 system memory, 8 boot ROM, 9 frame buffer, 10 PCI ROM */
  readonly segid: number;
  /** bytes; 0 where there is no such segment */
  readonly len: number;
  /** up to 15 characters */
  readonly name: string;
}

/** `struct vm_memmap`: a part of a segment at guest-physical addresses. */
export interface MemoryMap {
  /** guest-physical address */
  readonly gpa: bigint;
  /** number of the segment */
  readonly segid: number;
  /** offset in the segment */
  readonly segoff: number;
  /** bytes */
  readonly len: number;
  /** `PROT` bits */
  readonly prot: number;
  /** 1 wired, 2 IOMMU */
  readonly flags: number;
}

/** `struct vm_cpu_topology`. */
export interface CpuTopology {
  /** packages */
  readonly sockets: number;
  /** cores in a package */
  readonly cores: number;
  /** threads in a core */
  readonly threads: number;
  /** limit of this machine; ignored where a topology is set */
  readonly maxcpus: number;
}

/** Protection of memory. */
export const PROT = { READ: 1, WRITE: 2, EXEC: 4, ALL: 7 } as const;

/** Which set of vCPUs VM_GET_CPUS asks for. */
export const CPU_SET = { ACTIVE: 0, SUSPENDED: 1, DEBUG: 2 } as const;

/** Most vCPUs that a machine can have. */
export const MAX_VCPUS = 16;

/** Whom a request is for. */
export interface VcpuId {
  /** number of the vCPU */
  readonly cpuid: number;
}

/** Inputs of the interrupt controllers. */
export interface IsaIrq {
  /** 0 to 15 */
  readonly atpic_irq: number;
  /** pin of the I/O APIC, or -1 for none */
  readonly ioapic_irq: number;
}

/** A translation. */
export interface Gla2Gpa {
  /** the access */
  in: {
    readonly vcpuid: number;
    readonly prot: number;
    readonly gla: bigint;
    readonly paging: GuestPaging;
  };
  /** the address, or that there is a fault */
  out: { readonly fault: boolean; readonly gpa: bigint };
}

/** No fields. */
export type NoFields = Readonly<Record<never, never>>;
/** A request that answers nothing. */
export interface InOnly<T> {
  /** what goes in */
  in: T;
  /** nothing */
  out: NoFields;
}

/** What goes in and comes out of each request. */
export interface VmRequests {
  /** Runs a vCPU until an exit. */
  VM_RUN: {
    in: VcpuId & {
      /** the answer to the exit before, where it asks for one */
      readonly entry: VmEntry | null;
    };
    out: { readonly vm_exit: VmExit };
  };
  /** Sets a capability of `CAPABILITY`. */
  VM_SET_CAPABILITY: InOnly<
    VcpuId & { readonly captype: number; readonly capval: number }
  >;
  /** Reads a capability. */
  VM_GET_CAPABILITY: {
    in: VcpuId & { readonly captype: number };
    out: { readonly capval: number };
  };
  /** Suspends the machine for a reason of `SUSPEND`. */
  VM_SUSPEND: InOnly<{ readonly how: number }>;
  /** Resets the machine. */
  VM_REINIT: InOnly<NoFields>;
  /** Reads the nested page table entries of an address. */
  VM_GET_GPA_PMAP: {
    in: { readonly gpa: bigint };
    out: { readonly pte: readonly bigint[] };
  };
  /** Translates a linear address as the guest would. */
  VM_GLA2GPA: Gla2Gpa;
  /** Translates a linear address; the guest does not notice. */
  VM_GLA2GPA_NOFAULT: Gla2Gpa;
  /** Makes a memory segment. */
  VM_ALLOC_MEMSEG: InOnly<MemorySegment>;
  /** Reads a memory segment. */
  VM_GET_MEMSEG: { in: { readonly segid: number }; out: MemorySegment };
  /** Maps a part of a segment. */
  VM_MMAP_MEMSEG: InOnly<MemoryMap>;
  /** Reads the first mapping that ends above an address. */
  VM_MMAP_GETNEXT: { in: { readonly gpa: bigint }; out: MemoryMap };
  /** Removes a mapping. */
  VM_MUNMAP_MEMSEG: InOnly<{ readonly gpa: bigint; readonly len: number }>;
  /** Writes a register. */
  VM_SET_REGISTER: InOnly<
    VcpuId & { readonly regnum: number; readonly regval: bigint }
  >;
  /** Reads a register. */
  VM_GET_REGISTER: {
    in: VcpuId & { readonly regnum: number };
    out: { readonly regval: bigint };
  };
  /** Writes a segment's hidden part. */
  VM_SET_SEGMENT_DESCRIPTOR: InOnly<
    VcpuId & { readonly regnum: number; readonly desc: SegmentDescriptor }
  >;
  /** Reads a segment's hidden part. */
  VM_GET_SEGMENT_DESCRIPTOR: {
    in: VcpuId & { readonly regnum: number };
    out: { readonly desc: SegmentDescriptor };
  };
  /** Writes registers. */
  VM_SET_REGISTER_SET: InOnly<
    VcpuId & {
      readonly regnums: readonly number[];
      readonly regvals: readonly bigint[];
    }
  >;
  /** Reads registers. */
  VM_GET_REGISTER_SET: {
    in: VcpuId & { readonly regnums: readonly number[] };
    out: { readonly regvals: readonly bigint[] };
  };
  /** Reads a register of a device that vmm(4) has. */
  VM_GET_KERNEMU_DEV: {
    in: {
      readonly vcpuid: number;
      /** log2 of the bytes, 0 to 3 */
      readonly access_width: number;
      readonly gpa: bigint;
    };
    out: { readonly value: bigint };
  };
  /** Writes a register of a device that vmm(4) has. */
  VM_SET_KERNEMU_DEV: InOnly<{
    readonly vcpuid: number;
    readonly access_width: number;
    readonly gpa: bigint;
    readonly value: bigint;
  }>;
  /** Reads the event at the last exit and the pending one. */
  VM_GET_INTINFO: {
    in: { readonly vcpuid: number };
    out: { readonly info1: bigint; readonly info2: bigint };
  };
  /** Sets the pending event. */
  VM_SET_INTINFO: InOnly<{ readonly vcpuid: number; readonly info1: bigint }>;
  /** Injects an exception. */
  VM_INJECT_EXCEPTION: InOnly<
    VcpuId & {
      readonly vector: number;
      readonly error_code: number;
      readonly error_code_valid: boolean;
      readonly restart_instruction: boolean;
    }
  >;
  /** Raises an interrupt of a local APIC. */
  VM_LAPIC_IRQ: InOnly<VcpuId & { readonly vector: number }>;
  /** Latches a non-maskable interrupt. */
  VM_INJECT_NMI: InOnly<VcpuId>;
  /** Asserts a pin of the I/O APIC. */
  VM_IOAPIC_ASSERT_IRQ: InOnly<{ readonly irq: number }>;
  /** Deasserts a pin of the I/O APIC. */
  VM_IOAPIC_DEASSERT_IRQ: InOnly<{ readonly irq: number }>;
  /** Asserts and deasserts a pin of the I/O APIC. */
  VM_IOAPIC_PULSE_IRQ: InOnly<{ readonly irq: number }>;
  /** Sends a message-signalled interrupt. */
  VM_LAPIC_MSI: InOnly<{ readonly msg: bigint; readonly addr: bigint }>;
  /** Raises a local interrupt by its index in the table; vCPU -1: of every one. */
  VM_LAPIC_LOCAL_IRQ: InOnly<VcpuId & { readonly vector: number }>;
  /** Counts the pins of the I/O APIC. */
  VM_IOAPIC_PINCOUNT: { in: NoFields; out: { readonly pincount: number } };
  /** Makes a vCPU do its last instruction again. */
  VM_RESTART_INSTRUCTION: InOnly<{ readonly vcpuid: number }>;
  /** Reads counters. */
  VM_STATS: {
    in: VcpuId & { readonly index: number };
    out: {
      /** seconds and microseconds since 1970 */
      readonly tv: readonly [number, number];
      readonly statbuf: readonly bigint[];
    };
  };
  /** Says what a counter counts. */
  VM_STAT_DESC: {
    in: { readonly index: number };
    out: { readonly desc: string };
  };
  /** Lets a local APIC be in x2APIC mode or not. */
  VM_SET_X2APIC_STATE: InOnly<VcpuId & { readonly state: number }>;
  /** Reads whether a local APIC may be in x2APIC mode. */
  VM_GET_X2APIC_STATE: { in: VcpuId; out: { readonly state: number } };
  /** Reads the HPET's capabilities. */
  VM_GET_HPET_CAPABILITIES: {
    in: NoFields;
    out: { readonly capabilities: number };
  };
  /** Sets the topology. */
  VM_SET_TOPOLOGY: InOnly<CpuTopology>;
  /** Reads the topology. */
  VM_GET_TOPOLOGY: { in: NoFields; out: CpuTopology };
  /** Asserts an ISA interrupt. */
  VM_ISA_ASSERT_IRQ: InOnly<IsaIrq>;
  /** Deasserts an ISA interrupt. */
  VM_ISA_DEASSERT_IRQ: InOnly<IsaIrq>;
  /** Pulses an ISA interrupt. */
  VM_ISA_PULSE_IRQ: InOnly<IsaIrq>;
  /** Makes an ISA interrupt edge (0) or level (1). */
  VM_ISA_SET_IRQ_TRIGGER: InOnly<
    { readonly atpic_irq: number; readonly trigger: number }
  >;
  /** Activates a vCPU. */
  VM_ACTIVATE_CPU: InOnly<{ readonly vcpuid: number }>;
  /** Reads a set of vCPUs. */
  VM_GET_CPUS: {
    in: { readonly which: number };
    out: { readonly cpus: readonly number[] };
  };
  /** Holds a vCPU for a debugger; -1: every one. */
  VM_SUSPEND_CPU: InOnly<{ readonly vcpuid: number }>;
  /** Lets a held vCPU go on; -1: every one. */
  VM_RESUME_CPU: InOnly<{ readonly vcpuid: number }>;
  /** Reads a byte of the clock's memory. */
  VM_RTC_READ: {
    in: { readonly offset: number };
    out: { readonly value: number };
  };
  /** Writes a byte of the clock's memory. */
  VM_RTC_WRITE: InOnly<{ readonly offset: number; readonly value: number }>;
  /** Sets the clock. */
  VM_RTC_SETTIME: InOnly<{ readonly secs: bigint }>;
  /** Reads the clock. */
  VM_RTC_GETTIME: { in: NoFields; out: { readonly secs: bigint } };
}

/** The name of a request. */
export type VmRequest = keyof VmRequests;
/** What goes into a request. */
export type VmIn<R extends VmRequest> = VmRequests[R]["in"];
/** What comes out of a request. */
export type VmOut<R extends VmRequest> = VmRequests[R]["out"];

/**
 * Where a request is done: by one vCPU, whose number is in its `cpuid` or `vcpuid`,
 * while that vCPU is idle; by the machine's own thread; anywhere, since what it
 * concerns is shared by all threads; or from the machine's description, which does not
 * change while it runs.
 */
export type IoctlScope = "vcpu" | "machine" | "shared" | "static";

/** A request as the header file declares it. */
export interface IoctlRow {
  /** number in group `v` */
  readonly number: number;
  /** in: the caller gives a structure; out: it gets one */
  readonly direction: "none" | "in" | "out" | "inout";
  /** bytes of the C structure (LP64) */
  readonly size: number;
  /** where it is done */
  readonly scope: IoctlScope;
}

function row(
  number: number,
  direction: IoctlRow["direction"],
  size: number,
  scope: IoctlScope,
): IoctlRow {
  return { number, direction, size, scope };
}

/** Every request of `/dev/vmm/NAME`. */
export const VM_IOCTLS: Readonly<Record<VmRequest, IoctlRow>> = {
  VM_RUN: row(1, "in", 32, "vcpu"),
  VM_SET_CAPABILITY: row(2, "in", 16, "vcpu"),
  VM_GET_CAPABILITY: row(3, "inout", 16, "vcpu"),
  VM_SUSPEND: row(4, "in", 4, "shared"),
  VM_REINIT: row(5, "none", 0, "machine"),
  VM_GET_GPA_PMAP: row(12, "inout", 48, "static"),
  VM_GLA2GPA: row(13, "inout", 56, "vcpu"),
  VM_ALLOC_MEMSEG: row(14, "in", 56, "static"),
  VM_GET_MEMSEG: row(15, "inout", 56, "static"),
  VM_MMAP_MEMSEG: row(16, "in", 40, "static"),
  VM_MMAP_GETNEXT: row(17, "inout", 40, "static"),
  VM_GLA2GPA_NOFAULT: row(18, "inout", 56, "vcpu"),
  VM_MUNMAP_MEMSEG: row(19, "in", 16, "static"),
  VM_SET_REGISTER: row(20, "in", 16, "vcpu"),
  VM_GET_REGISTER: row(21, "inout", 16, "vcpu"),
  VM_SET_SEGMENT_DESCRIPTOR: row(22, "in", 24, "vcpu"),
  VM_GET_SEGMENT_DESCRIPTOR: row(23, "inout", 24, "vcpu"),
  VM_SET_REGISTER_SET: row(24, "in", 24, "vcpu"),
  VM_GET_REGISTER_SET: row(25, "inout", 24, "vcpu"),
  VM_GET_KERNEMU_DEV: row(26, "inout", 24, "machine"),
  VM_SET_KERNEMU_DEV: row(27, "in", 24, "machine"),
  VM_GET_INTINFO: row(28, "inout", 24, "vcpu"),
  VM_SET_INTINFO: row(29, "in", 24, "vcpu"),
  VM_INJECT_EXCEPTION: row(30, "in", 20, "vcpu"),
  VM_LAPIC_IRQ: row(31, "in", 8, "machine"),
  VM_INJECT_NMI: row(32, "in", 4, "machine"),
  VM_IOAPIC_ASSERT_IRQ: row(33, "in", 4, "machine"),
  VM_IOAPIC_DEASSERT_IRQ: row(34, "in", 4, "machine"),
  VM_IOAPIC_PULSE_IRQ: row(35, "in", 4, "machine"),
  VM_LAPIC_MSI: row(36, "in", 16, "machine"),
  VM_LAPIC_LOCAL_IRQ: row(37, "in", 8, "machine"),
  VM_IOAPIC_PINCOUNT: row(38, "out", 4, "static"),
  VM_RESTART_INSTRUCTION: row(39, "in", 4, "vcpu"),
  VM_STATS: row(50, "inout", 544, "vcpu"),
  VM_STAT_DESC: row(51, "inout", 132, "static"),
  VM_SET_X2APIC_STATE: row(60, "in", 8, "vcpu"),
  VM_GET_X2APIC_STATE: row(61, "inout", 8, "vcpu"),
  VM_GET_HPET_CAPABILITIES: row(62, "out", 4, "machine"),
  VM_SET_TOPOLOGY: row(63, "in", 8, "static"),
  VM_GET_TOPOLOGY: row(64, "out", 8, "static"),
  VM_ISA_ASSERT_IRQ: row(80, "in", 8, "machine"),
  VM_ISA_DEASSERT_IRQ: row(81, "in", 8, "machine"),
  VM_ISA_PULSE_IRQ: row(82, "in", 8, "machine"),
  VM_ISA_SET_IRQ_TRIGGER: row(83, "in", 8, "machine"),
  VM_ACTIVATE_CPU: row(90, "in", 4, "shared"),
  VM_GET_CPUS: row(91, "in", 16, "shared"),
  VM_SUSPEND_CPU: row(92, "in", 4, "shared"),
  VM_RESUME_CPU: row(93, "in", 4, "shared"),
  VM_RTC_READ: row(100, "inout", 8, "machine"),
  VM_RTC_WRITE: row(101, "in", 8, "machine"),
  VM_RTC_SETTIME: row(102, "in", 8, "machine"),
  VM_RTC_GETTIME: row(103, "out", 8, "machine"),
};

const DIRECTION = {
  none: 0x2000_0000,
  out: 0x4000_0000,
  in: 0x8000_0000,
  inout: 0xc000_0000,
} as const;
const SIZE_SHIFT = 16;
const GROUP_SHIFT = 8;
const GROUP = "v".charCodeAt(0);

/** The request word of `sys/ioccom.h`. */
export function requestWord({ number, direction, size }: IoctlRow): number {
  return (DIRECTION[direction] | size << SIZE_SHIFT | GROUP << GROUP_SHIFT |
    number) >>> 0;
}

/** The number of a request's vCPU, where it has one. */
export function vcpuOf(payload: object): number | undefined {
  const { cpuid, vcpuid } = payload as { cpuid?: unknown; vcpuid?: unknown };
  const id = cpuid ?? vcpuid;
  return typeof id === "number" ? id : undefined;
}

/** Marks registers as numbers of vmm(4) once they are checked. */
export type { RegisterNumber };
