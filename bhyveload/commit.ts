// The machine that is loaded: made or reset, given its memory and the boot vCPU's
// state. One that was made here is destroyed again where something fails; one that was
// there stays as it was.

import { VmmError } from "../vmm/errno.ts";
import type { StartState } from "../vmm/loader/mod.ts";
import { requireUse } from "../vmm/root/access.ts";
import { requireName } from "../vmm/root/paths.ts";
import type { VmmRoot } from "../vmm/root/root.ts";
import {
  vcpuReset,
  VM_MEM_F,
  VM_MMAP,
  vmClose,
  type VmContext,
  vmCreate,
  vmGetMemseg,
  vmOpen,
  vmReinit,
  vmSetDesc,
  vmSetMemflags,
  vmSetRegisterSet,
  vmSetupMemory,
  vmVcpuOpen,
} from "../vmm/vmmapi.ts";
import type { LoadCommand } from "./options.ts";
import type { Staged } from "./stage.ts";

/** A step that failed, by the name of the library's function, as perror(3) says it. */
export class MachineError extends Error {
  override readonly name = "MachineError";
}

async function step<T>(
  name: string,
  act: () => T | Promise<T>,
): Promise<T> {
  try {
    return await act();
  } catch (error) {
    if (!(error instanceof VmmError)) throw error;
    throw new MachineError(`${name}: ${error.message}`, { cause: error });
  }
}

/**
 * Checks whether this process may have a machine of a name, before anything is read
 * for it.
 *
 * @throws {MachineError} for a name that cannot be, or a permission that is missing
 */
export async function requireMachine(
  name: string,
  { paths }: VmmRoot,
): Promise<void> {
  await step("vm_create", () => requireName(name));
  await step("vm_open", () => requireUse(paths, name));
}

async function create(name: string, root: VmmRoot): Promise<boolean> {
  try {
    await vmCreate(name, root);
    return true;
  } catch (error) {
    if (error instanceof VmmError && error.code === "EEXIST") return false;
    throw error;
  }
}

const SYSTEM_MEMORY = 0;
const MIB = 2 ** 20;

// Its memory cannot change; better to say so before it is reset.
async function requireSize(ctx: VmContext, bytes: number): Promise<void> {
  const { len } = await vmGetMemseg(ctx, SYSTEM_MEMORY);
  if (len === 0 || len === bytes) return;
  throw new VmmError(
    "EINVAL",
    `${ctx.name} has ${len / MIB} MiB of memory, -m says ${
      bytes / MIB
    } MiB: give the same size, or destroy the machine first`,
  );
}

function memflags({ inCore, wired }: LoadCommand): number {
  return (inCore ? VM_MEM_F.INCORE : 0) | (wired ? VM_MEM_F.WIRED : 0);
}

async function setStart(ctx: VmContext, state: StartState): Promise<void> {
  const vcpu = vmVcpuOpen(ctx, 0);
  await vcpuReset(vcpu);
  await vmSetRegisterSet(
    vcpu,
    state.registers.map(([register]) => register),
    state.registers.map(([, value]) => value),
  );
  for (const [register, descriptor] of state.descriptors) {
    await vmSetDesc(vcpu, register, descriptor);
  }
}

async function load(
  ctx: VmContext,
  command: LoadCommand,
  { memory, state }: Staged,
): Promise<void> {
  vmSetMemflags(ctx, memflags(command));
  await step(
    "vm_setup_memory",
    () => vmSetupMemory(ctx, command.memory, VM_MMAP.ALL),
  );
  const { memory: mapped } = ctx;
  if (mapped === undefined) {
    throw new MachineError("vm_setup_memory: no memory");
  }
  memory.applyTo(mapped);
  await step("vm_set_register", () => setStart(ctx, state));
}

async function reset(ctx: VmContext, bytes: number): Promise<void> {
  await step("vm_setup_memory", () => requireSize(ctx, bytes));
  await step("vm_reinit", () => vmReinit(ctx));
}

/**
 * Makes a machine what was staged.
 *
 * @throws {MachineError} where the machine cannot be had or changed
 */
export async function commit(
  command: LoadCommand,
  staged: Staged,
  root: VmmRoot,
): Promise<void> {
  const { name, memory } = command;
  const isNew = await step("vm_create", () => create(name, root));
  try {
    const ctx = await step("vm_open", () => vmOpen(name, root));
    try {
      // held from here on, and what is done to it is kept by closing alone
      await step("vm_open", () => ctx.device.mapMemory());
      if (!isNew) await reset(ctx, memory);
      await load(ctx, command, staged);
      await step("vm_close", () => vmClose(ctx));
    } finally {
      await ctx.device.abandon();
    }
  } catch (error) {
    // what went wrong first is what is told
    if (isNew) await root.destroy(name).catch(() => {});
    throw error;
  }
}
