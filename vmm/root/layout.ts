// The vmm root's directories and control node, made at first use.

import { VmmError } from "../errno.ts";
import { isPermitted, requirePermission } from "./access.ts";
import { ownUid, type RootPaths } from "./paths.ts";

/** Members may use machines of each other's root where the host has this group. */
const GROUP = "vmm";
/** What group and others may do: nothing, or, with a group, add nodes of their own. */
const MODE = {
  PRIVATE_DIRECTORY: 0o700,
  SHARED_ROOT: 0o755,
  SHARED_DIRECTORY: 0o1770,
  PRIVATE_CONTROL: 0o600,
  SHARED_CONTROL: 0o660,
} as const;
const OTHERS_WRITE = 0o022;

// The number of the group, where the host has it and this process may look.
function groupId(): number | undefined {
  const file = "/etc/group";
  const { state } = Deno.permissions.querySync({ name: "read", path: file });
  if (state !== "granted") return undefined;
  try {
    const line = Deno.readTextFileSync(file).split("\n")
      .find((text) => text.startsWith(`${GROUP}:`));
    return line === undefined ? undefined : Number(line.split(":")[2]);
  } catch {
    return undefined;
  }
}

function makeDirectory(path: string, mode: number, group?: number): void {
  try {
    Deno.mkdirSync(path, { mode });
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return;
    throw error;
  }
  if (group !== undefined) Deno.chownSync(path, null, group);
  Deno.chmodSync(path, mode);
}

// Who may only make the root itself, not what is above, can do so where that is there.
function makeRoot(path: string, mode: number): void {
  try {
    makeDirectory(path, mode);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    const parent = path.slice(0, path.lastIndexOf("/"));
    Deno.mkdirSync(parent, { recursive: true });
    makeDirectory(path, mode);
  }
}

function makeControl(path: string, group?: number): void {
  try {
    Deno.openSync(path, { createNew: true, write: true }).close();
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return;
    throw error;
  }
  if (group !== undefined) Deno.chownSync(path, null, group);
  const mode = group === undefined ? MODE.PRIVATE_CONTROL : MODE.SHARED_CONTROL;
  Deno.chmodSync(path, mode);
}

/**
 * Checks that nobody else can have put something into a root that is there.
 *
 * @throws {VmmError} ENOTDIR, EPERM
 */
function requireSafe(root: string): void {
  const { isDirectory, uid, mode } = Deno.lstatSync(root);
  if (!isDirectory) throw new VmmError("ENOTDIR", `${root} is no directory`);
  const own = ownUid();
  if (own === undefined || uid === null || mode === null) return;
  if (uid !== own && uid !== 0) {
    throw new VmmError("EPERM", `${root} belongs to user ${uid}`);
  }
  if ((mode & OTHERS_WRITE) !== 0) {
    throw new VmmError(
      "EPERM",
      `${root} can be written by others: expected mode 755 or less`,
    );
  }
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/**
 * Makes the root where it is missing.
 *
 * @throws {VmmError} EACCES without permission, EPERM where it is not safe to use
 */
export function ensureLayout(paths: RootPaths): void {
  const maySee = isPermitted("read", paths.root);
  if (maySee && exists(paths.root)) requireSafe(paths.root);
  if (isPermitted("read", paths.runtime) && exists(paths.runtime)) return;
  requirePermission(paths.root, ["read", "write"], "make the vmm root");
  const group = ownUid() === 0 ? groupId() : undefined;
  const isShared = group !== undefined;
  makeRoot(paths.root, isShared ? MODE.SHARED_ROOT : MODE.PRIVATE_DIRECTORY);
  makeControl(paths.control, group);
  const mode = isShared ? MODE.SHARED_DIRECTORY : MODE.PRIVATE_DIRECTORY;
  for (const path of [paths.machines, paths.deviceMemory, paths.runtime]) {
    makeDirectory(path, mode, group);
  }
}
