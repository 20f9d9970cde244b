// The command line of bhyve(8), FreeBSD main: every option is a row of a table
// that says which keys of the configuration it sets. Parsing does no I/O; files
// that `-k` names are read by what the caller gives.

import {
  applyConfigFile,
  ConfigError,
  ConfigNode,
  splitSetting,
} from "../vmm/config.ts";
import { wholeNumber } from "../vmm/c_number.ts";
import { getopt } from "../vmm/getopt.ts";
import { parseMemsize } from "../vmm/memsize.ts";
import { addDomain, type MemoryDomain, memoryDomains } from "./domains.ts";
import { LOADER_KEYS } from "./loader_keys.ts";
import { addLpcDevice, LPC_DEVICES } from "./lpc.ts";
import { OptionError, refuse, STATUS } from "./option_error.ts";
import { addSlot, EMULATIONS } from "./slots.ts";
import { applyTopology, type Topology, topologyOf } from "./topology.ts";

/** What parsing needs of the host. */
export interface OptionHost {
  /** Reads a text file whole. @throws {Error} whose message is the reason */
  readFile(path: string): string;
}

/** An item for the guest's fw_cfg device. */
export interface FwCfgItem {
  readonly name: string;
  /** whether `value` is the content or the path of a host file */
  readonly source: "string" | "file";
  readonly value: string;
}

/** A command line to run a machine. */
export interface RunCommand {
  readonly kind: "run";
  /** the machine's name */
  readonly name: string | undefined;
  readonly config: ConfigNode;
  readonly topology: Topology;
  /** bytes of RAM */
  readonly memory: number;
  readonly domains: readonly MemoryDomain[];
  readonly fwcfg: readonly FwCfgItem[];
  /** snapshot to restore, `-r` */
  readonly restore?: string;
  /** for standard error */
  readonly warnings: readonly string[];
}

/** A command line after which the program only says something and exits. */
export interface ExitCommand {
  readonly kind: "exit";
  readonly status: number;
  /** lines for standard output */
  readonly out: readonly string[];
  /** lines for standard error */
  readonly err: readonly string[];
}

interface Draft {
  readonly config: ConfigNode;
  readonly host: OptionHost;
  readonly fwcfg: FwCfgItem[];
  readonly warnings: string[];
  restore?: string;
}

interface OptionRow {
  /** what the usage says about it */
  readonly help: string;
  /** its argument's name in the usage; none for a flag */
  readonly argument?: string;
  readonly apply: (draft: Draft, argument: string) => void;
}

/** Leaves parsing at once. */
class Leave extends Error {
  constructor(readonly command: ExitCommand) {
    super();
  }
}

function flag(help: string, key: string, value: boolean): OptionRow {
  return { help, apply: ({ config }) => config.set(key, value) };
}

function ignored(help: string): OptionRow {
  return { help, apply: () => {} };
}

function valued(
  argument: string,
  help: string,
  apply: (config: ConfigNode, argument: string) => void,
): OptionRow {
  return {
    argument,
    help,
    apply: (draft, text) => apply(draft.config, text),
  };
}

function listOr(
  names: readonly string[],
  apply: (config: ConfigNode, argument: string) => void,
): (config: ConfigNode, argument: string) => void {
  return (config, argument) => {
    if (!"help".startsWith(argument)) return apply(config, argument);
    throw new Leave({ kind: "exit", status: 0, out: names, err: [] });
  };
}

function addFwCfg({ fwcfg }: Draft, text: string): void {
  const match = /^(?:name=)?([^,=]{1,55}),(string|file)=(.+)$/s.exec(text);
  if (match === null) {
    throw refuse(STATUS.USAGE, `invalid fwcfg item '${text}'`);
  }
  const source = match[2] === "file" ? "file" : "string";
  fwcfg.push({ name: match[1]!, source, value: match[3]! });
}

const LAST_PORT = 65535;

function debugServer(config: ConfigNode, text: string): void {
  const [, wait, rest] = /^(w?)([^]*)$/.exec(text)!;
  const colon = rest!.lastIndexOf(":");
  const port = rest!.slice(colon + 1);
  if (
    wholeNumber(port, { least: 0, most: LAST_PORT, base: 10 }) === undefined
  ) {
    throw refuse(STATUS.USAGE, `invalid gdb configuration '${text}'`);
  }
  if (wait !== "") config.set("gdb.wait", true);
  if (colon > 0) config.set("gdb.address", rest!.slice(0, colon));
  config.set("gdb.port", port);
}

