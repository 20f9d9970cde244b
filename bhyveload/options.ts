// The command line of bhyveload(8) as plain data, with the loader's environment in
// the order in which it is handed out, and the options for kernels that are one file,
// which FreeBSD's has not. Opening what was named is for the caller.

import { getopt, getoptLong, type GivenOption } from "../vmm/getopt.ts";
import { parseMemsize } from "../vmm/memsize.ts";
import {
  helpLines,
  LOAD_USAGE,
  LONG_SPEC,
  SHORT_SPEC,
} from "./option_table.ts";

/** sysexits(3)'s EX_USAGE. */
const EX_USAGE = 64;
/** Most disks. */
export const MOST_DISKS = 32;
const DEFAULT_MEMORY = 256 * 2 ** 20;
/** What every loader's environment begins with. */
export const BUILT_IN_ENVIRONMENT: readonly string[] = [
  "smbios.bios.vendor=BHYVE",
  "boot_serial=1",
];

/** A kernel that is one file, and what goes with it. */
export interface KernelCommand {
  /** path of the kernel */
  readonly file: string;
  /** path of an initial RAM disk or module */
  readonly initrd?: string;
  /** the kernel's command line */
  readonly append?: string;
}

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
  /** a kernel in place of a FreeBSD system */
  readonly kernel?: KernelCommand;
  /** whether guest memory is wired */
  readonly wired: boolean;
  /** whether guest memory is in core files */
  readonly inCore: boolean;
}

/** A command line after which the program only says something and exits. */
export interface LoadUsage {
  readonly kind: "exit";
  readonly status: number;
  /** lines for standard output */
  readonly out: readonly string[];
  /** lines for standard error */
  readonly err: readonly string[];
}

function refused(message: string): LoadUsage {
  const err = [`bhyveload: ${message}`];
  return { kind: "exit", status: EX_USAGE, out: [], err };
}

/** The refusal of a console, disk or other file that cannot be opened. */
export function couldNotOpen(path: string, reason?: string): LoadUsage {
  const why = reason === undefined ? "" : `: ${reason}`;
  return refused(`Could not open '${path}'${why}`);
}

interface ReadOptions {
  readonly options: readonly GivenOption[];
  readonly rest: readonly string[];
  readonly error?: string;
}

// getopt(3) stops at a long option; what follows it goes to getopt(3) again.
function readOptions(args: readonly string[]): ReadOptions {
  const options: GivenOption[] = [];
  for (let left = args;;) {
    const { options: found, rest, error } = getopt(left, SHORT_SPEC);
    options.push(...found);
    const word = left[left.length - rest.length - 1] ?? "";
    if (error === undefined) return { options, rest };
    if (!/^--./.test(word)) return { options, rest, error };
    const long = readLong(word, rest[0]);
    if (typeof long === "string") return { options, rest, error: long };
    options.push(long.given);
    left = long.usesNext ? rest.slice(1) : rest;
  }
}

function readLong(
  word: string,
  next: string | undefined,
): { given: GivenOption; usesNext: boolean } | string {
  const alone = getoptLong([word], LONG_SPEC);
  const [given] = alone.options;
  if (given !== undefined) return { given, usesNext: false };
  const { options: [both] } = next === undefined
    ? alone
    : getoptLong([word, next], LONG_SPEC);
  return both === undefined
    ? alone.error ?? `unrecognized option \`${word}'`
    : { given: both, usesNext: true };
}

type Given = (option: string) => readonly string[];

const ONCE: readonly string[] = ["l", "kernel", "initrd", "append"];

function dashed(option: string): string {
  return option.length === 1 ? `-${option}` : `--${option}`;
}

function conflict(given: Given): string | undefined {
  const isGiven = (option: string) => given(option).length > 0;
  const twice = ONCE.find((option) => given(option).length > 1);
  if (twice !== undefined) return `${dashed(twice)} can only be given once`;
  const [wrong, why] = isGiven("kernel")
    ? [["d", "h", "l"], "cannot be given with --kernel"]
    : [["initrd", "append"], "needs --kernel"];
  const option = wrong.find(isGiven);
  return option === undefined ? undefined : `${dashed(option)} ${why}`;
}

function fault(given: Given): LoadUsage | undefined {
  const bad = given("m").find((text) => parseMemsize(text) === undefined);
  if (bad !== undefined) return refused(`Invalid memsize '${bad}'`);
  const found = conflict(given);
  if (found !== undefined) return refused(found);
  const extra = given("d")[MOST_DISKS];
  return extra === undefined
    ? undefined
    : couldNotOpen(extra, `expected at most ${MOST_DISKS} disks`);
}

function argumentsOf(options: readonly GivenOption[]): Given {
  return (option) =>
    options.filter((o) => o.option === option).map((o) => o.argument ?? "");
}

function kernelOf(given: Given): KernelCommand | undefined {
  const [file] = given("kernel");
  const [initrd] = given("initrd");
  const [append] = given("append");
  return file === undefined ? undefined : {
    file,
    ...(initrd === undefined ? {} : { initrd }),
    ...(append === undefined ? {} : { append }),
  };
}

function commandOf(name: string, given: Given): LoadCommand {
  const size = given("m").at(-1);
  const hostBase = given("h").at(-1);
  const loader = given("l").at(-1);
  const kernel = kernelOf(given);
  return {
    kind: "run",
    name,
    memory: size === undefined ? DEFAULT_MEMORY : parseMemsize(size)!,
    console: given("c").at(-1) ?? "stdio",
    disks: given("d"),
    environment: [...BUILT_IN_ENVIRONMENT, ...given("e").toReversed()],
    ...(hostBase === undefined ? {} : { hostBase }),
    ...(loader === undefined ? {} : { loader }),
    ...(kernel === undefined ? {} : { kernel }),
    wired: given("S").length > 0,
    inCore: given("C").length > 0,
  };
}

/** Parses a command line, without the program's name. */
export function parseLoadOptions(
  args: readonly string[],
): LoadCommand | LoadUsage {
  const { options, rest, error } = readOptions(args);
  const given = argumentsOf(options);
  if (given("help").length > 0) {
    return { kind: "exit", status: 0, out: helpLines(), err: [] };
  }
  const refusal = fault(given);
  if (refusal !== undefined) return refusal;
  const [name] = rest;
  if (error === undefined && name !== undefined && rest.length === 1) {
    return commandOf(name, given);
  }
  const first = error === undefined ? [] : [`bhyveload: ${error}`];
  return { kind: "exit", status: 1, out: [], err: [...first, ...LOAD_USAGE] };
}
