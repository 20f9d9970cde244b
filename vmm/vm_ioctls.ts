// What each request of vmm(4) does, with its checks and errno (sys/amd64/vmm/
// vmm_dev_machdep.c and sys/dev/vmm/vmm_dev.c describe the behaviour): one table a
// scope, over the targets that machines at rest and running machines offer.

import { CpuError, SUSPEND } from "./cpu/exits.ts";
import { CAPABILITY, EVENT_KIND } from "./cpu/options.ts";
import { REGISTER, type RegisterNumber } from "./cpu/registers.ts";
import type { PendingEvent } from "./cpu/save.ts";
import { VmmError } from "./errno.ts";
import { gla2gpa } from "./gla2gpa.ts";
import {
  CPU_SET,
  type CpuTopology,
  MAX_VCPUS,
  PROT,
  type VmIn,
  type VmOut,
  type VmRequest,
} from "./ioctl.ts";
import { STATISTICS } from "./statistics.ts";
import type { VmMemory } from "./vm_memory.ts";
import type { MachineTarget, SharedTarget, VcpuTarget } from "./vm_target.ts";
import { readVmcbField, refuseVmcbWrite, vmcbPart } from "./vmcb.ts";

type Handlers<T> = {
  readonly [R in VmRequest]?: (target: T, payload: VmIn<R>) => VmOut<R>;
};

/** Does a request on a target; a `RangeError` or `CpuError` of it is EINVAL. */
function perform<T, R extends VmRequest>(
  handlers: Handlers<T>,
  target: T,
  request: R,
  payload: VmIn<R>,
): VmOut<R> {
  const handler = handlers[request];
  if (handler === undefined) throw new VmmError("ENOTTY");
  try {
    return handler(target, payload);
  } catch (error) {
    if (error instanceof CpuError || error instanceof RangeError) {
      throw new VmmError("EINVAL", error.message);
    }
    throw error;
  }
}

function invalid(isInvalid: boolean): void {
  if (isInvalid) throw new VmmError("EINVAL");
}

// --- One vCPU ----------------------------------------------------------------

const LAST_REGISTER = REGISTER.TPR;

function registerNumber(regnum: number): RegisterNumber {
  invalid(regnum > LAST_REGISTER);
  return regnum as RegisterNumber;
}

function getRegister(vcpu: VcpuTarget, regnum: number): bigint {
  const part = vmcbPart(regnum);
  if (part !== undefined) {
    return readVmcbField(part.offset, part.bytes, vcpu.vmcb);
  }
  return vcpu.getRegister(registerNumber(regnum));
}

function setRegister(vcpu: VcpuTarget, regnum: number, value: bigint): void {
  const part = vmcbPart(regnum);
  if (part !== undefined) refuseVmcbWrite(part);
  vcpu.setRegister(registerNumber(regnum), value);
}

/** Capabilities that are what the CPU is and cannot be set. */
const FIXED: readonly number[] = [CAPABILITY.RDPID, CAPABILITY.RDTSCP];

function requireCapability(captype: number): void {
  invalid(captype < 0 || captype > CAPABILITY.RFLAGS_TF);
}

const INTINFO = {
  VECTOR: 0xffn,
  KIND_SHIFT: 8n,
  KIND: 7n,
  ERROR_VALID: 1n << 11n,
  RESERVED: 0x7fff_f000n,
  VALID: 1n << 31n,
  ERROR_SHIFT: 32n,
} as const;
const VECTOR_NMI = 2;
const VECTOR_PF = 14;
const EXCEPTIONS = 32;
const NO_ERROR = -1;

/** An event as an intinfo word; 0 for none. */
export function intinfoOf(event: PendingEvent | undefined): bigint {
  if (event === undefined) return 0n;
  const { vector, kind, error } = event;
  const word = BigInt(vector) | BigInt(kind) << INTINFO.KIND_SHIFT |
    INTINFO.VALID;
  if (error === NO_ERROR) return word;
  return word | INTINFO.ERROR_VALID | BigInt(error) << INTINFO.ERROR_SHIFT;
}