function readConfigFile({ config, host }: Draft, path: string): void {
  applyConfigFile(config, fileText(host, path), path);
}

function fileText(host: OptionHost, path: string): string {
  try {
    return host.readFile(path);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw refuse(
      STATUS.ERROR,
      `Failed to open configuration file ${path}: ${reason}`,
    );
  }
}

function memorySize(config: ConfigNode, text: string): void {
  if (parseMemsize(text) === undefined) {
    throw refuse(STATUS.USAGE, `invalid memsize '${text}'`);
  }
  config.set("memory.size", text);
}

function setKey(config: ConfigNode, text: string): void {
  const setting = splitSetting(text);
  if (setting === undefined) {
    throw refuse(STATUS.USAGE, `invalid configuration option '${text}'`);
  }
  config.set(...setting);
}

/** Highest number of a host CPU in a set of FreeBSD's. */
const LAST_HOST_CPU = 1023;

function pinningFault(text: string): string | undefined {
  const match = /^(-?\d+):(-?\d+)$/.exec(text);
  if (match === null) return `invalid format: ${text}`;
  const [vcpu, hostcpu] = match.slice(1).map(Number) as [number, number];
  if (vcpu < 0) return `invalid vcpu '${vcpu}'`;
  if (hostcpu >= 0 && hostcpu <= LAST_HOST_CPU) return undefined;
  return `hostcpu '${hostcpu}' outside valid range from 0 to ${LAST_HOST_CPU}`;
}

function pin(config: ConfigNode, text: string): void {
  const fault = pinningFault(text);
  if (fault !== undefined) {
    throw new OptionError(
      STATUS.USAGE,
      `${fault}\nbhyve: invalid vcpu pinning configuration '${text}'`,
    );
  }
  const [vcpu, hostcpu] = text.split(":").map(Number);
  const key = `vcpu.${vcpu}.cpuset`;
  const before = config.raw(key);
  config.set(key, before === undefined ? `${hostcpu}` : `${before},${hostcpu}`);
}

function setter(key: string): (config: ConfigNode, text: string) => void {
  return (config, text) => config.set(key, text);
}

const OPTIONS: ReadonlyMap<string, OptionRow> = new Map([
  ["a", flag("local APIC in xAPIC mode (default)", "x86.x2apic", false)],
  ["A", ignored("ACPI tables: always made")],
  [
    "c",
    valued(
      "[[cpus=]n][,sockets=n][,cores=n][,threads=n]",
      "virtual CPUs and their topology",
      applyTopology,
    ),
  ],
  ["C", flag("guest memory in core files", "memory.guest_in_core", true)],
  ["D", flag("destroy on power-off", "destroy_on_poweroff", true)],
  ["e", flag("exit on unknown I/O ports", "x86.strictio", true)],
  [
    "f",
    {
      argument: "[name=]NAME,(string|file)=VALUE",
      help: "fw_cfg item",
      apply: addFwCfg,
    },
  ],
  ["G", valued("[w][bind:]port", "debug server", debugServer)],
  [
    "h",
    {
      help: "help",
      apply: () => {
        throw new Leave({ kind: "exit", status: 0, out: [], err: usage() });
      },
    },
  ],
  ["H", flag("vCPU yields on HLT", "x86.vmexit_on_hlt", true)],
  ["I", ignored("I/O APIC: always there")],
  [
    "k",
    { argument: "file", help: "configuration file", apply: readConfigFile },
  ],
  ["K", valued("layout", "keyboard layout", setter("keyboard.layout"))],
  [
    "l",
    valued(
      "help|device[,conf]",
      "device behind the LPC bridge",
      listOr([...LPC_DEVICES.keys()], addLpcDevice),
    ),
  ],
  ["m", valued("size", "memory", memorySize)],
  ["M", flag("monitor mode", "monitor", true)],
  [
    "n",
    valued(
      "id=n,size=s,cpus=list[,domain_policy=p]",
      "NUMA domain",
      addDomain,
    ),
  ],
  ["o", valued("key=value", "configuration value", setKey)],
  ["p", valued("vcpu:hostcpu", "pin a vCPU to a host CPU", pin)],
  ["P", flag("vCPU exits on PAUSE", "x86.vmexit_on_pause", true)],
  [
    "r",
    {
      argument: "file",
      help: "restore a snapshot",
      apply: (draft, file) => {
        draft.restore = file;
      },
    },
  ],
  [
    "s",
    valued(
      "help|[bus:]slot[:func],emulation[,conf]",
      "PCI device",
      listOr([...EMULATIONS.keys()], addSlot),
    ),
  ],
  ["S", flag("wire guest memory", "memory.wired", true)],
  ["u", flag("RTC keeps UTC", "rtc.use_localtime", false)],
  ["U", valued("uuid", "UUID of the system", setter("uuid"))],
  ["w", flag("ignore unknown MSRs", "x86.strictmsr", false)],
  ["W", flag("virtio uses MSI only", "virtio_msix", false)],
  ["x", flag("local APIC in x2APIC mode", "x86.x2apic", true)],
  ["Y", flag("no MP table", "x86.mptable", false)],
]);

