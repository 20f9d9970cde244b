// The command line of bhyveload(8) as plain data, with the loader's environment in
// the order in which it is handed out. Opening what was named is for the caller.

import { getopt, type GivenOption } from "../vmm/getopt.ts";
import { parseMemsize } from "../vmm/memsize.ts";

/** sysexits(3)'s EX_USAGE. */
const EX_USAGE = 64;
/** Most disks. */
export const MOST_DISKS = 32;
const SPEC = "CSc:d:e:h:l:m:";
const DEFAULT_MEMORY = 256 * 2 ** 20;
/** What every loader's environment begins with. */
const BUILT_IN_ENVIRONMENT: readonly string[] = [
  "smbios.bios.vendor=BHYVE",
  "boot_serial=1",
];

/** A command line to load a machine. */
export interface LoadCommand {
  readonly kind: "run";
  /** the machine's name */
  readonly name: string;
  /** bytes of RAM */
  readonly memory: number;
  /** `stdio`, or the path of a terminal */
  readonly console: string;
  /** disk images, unit 0 first */
  readonly disks: readonly string[];
  /** `name=value` in the order of the loader's getenv: built-in ones, newest first */
  readonly environment: readonly string[];
  /** host directory for `host0:` */
  readonly hostBase?: string;
  /** loader or kernel in place of the built-in loader */
  readonly loader?: string;
  /** whether guest memory is wired */
  readonly wired: boolean;
  /** whether guest memory is in core files */
  readonly inCore: boolean;
}

/** A command line that is refused. */
export interface LoadUsage {
  readonly kind: "exit";
  readonly status: number;
  /** lines for standard output */
  readonly out: readonly string[];
  /** lines for standard error */
  readonly err: readonly string[];
}

/** The usage, by lines. */
export const LOAD_USAGE: readonly string[] = [
  "usage: bhyveload [-S][-c <console-device>] [-d <disk-path>] [-e <name=value>]",
  "                 [-h <host-path>] [-l <os-loader>] [-m memsize[K|k|M|m|G|g|T|t]]",
  "                 [-C] <vmname>",
];

function refused(message: string): LoadUsage {
  const err = [`bhyveload: ${message}`];
  return { kind: "exit", status: EX_USAGE, out: [], err };
}

/** The refusal of a console or disk that cannot be opened. */
export function couldNotOpen(path: string): LoadUsage {
  return refused(`Could not open '${path}'`);
}

type Given = (option: string) => readonly string[];

function fault(given: Given): LoadUsage | undefined {
  const bad = given("m").find((text) => parseMemsize(text) === undefined);
  if (bad !== undefined) return refused(`Invalid memsize '${bad}'`);
  if (given("l").length > 1) return refused("-l can only be given once");
  const extra = given("d")[MOST_DISKS];
  return extra === undefined ? undefined : couldNotOpen(extra);
}

function argumentsOf(options: readonly GivenOption[]): Given {
  return (option) =>
    options.filter((o) => o.option === option).map((o) => o.argument ?? "");
}

/** Parses a command line, without the program's name. */
export function parseLoadOptions(
  args: readonly string[],
): LoadCommand | LoadUsage {
  const { options, rest, error } = getopt(args, SPEC);
  const given = argumentsOf(options);
  const refusal = fault(given);
  if (refusal !== undefined) return refusal;
  const [name] = rest;
  if (error !== undefined || name === undefined || rest.length > 1) {
    const first = error === undefined ? [] : [`bhyveload: ${error}`];
    return { kind: "exit", status: 1, out: [], err: [...first, ...LOAD_USAGE] };
  }
  const size = given("m").at(-1);
  const hostBase = given("h").at(-1);
  const loader = given("l").at(-1);
  return {
    kind: "run",
    name,
    memory: size === undefined ? DEFAULT_MEMORY : parseMemsize(size)!,
    console: given("c").at(-1) ?? "stdio",
    disks: given("d"),
    environment: [...BUILT_IN_ENVIRONMENT, ...given("e").toReversed()],
    ...(hostBase === undefined ? {} : { hostBase }),
    ...(loader === undefined ? {} : { loader }),
    wired: given("S").length > 0,
    inCore: given("C").length > 0,
  };
}
