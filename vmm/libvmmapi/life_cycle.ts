// libvmmapi: creating, opening, suspending and destroying machines, their topology and
// sets of vCPUs.

import { VmmError } from "../errno.ts";
import { CPU_SET, type CpuTopology } from "../ioctl.ts";
import { VmmRoot } from "../root/root.ts";
import type { VmmDevice } from "../vmm_device.ts";
import { call, type VmContext, VMMAPI_OPEN } from "./context.ts";

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
