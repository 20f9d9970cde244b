// A machine's node on disk: its description and, where it runs, by whom. Written to
// another name and renamed, so that it is whole whenever a process ends; changed only
// under the machine's lock, which the host's kernel releases when its holder ends.

import { CpuError } from "../cpu/exits.ts";
import { ERRNO, type ErrnoName, VmmError } from "../errno.ts";
import { MAX_VCPUS } from "../ioctl.ts";
import { decodeJson, encodeJson } from "./codec.ts";
import type { MemoryImage } from "./memory_image.ts";
import type { RootPaths } from "./paths.ts";
import type { VmState } from "./state.ts";

/** A process that runs a machine. */
export interface Runner {
  readonly pid: number;
  /** path of its socket */
  readonly socket: string;
}

/** What a node holds. */
export interface NodeRecord {
  readonly kind: "vmm node";
  readonly version: 1;
  readonly name: string;
  /** monitor mode: the machine goes with the process that runs it */
  readonly destroyOnClose: boolean;
  /** who runs it; null: it rests */
  readonly runner: Runner | null;
  /** its system memory; null: all zeros */
  readonly memory: MemoryImage | null;
  /** number of the next memory image */
  readonly generation: number;
  readonly state: VmState;
}

/** Larger than the node of any machine: 16 vCPUs take 500 KB, extents 2 MB. */
const NODE_BYTES_MAX = 64 * 2 ** 20;
const NODE_MODE = 0o600;

/** A machine that was never started, loaded or given memory. */
export function emptyState(): VmState {
  return {
    kind: "vmm machine",
    version: 1,
    topology: { sockets: 1, cores: 1, threads: 1, maxcpus: MAX_VCPUS },
    segments: [],
    mappings: [],
    vcpus: [],
    active: [],
    debug: [],
    suspend: 0,
    rtc: null,
    interrupts: null,
  };
}

/** The errno of an error of the host's file system. */
export function errnoOf(error: unknown): ErrnoName {
  if (error instanceof Deno.errors.NotFound) return "ENOENT";
  if (error instanceof Deno.errors.PermissionDenied) return "EACCES";
  if (error instanceof Deno.errors.NotCapable) return "EACCES";
  if (error instanceof Deno.errors.AlreadyExists) return "EEXIST";
  const code = error instanceof Error && "code" in error ? error.code : "EIO";
  return typeof code === "string" && Object.hasOwn(ERRNO, code)
    ? code as ErrnoName
    : "EIO";
}

/** An error of the host's file system as one of vmm(4)'s. */
export function asVmmError(error: unknown, what: string): VmmError {
  if (error instanceof VmmError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  return new VmmError(errnoOf(error), `${what}: ${reason}`);
}

/** Whether a machine has a node. @throws {VmmError} */
export function nodeExists(paths: RootPaths, name: string): boolean {
  try {
    Deno.lstatSync(paths.node(name));
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw asVmmError(error, paths.node(name));
  }
}

function check(value: unknown, path: string): NodeRecord {
  const record = value as Partial<NodeRecord> | null;
  if (record?.kind !== "vmm node" || record.state?.kind !== "vmm machine") {
    throw new VmmError("EIO", `${path} is no machine's node`);
  }
  if (record.version !== 1 || record.state.version !== 1) {
    throw new VmmError(
      "EIO",
      `${path} has version ${record.version}.${record.state.version}: expected 1.1, written by this release`,
    );
  }
  return record as NodeRecord;
}

/** Reads a node. @throws {VmmError} ENOENT, EACCES, EIO where it is damaged */
export function readNode(paths: RootPaths, name: string): NodeRecord {
  const path = paths.node(name);
  try {
    const { size, isFile } = Deno.lstatSync(path);
    if (!isFile || size > NODE_BYTES_MAX) {
      throw new VmmError("EIO", `${path} is no machine's node`);
    }
    return check(decodeJson(Deno.readTextFileSync(path)), path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw new VmmError("ENOENT");
    if (error instanceof Deno.errors.PermissionDenied) {
      throw new VmmError("EACCES");
    }
    if (error instanceof SyntaxError || error instanceof CpuError) {
      throw new VmmError("EIO", `${path} is damaged: ${error.message}`);
    }
    throw asVmmError(error, path);
  }
}

/** Writes a node in place of the one that was there, and of its owner. @throws {VmmError} */
export function writeNode(paths: RootPaths, record: NodeRecord): void {
  const path = paths.node(record.name);
  const partial = `${paths.runtime}/${record.name}.new-${Deno.pid}`;
  try {
    const options = { createNew: true, mode: NODE_MODE };
    Deno.writeTextFileSync(partial, encodeJson(record), options);
    keepOwner(path, partial);
    Deno.renameSync(partial, path);
  } catch (error) {
    removeIfThere(partial);
    throw asVmmError(error, path);
  }
}

// The super-user may change another's machine, which then still is the other's.
function keepOwner(path: string, partial: string): void {
  try {
    const { uid, gid } = Deno.lstatSync(path);
    if (uid !== Deno.lstatSync(partial).uid) Deno.chownSync(partial, uid, gid);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Removes a file; nothing happens where it is not there. */
export function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Removes a machine's node and all that belongs to it. The lock must be held. */
export function removeNode(paths: RootPaths, record: NodeRecord): void {
  const { name, runner, state } = record;
  removeIfThere(paths.node(name));
  if (runner !== null) removeIfThere(runner.socket);
  for (const { name: segment } of state.segments) {
    if (segment !== "") removeIfThere(paths.segment(name, segment));
  }
  for (const file of leftovers(paths, name)) removeIfThere(file);
}

/** What a process that was killed while it saved leaves, and the memory's image. */
function leftovers(paths: RootPaths, name: string): string[] {
  const isOurs = (file: string) =>
    file.startsWith(`${name}.`) &&
    /^(mem|new)-\d+$/.test(file.slice(name.length + 1));
  return [...Deno.readDirSync(paths.runtime)]
    .filter((entry) => isOurs(entry.name))
    .map((entry) => `${paths.runtime}/${entry.name}`);
}

/** A machine's lock, held. */
export class NodeLock {
  readonly #file: Deno.FsFile;
  readonly #path: string;

  private constructor(file: Deno.FsFile, path: string) {
    this.#file = file;
    this.#path = path;
  }

  /** Waits for the lock and takes it. @throws {VmmError} */
  static async take(paths: RootPaths, name: string): Promise<NodeLock> {
    const path = paths.lock(name);
    for (;;) {
      const file = openLock(path);
      await file.lock(true);
      if (isSame(file, path)) return new NodeLock(file, path);
      // Whoever held it removed it together with the machine.
      file.close();
    }
  }

  /** Removes the lock's file, of a machine that is gone. Still to be released. */
  remove(): void {
    removeIfThere(this.#path);
  }

  /** Lets others take it. */
  release(): void {
    this.#file.close();
  }
}

function openLock(path: string): Deno.FsFile {
  try {
    return Deno.openSync(path, {
      read: true,
      write: true,
      create: true,
      mode: NODE_MODE,
    });
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw new VmmError("ENOENT");
    throw asVmmError(error, path);
  }
}

function isSame(file: Deno.FsFile, path: string): boolean {
  try {
    const { ino, dev } = Deno.lstatSync(path);
    const own = file.statSync();
    return own.ino === ino && own.dev === dev;
  } catch {
    return false;
  }
}
