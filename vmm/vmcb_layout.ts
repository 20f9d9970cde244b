// Where the fields of a virtual machine control block are (AMD APM vol. 2, appendix B),
// and the register numbers with which VM_GET_REGISTER reads parts of it.

/** Bytes of the control block. */
export const VMCB_BYTES = 4096;

/** Where the saved state begins, behind the control area. */
export const VMCB_STATE = 0x400;

/** Offsets of fields: the control area, then the saved state from 400h on. */
export const VMCB_OFFSET = {
  CR_INTERCEPT: 0x00,
  DR_INTERCEPT: 0x04,
  EXC_INTERCEPT: 0x08,
  INST1_INTERCEPT: 0x0c,
  INST2_INTERCEPT: 0x10,
  IO_PERM: 0x40,
  MSR_PERM: 0x48,
  TSC_OFFSET: 0x50,
  ASID: 0x58,
  TLB_CTRL: 0x5c,
  VIRQ: 0x60,
  INTR_SHADOW: 0x68,
  EXIT_REASON: 0x70,
  EXITINFO1: 0x78,
  EXITINFO2: 0x80,
  EXITINTINFO: 0x88,
  AVIC_BAR: 0x98,
  NPT_BASE: 0xb0,
  NRIP: 0xc8,
  AVIC_PAGE: 0xe0,
  AVIC_LOGICAL: 0xf0,
  AVIC_PHYSICAL: 0xf8,
  CPL: VMCB_STATE + 0xcb,
  EFER: VMCB_STATE + 0xd0,
  CR4: VMCB_STATE + 0x148,
  CR3: VMCB_STATE + 0x150,
  CR0: VMCB_STATE + 0x158,
  DR7: VMCB_STATE + 0x160,
  DR6: VMCB_STATE + 0x168,
  RFLAGS: VMCB_STATE + 0x170,
  RIP: VMCB_STATE + 0x178,
  RSP: VMCB_STATE + 0x1d8,
  RAX: VMCB_STATE + 0x1f8,
  STAR: VMCB_STATE + 0x200,
  LSTAR: VMCB_STATE + 0x208,
  CSTAR: VMCB_STATE + 0x210,
  SFMASK: VMCB_STATE + 0x218,
  KERNEL_GS_BASE: VMCB_STATE + 0x220,
  SYSENTER_CS: VMCB_STATE + 0x228,
  SYSENTER_ESP: VMCB_STATE + 0x230,
  SYSENTER_EIP: VMCB_STATE + 0x238,
  CR2: VMCB_STATE + 0x240,
  GUEST_PAT: VMCB_STATE + 0x268,
} as const;

const MARK = 0x8000_0000;
const BYTES_SHIFT = 16;
const BYTES_MASK = 15;
const OFFSET_MASK = VMCB_BYTES - 1;

/** The register number that stands for a part of the control block. */
export function vmcbAccess(offset: number, bytes: number): number {
  return (MARK | bytes << BYTES_SHIFT | offset) >>> 0;
}

/** A part of the control block. */
export interface VmcbPart {
  readonly offset: number;
  readonly bytes: number;
}

/** The part that a register number stands for; undefined for a register's own. */
export function vmcbPart(regnum: number): VmcbPart | undefined {
  if ((regnum & MARK) === 0) return undefined;
  const bytes = regnum >>> BYTES_SHIFT & BYTES_MASK;
  return { offset: regnum & OFFSET_MASK, bytes };
}
