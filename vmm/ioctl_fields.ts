// Checks of what goes into a request: it comes from other processes, so every field is
// looked at before anything is done.

import { VmmError } from "./errno.ts";
import { VM_IOCTLS, type VmIn, type VmRequest } from "./ioctl.ts";

type Kind = (value: unknown) => boolean;

const INT_MAX = 0x7fff_ffff;
const INT_MIN = -0x8000_0000;
const U32_MAX = 0xffff_ffff;
const U64_MAX = (1n << 64n) - 1n;
/** More registers than there are. */
const MOST_REGISTERS = 64;
const MOST_CHARACTERS = 64;

function isNumber(value: unknown, low: number, high: number): boolean {
  return typeof value === "number" && Number.isInteger(value) &&
    value >= low && value <= high;
}

const int: Kind = (value) => isNumber(value, INT_MIN, INT_MAX);
const u32: Kind = (value) => isNumber(value, 0, U32_MAX);
const size: Kind = (value) => isNumber(value, 0, Number.MAX_SAFE_INTEGER);
const u64: Kind = (value) =>
  typeof value === "bigint" && value >= 0n && value <= U64_MAX;
const time: Kind = (value) =>
  typeof value === "bigint" && BigInt.asIntN(64, value) === value;
const bool: Kind = (value) => typeof value === "boolean";
const text: Kind = (value) =>
  typeof value === "string" && value.length <= MOST_CHARACTERS;

function list(kind: Kind): Kind {
  return (value) =>
    Array.isArray(value) && value.length <= MOST_REGISTERS &&
    value.every(kind);
}

function record(fields: Readonly<Record<string, Kind>>): Kind {
  const names = Object.keys(fields);
  return (value) => {
    if (typeof value !== "object" || value === null) return false;
    const given: Readonly<Record<string, unknown>> = { ...value };
    return Object.keys(given).length === names.length &&
      names.every((name) => fields[name]!(given[name]));
  };
}

/** An answer to an exit: any of its fields. */
const entry: Kind = (value) => {
  if (value === null) return true;
  if (typeof value !== "object") return false;
  const { value: answer = 0, fault = false, cpuid: leaf = [] } = value as {
    readonly value?: unknown;
    readonly fault?: unknown;
    readonly cpuid?: unknown;
  };
  return (u64(answer) || size(answer)) && bool(fault) && list(u32)(leaf);
};

const cpuid = { cpuid: int };
const vcpuid = { vcpuid: int };
const irq = record({ irq: int });
const isaIrq = record({ atpic_irq: int, ioapic_irq: int });
const none = record({});
const desc = record({ base: u64, limit: u32, access: u32 });
const paging = record({ cr3: u64, cpl: int, cpu_mode: int, paging_mode: int });
const gla2gpa = record({ ...vcpuid, prot: int, gla: u64, paging });
const segment = record({ segid: int, len: size, name: text });
const mapping = record({
  gpa: u64,
  segid: int,
  segoff: size,
  len: size,
  prot: int,
  flags: int,
});
const topology = record({
  sockets: int,
  cores: int,
  threads: int,
  maxcpus: int,
});
const kernemu = { ...vcpuid, access_width: int, gpa: u64 };

const CHECKS: Readonly<Record<VmRequest, Kind>> = {
  VM_RUN: record({ ...cpuid, entry }),
  VM_SET_CAPABILITY: record({ ...cpuid, captype: int, capval: int }),
  VM_GET_CAPABILITY: record({ ...cpuid, captype: int }),
  VM_SUSPEND: record({ how: int }),
  VM_REINIT: none,
  VM_GET_GPA_PMAP: record({ gpa: u64 }),
  VM_GLA2GPA: gla2gpa,
  VM_GLA2GPA_NOFAULT: gla2gpa,
  VM_ALLOC_MEMSEG: segment,
  VM_GET_MEMSEG: record({ segid: int }),
  VM_MMAP_MEMSEG: mapping,
  VM_MMAP_GETNEXT: record({ gpa: u64 }),
  VM_MUNMAP_MEMSEG: record({ gpa: u64, len: size }),
  VM_SET_REGISTER: record({ ...cpuid, regnum: size, regval: u64 }),
  VM_GET_REGISTER: record({ ...cpuid, regnum: size }),
  VM_SET_SEGMENT_DESCRIPTOR: record({ ...cpuid, regnum: size, desc }),
  VM_GET_SEGMENT_DESCRIPTOR: record({ ...cpuid, regnum: size }),
  VM_SET_REGISTER_SET: record({
    ...cpuid,
    regnums: list(size),
    regvals: list(u64),
  }),
  VM_GET_REGISTER_SET: record({ ...cpuid, regnums: list(size) }),
  VM_GET_KERNEMU_DEV: record(kernemu),
  VM_SET_KERNEMU_DEV: record({ ...kernemu, value: u64 }),
  VM_GET_INTINFO: record(vcpuid),
  VM_SET_INTINFO: record({ ...vcpuid, info1: u64 }),
  VM_INJECT_EXCEPTION: record({
    ...cpuid,
    vector: int,
    error_code: u32,
    error_code_valid: bool,
    restart_instruction: bool,
  }),
  VM_LAPIC_IRQ: record({ ...cpuid, vector: int }),
  VM_INJECT_NMI: record(cpuid),
  VM_IOAPIC_ASSERT_IRQ: irq,
  VM_IOAPIC_DEASSERT_IRQ: irq,
  VM_IOAPIC_PULSE_IRQ: irq,
  VM_LAPIC_MSI: record({ msg: u64, addr: u64 }),
  VM_LAPIC_LOCAL_IRQ: record({ ...cpuid, vector: int }),
  VM_IOAPIC_PINCOUNT: none,
  VM_RESTART_INSTRUCTION: record(vcpuid),
  VM_STATS: record({ ...cpuid, index: int }),
  VM_STAT_DESC: record({ index: int }),
  VM_SET_X2APIC_STATE: record({ ...cpuid, state: int }),
  VM_GET_X2APIC_STATE: record(cpuid),
  VM_GET_HPET_CAPABILITIES: none,
  VM_SET_TOPOLOGY: topology,
  VM_GET_TOPOLOGY: none,
  VM_ISA_ASSERT_IRQ: isaIrq,
  VM_ISA_DEASSERT_IRQ: isaIrq,
  VM_ISA_PULSE_IRQ: isaIrq,
  VM_ISA_SET_IRQ_TRIGGER: record({ atpic_irq: int, trigger: int }),
  VM_ACTIVATE_CPU: record(vcpuid),
  VM_GET_CPUS: record({ which: int }),
  VM_SUSPEND_CPU: record(vcpuid),
  VM_RESUME_CPU: record(vcpuid),
  VM_RTC_READ: record({ offset: int }),
  VM_RTC_WRITE: record({ offset: int, value: int }),
  VM_RTC_SETTIME: record({ secs: time }),
  VM_RTC_GETTIME: none,
};

/** Whether a text names a request. @throws {VmmError} ENOTTY where it does not */
export function requireRequest(name: string): VmRequest {
  if (!Object.hasOwn(VM_IOCTLS, name)) {
    throw new VmmError("ENOTTY", `unknown request "${name}"`);
  }
  return name as VmRequest;
}

/** Checks what goes into a request. @throws {VmmError} EINVAL */
export function requirePayload<R extends VmRequest>(
  request: R,
  payload: unknown,
): VmIn<R> {
  if (!CHECKS[request](payload)) throw new VmmError("EINVAL");
  return payload as VmIn<R>;
}
