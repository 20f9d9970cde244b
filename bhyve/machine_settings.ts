// What the configuration says about the machine itself (bhyve_config(5)), read once.

import { ConfigNode } from "../vmm/config.ts";
import {
  derivedUuid,
  parseUuid,
  SMBIOS_DEFAULTS,
  type SmbiosKey,
} from "../vmm/firmware/smbios.ts";
import type { MachinePlan } from "./plan.ts";

/** Settings of a machine. */
export interface MachineSettings {
  /** whether local APICs may be in x2APIC mode */
  readonly x2apic: boolean;
  /** whether an access to a port that no device has ends the machine */
  readonly strictIo: boolean;
  /** whether an access to an unknown MSR faults */
  readonly strictMsr: boolean;
  /** whether it is reported, though it does not fault */
  readonly verboseMsr: boolean;
  /** whether HLT leaves for bhyve: it then says so in the vCPU's capabilities */
  readonly exitOnHlt: boolean;
  /** whether PAUSE leaves for bhyve */
  readonly exitOnPause: boolean;
  /** whether the real-time clock shows local time */
  readonly localTime: boolean;
  readonly virtioMsix: boolean;
  readonly mptable: boolean;
  readonly acpiTables: boolean;
  /** SMBIOS */
  readonly uuid: Uint8Array;
  readonly texts: Partial<Record<SmbiosKey, string>>;
}

/** The configuration tree of a plan. */
export function configOf(plan: MachinePlan): ConfigNode {
  const config = new ConfigNode();
  for (const [path, value] of plan.config) config.set(path, value);
  return config;
}

/** The plain values of a tree, for a plan. */
export function configValues(node: ConfigNode): [string, string][] {
  const own = node.keys.map((key): [string, string] => [
    node.path === "" ? key : `${node.path}.${key}`,
    node.raw(key) ?? "",
  ]);
  return [...own, ...node.nodes.flatMap(configValues)];
}

/** The text of a UUID whose bytes a table has. */
export function uuidText(bytes: Uint8Array): string {
  const order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
  const digits = order.map((n) => bytes[n]!.toString(16).padStart(2, "0"))
    .join("");
  return digits.replace(/(.{8})(.{4})(.{4})(.{4})(.{12})/, "$1-$2-$3-$4-$5");
}

/** The UUID of a machine that was given none, from its name and its host's. */
export function defaultUuid(vmname: string, hostname: string): string {
  return uuidText(derivedUuid(vmname, hostname));
}

function uuidOf(config: ConfigNode, vmname: string): Uint8Array {
  const text = config.get("uuid");
  return text === undefined ? derivedUuid(vmname, "") : parseUuid(text);
}

function textsOf(config: ConfigNode): MachineSettings["texts"] {
  const keys = Object.keys(SMBIOS_DEFAULTS) as SmbiosKey[];
  const entries = keys.map((key) => [key, config.get(key)] as const)
    .filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as MachineSettings["texts"];
}

/**
 * The settings that a configuration asks for.
 *
 * @throws {ConfigError} for a word that is no truth value
 * @throws {FirmwareError} for a UUID that is none
 */
export function settingsOf(
  config: ConfigNode,
  vmname: string,
): MachineSettings {
  const is = (key: string, otherwise: boolean) =>
    config.getBool(key, otherwise);
  return {
    x2apic: is("x86.x2apic", false),
    strictIo: is("x86.strictio", false),
    strictMsr: is("x86.strictmsr", true),
    verboseMsr: is("x86.verbosemsr", false),
    exitOnHlt: is("x86.vmexit_on_hlt", false),
    exitOnPause: is("x86.vmexit_on_pause", false),
    localTime: is("rtc.use_localtime", true),
    virtioMsix: is("virtio_msix", true),
    mptable: is("x86.mptable", true),
    acpiTables: is("acpi_tables", true) && is("acpi_tables_in_memory", true),
    uuid: uuidOf(config, vmname),
    texts: textsOf(config),
  };
}