/** The event that an intinfo word stands for. @throws {VmmError} EINVAL */
function eventOf(info: bigint): PendingEvent | undefined {
  if ((info & INTINFO.VALID) === 0n) return undefined;
  const vector = Number(info & INTINFO.VECTOR);
  const kind = Number(info >> INTINFO.KIND_SHIFT & INTINFO.KIND);
  const kinds: readonly number[] = Object.values(EVENT_KIND);
  invalid((info & INTINFO.RESERVED) !== 0n || !kinds.includes(kind));
  invalid(kind === EVENT_KIND.NMI && vector !== VECTOR_NMI);
  invalid(kind === EVENT_KIND.EXCEPTION && vector >= EXCEPTIONS);
  const hasError = (info & INTINFO.ERROR_VALID) !== 0n;
  const error = hasError ? Number(info >> INTINFO.ERROR_SHIFT) : NO_ERROR;
  return { vector, kind, error };
}

function injectException(
  vcpu: VcpuTarget,
  payload: VmIn<"VM_INJECT_EXCEPTION">,
): Record<never, never> {
  if (vcpu.pendingEvent !== undefined) throw new VmmError("EBUSY");
  const { vector, error_code, error_code_valid } = payload;
  vcpu.injectException(vector, error_code_valid ? error_code : undefined);
  return {};
}

function translate(
  vcpu: VcpuTarget,
  { paging, gla, prot }: VmIn<"VM_GLA2GPA">,
  injects: boolean,
): VmOut<"VM_GLA2GPA"> {
  invalid((prot & ~PROT.ALL) !== 0);
  const result = gla2gpa(vcpu.memory, paging, gla, prot, { marks: injects });
  if (result.kind === "bad") throw new VmmError("EFAULT");
  if (result.kind === "address") return { fault: false, gpa: result.gpa };
  if (injects) {
    vcpu.setRegister(REGISTER.CR2, gla);
    vcpu.injectException(VECTOR_PF, result.errorCode);
  }
  return { fault: true, gpa: 0n };
}

const MOST_STATS = 64;

function statistics(
  vcpu: VcpuTarget,
  index: number,
): VmOut<"VM_STATS"> {
  invalid(index < 0);
  if (index > STATISTICS.length) throw new VmmError("ENOENT");
  const now = Date.now();
  return {
    tv: [Math.floor(now / 1000), now % 1000 * 1000],
    statbuf: vcpu.statistics.slice(index, index + MOST_STATS),
  };
}

const VCPU: Handlers<VcpuTarget> = {
  VM_RUN: (vcpu) => ({ vm_exit: vcpu.run() }),
  VM_SET_CAPABILITY: (vcpu, { captype, capval }) => {
    requireCapability(captype);
    if (FIXED.includes(captype)) throw new VmmError("EOPNOTSUPP");
    vcpu.setCapability(captype, capval);
    return {};
  },
  VM_GET_CAPABILITY: (vcpu, { captype }) => {
    requireCapability(captype);
    return { capval: vcpu.getCapability(captype) };
  },
  VM_GLA2GPA: (vcpu, payload) => translate(vcpu, payload, true),
  VM_GLA2GPA_NOFAULT: (vcpu, payload) => translate(vcpu, payload, false),
  VM_SET_REGISTER: (vcpu, { regnum, regval }) => {
    setRegister(vcpu, regnum, regval);
    return {};
  },
  VM_GET_REGISTER: (vcpu, { regnum }) => ({
    regval: getRegister(vcpu, regnum),
  }),
  VM_SET_SEGMENT_DESCRIPTOR: (vcpu, { regnum, desc }) => {
    vcpu.setDescriptor(registerNumber(regnum), desc);
    return {};
  },
  VM_GET_SEGMENT_DESCRIPTOR: (vcpu, { regnum }) => ({
    desc: vcpu.getDescriptor(registerNumber(regnum)),
  }),
  VM_SET_REGISTER_SET: (vcpu, { regnums, regvals }) => {
    invalid(regnums.length !== regvals.length);
    regnums.forEach((n, i) => setRegister(vcpu, n, regvals[i]!));
    return {};
  },
  VM_GET_REGISTER_SET: (vcpu, { regnums }) => ({
    regvals: regnums.map((regnum) => getRegister(vcpu, regnum)),
  }),
  VM_GET_INTINFO: (vcpu) => ({
    info1: vcpu.exitIntinfo,
    info2: intinfoOf(vcpu.pendingEvent),
  }),
  VM_SET_INTINFO: (vcpu, { info1 }) => {
    vcpu.pendingEvent = eventOf(info1);
    return {};
  },
  VM_INJECT_EXCEPTION: injectException,
  // An instruction that exits is not finished here: it runs again in any case.
  VM_RESTART_INSTRUCTION: () => ({}),
  VM_STATS: (vcpu, { index }) => statistics(vcpu, index),
  VM_SET_X2APIC_STATE: (vcpu, { state }) => {
    invalid(state !== 0 && state !== 1);
    vcpu.x2apic = state;
    return {};
  },
  VM_GET_X2APIC_STATE: (vcpu) => ({ state: vcpu.x2apic }),
};

