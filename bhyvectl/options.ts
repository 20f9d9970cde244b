// The command line of bhyvectl(8): long options to a list of actions in the order
// in which the command does them, as plain data.

import { atoi, strtoul } from "../vmm/c_number.ts";
import { getoptLong, type GivenOption } from "../vmm/getopt.ts";
import { HELP } from "./help.ts";
import { ACTION_ORDER, CTL_OPTIONS, type CtlOption } from "./option_table.ts";

/** The virtual machine's host, as far as options depend on it. */
export interface CtlHost {
  /** undefined on hosts that are not amd64 */
  readonly vendor?: "intel" | "amd";
}

/** A PCI device of the host. */
export interface PptDevice {
  readonly bus: number;
  readonly slot: number;
  readonly func: number;
}

/** One thing to do. */
export interface CtlAction {
  /** the option's name, such as `get-cr0` */
  readonly name: string;
  /** its argument as it was given */
  readonly text?: string;
  /** its argument as a number: 64 bits, or an int of 32 with a sign */
  readonly value?: bigint;
  /** its argument as a device */
  readonly device?: PptDevice;
}

/** Arguments that other actions use; 0 where they were not given. */
export interface CtlOperands {
  readonly descBase: bigint;
  readonly descLimit: bigint;
  readonly descAccess: bigint;
  readonly rtcOffset: bigint;
  /** name of the capability for `getcap` and `setcap` */
  readonly capname?: string;
}

/** A command line to act on a machine. */
export interface CtlCommand {
  readonly kind: "run";
  readonly vm: string;
  readonly cpu: number;
  /** whether the machine is made where there is none */
  readonly create: boolean;
  /** whether `getcap` stands for every capability */
  readonly getAll: boolean;
  readonly operands: CtlOperands;
  /** in the order of the command's own steps, `--get-all` expanded */
  readonly actions: readonly CtlAction[];
}

/** A command line that is refused, or that asks for help. */
export interface CtlUsage {
  readonly kind: "exit";
  readonly status: number;
  /** lines for standard output */
  readonly out: readonly string[];
  /** lines for standard error */
  readonly err: readonly string[];
}

function isAvailable({ availability }: CtlOption, { vendor }: CtlHost) {
  return availability === "any" || availability === vendor ||
    (availability === "amd64" && vendor !== undefined);
}

/** The options of a host, in the order of the usage. */
export function ctlOptions(host: CtlHost): CtlOption[] {
  return CTL_OPTIONS.filter((option) => isAvailable(option, host));
}

/** The usage of a host, by lines. */
export function ctlUsage(host: CtlHost): string[] {
  const rows = ctlOptions(host).filter(({ name }) => name !== "vm")
    .map(({ name, argument }) =>
      argument === undefined
        ? `       [--${name}]`
        : `       [--${name}=<${argument}>]`
    );
  return ["Usage: bhyvectl --vm=<vmname>", ...rows];
}

/** Reads `bus/slot/func` as sscanf's `%d/%d/%d` would; undefined otherwise. */
export function parsePptDevice(text: string): PptDevice | undefined {
  const match = /^\s*(\d+)\/\s*(\d+)\/\s*(\d+)/.exec(text);
  if (match === null) return undefined;
  const [bus, slot, func] = match.slice(1).map(Number) as [
    number,
    number,
    number,
  ];
  return { bus, slot, func };
}

function actionOf(option: CtlOption, text: string | undefined): CtlAction {
  const { name, kind } = option;
  if (text === undefined) return { name };
  if (kind === "number") return { name, text, value: strtoul(text) };
  if (kind === "int") return { name, text, value: BigInt(atoi(text)) };
  const device = kind === "pptdev" ? parsePptDevice(text) : undefined;
  return device === undefined ? { name, text } : { name, text, device };
}

/** What the last occurrence of each option gave. */
type Given = ReadonlyMap<string, string | undefined>;

function isRefused(given: Given, options: readonly GivenOption[]): boolean {
  const saves = options.filter(({ option }) =>
    option === "checkpoint" || option === "suspend"
  );
  const device = given.get("unassign-pptdev");
  return !given.has("vm") || saves.length > 1 ||
    (device !== undefined && parsePptDevice(device) === undefined);
}

function operandsOf(given: Given): CtlOperands {
  const number = (name: string) => strtoul(given.get(name) ?? "");
  const capname = given.get("capname");
  return {
    descBase: number("desc-base"),
    descLimit: number("desc-limit"),
    descAccess: number("desc-access"),
    rtcOffset: number("rtc-nvram-offset"),
    ...(capname === undefined ? {} : { capname }),
  };
}

function refused(err: readonly string[]): CtlUsage {
  return { kind: "exit", status: 1, out: [], err };
}

type KnownOptions = ReadonlyMap<string, CtlOption>;

// Which options take an argument. bhyvectl(8) has no --help: it answers with the usage
// as to any unknown option. Here that is no error.
function specOf(known: KnownOptions): Map<string, boolean> {
  const spec = [...known].map(([name, { argument }]) =>
    [name, argument !== undefined] as const
  );
  return new Map([...spec, ["help", false]]);
}

function actionsOf(given: Given, known: KnownOptions): CtlAction[] {
  const getAll = given.has("get-all");
  return ACTION_ORDER.flatMap((name) => {
    const option = known.get(name);
    if (option === undefined) return [];
    const isWanted = given.has(name) || (getAll && option.isGetter === true);
    return isWanted ? [actionOf(option, given.get(name))] : [];
  });
}

/** Parses a command line, without the program's name. */
export function parseCtlOptions(
  args: readonly string[],
  host: CtlHost,
): CtlCommand | CtlUsage {
  const known = new Map(ctlOptions(host).map((o) => [o.name, o]));
  const { options, error } = getoptLong(args, specOf(known));
  const given: Given = new Map(options.map((o) => [o.option, o.argument]));
  const usage = ctlUsage(host);
  if (error !== undefined) return refused([`bhyvectl: ${error}`, ...usage]);
  if (given.has("help")) {
    return { kind: "exit", status: 0, out: [...usage, ...HELP], err: [] };
  }
  if (isRefused(given, options)) return refused(usage);
  return {
    kind: "run",
    vm: given.get("vm")!,
    cpu: atoi(given.get("cpu") ?? "0"),
    create: given.has("create"),
    getAll: given.has("get-all"),
    operands: operandsOf(given),
    actions: actionsOf(given, known),
  };
}
