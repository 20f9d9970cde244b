// Requests that a machine's interrupt controllers and clocks do.

import type { VmIn, VmOut, VmRequest } from "../ioctl.ts";
import type { MachineTarget } from "../vm_target.ts";
import { type Handlers, invalid, perform } from "./perform.ts";

const FIRST_VECTOR = 16;
const LAST_VECTOR = 255;
const LAST_LOCAL_INTERRUPT = 6;
const MSI_PREFIX = 0xfeen;
const MSI_PREFIX_SHIFT = 20n;
const NO_PIN = -1;
const LAST_BYTE = 0xff;
/** Devices that vmm(4) has itself: first address and length. */
const KERNEMU: readonly (readonly [bigint, bigint])[] = [
  [0xfee0_0000n, 0x1000n],
  [0xfec0_0000n, 0x1000n],
  [0xfed0_0000n, 0x400n],
];

function requireKernemu(gpa: bigint, width: number): number {
  invalid(width < 0 || width > 3);
  const bytes = 1 << width;
  const isInside = KERNEMU.some(([start, length]) =>
    gpa >= start && gpa + BigInt(bytes) <= start + length
  );
  invalid(!isInside);
  return bytes;
}

// Asserting, deasserting or pulsing an input of the 8259s and one of the I/O APIC.
function isaIrq(
  how: "assert" | "deassert" | "pulse",
): (
  machine: MachineTarget,
  irq: VmIn<"VM_ISA_PULSE_IRQ">,
) => Record<never, never> {
  return ({ pic, ioapic }, { atpic_irq, ioapic_irq }) => {
    invalid(ioapic_irq < NO_PIN);
    pic[how](atpic_irq);
    if (ioapic_irq !== NO_PIN) ioapic[how](ioapic_irq);
    return {};
  };
}

function ioapicIrq(
  how: "assert" | "deassert" | "pulse",
): (
  machine: MachineTarget,
  irq: VmIn<"VM_IOAPIC_PULSE_IRQ">,
) => Record<never, never> {
  return ({ ioapic }, { irq }) => {
    ioapic[how](irq);
    return {};
  };
}

const MACHINE: Handlers<MachineTarget> = {
  VM_REINIT: (machine) => {
    machine.reinit();
    return {};
  },
  VM_GET_KERNEMU_DEV: (machine, { vcpuid, gpa, access_width }) => {
    const bytes = requireKernemu(gpa, access_width);
    return { value: machine.readKernemu(vcpuid, Number(gpa), bytes) };
  },
  VM_SET_KERNEMU_DEV: (machine, { vcpuid, gpa, access_width, value }) => {
    const bytes = requireKernemu(gpa, access_width);
    machine.writeKernemu(vcpuid, Number(gpa), bytes, value);
    return {};
  },
  VM_LAPIC_IRQ: (machine, { cpuid, vector }) => {
    invalid(vector < FIRST_VECTOR || vector > LAST_VECTOR);
    machine.lapicIrq(cpuid, vector);
    return {};
  },
  VM_INJECT_NMI: (machine, { cpuid }) => {
    machine.injectNmi(cpuid);
    return {};
  },
  VM_IOAPIC_ASSERT_IRQ: ioapicIrq("assert"),
  VM_IOAPIC_DEASSERT_IRQ: ioapicIrq("deassert"),
  VM_IOAPIC_PULSE_IRQ: ioapicIrq("pulse"),
  VM_LAPIC_MSI: (machine, { addr, msg }) => {
    invalid(addr >> MSI_PREFIX_SHIFT !== MSI_PREFIX);
    machine.lapicMsi(Number(addr), Number(msg & 0xffff_ffffn));
    return {};
  },
  VM_LAPIC_LOCAL_IRQ: (machine, { cpuid, vector }) => {
    invalid(vector < 0 || vector > LAST_LOCAL_INTERRUPT);
    machine.lapicLocalIrq(cpuid, vector);
    return {};
  },
  VM_GET_HPET_CAPABILITIES: (machine) => ({
    capabilities: machine.hpetCapabilities,
  }),
  VM_ISA_ASSERT_IRQ: isaIrq("assert"),
  VM_ISA_DEASSERT_IRQ: isaIrq("deassert"),
  VM_ISA_PULSE_IRQ: isaIrq("pulse"),
  VM_ISA_SET_IRQ_TRIGGER: ({ pic }, { atpic_irq, trigger }) => {
    invalid(trigger !== 0 && trigger !== 1);
    pic.setTrigger(atpic_irq, trigger === 1);
    return {};
  },
  VM_RTC_READ: ({ rtc }, { offset }) => ({ value: rtc.readMemory(offset) }),
  VM_RTC_WRITE: ({ rtc }, { offset, value }) => {
    invalid(value < 0 || value > LAST_BYTE);
    rtc.writeMemory(offset, value);
    return {};
  },
  VM_RTC_SETTIME: ({ rtc }, { secs }) => {
    invalid(BigInt(Number(secs)) !== secs);
    rtc.time = Number(secs);
    return {};
  },
  VM_RTC_GETTIME: ({ rtc }) => ({ secs: BigInt(Math.floor(rtc.time)) }),
};

/** Does a request of scope `machine`. @throws {VmmError} */
export function machineIoctl<R extends VmRequest>(
  target: MachineTarget,
  request: R,
  payload: VmIn<R>,
): VmOut<R> {
  return perform(MACHINE, target, request, payload);
}
