// libvmmapi (VMMAPI_VERSION 0200): the functions that bhyve's programs call, thin and
// typed over a machine's device. Names are the C library's in camel case; results that
// C returns through pointers are returned; errors are thrown as `VmmError` with the
// errno. Left out: PCI passthrough, which needs devices of a FreeBSD host.

import type { VmEntry, VmExit } from "./cpu/exits.ts";
import type { SegmentDescriptor } from "./cpu/options.ts";
import { REGISTER } from "./cpu/registers.ts";
import { VmmError } from "./errno.ts";
import {
  CPU_SET,
  type CpuTopology,
  type GuestPaging,
  type MemoryMap,
  type MemorySegment,
  PROT,
  type VmIn,
  type VmOut,
  type VmRequest,
} from "./ioctl.ts";
import { parseMemsize } from "./memsize.ts";
import { VmmRoot } from "./root/root.ts";
import type { MappedMemory, VmmDevice } from "./vmm_device.ts";

/** Major and minor version of the library's interface, octal. */
export const VMMAPI_VERSION = 0o200;
/** RAM below 4 GiB ends here at most. */
export const VM_LOWMEM_LIMIT = 3 * 2 ** 30;
/** RAM above the PCI hole starts here. */
export const VM_HIGHMEM_BASE = 4 * 2 ** 30;

/** Flags of `vmOpenf`. */
export const VMMAPI_OPEN = {
  /** make the machine where there is none */
  CREATE: 1,
  /** reset the machine where there is one */
  REINIT: 2,
  /** monitor mode: the machine goes with its handle */
  CREATE_DESTROY_ON_CLOSE: 4,
} as const;

/** Flags of a machine's memory. */
export const VM_MEM_F = { INCORE: 1, WIRED: 2 } as const;

/** How `vmSetupMemory` maps memory into this process. */
export const VM_MMAP = { NONE: 0, ALL: 1 } as const;

/** An open machine: `struct vmctx`. */
export interface VmContext {
  /** where it is */
  readonly root: VmmRoot;
  /** its device */
  readonly device: VmmDevice;
  /** its name */
  readonly name: string;
  /** `VM_MEM_F` bits */
  memflags: number;
  /** bytes of memory below 4 GiB, once `vmSetupMemory` was called */
  lowmem: number;
  /** bytes of memory from 4 GiB on, once `vmSetupMemory` was called */
  highmem: number;
  /** what `vmSetupMemory` mapped */
  memory: MappedMemory | undefined;
}

/** A vCPU of an open machine: `struct vcpu`. */
export interface VcpuHandle {
  /** the machine */
  readonly ctx: VmContext;
  /** its number */
  readonly vcpuid: number;
}

function call<R extends VmRequest>(
  ctx: VmContext,
  request: R,
  payload: VmIn<R>,
): Promise<VmOut<R>> {
  return ctx.device.ioctl(request, payload);
}

// --- Life cycle --------------------------------------------------------------

/** Creates a machine. @throws {VmmError} EEXIST, EINVAL (name), EPERM, ENOMEM */
export async function vmCreate(
  name: string,
  root: VmmRoot = VmmRoot.default(),
): Promise<void> {
  await root.create(name);
}

/** Opens a machine. @throws {VmmError} ENOENT, EACCES */
export function vmOpen(
  name: string,
  root: VmmRoot = VmmRoot.default(),
): Promise<VmContext> {
  return vmOpenf(name, 0, root);
}

/** Opens a machine as `VMMAPI_OPEN` bits say. @throws {VmmError} */
export async function vmOpenf(
  name: string,
  flags: number,
  root: VmmRoot = VmmRoot.default(),
): Promise<VmContext> {
  if ((flags & VMMAPI_OPEN.CREATE_DESTROY_ON_CLOSE) !== 0) {
    const options = { monitor: true, create: true };
    return contextOf(root, await root.claim(name, options));
  }
  const mayReinit = (flags & VMMAPI_OPEN.REINIT) !== 0;
  const mayCreate = (flags & VMMAPI_OPEN.CREATE) !== 0;
  const isMade = mayCreate && await createUnlessThere(root, name, mayReinit);
  const ctx = contextOf(root, await root.open(name));
  if (mayReinit && !isMade) await vmReinit(ctx);
  return ctx;
}

