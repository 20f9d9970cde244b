// How the commands are started: from source with the Deno permissions that a test
// grants, or, where BHYVE_TEST_EXECUTABLES names their directory, compiled, with the
// permissions that they were compiled with.

import { V8_FLAGS } from "../../../bhyve/v8_flags.ts";
import { decoderPath } from "../../../vmm/cpu/iced/file.ts";
import { cacheDir } from "../../guests/cache.ts";

/** The commands. */
export type CommandName = "bhyve" | "bhyvectl" | "bhyveload";

/** Paths that a command may read and write, beyond what every command needs. */
export interface Grants {
  readonly read: readonly string[];
  readonly write: readonly string[];
  /** the directory of machines' sockets, of which the machine's own may be used */
  readonly sockets?: string;
}

/** What a command is run from: sources, or a directory of executables. */
export type Source =
  | { readonly deno: string; readonly main: string }
  | { readonly executables: string };

/** What else is known of a start. */
export interface StartOptions {
  readonly grants: Grants;
  /** by default this Deno and these sources, or the executables that are tested */
  readonly source?: Source;
  /** the vmm root */
  readonly root: string;
}

/** A program with its arguments and environment. */
export interface Invocation {
  readonly argv: readonly [string, ...string[]];
  readonly env: Readonly<Record<string, string>>;
}

/** Where the sources are. */
export const REPOSITORY = new URL("../../../", import.meta.url).pathname;
const MAIN: Readonly<Record<CommandName, string>> = {
  bhyve: "main.ts",
  bhyvectl: "bhyvectl/main.ts",
  bhyveload: "bhyveload/main.ts",
};
/** A command's module, in the sources. */
export function mainOf(command: CommandName): string {
  return MAIN[command];
}

/** The commands look for the vmm root and for who runs them. */
const ALWAYS = [
  "--allow-env=VMM_ROOT,XDG_RUNTIME_DIR,TMPDIR,BHYVE_JIT",
  "--allow-sys=uid,hostname",
];
const PASSED_ON = ["HOME", "PATH", "DENO_DIR", "XDG_CACHE_HOME", "TMPDIR"];

/** The directory of compiled commands; undefined where they run from source. */
export function executables(): string | undefined {
  return Deno.env.get("BHYVE_TEST_EXECUTABLES") || undefined;
}

/** Grants for a directory with a vmm root and disks in it, and for guests' files. */
export function grantsFor(directory: string, root: string): Grants {
  return {
    read: [directory, cacheDir()],
    write: [directory],
    sockets: `${root}/run`,
  };
}

// Deno 2.4 lets those use a socket who may read and write its path; since 2.5 each
// socket needs a permission of its own besides, which 2.4 does not know.
function hasSocketPermissions(): boolean {
  const [major = 0, minor = 0] = Deno.version.deno.split(".").map(Number);
  return major > 2 || (major === 2 && minor >= 5);
}

function machineOf(args: readonly string[]): string | undefined {
  const named = args.find((arg) => arg.startsWith("--vm="));
  return named === undefined ? args.at(-1) : named.slice("--vm=".length);
}

function socketFlags({ sockets }: Grants, args: readonly string[]): string[] {
  const machine = machineOf(args);
  if (sockets === undefined || machine === undefined) return [];
  return hasSocketPermissions()
    ? [`--allow-net=unix:${sockets}/${machine}.sock`]
    : [];
}

function environment(root: string): Record<string, string> {
  const kept = PASSED_ON.flatMap((name) => {
    const value = Deno.env.get(name);
    return value === undefined ? [] : [[name, value] as const];
  });
  return {
    ...Object.fromEntries(kept),
    VMM_ROOT: root,
    NO_COLOR: "1",
    DENO_NO_UPDATE_CHECK: "1",
  };
}

function permissionFlags(grants: Grants, args: readonly string[]): string[] {
  const { read, write } = grants;
  // The machine's threads are read from the sources, the decoder from Deno's cache.
  const readable = [REPOSITORY, decoderPath(), ...read].join();
  const writable = write.length === 0 ? [] : [`--allow-write=${write.join()}`];
  const sockets = socketFlags(grants, args);
  return [...ALWAYS, `--allow-read=${readable}`, ...writable, ...sockets];
}

/** A command from source, with the permissions that a test grants. */
export function fromSources(command: CommandName): Source {
  return { deno: Deno.execPath(), main: `${REPOSITORY}${MAIN[command]}` };
}

/** A command as the tests run it where they grant nothing in particular. */
function defaultSource(command: CommandName): Source {
  const compiled = executables();
  return compiled === undefined
    ? fromSources(command)
    : { executables: compiled };
}

/** How a command line is started. */
export function invocation(
  command: CommandName,
  args: readonly string[],
  { grants, root, source = defaultSource(command) }: StartOptions,
): Invocation {
  const env = environment(root);
  if ("executables" in source) {
    return { argv: [`${source.executables}/${command}`, ...args], env };
  }
  const flags = [V8_FLAGS, "--no-prompt", "--no-check"]
    .concat(permissionFlags(grants, args));
  return { argv: [source.deno, "run", ...flags, source.main, ...args], env };
}
