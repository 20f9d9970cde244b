// Requests that one vCPU does while nobody runs it: registers, capabilities, events,
// translations, counters.

import { CAPABILITY, EVENT_KIND } from "../cpu/options.ts";
import { REGISTER, type RegisterNumber } from "../cpu/registers.ts";
import type { PendingEvent } from "../cpu/save.ts";
import { VmmError } from "../errno.ts";
import { gla2gpa } from "../gla2gpa.ts";
import { PROT, type VmIn, type VmOut, type VmRequest } from "../ioctl.ts";
import { STATISTICS } from "../statistics.ts";
import type { VcpuTarget } from "../vm_target.ts";
import { readVmcbField, refuseVmcbWrite, vmcbPart } from "../vmcb.ts";
import { type Handlers, invalid, perform } from "./perform.ts";

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
const VECTOR_DF = 8;
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
  const { vector, error_code, error_code_valid } = payload;
  invalid(vector < 0 || vector >= EXCEPTIONS || vector === VECTOR_DF);
  if (vcpu.pendingEvent !== undefined) throw new VmmError("EBUSY");
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
  VM_RUN: (vcpu, { entry }) => ({ vm_exit: vcpu.run(entry) }),
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
