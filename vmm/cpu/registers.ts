// vmm(4)'s register numbers and where each lies in memory 0.

import {
  CR0,
  CR2,
  CR3,
  CR4,
  CR8,
  DR,
  EFER,
  gprAddress,
  KERNEL_GS_BASE,
  PDPTE,
  RIP,
} from "./state.ts";

/** Registers by their number in vmm(4) (`enum vm_reg_name`). */
export const REGISTER = {
  RAX: 0,
  RBX: 1,
  RCX: 2,
  RDX: 3,
  RSI: 4,
  RDI: 5,
  RBP: 6,
  R8: 7,
  R9: 8,
  R10: 9,
  R11: 10,
  R12: 11,
  R13: 12,
  R14: 13,
  R15: 14,
  CR0: 15,
  CR3: 16,
  CR4: 17,
  DR7: 18,
  RSP: 19,
  RIP: 20,
  RFLAGS: 21,
  ES: 22,
  CS: 23,
  SS: 24,
  DS: 25,
  FS: 26,
  GS: 27,
  LDTR: 28,
  TR: 29,
  IDTR: 30,
  GDTR: 31,
  EFER: 32,
  CR2: 33,
  PDPTE0: 34,
  PDPTE1: 35,
  PDPTE2: 36,
  PDPTE3: 37,
  INTR_SHADOW: 38,
  DR0: 39,
  DR1: 40,
  DR2: 41,
  DR3: 42,
  DR6: 43,
  ENTRY_INST_LENGTH: 44,
  FS_BASE: 45,
  GS_BASE: 46,
  KGS_BASE: 47,
  TPR: 48,
} as const;

/** A register's number in vmm(4). */
export type RegisterNumber = (typeof REGISTER)[keyof typeof REGISTER];

/** The general registers' vmm(4) numbers in hardware numbering. */
export const GPR_NUMBERS: readonly RegisterNumber[] = [
  ...[REGISTER.RAX, REGISTER.RCX, REGISTER.RDX, REGISTER.RBX],
  ...[REGISTER.RSP, REGISTER.RBP, REGISTER.RSI, REGISTER.RDI],
  ...[REGISTER.R8, REGISTER.R9, REGISTER.R10, REGISTER.R11],
  ...[REGISTER.R12, REGISTER.R13, REGISTER.R14, REGISTER.R15],
];

/** Segment registers' vmm(4) numbers in the order of their slots. */
export const SEGMENT_NUMBERS: readonly RegisterNumber[] = [
  ...[REGISTER.ES, REGISTER.CS, REGISTER.SS, REGISTER.DS, REGISTER.FS],
  ...[REGISTER.GS, REGISTER.LDTR, REGISTER.TR, REGISTER.GDTR, REGISTER.IDTR],
];

/** Addresses of the registers that are one plain 64-bit word of memory 0. */
export const PLAIN_REGISTERS: ReadonlyMap<number, number> = new Map([
  ...GPR_NUMBERS.map((n, i): [number, number] => [n, gprAddress(i)]),
  [REGISTER.RIP, RIP],
  [REGISTER.CR0, CR0],
  [REGISTER.CR2, CR2],
  [REGISTER.CR3, CR3],
  [REGISTER.CR4, CR4],
  [REGISTER.TPR, CR8],
  [REGISTER.DR0, DR],
  [REGISTER.DR1, DR + 8],
  [REGISTER.DR2, DR + 16],
  [REGISTER.DR3, DR + 24],
  [REGISTER.DR6, DR + 48],
  [REGISTER.DR7, DR + 56],
  [REGISTER.EFER, EFER],
  [REGISTER.PDPTE0, PDPTE],
  [REGISTER.PDPTE1, PDPTE + 8],
  [REGISTER.PDPTE2, PDPTE + 16],
  [REGISTER.PDPTE3, PDPTE + 24],
  [REGISTER.KGS_BASE, KERNEL_GS_BASE],
]);
