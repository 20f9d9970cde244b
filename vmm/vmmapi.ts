// libvmmapi (VMMAPI_VERSION 0200): the functions that bhyve's programs call, thin and
// typed over a machine's device. Names are the C library's in camel case; results that
// C returns through pointers are returned; errors are thrown as `VmmError` with the
// errno. Left out: PCI passthrough, which needs devices of a FreeBSD host.

export {
  type VcpuHandle,
  VM_HIGHMEM_BASE,
  VM_LOWMEM_LIMIT,
  VM_MEM_F,
  VM_MMAP,
  type VmContext,
  VMMAPI_OPEN,
  VMMAPI_VERSION,
} from "./libvmmapi/context.ts";
export * from "./libvmmapi/devices.ts";
export * from "./libvmmapi/life_cycle.ts";
export * from "./libvmmapi/memory.ts";
export * from "./libvmmapi/start.ts";
export * from "./libvmmapi/vcpu.ts";
