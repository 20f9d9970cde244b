// What libvmmapi's functions share: constants, handles, and the call itself.

import type { VmIn, VmOut, VmRequest } from "../ioctl.ts";
import { VmmRoot } from "../root/root.ts";
import type { MappedMemory, VmmDevice } from "../vmm_device.ts";

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

/** Does one request on an open machine. @throws {VmmError} */
export function call<R extends VmRequest>(
  ctx: VmContext,
  request: R,
  payload: VmIn<R>,
): Promise<VmOut<R>> {
  return ctx.device.ioctl(request, payload);
}
