// Where machines are: the vmm root and the nodes in it, which stand for FreeBSD's
// /dev/vmmctl, /dev/vmm and /dev/vmm.io, and `run/` for what belongs to nobody else:
// locks, memory at rest and sockets of machines.

import { VmmError } from "../errno.ts";

const NAME_MAX = 229;
/** Bytes that a Unix socket's address has room for. */
const SOCKET_PATH_MAX = 107;
/** Names up to this length are the sockets' names as they are. */
const PLAIN_NAME_MAX = 32;
// No `/`, control character, space or quote; devfs has no others.
// deno-lint-ignore no-control-regex
const BAD_CHARACTER = /[\/\x00-\x20"'\x7f]/;

/** Checks a machine's name. @throws {VmmError} EINVAL */
export function requireName(name: string): void {
  const bytes = new TextEncoder().encode(name).length;
  const isGood = bytes >= 1 && bytes <= NAME_MAX && name !== "." &&
    name !== ".." && !BAD_CHARACTER.test(name);
  if (!isGood) throw new VmmError("EINVAL");
}

// A short name for a long one (FNV-1a, 64 bits); the socket's path is in the node.
function shortened(name: string): string {
  let hash = 0xcbf2_9ce4_8422_2325n;
  for (const byte of new TextEncoder().encode(name)) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100_0000_01b3n);
  }
  return hash.toString(16).padStart(16, "0");
}

/** Paths below a vmm root. */
export class RootPaths {
  /**
   * Paths below a root.
   *
   * @param root absolute path of the vmm root
   */
  constructor(readonly root: string) {}

  /** the control node: who may write it may create and destroy */
  get control(): string {
    return `${this.root}/vmmctl`;
  }

  /** machines' nodes */
  get machines(): string {
    return `${this.root}/vmm`;
  }

  /** device memory of machines */
  get deviceMemory(): string {
    return `${this.root}/vmm.io`;
  }

  /** locks, memory images and sockets */
  get runtime(): string {
    return `${this.root}/run`;
  }

  /** A machine's node. */
  node(name: string): string {
    return `${this.machines}/${name}`;
  }

  /** The node of a segment of device memory. */
  segment(name: string, segment: string): string {
    return `${this.deviceMemory}/${name}.${segment}`;
  }

  /** What is locked while a machine at rest changes hands. */
  lock(name: string): string {
    return `${this.runtime}/${name}.lock`;
  }

  /** A machine's memory at rest; each generation is a new file. */
  memory(name: string, generation: number): string {
    return `${this.runtime}/${name}.mem-${generation}`;
  }

  /**
   * The socket of a machine that runs.
   *
   * @throws {VmmError} ENAMETOOLONG where the root's path leaves no room for it
   */
  socket(name: string): string {
    const short = name.length <= PLAIN_NAME_MAX ? name : shortened(name);
    const path = `${this.runtime}/${short}.sock`;
    if (new TextEncoder().encode(path).length > SOCKET_PATH_MAX) {
      throw new VmmError(
        "ENAMETOOLONG",
        `socket path ${path} is longer than ${SOCKET_PATH_MAX} bytes: set VMM_ROOT to a shorter path`,
      );
    }
    return path;
  }
}

function readEnv(name: string): string | undefined {
  const { state } = Deno.permissions.querySync({ name: "env", variable: name });
  const value = state === "granted" ? Deno.env.get(name) : undefined;
  return value === "" ? undefined : value;
}

/** The user who runs this process; undefined where that is not known. */
export function ownUid(): number | undefined {
  const { state } = Deno.permissions.querySync({ name: "sys", kind: "uid" });
  return state === "granted" ? Deno.uid() ?? undefined : undefined;
}

/**
 * The vmm root of this process: $VMM_ROOT; /run/vmm for the super-user; in
 * $XDG_RUNTIME_DIR or the directory for temporary files for others.
 *
 * @throws {VmmError} EINVAL for a path that is not absolute
 */
export function defaultRootPath(): string {
  const given = readEnv("VMM_ROOT");
  if (given !== undefined) {
    if (!given.startsWith("/")) {
      throw new VmmError(
        "EINVAL",
        `VMM_ROOT is ${given}: expected a full path`,
      );
    }
    return given.replace(/\/+$/, "") || "/";
  }
  const uid = ownUid();
  if (uid === 0) return "/run/vmm";
  const runtime = readEnv("XDG_RUNTIME_DIR");
  if (runtime !== undefined) return `${runtime}/vmm`;
  return `${readEnv("TMPDIR") ?? "/tmp"}/vmm-${uid ?? "user"}`;
}