/** Does a request of scope `vcpu`. @throws {VmmError} */
export function vcpuIoctl<R extends VmRequest>(
  target: VcpuTarget,
  request: R,
  payload: VmIn<R>,
): VmOut<R> {
  return perform(VCPU, target, request, payload);
}

// --- The machine's devices ---------------------------------------------------

const FIRST_VECTOR = 16;
const LAST_VECTOR = 255;
const LAST_LOCAL_INTERRUPT = 6;
const MSI_PREFIX = 0xfeen;
const MSI_PREFIX_SHIFT = 20n;
const NO_PIN = -1;
const LAST_BYTE = 0xff;
/** Devices that vmm(4) has itself: first address and length. */
const KERNEMU: readonly (readonly [bigint, bigint])[] = [
  [0xfee0_0000n, 0x1000n],
  [0xfec0_0000n, 0x1000n],
  [0xfed0_0000n, 0x400n],
];

function requireKernemu(gpa: bigint, width: number): number {
  invalid(width < 0 || width > 3);
  const bytes = 1 << width;
  const isInside = KERNEMU.some(([start, length]) =>
    gpa >= start && gpa + BigInt(bytes) <= start + length
  );
  invalid(!isInside);
  return bytes;
}

// Asserting, deasserting or pulsing an input of the 8259s and one of the I/O APIC.
function isaIrq(
  how: "assert" | "deassert" | "pulse",
): (
  machine: MachineTarget,
  irq: VmIn<"VM_ISA_PULSE_IRQ">,
) => Record<never, never> {
  return ({ pic, ioapic }, { atpic_irq, ioapic_irq }) => {
    invalid(ioapic_irq < NO_PIN);
    pic[how](atpic_irq);
    if (ioapic_irq !== NO_PIN) ioapic[how](ioapic_irq);
    return {};
  };
}

function ioapicIrq(
  how: "assert" | "deassert" | "pulse",
): (
  machine: MachineTarget,
  irq: VmIn<"VM_IOAPIC_PULSE_IRQ">,
) => Record<never, never> {
  return ({ ioapic }, { irq }) => {
    ioapic[how](irq);
    return {};
  };
}

