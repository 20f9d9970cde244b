// What bhyve(8) has and this one does not yet: refused by name, so that nothing on a
// command line is ignored without a word.

import {
  createDevice,
  type DeviceContext,
  EMULATIONS,
} from "../devices/registry.ts";
import { wholeNumber } from "../vmm/c_number.ts";
import { refuse, STATUS } from "./option_error.ts";
import type { RunCommand } from "./options.ts";
import { type PciFunctionNode, pciFunctions } from "./pci_functions.ts";

/** What a command line asks for, in words; undefined where it does not. */
type Finding = (command: RunCommand) => string | undefined;

function isSet(key: string, what: string): Finding {
  return ({ config }) => {
    const value = config.get(key);
    return value === undefined ? undefined : `${what} (${key}=${value})`;
  };
}

function isValue(key: string, value: boolean, what: string): Finding {
  return ({ config }) =>
    config.getBool(key) === value ? `${what} (${key}=${value})` : undefined;
}

function hasNode(path: string, what: string): Finding {
  return ({ config }) => config.find(path) === undefined ? undefined : what;
}

const FINDINGS: readonly Finding[] = [
  isSet("bootrom", 'lpc device "bootrom"'),
  isSet("bootvars", "a boot ROM's variable store"),
  hasNode("tpm", 'lpc device "tpm"'),
  isValue("lpc.pc-testdev", true, 'lpc device "pc-testdev"'),
  fwcfgMode,
  ({ fwcfg: [item] }) => item && `fwcfg item "${item.name}" (-f)`,
  debugServer,
  ({ restore }) => restore && `restoring a snapshot (-r ${restore})`,
  isSet("keyboard.layout", "a keyboard layout"),
  hasNode("domains", "a NUMA domain (-n)"),
  isValue("acpi_tables_in_memory", false, "ACPI tables in fwcfg only"),
];

function fwcfgMode({ config }: RunCommand): string | undefined {
  const mode = config.get("lpc.fwcfg") ?? "bhyve";
  if (mode === "bhyve") return undefined;
  if (mode === "qemu") return "a fwcfg device (lpc.fwcfg=qemu)";
  throw refuse(
    STATUS.ERROR,
    `Invalid value ${mode} for lpc.fwcfg: expected bhyve or qemu`,
  );
}

const LAST_PORT = 65535;

function debugServer({ config }: RunCommand): string | undefined {
  const port = config.get("gdb.port") ?? "0";
  const number = wholeNumber(port, { least: 0, most: LAST_PORT });
  if (number === 0) return undefined;
  if (number !== undefined) return `the debug server (-G, gdb.port=${port})`;
  throw refuse(
    STATUS.ERROR,
    `Invalid value ${port} for gdb.port: expected 0 to ${LAST_PORT}`,
  );
}

// The registry has the words for an emulation without a model, and throws them before
// it looks at anything but the location.
function requireBuilt({ device, location, node }: PciFunctionNode): void {
  if (EMULATIONS.get(device)?.create !== undefined) return;
  try {
    createDevice(device, { location, node } as unknown as DeviceContext);
  } catch (error) {
    throw refuse(STATUS.ERROR, (error as Error).message);
  }
}

/**
 * Refuses what is not built.
 *
 * @throws {OptionError} naming the first such thing
 */
export function refuseUnbuilt(command: RunCommand): void {
  for (const finding of FINDINGS) {
    const what = finding(command);
    if (what !== undefined) {
      throw refuse(STATUS.ERROR, `${what} is not supported yet`);
    }
  }
  for (const one of pciFunctions(command.config)) requireBuilt(one);
}
