// libvmmapi: interrupt controllers, the real-time clock and the HPET.

import { VmmError } from "../errno.ts";
import { call, type VcpuHandle, type VmContext } from "./context.ts";

/** Raises an edge interrupt of a local APIC. @throws {VmmError} EINVAL vector */
export async function vmLapicIrq(
  { ctx, vcpuid }: VcpuHandle,
  vector: number,
): Promise<void> {
  await call(ctx, "VM_LAPIC_IRQ", { cpuid: vcpuid, vector });
}

/** Raises a local interrupt: an index in the local vector table. @throws {VmmError} */
export async function vmLapicLocalIrq(
  { ctx, vcpuid }: VcpuHandle,
  vector: number,
): Promise<void> {
  await call(ctx, "VM_LAPIC_LOCAL_IRQ", { cpuid: vcpuid, vector });
}

/** Sends a message-signalled interrupt. @throws {VmmError} EINVAL address */
export async function vmLapicMsi(
  ctx: VmContext,
  addr: bigint,
  msg: bigint,
): Promise<void> {
  await call(ctx, "VM_LAPIC_MSI", { addr, msg });
}

/** Asserts a pin of the I/O APIC. @throws {VmmError} EINVAL */
export async function vmIoapicAssertIrq(
  ctx: VmContext,
  irq: number,
): Promise<void> {
  await call(ctx, "VM_IOAPIC_ASSERT_IRQ", { irq });
}

/** Deasserts a pin of the I/O APIC. @throws {VmmError} EINVAL */
export async function vmIoapicDeassertIrq(
  ctx: VmContext,
  irq: number,
): Promise<void> {
  await call(ctx, "VM_IOAPIC_DEASSERT_IRQ", { irq });
}

/** Asserts and deasserts a pin of the I/O APIC. @throws {VmmError} EINVAL */
export async function vmIoapicPulseIrq(
  ctx: VmContext,
  irq: number,
): Promise<void> {
  await call(ctx, "VM_IOAPIC_PULSE_IRQ", { irq });
}

/** How many pins the I/O APIC has. */
export async function vmIoapicPincount(ctx: VmContext): Promise<number> {
  return (await call(ctx, "VM_IOAPIC_PINCOUNT", {})).pincount;
}

/** Asserts an ISA interrupt, and a pin of the I/O APIC unless -1. */
export async function vmIsaAssertIrq(
  ctx: VmContext,
  atpicIrq: number,
  ioapicIrq: number,
): Promise<void> {
  const payload = { atpic_irq: atpicIrq, ioapic_irq: ioapicIrq };
  await call(ctx, "VM_ISA_ASSERT_IRQ", payload);
}

/** Deasserts an ISA interrupt, and a pin of the I/O APIC unless -1. */
export async function vmIsaDeassertIrq(
  ctx: VmContext,
  atpicIrq: number,
  ioapicIrq: number,
): Promise<void> {
  const payload = { atpic_irq: atpicIrq, ioapic_irq: ioapicIrq };
  await call(ctx, "VM_ISA_DEASSERT_IRQ", payload);
}

/** Pulses an ISA interrupt, and a pin of the I/O APIC unless -1. */
export async function vmIsaPulseIrq(
  ctx: VmContext,
  atpicIrq: number,
  ioapicIrq: number,
): Promise<void> {
  const payload = { atpic_irq: atpicIrq, ioapic_irq: ioapicIrq };
  await call(ctx, "VM_ISA_PULSE_IRQ", payload);
}

/** Makes an ISA interrupt edge- (0) or level-triggered (1). @throws {VmmError} */
export async function vmIsaSetIrqTrigger(
  ctx: VmContext,
  atpicIrq: number,
  trigger: number,
): Promise<void> {
  await call(ctx, "VM_ISA_SET_IRQ_TRIGGER", { atpic_irq: atpicIrq, trigger });
}

/** The vCPU with an APIC ID: they are the same. */
export function vmApicid2vcpu(_ctx: VmContext, apicid: number): number {
  return apicid;
}

/** An access to a register of a device that vmm(4) itself has. */
export interface KernemuAccess {
  /** guest-physical address */
  readonly gpa: bigint;
  /** 1, 2, 4 or 8 */
  readonly bytes: number;
}

function widthOf(bytes: number): number {
  const width = [1, 2, 4, 8].indexOf(bytes);
  if (width < 0) throw new VmmError("EINVAL");
  return width;
}

/** Reads a register of the local APIC, I/O APIC or HPET. @throws {VmmError} EINVAL */
export async function vmReadKernemuDevice(
  { ctx, vcpuid }: VcpuHandle,
  { gpa, bytes }: KernemuAccess,
): Promise<bigint> {
  const payload = { vcpuid, gpa, access_width: widthOf(bytes) };
  return (await call(ctx, "VM_GET_KERNEMU_DEV", payload)).value;
}

/** Writes a register of the local APIC, I/O APIC or HPET. @throws {VmmError} EINVAL */
export async function vmWriteKernemuDevice(
  { ctx, vcpuid }: VcpuHandle,
  { gpa, bytes }: KernemuAccess,
  value: bigint,
): Promise<void> {
  const payload = { vcpuid, gpa, access_width: widthOf(bytes), value };
  await call(ctx, "VM_SET_KERNEMU_DEV", payload);
}

/** The low half of the HPET's capability register. */
export async function vmGetHpetCapabilities(ctx: VmContext): Promise<number> {
  return (await call(ctx, "VM_GET_HPET_CAPABILITIES", {})).capabilities;
}

/** Reads a byte of the clock's memory. @throws {VmmError} EINVAL beyond 127 */
export async function vmRtcRead(
  ctx: VmContext,
  offset: number,
): Promise<number> {
  return (await call(ctx, "VM_RTC_READ", { offset })).value;
}

/** Writes a byte of the clock's memory. @throws {VmmError} EINVAL for clock registers */
export async function vmRtcWrite(
  ctx: VmContext,
  offset: number,
  value: number,
): Promise<void> {
  await call(ctx, "VM_RTC_WRITE", { offset, value });
}

/** The clock's time, in seconds since 1970. */
export async function vmRtcGettime(ctx: VmContext): Promise<bigint> {
  return (await call(ctx, "VM_RTC_GETTIME", {})).secs;
}

/** Sets the clock. */
export async function vmRtcSettime(
  ctx: VmContext,
  secs: bigint,
): Promise<void> {
  await call(ctx, "VM_RTC_SETTIME", { secs });
}
