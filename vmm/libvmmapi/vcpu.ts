// libvmmapi: vCPUs: running, registers, capabilities, events, counters.

import type { VmEntry, VmExit } from "../cpu/exits.ts";
import type { SegmentDescriptor } from "../cpu/options.ts";
import { VmmError } from "../errno.ts";
import { call, type VcpuHandle, type VmContext } from "./context.ts";

/** A handle of a vCPU; whether there is such a one shows in its use. */
export function vmVcpuOpen(ctx: VmContext, vcpuid: number): VcpuHandle {
  return { ctx, vcpuid };
}

/** The number of a vCPU. */
export function vcpuId(vcpu: VcpuHandle): number {
  return vcpu.vcpuid;
}

/** Activates a vCPU. @throws {VmmError} EBUSY where it is, EINVAL out of range */
export async function vmActivateCpu(
  { ctx, vcpuid }: VcpuHandle,
): Promise<void> {
  await call(ctx, "VM_ACTIVATE_CPU", { vcpuid });
}

/** Holds a vCPU for a debugger. @throws {VmmError} EINVAL where it is not active */
export async function vmSuspendCpu({ ctx, vcpuid }: VcpuHandle): Promise<void> {
  await call(ctx, "VM_SUSPEND_CPU", { vcpuid });
}

/** Lets a held vCPU go on. @throws {VmmError} EINVAL where it is not held */
export async function vmResumeCpu({ ctx, vcpuid }: VcpuHandle): Promise<void> {
  await call(ctx, "VM_RESUME_CPU", { vcpuid });
}

/** Holds every vCPU. */
export async function vmSuspendAllCpus(ctx: VmContext): Promise<void> {
  await call(ctx, "VM_SUSPEND_CPU", { vcpuid: -1 });
}

/** Lets every vCPU go on. */
export async function vmResumeAllCpus(ctx: VmContext): Promise<void> {
  await call(ctx, "VM_RESUME_CPU", { vcpuid: -1 });
}

/**
 * Runs a vCPU of a machine at rest until an exit. The machine is this process's alone
 * from then on, until `vmClose`.
 *
 * @param entry the answer to the exit before, where it asks for one; without it, the
 *   instruction that exited is tried again
 * @throws {VmmError} EINVAL where it is not active, EBUSY where another process has it
 */
export async function vmRun(
  { ctx, vcpuid }: VcpuHandle,
  entry: VmEntry | null = null,
): Promise<VmExit> {
  return (await call(ctx, "VM_RUN", { cpuid: vcpuid, entry })).vm_exit;
}

/** Reads a register by number. @throws {VmmError} EINVAL */
export async function vmGetRegister(
  { ctx, vcpuid }: VcpuHandle,
  regnum: number,
): Promise<bigint> {
  const payload = { cpuid: vcpuid, regnum };
  return (await call(ctx, "VM_GET_REGISTER", payload)).regval;
}

/** Writes a register by number. @throws {VmmError} EINVAL */
export async function vmSetRegister(
  { ctx, vcpuid }: VcpuHandle,
  regnum: number,
  regval: bigint,
): Promise<void> {
  await call(ctx, "VM_SET_REGISTER", { cpuid: vcpuid, regnum, regval });
}

/** Reads registers by number. @throws {VmmError} EINVAL */
export async function vmGetRegisterSet(
  { ctx, vcpuid }: VcpuHandle,
  regnums: readonly number[],
): Promise<readonly bigint[]> {
  const payload = { cpuid: vcpuid, regnums };
  return (await call(ctx, "VM_GET_REGISTER_SET", payload)).regvals;
}

/** Writes registers by number. @throws {VmmError} EINVAL */
export async function vmSetRegisterSet(
  { ctx, vcpuid }: VcpuHandle,
  regnums: readonly number[],
  regvals: readonly bigint[],
): Promise<void> {
  const payload = { cpuid: vcpuid, regnums, regvals };
  await call(ctx, "VM_SET_REGISTER_SET", payload);
}

/** Reads a segment's hidden part, or GDTR or IDTR. @throws {VmmError} EINVAL */
export async function vmGetDesc(
  { ctx, vcpuid }: VcpuHandle,
  regnum: number,
): Promise<SegmentDescriptor> {
  const payload = { cpuid: vcpuid, regnum };
  return (await call(ctx, "VM_GET_SEGMENT_DESCRIPTOR", payload)).desc;
}

/** Writes a segment's hidden part, or GDTR or IDTR. @throws {VmmError} EINVAL */
export async function vmSetDesc(
  { ctx, vcpuid }: VcpuHandle,
  regnum: number,
  desc: SegmentDescriptor,
): Promise<void> {
  const payload = { cpuid: vcpuid, regnum, desc };
  await call(ctx, "VM_SET_SEGMENT_DESCRIPTOR", payload);
}

/** Reads a capability. @throws {VmmError} EINVAL unknown, ENOENT not available */
export async function vmGetCapability(
  { ctx, vcpuid }: VcpuHandle,
  captype: number,
): Promise<number> {
  const payload = { cpuid: vcpuid, captype };
  return (await call(ctx, "VM_GET_CAPABILITY", payload)).capval;
}

