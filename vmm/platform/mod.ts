/**
 * The interrupt controllers and timers that FreeBSD keeps in its kernel, vmm(4): guest
 * time, local APICs, I/O APIC, 8259s, 8254, HPET, real-time clock and ACPI timer.
 *
 * @module
 */

export * from "./alarm_queue.ts";
export * from "./apic_bus.ts";
export * from "./apic_host.ts";
export { LOCAL_INTERRUPTS } from "./apic_registers.ts";
export { APIC_TIMER_HZ, type TimeStamp } from "./apic_timer.ts";
export { APIC_BASE } from "./apic_window.ts";
export * from "./clock.ts";
export * from "./hpet.ts";
export * from "./hpet_counter.ts";
export * from "./interrupts.ts";
export * from "./ioapic.ts";
export * from "./isa_irq.ts";
export * from "./local_apic.ts";
export * from "./msi.ts";
export * from "./pic.ts";
export * from "./pit.ts";
export * from "./pm_timer.ts";
export * from "./posted_interrupts.ts";
export * from "./rtc.ts";
export { PlatformStateError } from "./state.ts";
export { MIN_PERIOD_NS } from "./tick_timer.ts";
