// Every option of bhyvectl(8) as a row: its argument, on which hosts it exists,
// and its place in the order in which the command acts.

import { DESCRIPTORS, READABLE, SELECTORS, WRITABLE } from "./registers.ts";

/** On which hosts an option exists. */
export type Availability = "any" | "amd64" | "intel" | "amd";

/** How an option's argument is read: as text, strtoul(3), atoi(3), or a device. */
export type ArgumentKind = "text" | "number" | "int" | "pptdev";

/** An option of bhyvectl. */
export interface CtlOption {
  /** without the dashes */
  readonly name: string;
  /** what the usage calls its argument */
  readonly argument?: string;
  /** how its argument is read; present with `argument` */
  readonly kind?: ArgumentKind;
  readonly availability: Availability;
  /** whether `--get-all` includes it */
  readonly isGetter?: boolean;
}

function named(prefix: string, names: string | readonly string[]): string[] {
  const list = typeof names === "string" ? names.trim().split(/\s+/) : names;
  return list.map((name) => prefix + name);
}

function plain(availability: Availability, ...names: string[]): CtlOption[] {
  return names.map((name) => ({ name, availability }));
}

function getters(
  availability: Availability,
  names: string | readonly string[],
): CtlOption[] {
  return named("get-", names).map((name) => ({
    name,
    availability,
    isGetter: true,
  }));
}

function valued(
  availability: Availability,
  kind: ArgumentKind,
  rows: Readonly<Record<string, string>>,
): CtlOption[] {
  return Object.entries(rows).map(([name, argument]) => ({
    name,
    argument,
    kind,
    availability,
  }));
}

function setters(registers: readonly string[]): CtlOption[] {
  return registers.flatMap((register) =>
    valued("amd64", "number", { [`set-${register}`]: register.toUpperCase() })
  );
}

const MACHINE_INDEPENDENT: readonly CtlOption[] = [
  ...valued("any", "text", { vm: "vmname" }),
  ...valued("any", "int", {
    cpu: "vcpu_number",
    "set-mem": "memory in units of MB",
  }),
  ...valued("any", "text", { capname: "capname" }),
  ...valued("any", "number", { setcap: "0|1" }),
  { name: "getcap", availability: "any", isGetter: true },
  ...getters("any", "stats memmap memseg"),
  ...plain("any", "get-all", "run", "create", "destroy"),
  ...plain("any", "force-reset", "force-poweroff"),
  ...getters("any", "active-cpus debug-cpus suspended-cpus cpu-topology"),
  ...valued("any", "text", { checkpoint: "filename", suspend: "filename" }),
];

// GS comes before FS in the usage, but behind it in the output.
const DESCRIPTOR_OPTIONS = [
  ...["ds", "es", "gs", "fs"],
  ...DESCRIPTORS.slice(["ds", "es", "gs", "fs"].length),
];

const AMD64: readonly CtlOption[] = [
  ...setters(WRITABLE),
  ...valued("amd64", "number", {
    "desc-base": "BASE",
    "desc-limit": "LIMIT",
    "desc-access": "ACCESS",
  }),
  ...plain("amd64", ...named("set-desc-", DESCRIPTOR_OPTIONS)),
  ...setters(SELECTORS),
  ...valued("amd64", "number", { "set-x2apic-state": "state" }),
  ...valued("amd64", "pptdev", { "unassign-pptdev": "bus/slot.func" }),
  ...plain("amd64", "inject-nmi"),
  ...valued("amd64", "int", { "assert-lapic-lvt": "pin" }),
  ...getters("amd64", READABLE),
  ...getters("amd64", named("desc-", DESCRIPTOR_OPTIONS)),
  ...getters("amd64", SELECTORS),
  ...getters("amd64", "x2apic-state eptp exception-bitmap"),
  ...getters("amd64", "io-bitmap-address tsc-offset"),
  ...getters("amd64", "msr-bitmap-address msr-bitmap guest-pat"),
  ...getters("amd64", "guest-sysenter exit-reason"),
  ...valued("amd64", "number", { "get-gpa-pmap": "gpa" }),
  ...valued("amd64", "number", {
    "rtc-nvram-offset": "offset",
    "set-rtc-nvram": "val",
  }),
  ...getters("amd64", "rtc-nvram"),
  ...valued("amd64", "number", { "set-rtc-time": "secs" }),
  ...getters("amd64", "rtc-time intinfo"),
];

const VMCS = "pinbased-ctls procbased-ctls procbased-ctls2 " +
  "guest-linear-address guest-physical-address entry-interruption-info " +
  "cr0-mask cr0-shadow cr4-mask cr4-shadow cr3-targets tpr-threshold vpid " +
  "exit-ctls entry-ctls instruction-error host-pat host-cr0 host-cr3 " +
  "host-cr4 host-rip host-rsp link exit-qualification exit-inst-length " +
  "interruptibility exit-interruption-error exit-interruption-info";

const VENDORS: readonly CtlOption[] = [
  ...getters("intel", VMCS.split(" ").map((f) => `vmcs-${f}`).join(" ")),
  ...getters("intel", "apic-access-address virtual-apic-address"),
  ...getters("amd", "vmcb-intercepts vmcb-asid vmcb-exit-details"),
  ...getters("amd", "vmcb-tlb-ctrl vmcb-virq"),
  ...getters("amd", "avic-apic-bar avic-backing-page avic-table"),
];

/** Every option, in the order of the usage. */
export const CTL_OPTIONS: readonly CtlOption[] = [
  ...MACHINE_INDEPENDENT,
  ...AMD64,
  ...VENDORS,
];

/** The options that do something, in the order in which the command does them. */
export const ACTION_ORDER: readonly string[] = [
  "set-mem",
  ...named("get-", "memseg memmap"),
  ...named("set-", WRITABLE),
  ...named("set-desc-", DESCRIPTORS),
  ...named("set-", SELECTORS),
  ...["set-x2apic-state", "unassign-pptdev", "inject-nmi", "assert-lapic-lvt"],
  ...named("get-", READABLE),
  ...named("get-desc-", DESCRIPTORS),
  ...named("get-", SELECTORS),
  ...named("get-vmcs-", VMCS).filter((name) => name !== "get-vmcs-vpid"),
  ...named("get-", "apic-access-address virtual-apic-address"),
  ...named("get-vmcb-", "intercepts tlb-ctrl exit-details virq"),
  ...named("get-avic-", "apic-bar backing-page table"),
  ...named("get-", "x2apic-state eptp exception-bitmap io-bitmap-address"),
  ...named("get-", "tsc-offset msr-bitmap-address msr-bitmap"),
  ...named("get-", "vmcs-vpid vmcb-asid guest-pat guest-sysenter"),
  ...["get-exit-reason", "get-gpa-pmap"],
  ...["set-rtc-nvram", "get-rtc-nvram", "set-rtc-time", "get-rtc-time"],
  ...["get-intinfo", "setcap", "getcap"],
  ...named("get-", "active-cpus debug-cpus suspended-cpus stats cpu-topology"),
  ...["run", "force-reset", "force-poweroff"],
  ...["destroy", "checkpoint", "suspend"],
];
