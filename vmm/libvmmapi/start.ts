// libvmmapi: the state of a vCPU after power-on.

import type { SegmentDescriptor } from "../cpu/options.ts";
import { REGISTER } from "../cpu/registers.ts";
import type { VcpuHandle } from "./context.ts";
import { vmSetDesc, vmSetRegisterSet } from "./vcpu.ts";

const RESET_DATA = { base: 0n, limit: 0xffff, access: 0x93 };

const RESET_DESCRIPTORS: readonly (readonly [number, SegmentDescriptor])[] = [
  [REGISTER.CS, { base: 0xffff_0000n, limit: 0xffff, access: 0x93 }],
  [REGISTER.DS, RESET_DATA],
  [REGISTER.ES, RESET_DATA],
  [REGISTER.FS, RESET_DATA],
  [REGISTER.GS, RESET_DATA],
  [REGISTER.SS, RESET_DATA],
  [REGISTER.GDTR, { base: 0n, limit: 0xffff, access: 0 }],
  [REGISTER.IDTR, { base: 0n, limit: 0xffff, access: 0 }],
  [REGISTER.LDTR, { base: 0n, limit: 0xffff, access: 0x82 }],
  [REGISTER.TR, { base: 0n, limit: 0, access: 0x8b }],
];

const RESET_ZERO: readonly number[] = [
  ...[REGISTER.RAX, REGISTER.RBX, REGISTER.RCX, REGISTER.RSI, REGISTER.RDI],
  ...[REGISTER.RBP, REGISTER.RSP, REGISTER.R8, REGISTER.R9, REGISTER.R10],
  ...[REGISTER.R11, REGISTER.R12, REGISTER.R13, REGISTER.R14, REGISTER.R15],
  ...[REGISTER.CR2, REGISTER.CR3, REGISTER.CR4, REGISTER.EFER],
  ...[REGISTER.DS, REGISTER.ES, REGISTER.FS, REGISTER.GS, REGISTER.SS],
  ...[REGISTER.LDTR, REGISTER.TR, REGISTER.INTR_SHADOW],
];

const RESET_VALUES: readonly (readonly [number, bigint])[] = [
  ...RESET_ZERO.map((register) => [register, 0n] as const),
  [REGISTER.RFLAGS, 2n],
  [REGISTER.RIP, 0xfff0n],
  [REGISTER.CR0, 0x20n],
  [REGISTER.RDX, 0xf00n],
  [REGISTER.CS, 0xf000n],
  [REGISTER.DR6, 0xffff_0ff0n],
  [REGISTER.DR7, 0x400n],
];

/** Puts a vCPU into its state after power-on. */
export async function vcpuReset(vcpu: VcpuHandle): Promise<void> {
  await vmSetRegisterSet(
    vcpu,
    RESET_VALUES.map(([register]) => register),
    RESET_VALUES.map(([, value]) => value),
  );
  for (const [register, descriptor] of RESET_DESCRIPTORS) {
    await vmSetDesc(vcpu, register, descriptor);
  }
}