/** The handle of a device that is open. */
export function contextOf(root: VmmRoot, device: VmmDevice): VmContext {
  return {
    root,
    device,
    name: device.name,
    memflags: 0,
    lowmem: 0,
    highmem: 0,
    memory: undefined,
  };
}

async function createUnlessThere(
  root: VmmRoot,
  name: string,
  mayBeThere: boolean,
): Promise<boolean> {
  try {
    await root.create(name);
    return true;
  } catch (error) {
    const isThere = error instanceof VmmError && error.code === "EEXIST";
    if (isThere && mayBeThere) return false;
    throw error;
  }
}

/** Lets go of a machine; it stays unless it was made to go with its handle. */
export async function vmClose(ctx: VmContext): Promise<void> {
  await ctx.device.close();
}

/** Destroys a machine and its handle. @throws {VmmError} EPERM, EINVAL */
export async function vmDestroy(ctx: VmContext): Promise<void> {
  await ctx.device.close();
  await ctx.root.destroy(ctx.name);
}

/** The machine's name. */
export function vmGetName(ctx: VmContext): string {
  return ctx.name;
}

/** Suspends the machine for a reason of `SUSPEND`. @throws {VmmError} EINVAL, EALREADY */
export async function vmSuspend(ctx: VmContext, how: number): Promise<void> {
  await call(ctx, "VM_SUSPEND", { how });
}

/** Puts the machine into its state after creation. @throws {VmmError} EBUSY */
export async function vmReinit(ctx: VmContext): Promise<void> {
  await call(ctx, "VM_REINIT", {});
}

/** Sets the topology. @throws {VmmError} EINVAL beyond the machine's `maxcpus` */
export async function vmSetTopology(
  ctx: VmContext,
  sockets: number,
  cores: number,
  threads: number,
  maxcpus = 0,
): Promise<void> {
  await call(ctx, "VM_SET_TOPOLOGY", { sockets, cores, threads, maxcpus });
}

/** The topology. */
export function vmGetTopology(ctx: VmContext): Promise<CpuTopology> {
  return call(ctx, "VM_GET_TOPOLOGY", {});
}

async function cpus(ctx: VmContext, which: number): Promise<readonly number[]> {
  return (await call(ctx, "VM_GET_CPUS", { which })).cpus;
}

/** The numbers of the activated vCPUs. */
export function vmActiveCpus(ctx: VmContext): Promise<readonly number[]> {
  return cpus(ctx, CPU_SET.ACTIVE);
}

/** The numbers of the vCPUs that stopped because the machine was suspended. */
export function vmSuspendedCpus(ctx: VmContext): Promise<readonly number[]> {
  return cpus(ctx, CPU_SET.SUSPENDED);
}

/** The numbers of the vCPUs that a debugger holds. */
export function vmDebugCpus(ctx: VmContext): Promise<readonly number[]> {
  return cpus(ctx, CPU_SET.DEBUG);
}

// --- Memory ------------------------------------------------------------------

/** Bytes that a size such as `512M` stands for. @throws {VmmError} EINVAL */
export function vmParseMemsize(text: string): number {
  const size = parseMemsize(text);
  if (size === undefined) {
    throw new VmmError("EINVAL", `invalid memory size '${text}'`);
  }
  return size;
}

/**
 * Gives the machine its system memory: below 3 GiB, and the rest from 4 GiB on.
 *
 * @param size bytes
 * @param style of `VM_MMAP`: whether this process maps it, too
 * @throws {VmmError} EINVAL where the machine has memory of another size
 */
export async function vmSetupMemory(
  ctx: VmContext,
  size: number,
  style: number = VM_MMAP.ALL,
): Promise<void> {
  const lowmem = Math.min(size, VM_LOWMEM_LIMIT);
  const highmem = size - lowmem;
  await allocate(ctx, { segid: 0, len: size, name: "" });
  const map = (gpa: number, segoff: number, len: number) =>
    vmMmapMemseg(ctx, BigInt(gpa), 0, segoff, len, PROT.ALL);
  await map(0, 0, lowmem);
  if (highmem > 0) await map(VM_HIGHMEM_BASE, lowmem, highmem);
  ctx.lowmem = lowmem;
  ctx.highmem = highmem;
  if (style === VM_MMAP.ALL) ctx.memory = await ctx.device.mapMemory();
}

