// Programs of Debian packages on the host: the one that is installed, else the package
// unpacked in the cache, with the libraries that the host lacks.

import { debianPackage, type Progress } from "../../tests/guests/debian.ts";
import { succeeds } from "../../tests/guests/run.ts";
import { hostLibraries } from "./libraries.ts";

/** A program that can be run. */
export interface HostProgram {
  readonly path: string;
  /** what its environment needs */
  readonly env: Readonly<Record<string, string>>;
  /** where its package lies, empty for one that is installed */
  readonly root: string;
}

/** A program from its package, unpacked. */
export async function unpackedProgram(
  name: string,
  path: string,
  progress: Progress,
): Promise<HostProgram> {
  const root = await debianPackage(name, progress);
  const dirs = await hostLibraries(`${root}/${path}`, name, progress);
  const env = dirs.length === 0 ? {} : { LD_LIBRARY_PATH: dirs.join(":") };
  return { path: `${root}/${path}`, env, root };
}

/** A program that is installed, or else unpacked. */
export async function hostProgram(
  name: string,
  path: string,
  progress: Progress,
): Promise<HostProgram> {
  const installed = path.split("/").at(-1)!;
  const isThere = await succeeds(installed, ["--version"]).catch(() => false);
  if (isThere) return { path: installed, env: {}, root: "" };
  return await unpackedProgram(name, path, progress);
}
