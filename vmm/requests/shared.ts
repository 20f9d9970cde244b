// Requests about what all threads of a machine share: suspension and sets of vCPUs.

import { SUSPEND } from "../cpu/exits.ts";
import { CPU_SET, type VmIn, type VmOut, type VmRequest } from "../ioctl.ts";
import type { SharedTarget } from "../vm_target.ts";
import { type Handlers, invalid, perform } from "./perform.ts";

const ALL_CPUS = -1;

// -1 means every vCPU that the request can be done for.
function forCpus(
  vcpuid: number,
  all: readonly number[],
  act: (vcpu: number) => void,
): Record<never, never> {
  if (vcpuid === ALL_CPUS) all.forEach(act);
  else act(vcpuid);
  return {};
}

const SHARED: Handlers<SharedTarget> = {
  VM_SUSPEND: (machine, { how }) => {
    invalid(how <= SUSPEND.NONE || how > SUSPEND.DESTROY);
    machine.suspend(how);
    return {};
  },
  VM_ACTIVATE_CPU: (machine, { vcpuid }) => {
    machine.activate(vcpuid);
    return {};
  },
  VM_GET_CPUS: (machine, { which }) => {
    invalid(which < CPU_SET.ACTIVE || which > CPU_SET.DEBUG);
    const { active, suspended, debug } = machine;
    return { cpus: [active, suspended, debug][which]! };
  },
  VM_SUSPEND_CPU: (machine, { vcpuid }) =>
    forCpus(vcpuid, machine.active, (vcpu) => machine.suspendCpu(vcpu)),
  VM_RESUME_CPU: (machine, { vcpuid }) =>
    forCpus(vcpuid, machine.debug, (vcpu) => machine.resumeCpu(vcpu)),
};

/** Does a request of scope `shared`. @throws {VmmError} */
export function sharedIoctl<R extends VmRequest>(
  target: SharedTarget,
  request: R,
  payload: VmIn<R>,
): VmOut<R> {
  return perform(SHARED, target, request, payload);
}
