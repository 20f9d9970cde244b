// What each request of vmm(4) does, with its checks and errno (the behaviour is that of
// sys/dev/vmm/vmm_dev.c and sys/amd64/vmm/vmm_dev_machdep.c): one table a scope, over
// the targets that machines at rest and running machines offer.

export { machineIoctl } from "./requests/machine.ts";
export { sharedIoctl } from "./requests/shared.ts";
export {
  changesDescription,
  staticIoctl,
  type StaticTarget,
} from "./requests/static.ts";
export { intinfoOf, vcpuIoctl } from "./requests/vcpu.ts";
