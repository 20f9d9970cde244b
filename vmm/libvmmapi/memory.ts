// libvmmapi: system memory and device memory, mappings, translations.

import { VmmError } from "../errno.ts";
import {
  type GuestPaging,
  type MemoryMap,
  type MemorySegment,
  PROT,
} from "../ioctl.ts";
import { parseMemsize } from "../memsize.ts";
import {
  call,
  type VcpuHandle,
  VM_HIGHMEM_BASE,
  VM_LOWMEM_LIMIT,
  VM_MEM_F,
  VM_MMAP,
  type VmContext,
} from "./context.ts";

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