/** Sets a capability. @throws {VmmError} EINVAL unknown, ENOENT not available */
export async function vmSetCapability(
  { ctx, vcpuid }: VcpuHandle,
  captype: number,
  capval: number,
): Promise<void> {
  await call(ctx, "VM_SET_CAPABILITY", { cpuid: vcpuid, captype, capval });
}

/** Names of capabilities by number. */
export const CAPABILITY_NAMES: readonly string[] = [
  ...["hlt_exit", "mtrap_exit", "pause_exit", "unrestricted_guest"],
  ...["enable_invpcid", "bpt_exit", "rdpid", "rdtscp", "ipi_exit"],
  ...["mask_hwintr", "rflags_tf"],
];

/** The number of a capability; -1 for an unknown name. */
export function vmCapabilityName2type(name: string): number {
  return CAPABILITY_NAMES.indexOf(name);
}

/** The name of a capability; undefined for an unknown number. */
export function vmCapabilityType2name(type: number): string | undefined {
  return CAPABILITY_NAMES[type];
}

/** Whether a vCPU's local APIC may be in x2APIC mode: 0 or 1. */
export async function vmGetX2apicState(
  { ctx, vcpuid }: VcpuHandle,
): Promise<number> {
  return (await call(ctx, "VM_GET_X2APIC_STATE", { cpuid: vcpuid })).state;
}

/** Lets a vCPU's local APIC be in x2APIC mode or not. @throws {VmmError} EINVAL */
export async function vmSetX2apicState(
  { ctx, vcpuid }: VcpuHandle,
  state: number,
): Promise<void> {
  await call(ctx, "VM_SET_X2APIC_STATE", { cpuid: vcpuid, state });
}

/** An exception to inject. */
export interface InjectedException {
  /** 0 to 31 but not 8 */
  readonly vector: number;
  /** undefined where it pushes none */
  readonly errorCode?: number;
  /** whether the instruction runs again after it; the default is that it does */
  readonly restart?: boolean;
}

/** Injects an exception. @throws {VmmError} EINVAL vector or #DF, EBUSY one waits */
export async function vmInjectException(
  { ctx, vcpuid }: VcpuHandle,
  { vector, errorCode, restart = true }: InjectedException,
): Promise<void> {
  await call(ctx, "VM_INJECT_EXCEPTION", {
    cpuid: vcpuid,
    vector,
    error_code: errorCode ?? 0,
    error_code_valid: errorCode !== undefined,
    restart_instruction: restart,
  });
}

/** Latches a non-maskable interrupt. */
export async function vmInjectNmi({ ctx, vcpuid }: VcpuHandle): Promise<void> {
  await call(ctx, "VM_INJECT_NMI", { cpuid: vcpuid });
}

/** The event at the last exit and the pending one, as intinfo words. */
export async function vmGetIntinfo(
  { ctx, vcpuid }: VcpuHandle,
): Promise<{ readonly info1: bigint; readonly info2: bigint }> {
  return await call(ctx, "VM_GET_INTINFO", { vcpuid });
}

/** Sets the event that is delivered next. @throws {VmmError} EINVAL malformed */
export async function vmSetIntinfo(
  { ctx, vcpuid }: VcpuHandle,
  info1: bigint,
): Promise<void> {
  await call(ctx, "VM_SET_INTINFO", { vcpuid, info1 });
}

/** Makes a vCPU do its last instruction again. @throws {VmmError} EINVAL */
export async function vmRestartInstruction(
  { ctx, vcpuid }: VcpuHandle,
): Promise<void> {
  await call(ctx, "VM_RESTART_INSTRUCTION", { vcpuid });
}

/** A vCPU's counters. */
export interface VcpuStatistics {
  /** seconds since 1970 */
  readonly time: number;
  /** by index; `vmGetStatDesc` says what each is */
  readonly counters: readonly bigint[];
}

const MOST_STATS = 64;
const US_PER_S = 1e6;

/** Reads a vCPU's counters. @throws {VmmError} EINVAL */
export async function vmGetStats(
  { ctx, vcpuid }: VcpuHandle,
): Promise<VcpuStatistics> {
  const counters: bigint[] = [];
  for (;;) {
    const payload = { cpuid: vcpuid, index: counters.length };
    const { tv, statbuf } = await call(ctx, "VM_STATS", payload);
    counters.push(...statbuf);
    if (statbuf.length < MOST_STATS) {
      return { time: tv[0] + tv[1] / US_PER_S, counters };
    }
  }
}

/** What a counter counts; undefined for an index that there is not. */
export async function vmGetStatDesc(
  ctx: VmContext,
  index: number,
): Promise<string | undefined> {
  try {
    return (await call(ctx, "VM_STAT_DESC", { index })).desc;
  } catch (error) {
    if (error instanceof VmmError && error.code === "EINVAL") return undefined;
    throw error;
  }
}
