// The files that a command line names: whether this process may have them, whether
// they are what was meant, and what is said where not.

import { reasonOf } from "../vmm/message.ts";
import { isPermitted } from "../vmm/root/access.ts";
import { couldNotOpen, type LoadUsage } from "./options.ts";

/** A command line that cannot be followed: what is said, and the exit status. */
export class LoadRefusal extends Error {
  override readonly name = "LoadRefusal";

  /** @param usage lines for standard error and the exit status */
  constructor(readonly usage: LoadUsage) {
    super(usage.err.join("\n"));
  }
}

/** A refusal with one line of text. */
export function refusal(status: number, message: string): LoadRefusal {
  const err = [`bhyveload: ${message}`];
  return new LoadRefusal({ kind: "exit", status, out: [], err });
}

/** sysexits(3)'s EX_USAGE, which bhyveload ends with for files, too. */
const EX_USAGE = 64;

/**
 * Checks Deno's permissions for a path, before anything is asked for or done.
 *
 * @throws {LoadRefusal} naming the path and the flag
 */
export function requirePath(
  path: string,
  accesses: readonly ("read" | "write")[] = ["read"],
): void {
  for (const access of accesses) {
    if (isPermitted(access, path)) continue;
    throw refusal(
      EX_USAGE,
      `cannot ${access} ${path}: permission is missing, run with --allow-${access}=${path}`,
    );
  }
}

/** Does something with a path. @throws {LoadRefusal} where the host refuses */
export function attempt<T>(path: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    if (error instanceof LoadRefusal) throw error;
    throw new LoadRefusal(couldNotOpen(path, reasonOf(error)));
  }
}

/**
 * Opens a file or disk for reading.
 *
 * @param expected what it should be, such as `a kernel`
 * @throws {LoadRefusal} where it is not there, may not be read, or is no file
 */
export function openNamed(path: string, expected: string): Deno.FsFile {
  requirePath(path);
  return attempt(path, () => {
    const { isFile, isBlockDevice, isDirectory } = Deno.statSync(path);
    if (isFile || isBlockDevice) return Deno.openSync(path);
    const what = isDirectory ? "it is a directory" : "it is no file";
    throw new LoadRefusal(couldNotOpen(path, `${what}, expected ${expected}`));
  });
}

/** Checks that a path is a directory. @throws {LoadRefusal} where it is none */
export function requireDirectory(path: string): void {
  requirePath(path);
  attempt(path, () => {
    if (Deno.statSync(path).isDirectory) return;
    const reason = "it is no directory";
    throw new LoadRefusal(couldNotOpen(path, reason));
  });
}
