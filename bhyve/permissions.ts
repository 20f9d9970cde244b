// Deno's permissions for what a command line names: exactly these are needed, each with
// the flag that grants it.

import { refuse, STATUS } from "./option_error.ts";
import type { Resources, TtyResource } from "./resources.ts";

/** A permission that a machine needs. */
export interface Need {
  readonly descriptors: readonly Deno.PermissionDescriptor[];
  /** what it is for, such as `read /disk.img` */
  readonly purpose: string;
  /** what to run with */
  readonly flag: string;
}

const ALL: Need["descriptors"] = [
  ...["read", "write", "net", "env", "sys", "run", "ffi"] as const,
].map((name) => ({ name }));
const ALLOW_ALL = "--allow-all";

/** Whether Deno opens a path only for programs that may do everything. */
export function isSpecial(path: string): boolean {
  return Deno.build.os !== "windows" && /^\/(dev|proc|sys)\//.test(path);
}

function files(path: string, accesses: readonly ("read" | "write")[]): Need[] {
  if (isSpecial(path)) {
    return [{ descriptors: ALL, purpose: `open ${path}`, flag: ALLOW_ALL }];
  }
  return accesses.map((access) => ({
    descriptors: [{ name: access, path }],
    purpose: `${access} ${path}`,
    flag: `--allow-${access}=${path}`,
  }));
}

function listen(hostname: string, port: number): Need {
  const name = hostname.includes(":") ? `[${hostname}]` : hostname;
  const host = `${name}:${port}`;
  return {
    descriptors: [{ name: "net", host }],
    purpose: `listen on ${host}`,
    flag: `--allow-net=${host}`,
  };
}

const HOST_NAME: Need = {
  descriptors: [{ name: "sys", kind: "hostname" }],
  purpose: "derive the machine's UUID from the host's name (none with -U)",
  flag: "--allow-sys=hostname",
};

function ttyNeeds({ spec }: TtyResource): Need[] {
  switch (spec.kind) {
    case "stdio":
      return [];
    case "tcp":
      return [listen(spec.address.hostname, spec.address.port)];
    case "device":
      return files(spec.path, ["read", "write"]);
  }
}

/** What else a machine needs. */
export interface OtherNeeds {
  /** files that are read at the start */
  readonly files: readonly string[];
  /** whether the host's name is asked for */
  readonly hostname: boolean;
}

/** Every permission that a machine needs, besides the vmm root's. */
export function needsOf(
  { ttys, disks }: Resources,
  other: OtherNeeds,
): Need[] {
  return [
    ...other.files.flatMap((path) => files(path, ["read"])),
    ...disks.flatMap(({ path, readOnly }) =>
      files(path, readOnly ? ["read"] : ["read", "write"])
    ),
    ...ttys.flatMap(ttyNeeds),
    ...other.hostname ? [HOST_NAME] : [],
  ];
}

/** Whether a permission is granted. */
export type IsGranted = (descriptor: Deno.PermissionDescriptor) => boolean;

function isGrantedHere(descriptor: Deno.PermissionDescriptor): boolean {
  return Deno.permissions.querySync(descriptor).state === "granted";
}

/**
 * Checks permissions.
 *
 * @throws {OptionError} naming all that are missing, with the flags that grant them
 */
export function requireNeeds(
  needs: readonly Need[],
  isGranted: IsGranted = isGrantedHere,
): void {
  const missing = needs.filter(({ descriptors }) =>
    !descriptors.every(isGranted)
  );
  if (missing.length === 0) return;
  const purposes = missing.map(({ purpose }) => purpose).join(", ");
  const flags = missing.map(({ flag }) => flag);
  const needed = flags.includes(ALLOW_ALL) ? ALLOW_ALL : flags.join(" ");
  throw refuse(
    STATUS.ERROR,
    `no permission to ${purposes}: run with ${needed}`,
  );
}