// A segment that is there already with the same size is as good as a new one.
async function allocate(ctx: VmContext, segment: MemorySegment): Promise<void> {
  try {
    await call(ctx, "VM_ALLOC_MEMSEG", segment);
  } catch (error) {
    if (!(error instanceof VmmError) || error.code !== "EEXIST") throw error;
  }
}

/** Sets `VM_MEM_F` bits, for mappings to come. */
export function vmSetMemflags(ctx: VmContext, flags: number): void {
  ctx.memflags = flags;
}

/** The `VM_MEM_F` bits. */
export function vmGetMemflags(ctx: VmContext): number {
  return ctx.memflags;
}

/** Bytes of memory below 4 GiB at most. */
export function vmGetLowmemLimit(_ctx: VmContext): number {
  return VM_LOWMEM_LIMIT;
}

/** Bytes of system memory below 4 GiB. */
export function vmGetLowmemSize(ctx: VmContext): number {
  return ctx.lowmem;
}

/** Bytes of system memory above 4 GiB. */
export function vmGetHighmemSize(ctx: VmContext): number {
  return ctx.highmem;
}

/** Where memory above the PCI hole starts. */
export function vmGetHighmemBase(_ctx: VmContext): number {
  return VM_HIGHMEM_BASE;
}

/** A view of memory that `vmSetupMemory` mapped; undefined where it is not all RAM. */
export function vmMapGpa(
  ctx: VmContext,
  gpa: number,
  len: number,
): Uint8Array | undefined {
  return ctx.memory?.view(gpa, len);
}

/** Reads guest-physical memory. @throws {VmmError} EFAULT */
export function vmReadGpa(
  ctx: VmContext,
  gpa: bigint,
  len: number,
): Promise<Uint8Array> {
  return ctx.device.read(gpa, len);
}

/** Writes guest-physical memory. @throws {VmmError} EFAULT */
export function vmWriteGpa(
  ctx: VmContext,
  gpa: bigint,
  bytes: Uint8Array,
): Promise<void> {
  return ctx.device.write(gpa, bytes);
}

/** A memory segment; one with length 0 is not there. @throws {VmmError} EINVAL */
export function vmGetMemseg(
  ctx: VmContext,
  segid: number,
): Promise<MemorySegment> {
  return call(ctx, "VM_GET_MEMSEG", { segid });
}

const NAME_MAX = 15;

/**
 * Makes a segment of device memory.
 *
 * @throws {VmmError} EINVAL for an empty name, ENAMETOOLONG for more than 15 characters
 */
export async function vmCreateDevmem(
  ctx: VmContext,
  segid: number,
  name: string,
  len: number,
): Promise<void> {
  if (name === "") throw new VmmError("EINVAL");
  if (name.length > NAME_MAX) throw new VmmError("ENAMETOOLONG");
  await allocate(ctx, { segid, len, name });
}

/**
 * Maps a part of a segment at a guest-physical address. The same mapping again is no
 * error.
 *
 * @throws {VmmError} EINVAL, EEXIST where it overlaps another, ENOSPC
 */
export async function vmMmapMemseg(
  ctx: VmContext,
  gpa: bigint,
  segid: number,
  off: number,
  len: number,
  prot: number,
): Promise<void> {
  const flags = (ctx.memflags & VM_MEM_F.WIRED) === 0 ? 0 : 1;
  const wanted = { gpa, segid, segoff: off, len, prot, flags };
  const next = await vmMmapGetnext(ctx, gpa);
  if (next !== undefined && next.gpa < gpa + BigInt(len)) {
    const isSame = next.gpa === gpa && next.segid === segid &&
      next.segoff === off && next.len === len && next.prot === prot;
    if (isSame) return;
    throw new VmmError("EEXIST");
  }
  await call(ctx, "VM_MMAP_MEMSEG", wanted);
}

