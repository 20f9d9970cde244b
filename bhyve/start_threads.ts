// A machine's threads as a session runs them. Requests about the machine's description
// are answered from the machine at rest, which does not change while it runs.

import { VmmError } from "../vmm/errno.ts";
import {
  VM_IOCTLS,
  type VmIn,
  type VmOut,
  type VmRequest,
} from "../vmm/ioctl.ts";
import type { RestingMachine } from "../vmm/root/resting_machine.ts";
import { changesDescription } from "../vmm/vm_ioctls.ts";
import { Crew } from "./crew.ts";
import { isSpecial } from "./permissions.ts";
import type { MachinePlan } from "./plan.ts";
import {
  type MachineEnd,
  MachineFailure,
  type RunningMachine,
  type StartMachine,
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

async function startThreads(
  crew: Crew,
  ...[plan, memory, resting]: Parameters<StartMachine>
): Promise<RunningMachine> {
  const threads = await MachineThreads.create(plan, memory, crew);
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

/** Threads that wait for their machine. */
export interface PreparedThreads {
  /** Builds a machine in them, stopped; another one, later, in others that are alike. */
  readonly start: StartMachine;
  /** Ends them where nothing was built. */
  end(): void;
}

/** Makes the threads that machines with certain vCPUs and files are built in. */
export function prepareThreads(
  vcpus: number,
  permissions: MachinePlan["permissions"],
): PreparedThreads {
  // Permissions that are narrowed to paths no longer open devices of the host.
  const narrow = !permissions.read.some(isSpecial);
  const make = () => new Crew({ vcpus, permissions, narrow });
  let waiting: Crew | undefined = make();
  return {
    start: (...from) => {
      const crew = waiting ?? make();
      waiting = undefined;
      return startThreads(crew, ...from);
    },
    end: () => waiting?.end(),
  };
}
