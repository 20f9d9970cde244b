// A machine's threads as a session runs them. Requests about the machine's description
// are answered from the machine at rest, which does not change while it runs.

import type { GuestMemory } from "../vmm/cpu/guest_memory.ts";
import { VmmError } from "../vmm/errno.ts";
import {
  VM_IOCTLS,
  type VmIn,
  type VmOut,
  type VmRequest,
} from "../vmm/ioctl.ts";
import type { RestingMachine } from "../vmm/root/resting_machine.ts";
import { changesDescription } from "../vmm/vm_ioctls.ts";
import { isSpecial } from "./permissions.ts";
import type { MachinePlan } from "./plan.ts";
import {
  type MachineEnd,
  MachineFailure,
  type RunningMachine,
} from "./session.ts";
import { MachineThreads } from "./threads.ts";

async function endOf(threads: MachineThreads): Promise<MachineEnd> {
  const end = await threads.ended;
  if (end.kind === "suspended") {
    const { how, rtc } = end;
    return rtc === undefined ? { how } : { how, changes: { rtc } };
  }
  throw new MachineFailure(end.message, end.status);
}

async function perform<R extends VmRequest>(
  threads: MachineThreads,
  resting: RestingMachine,
  request: R,
  payload: VmIn<R>,
): Promise<VmOut<R>> {
  if (VM_IOCTLS[request].scope !== "static") {
    return await threads.ioctl(request, payload);
  }
  if (changesDescription(request)) throw new VmmError("EBUSY");
  return resting.ioctl(request, payload);
}

/**
 * Builds a machine in threads of its own, stopped.
 *
 * @throws {MachineSetupError} where a device cannot be made
 */
export async function startThreads(
  plan: MachinePlan,
  memory: GuestMemory,
  resting: RestingMachine,
): Promise<RunningMachine> {
  // Permissions that are narrowed to paths no longer open devices of the host.
  const narrow = !plan.permissions.read.some(isSpecial);
  const threads = await MachineThreads.create(plan, memory, { narrow });
  return {
    ended: endOf(threads),
    handler: {
      ioctl: (request, payload) => perform(threads, resting, request, payload),
      read: (gpa, length) => threads.read(gpa, length),
      write: (gpa, bytes) => threads.write(gpa, bytes),
    },
    run: () => threads.run(),
    wake: () => threads.wake(),
    pressPowerButton: () => threads.pressPowerButton(),
    terminate: () => threads.terminate(),
  };
}
