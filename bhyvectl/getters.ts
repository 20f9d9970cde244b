// What bhyvectl(8) prints of a vCPU's registers and control block: each option's lines
// with label, format and source. In libvmmapi all of them are register reads.

import { REGISTER } from "../vmm/cpu/registers.ts";
import { VMCB_OFFSET, vmcbAccess } from "../vmm/vmcb_layout.ts";
import type { ValueFormat } from "./format.ts";
import {
  DESCRIPTORS,
  READABLE,
  registerNumber,
  SELECTORS,
} from "./registers.ts";

/** A line `label[cpu]`, one or two TABs, value. */
export interface RegisterLine {
  readonly label: string;
  readonly tabs: 1 | 2;
  readonly format: ValueFormat;
  /** the register's number, or the part of the control block as one */
  readonly register: number;
}

/** A line `label[cpu]`, TABs, base/limit/access. */
export interface DescriptorLine {
  readonly label: string;
  readonly tabs: 1 | 2;
  readonly register: number;
  /** GDTR and IDTR have none */
  readonly hasAccess: boolean;
}

function vmcb(
  label: string,
  tabs: 1 | 2,
  format: ValueFormat,
  field: keyof typeof VMCB_OFFSET,
  bytes: 4 | 8 = 8,
): RegisterLine {
  const register = vmcbAccess(VMCB_OFFSET[field], bytes);
  return { label, tabs, format, register };
}

/** Options that print fields of the control block. */
const VMCB_GETTERS: Readonly<Record<string, readonly RegisterLine[]>> = {
  "get-vmcb-intercepts": [
    vmcb("cr_intercept", 1, "H8", "CR_INTERCEPT", 4),
    vmcb("dr_intercept", 1, "H8", "DR_INTERCEPT", 4),
    vmcb("exc_intercept", 1, "H8", "EXC_INTERCEPT", 4),
    vmcb("inst1_intercept", 1, "H8", "INST1_INTERCEPT", 4),
    vmcb("inst2_intercept", 1, "H8", "INST2_INTERCEPT", 4),
  ],
  "get-vmcb-tlb-ctrl": [vmcb("TLB ctrl", 1, "H16", "TLB_CTRL", 4)],
  "get-vmcb-exit-details": [
    vmcb("exitinfo1", 1, "H16", "EXITINFO1"),
    vmcb("exitinfo2", 1, "H16", "EXITINFO2"),
    vmcb("exitintinfo", 1, "H16", "EXITINTINFO"),
  ],
  "get-vmcb-virq": [vmcb("v_irq/tpr", 1, "H16", "VIRQ")],
  "get-avic-apic-bar": [vmcb("AVIC apic_bar", 1, "H16", "AVIC_BAR")],
  "get-avic-backing-page": [vmcb("AVIC backing page", 1, "H16", "AVIC_PAGE")],
  "get-avic-table": [
    vmcb("AVIC logical table", 1, "H16", "AVIC_LOGICAL"),
    vmcb("AVIC physical table", 1, "H16", "AVIC_PHYSICAL"),
  ],
  "get-eptp": [vmcb("rvi/npt", 2, "H16", "NPT_BASE")],
  "get-exception-bitmap": [
    vmcb("exception_bitmap", 1, "H", "EXC_INTERCEPT", 4),
  ],
  "get-io-bitmap-address": [vmcb("io_bitmap", 1, "H", "IO_PERM")],
  "get-tsc-offset": [vmcb("tsc_offset", 1, "H16", "TSC_OFFSET")],
  "get-msr-bitmap-address": [vmcb("msr_bitmap", 2, "H", "MSR_PERM")],
  "get-vmcb-asid": [vmcb("asid", 2, "H4", "ASID", 4)],
  "get-guest-pat": [vmcb("guest_pat", 2, "H16", "GUEST_PAT")],
  "get-guest-sysenter": [
    vmcb("guest_sysenter_cs", 1, "H", "SYSENTER_CS"),
    vmcb("guest_sysenter_sp", 1, "H", "SYSENTER_ESP"),
    vmcb("guest_sysenter_ip", 1, "H", "SYSENTER_EIP"),
  ],
  "get-exit-reason": [vmcb("exit_reason", 1, "H", "EXIT_REASON")],
};

function plainGetters(): [string, RegisterLine[]][] {
  return READABLE.map((label) => {
    const tabs = label === "rflags" ? 1 : 2;
    const register = registerNumber(label);
    return [`get-${label}`, [{ label, tabs, format: "H16", register }]];
  });
}

function selectorGetters(): [string, RegisterLine[]][] {
  return SELECTORS.map((label) => {
    const register = registerNumber(label);
    return [`get-${label}`, [{ label, tabs: 2, format: "H4", register }]];
  });
}

/** Options that print values, with their lines in order. */
export const REGISTER_GETTERS: ReadonlyMap<string, readonly RegisterLine[]> =
  new Map([
    ...plainGetters(),
    ...selectorGetters(),
    ...Object.entries(VMCB_GETTERS),
  ]);

function descriptorLine(name: (typeof DESCRIPTORS)[number]): DescriptorLine {
  const register = registerNumber(name);
  return register === REGISTER.GDTR || register === REGISTER.IDTR
    ? { label: name, tabs: 2, register, hasAccess: false }
    : { label: `${name} desc`, tabs: 1, register, hasAccess: true };
}

/** Options that print a segment's hidden part. */
export const DESCRIPTOR_GETTERS: ReadonlyMap<string, DescriptorLine> = new Map(
  DESCRIPTORS.map((name) => [`get-desc-${name}`, descriptorLine(name)]),
);
