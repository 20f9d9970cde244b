// The virtual machine control block that a processor with AMD's SVM would keep (AMD APM
// vol. 2, appendix B), computed when it is read. vmm(4) reads it with VM_GET_REGISTER
// and numbers of their own. Left out: everything that serves hardware only (permission
// maps, nested tables, AVIC, host state) reads as zero, and nothing can be written.

import type { VmExit } from "./cpu/exits.ts";
import { CAPABILITY, type SegmentDescriptor } from "./cpu/options.ts";
import { REGISTER, type RegisterNumber } from "./cpu/registers.ts";
import { VmmError } from "./errno.ts";
import { svmExit } from "./svm_exit.ts";
import {
  VMCB_BYTES,
  VMCB_OFFSET,
  VMCB_STATE,
  type VmcbPart,
} from "./vmcb_layout.ts";

export { vmcbPart } from "./vmcb_layout.ts";

/** The processor, as the control block shows it. */
export interface VmcbCpu {
  /** a register by number; segment registers give selectors */
  getRegister(register: RegisterNumber): bigint;
  /** a segment's hidden part, or GDTR or IDTR */
  getDescriptor(register: RegisterNumber): SegmentDescriptor;
  /** an MSR; undefined where there is none of this index */
  getMsr(index: number): bigint | undefined;
  /** a capability by number */
  getCapability(capability: number): number;
  /** the current privilege level */
  readonly privilege: number;
  /** exceptions (bit n: vector n) that exit instead of being delivered */
  readonly exceptionExits: number;
}

/** What the control block is computed from. */
export interface VmcbFacts {
  readonly cpu: VmcbCpu;
  /** why the processor stopped; undefined before its first run */
  readonly lastExit: VmExit | undefined;
  /** what is added to the host's time stamp to give the guest's, 64 bits */
  readonly tscOffset: bigint;
  /** the event whose delivery the last exit interrupted, as VM_GET_INTINFO's info1 */
  readonly exitIntInfo: bigint;
}

interface VmcbField {
  readonly offset: number;
  readonly bytes: number;
  value(facts: VmcbFacts): bigint;
}

const field = (
  offset: number,
  bytes: number,
  value: VmcbField["value"],
): VmcbField => ({ offset, bytes, value });

const register = (offset: number, number: RegisterNumber) =>
  field(offset, 8, ({ cpu }) => cpu.getRegister(number));

const msr = (offset: number, index: number) =>
  field(offset, 8, ({ cpu }) => cpu.getMsr(index) ?? 0n);

const VECTOR_DB = 1;
const VECTOR_BP = 3;
const INTERCEPT_PAUSE = 23;
const INTERCEPT_HLT = 24;
// Ports, MSRs and shutdown always leave for the monitor where no device takes them.
const INST1_ALWAYS = [27, 28, 31];
// MONITOR and MWAIT.
const INST2_ALWAYS = [10, 11];

function bits(numbers: readonly number[]): bigint {
  return numbers.reduce((word, n) => word | 1n << BigInt(n), 0n);
}

type Controls = readonly (readonly [capability: number, bit: number])[];

function controlled(cpu: VmcbCpu, controls: Controls): bigint {
  const on = controls.filter(([capability]) => cpu.getCapability(capability));
  return bits(on.map(([, bit]) => bit));
}

function exceptionIntercepts({ cpu }: VmcbFacts): bigint {
  return BigInt(cpu.exceptionExits >>> 0) | controlled(cpu, [
    [CAPABILITY.BPT_EXIT, VECTOR_BP],
    [CAPABILITY.MTRAP_EXIT, VECTOR_DB],
    [CAPABILITY.RFLAGS_TF, VECTOR_DB],
  ]);
}

function instructionIntercepts({ cpu }: VmcbFacts): bigint {
  return bits(INST1_ALWAYS) | controlled(cpu, [
    [CAPABILITY.HALT_EXIT, INTERCEPT_HLT],
    [CAPABILITY.PAUSE_EXIT, INTERCEPT_PAUSE],
  ]);
}

// Every processor has a TLB of its own, so each of them is guest 1 in it.
const ASID = 1n;

const CONTROL_FIELDS: readonly VmcbField[] = [
  field(VMCB_OFFSET.EXC_INTERCEPT, 4, exceptionIntercepts),
  field(VMCB_OFFSET.INST1_INTERCEPT, 4, instructionIntercepts),
  field(VMCB_OFFSET.INST2_INTERCEPT, 4, () => bits(INST2_ALWAYS)),
  field(VMCB_OFFSET.TSC_OFFSET, 8, ({ tscOffset }) => tscOffset),
  field(VMCB_OFFSET.ASID, 4, () => ASID),
  field(VMCB_OFFSET.VIRQ, 1, ({ cpu }) => cpu.getRegister(REGISTER.TPR) & 15n),
  register(VMCB_OFFSET.INTR_SHADOW, REGISTER.INTR_SHADOW),
  field(VMCB_OFFSET.EXIT_REASON, 8, (facts) => svmExit(facts.lastExit).code),
  field(VMCB_OFFSET.EXITINFO1, 8, (facts) => svmExit(facts.lastExit).info1),
  field(VMCB_OFFSET.EXITINFO2, 8, (facts) => svmExit(facts.lastExit).info2),
  field(VMCB_OFFSET.EXITINTINFO, 8, ({ exitIntInfo }) => exitIntInfo),
  field(
    VMCB_OFFSET.NRIP,
    8,
    ({ lastExit }) =>
      lastExit === undefined ? 0n : lastExit.rip + BigInt(lastExit.length),
  ),
];