/** Removes a mapping. @throws {VmmError} EINVAL where there is no such one */
export async function vmMunmapMemseg(
  ctx: VmContext,
  gpa: bigint,
  len: number,
): Promise<void> {
  await call(ctx, "VM_MUNMAP_MEMSEG", { gpa, len });
}

/** The first mapping that ends above an address; undefined where there is none. */
export async function vmMmapGetnext(
  ctx: VmContext,
  gpa: bigint,
): Promise<MemoryMap | undefined> {
  try {
    return await call(ctx, "VM_MMAP_GETNEXT", { gpa });
  } catch (error) {
    if (error instanceof VmmError && error.code === "ENOENT") return undefined;
    throw error;
  }
}

/** The entries of the nested page table for an address, the top one first. */
export async function vmGetGpaPmap(
  ctx: VmContext,
  gpa: bigint,
): Promise<readonly bigint[]> {
  return (await call(ctx, "VM_GET_GPA_PMAP", { gpa })).pte;
}

/** A translated address; `fault`: the guest got an exception instead. */
export interface Translation {
  /** whether there was a fault */
  readonly fault: boolean;
  /** guest-physical address */
  readonly gpa: bigint;
}

/** Translates a linear address; a fault is injected. @throws {VmmError} EFAULT */
export function vmGla2gpa(
  vcpu: VcpuHandle,
  paging: GuestPaging,
  gla: bigint,
  prot: number,
): Promise<Translation> {
  const { vcpuid } = vcpu;
  return call(vcpu.ctx, "VM_GLA2GPA", { vcpuid, paging, gla, prot });
}

/** Translates a linear address; the guest does not notice. @throws {VmmError} EFAULT */
export function vmGla2gpaNofault(
  vcpu: VcpuHandle,
  paging: GuestPaging,
  gla: bigint,
  prot: number,
): Promise<Translation> {
  const { vcpuid } = vcpu;
  return call(vcpu.ctx, "VM_GLA2GPA_NOFAULT", { vcpuid, paging, gla, prot });
}

// --- vCPUs -------------------------------------------------------------------

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

// --- Interrupt controllers and kernel devices --------------------------------

/** Raises an edge interrupt of a local APIC. @throws {VmmError} EINVAL vector */
export async function vmLapicIrq(
  { ctx, vcpuid }: VcpuHandle,
  vector: number,
): Promise<void> {
  await call(ctx, "VM_LAPIC_IRQ", { cpuid: vcpuid, vector });
}

/** Raises a local interrupt: an index in the local vector table. @throws {VmmError} */
export async function vmLapicLocalIrq(
  { ctx, vcpuid }: VcpuHandle,
  vector: number,
): Promise<void> {
  await call(ctx, "VM_LAPIC_LOCAL_IRQ", { cpuid: vcpuid, vector });
}

/** Sends a message-signalled interrupt. @throws {VmmError} EINVAL address */
export async function vmLapicMsi(
  ctx: VmContext,
  addr: bigint,
  msg: bigint,
): Promise<void> {
  await call(ctx, "VM_LAPIC_MSI", { addr, msg });
}

/** Asserts a pin of the I/O APIC. @throws {VmmError} EINVAL */
export async function vmIoapicAssertIrq(
  ctx: VmContext,
  irq: number,
): Promise<void> {
  await call(ctx, "VM_IOAPIC_ASSERT_IRQ", { irq });
}

/** Deasserts a pin of the I/O APIC. @throws {VmmError} EINVAL */
export async function vmIoapicDeassertIrq(
  ctx: VmContext,
  irq: number,
): Promise<void> {
  await call(ctx, "VM_IOAPIC_DEASSERT_IRQ", { irq });
}

/** Asserts and deasserts a pin of the I/O APIC. @throws {VmmError} EINVAL */
export async function vmIoapicPulseIrq(
  ctx: VmContext,
  irq: number,
): Promise<void> {
  await call(ctx, "VM_IOAPIC_PULSE_IRQ", { irq });
}

/** How many pins the I/O APIC has. */
export async function vmIoapicPincount(ctx: VmContext): Promise<number> {
  return (await call(ctx, "VM_IOAPIC_PINCOUNT", {})).pincount;
}