const MACHINE: Handlers<MachineTarget> = {
  VM_REINIT: (machine) => {
    machine.reinit();
    return {};
  },
  VM_GET_KERNEMU_DEV: (machine, { vcpuid, gpa, access_width }) => {
    const bytes = requireKernemu(gpa, access_width);
    return { value: machine.readKernemu(vcpuid, Number(gpa), bytes) };
  },
  VM_SET_KERNEMU_DEV: (machine, { vcpuid, gpa, access_width, value }) => {
    const bytes = requireKernemu(gpa, access_width);
    machine.writeKernemu(vcpuid, Number(gpa), bytes, value);
    return {};
  },
  VM_LAPIC_IRQ: (machine, { cpuid, vector }) => {
    invalid(vector < FIRST_VECTOR || vector > LAST_VECTOR);
    machine.lapicIrq(cpuid, vector);
    return {};
  },
  VM_INJECT_NMI: (machine, { cpuid }) => {
    machine.injectNmi(cpuid);
    return {};
  },
  VM_IOAPIC_ASSERT_IRQ: ioapicIrq("assert"),
  VM_IOAPIC_DEASSERT_IRQ: ioapicIrq("deassert"),
  VM_IOAPIC_PULSE_IRQ: ioapicIrq("pulse"),
  VM_LAPIC_MSI: (machine, { addr, msg }) => {
    invalid(addr >> MSI_PREFIX_SHIFT !== MSI_PREFIX);
    machine.lapicMsi(Number(addr), Number(msg & 0xffff_ffffn));
    return {};
  },
  VM_LAPIC_LOCAL_IRQ: (machine, { cpuid, vector }) => {
    invalid(vector < 0 || vector > LAST_LOCAL_INTERRUPT);
    machine.lapicLocalIrq(cpuid, vector);
    return {};
  },
  VM_GET_HPET_CAPABILITIES: (machine) => ({
    capabilities: machine.hpetCapabilities,
  }),
  VM_ISA_ASSERT_IRQ: isaIrq("assert"),
  VM_ISA_DEASSERT_IRQ: isaIrq("deassert"),
  VM_ISA_PULSE_IRQ: isaIrq("pulse"),
  VM_ISA_SET_IRQ_TRIGGER: ({ pic }, { atpic_irq, trigger }) => {
    invalid(trigger !== 0 && trigger !== 1);
    pic.setTrigger(atpic_irq, trigger === 1);
    return {};
  },
  VM_RTC_READ: ({ rtc }, { offset }) => ({ value: rtc.readMemory(offset) }),
  VM_RTC_WRITE: ({ rtc }, { offset, value }) => {
    invalid(value < 0 || value > LAST_BYTE);
    rtc.writeMemory(offset, value);
    return {};
  },
  VM_RTC_SETTIME: ({ rtc }, { secs }) => {
    invalid(BigInt(Number(secs)) !== secs);
    rtc.time = Number(secs);
    return {};
  },
  VM_RTC_GETTIME: ({ rtc }) => ({ secs: BigInt(Math.floor(rtc.time)) }),
};

/** Does a request of scope `machine`. @throws {VmmError} */
export function machineIoctl<R extends VmRequest>(
  target: MachineTarget,
  request: R,
  payload: VmIn<R>,
): VmOut<R> {
  return perform(MACHINE, target, request, payload);
}

// --- What threads share ------------------------------------------------------

const ALL_CPUS = -1;

// -1 means every vCPU that the request can be done for.
function forCpus(
  vcpuid: number,
  all: readonly number[],
  act: (vcpu: number) => void,
): Record<never, never> {
  if (vcpuid === ALL_CPUS) all.forEach(act);
  else act(vcpuid);
  return {};
}

const SHARED: Handlers<SharedTarget> = {
  VM_SUSPEND: (machine, { how }) => {
    invalid(how <= SUSPEND.NONE || how > SUSPEND.DESTROY);
    machine.suspend(how);
    return {};
  },
  VM_ACTIVATE_CPU: (machine, { vcpuid }) => {
    machine.activate(vcpuid);
    return {};
  },
  VM_GET_CPUS: (machine, { which }) => {
    invalid(which < CPU_SET.ACTIVE || which > CPU_SET.DEBUG);
    const { active, suspended, debug } = machine;
    return { cpus: [active, suspended, debug][which]! };
  },
  VM_SUSPEND_CPU: (machine, { vcpuid }) =>
    forCpus(vcpuid, machine.active, (vcpu) => machine.suspendCpu(vcpu)),
  VM_RESUME_CPU: (machine, { vcpuid }) =>
    forCpus(vcpuid, machine.debug, (vcpu) => machine.resumeCpu(vcpu)),
};

/** Does a request of scope `shared`. @throws {VmmError} */
export function sharedIoctl<R extends VmRequest>(
  target: SharedTarget,
  request: R,
  payload: VmIn<R>,
): VmOut<R> {
  return perform(SHARED, target, request, payload);
}

// --- A machine's description -------------------------------------------------

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