// The access word without its upper byte's gap; a segment that cannot be used is not
// present.
function attributes(access: number): bigint {
  const unusable = 0x1_0000;
  const present = 0x80;
  const word = access & 0xff | access >> 4 & 0xf00;
  return BigInt((access & unusable) === 0 ? word : word & ~present);
}

const SEGMENT_STRIDE = 16;

// A slot: selector, attributes, limit, base.
function segment(slot: number, number: RegisterNumber): VmcbField[] {
  const at = VMCB_STATE + slot * SEGMENT_STRIDE;
  const hidden = (cpu: VmcbCpu) => cpu.getDescriptor(number);
  const table = [
    field(at + 4, 4, ({ cpu }) => BigInt(hidden(cpu).limit)),
    field(at + 8, 8, ({ cpu }) => hidden(cpu).base),
  ];
  if (number === REGISTER.GDTR || number === REGISTER.IDTR) return table;
  return [
    field(at, 2, ({ cpu }) => cpu.getRegister(number)),
    field(at + 2, 2, ({ cpu }) => attributes(hidden(cpu).access)),
    ...table,
  ];
}

const SEGMENT_SLOTS: readonly RegisterNumber[] = [
  ...[REGISTER.ES, REGISTER.CS, REGISTER.SS, REGISTER.DS, REGISTER.FS],
  ...[REGISTER.GS, REGISTER.GDTR, REGISTER.LDTR, REGISTER.IDTR, REGISTER.TR],
];

const STATE_FIELDS: readonly VmcbField[] = [
  ...SEGMENT_SLOTS.flatMap((number, slot) => segment(slot, number)),
  field(VMCB_OFFSET.CPL, 1, ({ cpu }) => BigInt(cpu.privilege)),
  register(VMCB_OFFSET.EFER, REGISTER.EFER),
  register(VMCB_OFFSET.CR4, REGISTER.CR4),
  register(VMCB_OFFSET.CR3, REGISTER.CR3),
  register(VMCB_OFFSET.CR0, REGISTER.CR0),
  register(VMCB_OFFSET.DR7, REGISTER.DR7),
  register(VMCB_OFFSET.DR6, REGISTER.DR6),
  register(VMCB_OFFSET.RFLAGS, REGISTER.RFLAGS),
  register(VMCB_OFFSET.RIP, REGISTER.RIP),
  register(VMCB_OFFSET.RSP, REGISTER.RSP),
  register(VMCB_OFFSET.RAX, REGISTER.RAX),
  register(VMCB_OFFSET.CR2, REGISTER.CR2),
  register(VMCB_OFFSET.KERNEL_GS_BASE, REGISTER.KGS_BASE),
  msr(VMCB_OFFSET.STAR, 0xc000_0081),
  msr(VMCB_OFFSET.LSTAR, 0xc000_0082),
  msr(VMCB_OFFSET.CSTAR, 0xc000_0083),
  msr(VMCB_OFFSET.SFMASK, 0xc000_0084),
  msr(VMCB_OFFSET.SYSENTER_CS, 0x174),
  msr(VMCB_OFFSET.SYSENTER_ESP, 0x175),
  msr(VMCB_OFFSET.SYSENTER_EIP, 0x176),
  msr(VMCB_OFFSET.GUEST_PAT, 0x277),
];

const FIELDS: readonly VmcbField[] = [...CONTROL_FIELDS, ...STATE_FIELDS];

const WIDTHS: readonly number[] = [1, 2, 4, 8];

/**
 * Reads a part of the control block, which may be any, of one or several fields.
 *
 * @param bytes 1, 2, 4 or 8
 * @throws {VmmError} EINVAL for another width, or beyond the block's end
 */
export function readVmcbField(
  offset: number,
  bytes: number,
  facts: VmcbFacts,
): bigint {
  const end = offset + bytes;
  if (!WIDTHS.includes(bytes) || !(offset >= 0) || end > VMCB_BYTES) {
    throw new VmmError(
      "EINVAL",
      `no ${bytes} bytes at ${offset} in the VMCB: expected 1, 2, 4 or 8 in ${VMCB_BYTES}`,
    );
  }
  let image = 0n;
  for (const row of FIELDS) {
    if (row.offset >= end || row.offset + row.bytes <= offset) continue;
    const value = BigInt.asUintN(8 * row.bytes, row.value(facts));
    const shift = BigInt(8 * (row.offset - offset));
    image |= shift < 0n ? value >> -shift : value << shift;
  }
  return BigInt.asUintN(8 * bytes, image);
}

/**
 * What a write to the control block gets. A caller that could write it would run the
 * monitor's own code (FreeBSD-SA-20:28).
 *
 * @throws {VmmError} EINVAL always
 */
export function refuseVmcbWrite({ offset, bytes }: VmcbPart): never {
  throw new VmmError(
    "EINVAL",
    `cannot write ${bytes} bytes at ${offset} in the VMCB: it is read-only`,
  );
}
