// Who may do what with the nodes of a vmm root. Two layers: the files' modes, as with
// /dev/vmmctl and /dev/vmm, and Deno's permissions for the same paths, which narrow a
// process further. Checked before anything is done, so that a refusal names the node
// and what grants it.

import { VmmError } from "../errno.ts";
import { ownUid, type RootPaths } from "./paths.ts";

/** A kind of access to a path. */
export type Access = "read" | "write";

/** Whether Deno's permissions allow an access. */
export function isPermitted(access: Access, path: string): boolean {
  return Deno.permissions.querySync({ name: access, path }).state === "granted";
}

/**
 * Checks Deno's permissions for a path.
 *
 * @param purpose what the access is for, such as `create machines`
 * @throws {VmmError} EACCES naming the path and the flag that grants it
 */
export function requirePermission(
  path: string,
  accesses: readonly Access[],
  purpose: string,
): void {
  for (const access of accesses) {
    if (isPermitted(access, path)) continue;
    throw new VmmError(
      "EACCES",
      `no ${access} permission for ${path} to ${purpose}: run with --allow-${access}=${path}`,
    );
  }
}

/** Checks that machines' nodes can be reached. @throws {VmmError} EACCES */
export function requireUse(paths: RootPaths, name: string): void {
  const purpose = `use machine ${name}`;
  requirePermission(paths.node(name), ["read", "write"], purpose);
  requirePermission(paths.runtime, ["read", "write"], purpose);
}

/** Checks that machines can be added in monitor mode. @throws {VmmError} EACCES */
export function requireMonitor(paths: RootPaths): void {
  for (const path of [paths.machines, paths.deviceMemory, paths.runtime]) {
    requirePermission(path, ["read", "write"], "run a machine in monitor mode");
  }
}

/**
 * Checks the right to create and destroy machines that stay.
 *
 * @throws {VmmError} EPERM naming the control node and what grants it
 */
export function requireControl(paths: RootPaths): void {
  const { control } = paths;
  if (!isPermitted("write", control) || !isPermitted("read", control)) {
    throw new VmmError(
      "EPERM",
      `no permission for ${control}, which the right to create and destroy machines is: run with --allow-read=${control} --allow-write=${control}, or run the machine in monitor mode (bhyve -M)`,
    );
  }
  try {
    Deno.openSync(control, { write: true }).close();
  } catch (error) {
    if (error instanceof Deno.errors.PermissionDenied) {
      throw new VmmError(
        "EPERM",
        `${control} cannot be written by this user, who so may not create or destroy machines: use monitor mode (bhyve -M)`,
      );
    }
    throw error;
  }
}

/**
 * Checks that this user may destroy a machine: its owner may, and the super-user, who
 * is the owner of the control node or user 0.
 *
 * @throws {VmmError} EPERM
 */
export function requireOwner(paths: RootPaths, name: string): void {
  const uid = ownUid();
  const owner = Deno.statSync(paths.node(name)).uid;
  if (uid === undefined || owner === null) return;
  const isSuper = uid === 0 || Deno.statSync(paths.control).uid === uid;
  if (uid !== owner && !isSuper) {
    throw new VmmError(
      "EPERM",
      `machine ${name} belongs to user ${owner}: only they and the super-user may destroy it`,
    );
  }
}