/** Asserts an ISA interrupt, and a pin of the I/O APIC unless -1. */
export async function vmIsaAssertIrq(
  ctx: VmContext,
  atpicIrq: number,
  ioapicIrq: number,
): Promise<void> {
  const payload = { atpic_irq: atpicIrq, ioapic_irq: ioapicIrq };
  await call(ctx, "VM_ISA_ASSERT_IRQ", payload);
}

/** Deasserts an ISA interrupt, and a pin of the I/O APIC unless -1. */
export async function vmIsaDeassertIrq(
  ctx: VmContext,
  atpicIrq: number,
  ioapicIrq: number,
): Promise<void> {
  const payload = { atpic_irq: atpicIrq, ioapic_irq: ioapicIrq };
  await call(ctx, "VM_ISA_DEASSERT_IRQ", payload);
}

/** Pulses an ISA interrupt, and a pin of the I/O APIC unless -1. */
export async function vmIsaPulseIrq(
  ctx: VmContext,
  atpicIrq: number,
  ioapicIrq: number,
): Promise<void> {
  const payload = { atpic_irq: atpicIrq, ioapic_irq: ioapicIrq };
  await call(ctx, "VM_ISA_PULSE_IRQ", payload);
}

/** Makes an ISA interrupt edge- (0) or level-triggered (1). @throws {VmmError} */
export async function vmIsaSetIrqTrigger(
  ctx: VmContext,
  atpicIrq: number,
  trigger: number,
): Promise<void> {
  await call(ctx, "VM_ISA_SET_IRQ_TRIGGER", { atpic_irq: atpicIrq, trigger });
}

/** The vCPU with an APIC ID: they are the same. */
export function vmApicid2vcpu(_ctx: VmContext, apicid: number): number {
  return apicid;
}

/** An access to a register of a device that vmm(4) itself has. */
export interface KernemuAccess {
  /** guest-physical address */
  readonly gpa: bigint;
  /** 1, 2, 4 or 8 */
  readonly bytes: number;
}

function widthOf(bytes: number): number {
  const width = [1, 2, 4, 8].indexOf(bytes);
  if (width < 0) throw new VmmError("EINVAL");
  return width;
}

/** Reads a register of the local APIC, I/O APIC or HPET. @throws {VmmError} EINVAL */
export async function vmReadKernemuDevice(
  { ctx, vcpuid }: VcpuHandle,
  { gpa, bytes }: KernemuAccess,
): Promise<bigint> {
  const payload = { vcpuid, gpa, access_width: widthOf(bytes) };
  return (await call(ctx, "VM_GET_KERNEMU_DEV", payload)).value;
}

/** Writes a register of the local APIC, I/O APIC or HPET. @throws {VmmError} EINVAL */
export async function vmWriteKernemuDevice(
  { ctx, vcpuid }: VcpuHandle,
  { gpa, bytes }: KernemuAccess,
  value: bigint,
): Promise<void> {
  const payload = { vcpuid, gpa, access_width: widthOf(bytes), value };
  await call(ctx, "VM_SET_KERNEMU_DEV", payload);
}

/** The low half of the HPET's capability register. */
export async function vmGetHpetCapabilities(ctx: VmContext): Promise<number> {
  return (await call(ctx, "VM_GET_HPET_CAPABILITIES", {})).capabilities;
}

/** Reads a byte of the clock's memory. @throws {VmmError} EINVAL beyond 127 */
export async function vmRtcRead(
  ctx: VmContext,
  offset: number,
): Promise<number> {
  return (await call(ctx, "VM_RTC_READ", { offset })).value;
}

/** Writes a byte of the clock's memory. @throws {VmmError} EINVAL for clock registers */
export async function vmRtcWrite(
  ctx: VmContext,
  offset: number,
  value: number,
): Promise<void> {
  await call(ctx, "VM_RTC_WRITE", { offset, value });
}

/** The clock's time, in seconds since 1970. */
export async function vmRtcGettime(ctx: VmContext): Promise<bigint> {
  return (await call(ctx, "VM_RTC_GETTIME", {})).secs;
}

/** Sets the clock. */
export async function vmRtcSettime(
  ctx: VmContext,
  secs: bigint,
): Promise<void> {
  await call(ctx, "VM_RTC_SETTIME", { secs });
}

// --- Start states ------------------------------------------------------------

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
