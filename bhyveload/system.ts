// A FreeBSD system on disks or in a host directory: which file system it is booted
// from, and its loading, with a word about every file.

import { findFileSystem, type FoundFileSystem } from "../vmm/loader/disk.ts";
import { HostDirectory } from "../vmm/loader/host_directory.ts";
import { DiskImage, fileAccess } from "../vmm/loader/image.ts";
import {
  LoaderError,
  type LoaderFileSystem,
  type LoaderMemory,
  loadFreeBsd,
  type StartState,
} from "../vmm/loader/mod.ts";
import type { ReadLimit } from "../vmm/loader/tree.ts";
import { attempt, openNamed, requireDirectory } from "./named_file.ts";
import type { LoadCommand } from "./options.ts";
import { mebibytes } from "./read_file.ts";

/** Says one line to whoever loads. */
export type Say = (line: string) => void;

/** What a system is loaded from, open. */
export interface OpenSystem {
  /** images in the order of their units */
  readonly disks: readonly DiskImage[];
  readonly host: HostDirectory | undefined;
  /** Lets go of the files. */
  close(): void;
}

/**
 * Opens what a command line names.
 *
 * @throws {LoadRefusal} where something cannot be opened
 */
export function openSystem(
  { disks, hostBase }: LoadCommand,
  limit: ReadLimit,
): OpenSystem {
  const files: Deno.FsFile[] = [];
  const close = () => files.forEach((file) => file.close());
  try {
    for (const path of disks) files.push(openNamed(path, "a disk image"));
    if (hostBase !== undefined) requireDirectory(hostBase);
    return {
      disks: files.map((file, unit) =>
        attempt(
          disks[unit]!,
          () => new DiskImage(`disk${unit}`, fileAccess(file)),
        )
      ),
      host: hostBase === undefined
        ? undefined
        : attempt(hostBase, () => new HostDirectory(hostBase, limit)),
      close,
    };
  } catch (error) {
    close();
    throw error;
  }
}

// The first disk that has a file system, in the order of units, and otherwise the
// host's directory. What is passed over is said.
function choose(
  { disks, host }: OpenSystem,
  limit: ReadLimit,
  say: Say,
): FoundFileSystem {
  const problems: string[] = [];
  for (const disk of disks) {
    try {
      return findFileSystem(disk, limit);
    } catch (error) {
      if (!(error instanceof LoaderError)) throw error;
      problems.push(error.message);
    }
  }
  const last = host === undefined ? problems.pop() : undefined;
  problems.forEach(say);
  if (host !== undefined) return { where: "host0", kind: "host", fs: host };
  throw new LoaderError(last ?? "Cannot find a disk");
}

function announcing(fs: LoaderFileSystem, say: Say): LoaderFileSystem {
  return {
    read(path) {
      const bytes = fs.read(path);
      if (bytes !== undefined) {
        say(`Loading ${path} (${mebibytes(bytes.length)})`);
      }
      return bytes;
    },
    list: (path) => fs.list(path),
  };
}

/**
 * Puts a FreeBSD system into memory.
 *
 * @param environment in the order of the loader's getenv, in which a later value of a
 *   name replaces an earlier one
 * @returns the state in which the boot vCPU starts
 * @throws {LoaderError} where there is none, or it is damaged or does not fit
 */
export function loadSystem(
  memory: LoaderMemory,
  system: OpenSystem,
  environment: readonly string[],
  limit: ReadLimit,
  say: Say,
): StartState {
  const { where, kind, fs } = choose(system, limit, say);
  say(`FreeBSD from ${where}: (${kind})`);
  return loadFreeBsd(memory, {
    fs: announcing(fs, say),
    environment: environment.toReversed(),
  });
}
