// What `bhyvectl --get-msr-bitmap` prints: the MSRs that a guest can access without an
// exit. There is no bitmap behind it; the processor's own table of registers says it.

import { Cpuid } from "../vmm/cpu/cpuid.ts";
import { type DirectMsr, directMsrs } from "../vmm/cpu/msr.ts";
import { DEFAULT_CPUID } from "../vmm/cpu/options.ts";
import { VMCB_OFFSET, vmcbAccess } from "../vmm/vmcb_layout.ts";
import { vmGetRegister } from "../vmm/vmmapi.ts";
import { shortHex } from "./format.ts";
import type { Act } from "./session.ts";

const NAMES: ReadonlyMap<number, string> = new Map([
  [0x10, "MSR_TSC"],
  [0x174, "MSR_SYSENTER_CS_MSR"],
  [0x175, "MSR_SYSENTER_ESP_MSR"],
  [0x176, "MSR_SYSENTER_EIP_MSR"],
  [0x277, "MSR_PAT"],
  [0xc000_0080, "MSR_EFER"],
  [0xc000_0081, "MSR_STAR"],
  [0xc000_0082, "MSR_LSTAR"],
  [0xc000_0083, "MSR_CSTAR"],
  [0xc000_0084, "MSR_SF_MASK"],
  [0xc000_0100, "MSR_FSBASE"],
  [0xc000_0101, "MSR_GSBASE"],
  [0xc000_0102, "MSR_KGSBASE"],
]);

const NAME_COLUMNS = 20;

/** The line for one register. */
export function msrLine(
  { index, isWritable }: DirectMsr,
  vcpu: number,
): string {
  const name = NAMES.get(index) ?? `MSR       ${shortHex(BigInt(index))}`;
  const access = `R${isWritable ? "W" : "-"}`;
  return `${name.padEnd(NAME_COLUMNS)}[${vcpu}]\t\t${access}`;
}

// A bitmap has the three ranges side by side: 0, C0000000h and C0010000h.
const RANGE_MASK = 0x1fff;

function bitmapOrder(a: DirectMsr, b: DirectMsr): number {
  return (a.index & RANGE_MASK) - (b.index & RANGE_MASK) || a.index - b.index;
}

/** Prints the registers in a bitmap's order. */
export const printDirectMsrs: Act = async ({ vcpu, print }) => {
  // whether there is such a vCPU
  await vmGetRegister(vcpu, vmcbAccess(VMCB_OFFSET.MSR_PERM, 8));
  const { vendor } = DEFAULT_CPUID;
  const msrs = directMsrs({ vendor, cpuid: new Cpuid(DEFAULT_CPUID) });
  for (const msr of msrs.sort(bitmapOrder)) print(msrLine(msr, vcpu.vcpuid));
};