/** The usage, by lines. */
export function usage(): string[] {
  const rows = [...OPTIONS].map(([letter, { argument, help }]) => {
    const option = argument === undefined ? letter : `${letter} ${argument}`;
    return `       -${option}: ${help}`;
  });
  const keys = LOADER_KEYS.map(([setting, help]) =>
    `       -o ${setting}: ${help}`
  );
  return ["Usage: bhyve [options] <vmname>", ...rows, ...keys];
}

const SPEC = [...OPTIONS].map(([letter, { argument }]) =>
  argument === undefined ? letter : `${letter}:`
).join("");

const DEFAULTS: readonly (readonly [string, string])[] = [
  ["acpi_tables", "true"],
  ["acpi_tables_in_memory", "true"],
  ["memory.size", "256M"],
  ["x86.strictmsr", "true"],
  ["lpc.fwcfg", "bhyve"],
];

const RENAMED: readonly (readonly [string, string])[] = [
  ["lpc.bootrom", "bootrom"],
  ["lpc.bootvars", "bootvars"],
];

function rename({ config, warnings }: Draft): void {
  for (const [old, key] of RENAMED) {
    const value = config.raw(old);
    if (value === undefined) continue;
    warnings.push(`${old} is deprecated: use ${key}`);
    config.set(key, value);
    config.delete(old);
  }
}

function refusedUsage(...first: string[]): Leave {
  const err = [...first, ...usage()];
  return new Leave({
    kind: "exit",
    status: STATUS.USAGE_TEXT,
    out: [],
    err,
  });
}

function readArguments(draft: Draft, args: readonly string[]): void {
  const { options, rest, error } = getopt(args, SPEC);
  for (const { option, argument } of options) {
    OPTIONS.get(option)!.apply(draft, argument ?? "");
  }
  if (error !== undefined) throw refusedUsage(`bhyve: ${error}`);
  if (rest.length > 1) throw refusedUsage();
  if (rest[0] !== undefined) draft.config.set("name", rest[0]);
}

function machineOf(draft: Draft): RunCommand {
  const { config, fwcfg, warnings, restore } = draft;
  const name = config.get("name");
  if (name === undefined && restore === undefined) throw refusedUsage();
  rename(draft);
  if (config.getBool("config.dump", false)) {
    const out = config.dump();
    throw new Leave({ kind: "exit", status: 1, out, err: warnings });
  }
  const topology = topologyOf(config);
  const size = config.get("memory.size") ?? "";
  const total = parseMemsize(size);
  if (total === undefined) {
    throw refuse(STATUS.USAGE, `invalid memsize '${size}'`);
  }
  const domains = memoryDomains(config, total, (m) => warnings.push(m));
  const memory = domains.length === 0
    ? total
    : domains.reduce((sum, domain) => sum + domain.size, 0);
  return {
    kind: "run",
    name,
    config,
    topology,
    memory,
    domains,
    fwcfg,
    ...(restore === undefined ? {} : { restore }),
    warnings,
  };
}

/** Parses a command line, without the program's name. Never throws for a bad one. */
export function parseOptions(
  args: readonly string[],
  host: OptionHost,
): RunCommand | ExitCommand {
  const warnings: string[] = [];
  const config = new ConfigNode("", undefined, (m) => warnings.push(m));
  for (const [key, value] of DEFAULTS) config.set(key, value);
  const draft: Draft = { config, host, fwcfg: [], warnings };
  try {
    readArguments(draft, args);
    return machineOf(draft);
  } catch (error) {
    if (error instanceof Leave) return error.command;
    if (error instanceof OptionError) {
      const err = [...warnings, ...error.message.split("\n")];
      return { kind: "exit", status: error.status, out: [], err };
    }
    if (error instanceof ConfigError) {
      const err = [...warnings, `bhyve: ${error.message}`];
      return { kind: "exit", status: error.status, out: [], err };
    }
    throw error;
  }
}
