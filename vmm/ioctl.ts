// The requests of vmm(4)'s device files (FreeBSD's machine/vmm_dev.h and dev/vmm/
// vmm_dev.h): name, number, direction, and what goes in and comes out. Every operation
// on a machine is one of these, whether the machine rests on disk or runs in another
// process. Structures are objects with the C structures' field names; buffers and
// lengths that only C needs are left out.

import type { VmExit } from "./cpu/exits.ts";
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
  readonly gpa: bigint;
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
  readonly sockets: number;
  readonly cores: number;
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

interface Vcpu {
  /** number of the vCPU */
  readonly cpuid: number;
}

interface IsaIrq {
  /** 0 to 15 */
  readonly atpic_irq: number;
  /** pin of the I/O APIC, or -1 for none */
  readonly ioapic_irq: number;
}

interface Gla2Gpa {
  in: {
    readonly vcpuid: number;
    readonly prot: number;
    readonly gla: bigint;
    readonly paging: GuestPaging;
  };
  out: { readonly fault: boolean; readonly gpa: bigint };
}

type None = Readonly<Record<never, never>>;
interface In<T> {
  in: T;
  out: None;
}

/** What goes in and comes out of each request. */
export interface VmRequests {
  VM_RUN: { in: Vcpu; out: { readonly vm_exit: VmExit } };
  VM_SET_CAPABILITY: In<
    Vcpu & { readonly captype: number; readonly capval: number }
  >;
  VM_GET_CAPABILITY: {
    in: Vcpu & { readonly captype: number };
    out: { readonly capval: number };
  };
  VM_SUSPEND: In<{ readonly how: number }>;
  VM_REINIT: In<None>;
  VM_GET_GPA_PMAP: {
    in: { readonly gpa: bigint };
    out: { readonly pte: readonly bigint[] };
  };
  VM_GLA2GPA: Gla2Gpa;
  VM_GLA2GPA_NOFAULT: Gla2Gpa;
  VM_ALLOC_MEMSEG: In<MemorySegment>;
  VM_GET_MEMSEG: { in: { readonly segid: number }; out: MemorySegment };
  VM_MMAP_MEMSEG: In<MemoryMap>;
  VM_MMAP_GETNEXT: { in: { readonly gpa: bigint }; out: MemoryMap };
  VM_MUNMAP_MEMSEG: In<{ readonly gpa: bigint; readonly len: number }>;
  VM_SET_REGISTER: In<
    Vcpu & { readonly regnum: number; readonly regval: bigint }
  >;
  VM_GET_REGISTER: {
    in: Vcpu & { readonly regnum: number };
    out: { readonly regval: bigint };
  };
  VM_SET_SEGMENT_DESCRIPTOR: In<
    Vcpu & { readonly regnum: number; readonly desc: SegmentDescriptor }
  >;
  VM_GET_SEGMENT_DESCRIPTOR: {
    in: Vcpu & { readonly regnum: number };
    out: { readonly desc: SegmentDescriptor };
  };
  VM_SET_REGISTER_SET: In<
    Vcpu & {
      readonly regnums: readonly number[];
      readonly regvals: readonly bigint[];
    }
  >;
  VM_GET_REGISTER_SET: {
    in: Vcpu & { readonly regnums: readonly number[] };
    out: { readonly regvals: readonly bigint[] };
  };
  VM_GET_KERNEMU_DEV: {
    in: {
      readonly vcpuid: number;
      /** log2 of the bytes, 0 to 3 */
      readonly access_width: number;
      readonly gpa: bigint;
    };
    out: { readonly value: bigint };
  };
  VM_SET_KERNEMU_DEV: In<{
    readonly vcpuid: number;
    readonly access_width: number;
    readonly gpa: bigint;
    readonly value: bigint;
  }>;
  VM_GET_INTINFO: {
    in: { readonly vcpuid: number };
    out: { readonly info1: bigint; readonly info2: bigint };
  };
  VM_SET_INTINFO: In<{ readonly vcpuid: number; readonly info1: bigint }>;
  VM_INJECT_EXCEPTION: In<
    Vcpu & {
      readonly vector: number;
      readonly error_code: number;
      readonly error_code_valid: boolean;
      readonly restart_instruction: boolean;
    }
  >;
  VM_LAPIC_IRQ: In<Vcpu & { readonly vector: number }>;
  VM_INJECT_NMI: In<Vcpu>;
  VM_IOAPIC_ASSERT_IRQ: In<{ readonly irq: number }>;
  VM_IOAPIC_DEASSERT_IRQ: In<{ readonly irq: number }>;
  VM_IOAPIC_PULSE_IRQ: In<{ readonly irq: number }>;
  VM_LAPIC_MSI: In<{ readonly msg: bigint; readonly addr: bigint }>;
  /** `cpuid` -1: every vCPU; `vector`: index in the local vector table */
  VM_LAPIC_LOCAL_IRQ: In<Vcpu & { readonly vector: number }>;
  VM_IOAPIC_PINCOUNT: { in: None; out: { readonly pincount: number } };
  VM_RESTART_INSTRUCTION: In<{ readonly vcpuid: number }>;
  VM_STATS: {
    in: Vcpu & { readonly index: number };
    out: {
      /** seconds and microseconds since 1970 */
      readonly tv: readonly [number, number];
      readonly statbuf: readonly bigint[];
    };
  };
  VM_STAT_DESC: {
    in: { readonly index: number };
    out: { readonly desc: string };
  };
  VM_SET_X2APIC_STATE: In<Vcpu & { readonly state: number }>;
  VM_GET_X2APIC_STATE: { in: Vcpu; out: { readonly state: number } };
  VM_GET_HPET_CAPABILITIES: {
    in: None;
    out: { readonly capabilities: number };
  };
  VM_SET_TOPOLOGY: In<CpuTopology>;
  VM_GET_TOPOLOGY: { in: None; out: CpuTopology };
  VM_ISA_ASSERT_IRQ: In<IsaIrq>;
  VM_ISA_DEASSERT_IRQ: In<IsaIrq>;
  VM_ISA_PULSE_IRQ: In<IsaIrq>;
  /** `trigger`: 0 edge, 1 level */
  VM_ISA_SET_IRQ_TRIGGER: In<
    { readonly atpic_irq: number; readonly trigger: number }
  >;
  VM_ACTIVATE_CPU: In<{ readonly vcpuid: number }>;
  VM_GET_CPUS: {
    in: { readonly which: number };
    out: { readonly cpus: readonly number[] };
  };
  /** `vcpuid` -1: every vCPU */
  VM_SUSPEND_CPU: In<{ readonly vcpuid: number }>;
  /** `vcpuid` -1: every vCPU */
  VM_RESUME_CPU: In<{ readonly vcpuid: number }>;
  VM_RTC_READ: {
    in: { readonly offset: number };
    out: { readonly value: number };
  };
  VM_RTC_WRITE: In<{ readonly offset: number; readonly value: number }>;
  VM_RTC_SETTIME: In<{ readonly secs: bigint }>;
  VM_RTC_GETTIME: { in: None; out: { readonly secs: bigint } };
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
