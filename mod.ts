/**
 * bhyve's machine monitor as a library: virtual x86-64 machines that need no hardware
 * support, no root and no kernel module.
 *
 * Machines live in a {@link VmmRoot}, as vmm(4)'s live in FreeBSD's kernel; libvmmapi's
 * functions, in camel case, work on them whether they rest on disk or another process
 * runs them:
 *
 * ```ts
 * import * as vmm from "./mod.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const root = new vmm.VmmRoot(`${Deno.makeTempDirSync()}/vmm`);
 * const ctx = await vmm.vmOpenf("demo", vmm.VMMAPI_OPEN.CREATE, root);
 * await vmm.vmSetupMemory(ctx, 64 << 20);
 * vmm.vmMapGpa(ctx, 0x1000, 2)!.set([0xeb, 0xfe]); // jmp .
 * const vcpu = vmm.vmVcpuOpen(ctx, 0);
 * await vmm.vmSetRegister(vcpu, vmm.REGISTER.RIP, 0x1000n);
 * assertEquals(await vmm.vmGetRegister(vcpu, vmm.REGISTER.RIP), 0x1000n);
 * await vmm.vmDestroy(ctx);
 * ```
 *
 * The processor is of use alone, too. A program gives a {@link VirtualCpu} memory and registers, runs it, and gets
 * typed exits with the codes and payloads of vmm(4):
 *
 * ```ts
 * import { EXIT_CODE, GuestMemory, REGISTER, VirtualCpu } from "./mod.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const memory = new GuestMemory(1 << 20);
 * memory.map({ gpa: 0, length: 1 << 20, offset: 0, writable: true });
 * // In real mode: mov al, 42; out 0xe9, al; hlt
 * memory.bytes.set([0xb0, 42, 0xe6, 0xe9, 0xf4], 0x1000);
 *
 * const cpu = new VirtualCpu({ memory });
 * cpu.setRegister(REGISTER.CS, 0n);
 * cpu.setDescriptor(REGISTER.CS, { base: 0n, limit: 0xffff, access: 0x9b });
 * cpu.setRegister(REGISTER.RIP, 0x1000n);
 *
 * const out = cpu.run();
 * assertEquals(out.code, EXIT_CODE.INOUT);
 * if (out.code === EXIT_CODE.INOUT) assertEquals(out.value, 42);
 * assertEquals(cpu.run({}).code, EXIT_CODE.HLT);
 * ```
 *
 * @module
 */
export {
  CAPABILITY,
  type CpuOptions,
  type DeviceBus,
  EVENT_KIND,
  type InterruptSource,
  type RunOptions,
  type SegmentDescriptor,
  VirtualCpu,
} from "./vmm/cpu/cpu.ts";
export {
  Cpuid,
  type CpuidConfig,
  CpuidError,
  type CpuidRegisters,
  type CpuidState,
  type Vendor,
} from "./vmm/cpu/cpuid.ts";
export type { MsrState } from "./vmm/cpu/msr.ts";
export { Code } from "iced-x86";
export {
  type BptExit,
  CpuError,
  type CpuidExit,
  type DbExit,
  type ExceptionExit,
  EXIT_CODE,
  type ExitBase,
  type HltExit,
  type InoutExit,
  type MmioExit,
  type PlainExit,
  type RdmsrExit,
  SUSPEND,
  type SuspendedExit,
  type TaskSwitchExit,
  type VmEntry,
  type VmExit,
  type WrmsrExit,
} from "./vmm/cpu/exits.ts";
export {
  type CodeKeeper,
  GuestMemory,
  GuestMemoryError,
  MAX_GUEST_MEMORY,
  type MemoryMapping,
} from "./vmm/cpu/guest_memory.ts";
export {
  GPR_NUMBERS,
  REGISTER,
  type RegisterNumber,
  SEGMENT_NUMBERS,
} from "./vmm/cpu/registers.ts";
export type { RegionLimits, RegionOptions } from "./vmm/cpu/regions/limits.ts";
export type {
  RegionObserver,
  RegionStatistics,
} from "./vmm/cpu/regions/tier.ts";
export type { CpuStatistics } from "./vmm/cpu/cpu_statistics.ts";
export type { CpuState, PendingEvent } from "./vmm/cpu/save.ts";
export { ERRNO, type ErrnoName, errnoText, VmmError } from "./vmm/errno.ts";
export {
  CPU_SET,
  type CpuTopology,
  type Gla2Gpa,
  type GuestPaging,
  type InOnly,
  type IoctlRow,
  type IoctlScope,
  type IsaIrq,
  MAX_VCPUS,
  type MemoryMap,
  type MemorySegment,
  type NoFields,
  PROT,
  requestWord,
  type VcpuId,
  VM_IOCTLS,
  type VmIn,
  type VmOut,
  type VmRequest,
  type VmRequests,
} from "./vmm/ioctl.ts";
export type { DeviceState } from "./vmm/device.ts";
export { ClaimedNode } from "./vmm/root/claimed_node.ts";
export { RootPaths } from "./vmm/root/paths.ts";
export { type ClaimOptions, VmmRoot } from "./vmm/root/root.ts";
export type { RequestHandler } from "./vmm/root/server.ts";
export type { VcpuState, VmState } from "./vmm/root/state.ts";
export { STATISTICS } from "./vmm/statistics.ts";
export type { MappedMemory, VmmDevice } from "./vmm/vmm_device.ts";
export * from "./vmm/vmmapi.ts";
