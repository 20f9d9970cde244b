// A vmm root: creating, opening, running and destroying the machines in it, as vmm(4)
// does through /dev/vmmctl and /dev/vmm (VMMCTL_VM_CREATE, VMMCTL_VM_DESTROY).

import { SUSPEND } from "../cpu/exits.ts";
import { VmmError } from "../errno.ts";
import type { VmmDevice } from "../vmm_device.ts";
import {
  requireControl,
  requireMonitor,
  requireOwner,
  requireUse,
} from "./access.ts";
import { ClaimedNode } from "./claimed_node.ts";
import { ConnectionEndedError, type MachineConnection } from "./connection.ts";
import { connectRunner, type HeldNode, holdNode } from "./holder.ts";
import { ensureLayout } from "./layout.ts";
import { NodeDevice } from "./node_device.ts";
import {
  asVmmError,
  emptyState,
  nodeExists,
  NodeLock,
  type NodeRecord,
  readNode,
  removeNode,
  writeNode,
} from "./node.ts";
import { defaultRootPath, requireName, RootPaths } from "./paths.ts";

/** How a machine is claimed. */
export interface ClaimOptions {
  /** monitor mode: the machine goes with this process */
  readonly monitor?: boolean;
  /** make it where there is none */
  readonly create?: boolean;
}

/** How long a process may take to let go of a machine that is destroyed. */
const DESTROY_TIMEOUT_MS = 10_000;

function newRecord(name: string, destroyOnClose: boolean): NodeRecord {
  return {
    kind: "vmm node",
    version: 1,
    name,
    destroyOnClose,
    runner: null,
    memory: null,
    generation: 1,
    state: emptyState(),
  };
}

/** A vmm root. */
export class VmmRoot {
  /** where its nodes are */
  readonly paths: RootPaths;

  /**
   * A root, which is made at first use.
   *
   * @param path absolute path of its directory
   */
  constructor(path: string) {
    this.paths = new RootPaths(path);
  }

  /** The root of this process and user. @throws {VmmError} EINVAL for a bad $VMM_ROOT */
  static default(): VmmRoot {
    return new VmmRoot(defaultRootPath());
  }

  /** The names of the machines, in order. */
  list(): string[] {
    try {
      return [...Deno.readDirSync(this.paths.machines)]
        .filter(({ isFile }) => isFile).map(({ name }) => name).sort();
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return [];
      throw asVmmError(error, this.paths.machines);
    }
  }

  /**
   * Creates a machine that stays.
   *
   * @throws {VmmError} EPERM without the right to, EINVAL for the name, EEXIST
   */
  async create(name: string): Promise<void> {
    requireName(name);
    this.#requireRights(false);
    await this.#withNew(
      name,
      (record) => writeNode(this.paths, record),
      false,
    );
  }

  #requireRights(isMonitor: boolean): void {
    if (isMonitor) requireMonitor(this.paths);
    ensureLayout(this.paths);
    if (!isMonitor) requireControl(this.paths);
  }

  // Does something with the record of a machine that is not there, under its lock.
  async #withNew<T>(
    name: string,
    make: (record: NodeRecord) => T,
    destroyOnClose: boolean,
  ): Promise<T> {
    await this.#sweep(name);
    if (nodeExists(this.paths, name)) throw new VmmError("EEXIST");
    const lock = await NodeLock.take(this.paths, name);
    try {
      if (nodeExists(this.paths, name)) throw new VmmError("EEXIST");
      return make(newRecord(name, destroyOnClose));
    } catch (error) {
      if (!nodeExists(this.paths, name)) lock.remove();
      throw error;
    } finally {
      lock.release();
    }
  }

  // Removes what is left of a machine whose process was killed in monitor mode.
  async #sweep(name: string): Promise<void> {
    if (!nodeExists(this.paths, name)) return;
    try {
      if (!readNode(this.paths, name).destroyOnClose) return;
      (await connectRunner(this.paths, name))?.close();
    } catch (error) {
      if (!(error instanceof VmmError)) throw error;
      if (error.code !== "ENOENT" && error.code !== "EACCES") throw error;
    }
  }

  /**
   * Opens a machine.
   *
   * @throws {VmmError} ENOENT, EACCES
   */
  async open(name: string): Promise<VmmDevice> {
    if (!isName(name)) throw new VmmError("ENOENT");
    requireUse(this.paths, name);
    await this.#sweep(name);
    // Whether there is such a machine, and this user may use it.
    readNode(this.paths, name);
    return new NodeDevice(this.paths, name);
  }

  /**
   * Makes this process the one that runs a machine.
   *
   * @throws {VmmError} ENOENT, EBUSY where another process runs it, EPERM, EACCES
   */
  async claim(
    name: string,
    { monitor = false, create = false }: ClaimOptions = {},
  ): Promise<ClaimedNode> {
    if (create) requireName(name);
    else if (!isName(name)) throw new VmmError("ENOENT");
    requireUse(this.paths, name);
    await this.#sweep(name);
    if (create && !nodeExists(this.paths, name)) {
      this.#requireRights(monitor);
      const make = (record: NodeRecord) =>
        ClaimedNode.claim(this.paths, record);
      return await this.#withNew(name, make, monitor);
    }
    return await this.#claimHeld(name, monitor);
  }

  async #claimHeld(name: string, monitor: boolean): Promise<ClaimedNode> {
    const held = await this.#hold(name);
    try {
      if (monitor) this.#requireDestroy(name);
      const record = { ...held.record, destroyOnClose: monitor };
      return ClaimedNode.claim(this.paths, record);
    } finally {
      held.lock.release();
    }
  }

  async #hold(name: string): Promise<HeldNode> {
    const held = await holdNode(this.paths, name);
    if (held !== undefined) return held;
    const pid = readNode(this.paths, name).runner?.pid;
    throw new VmmError(
      "EBUSY",
      `it is run by process ${pid ?? "that just ended"}`,
    );
  }

  #requireDestroy(name: string): void {
    requireControl(this.paths);
    requireOwner(this.paths, name);
  }

  /**
   * Destroys a machine; a process that runs it ends.
   *
   * @throws {VmmError} EINVAL where there is none, EPERM for another's, EBUSY
   */
  async destroy(name: string): Promise<void> {
    if (!isName(name)) throw new VmmError("EINVAL");
    requireUse(this.paths, name);
    await this.#sweep(name);
    if (!nodeExists(this.paths, name)) throw new VmmError("EINVAL");
    this.#requireDestroy(name);
    await this.#stop(name);
    const lock = await NodeLock.take(this.paths, name);
    try {
      if (nodeExists(this.paths, name)) {
        removeNode(this.paths, readNode(this.paths, name));
      }
      lock.remove();
    } finally {
      lock.release();
    }
  }

  // Ends the process that runs a machine, if one does.
  async #stop(name: string): Promise<void> {
    const connection = await connectRunner(this.paths, name).catch(
      (error: unknown) => {
        if (error instanceof VmmError && error.code === "ENOENT") return;
        throw error;
      },
    );
    if (connection === undefined) return;
    try {
      await suspendForDestroy(connection);
      await endOf(connection);
    } finally {
      connection.close();
    }
  }
}

function isName(name: string): boolean {
  try {
    requireName(name);
    return true;
  } catch {
    return false;
  }
}

async function suspendForDestroy(connection: MachineConnection): Promise<void> {
  try {
    await connection.call("VM_SUSPEND", { how: SUSPEND.DESTROY });
  } catch (error) {
    // It is on its way out already, or gone.
    const isEnding = error instanceof ConnectionEndedError ||
      (error instanceof VmmError &&
        (error.code === "EALREADY" || error.code === "ENXIO"));
    if (!isEnding) throw error;
  }
}

async function endOf(connection: MachineConnection): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), DESTROY_TIMEOUT_MS);
  });
  const isEnded = await Promise.race([
    connection.ended().then(() => true),
    timeout,
  ]);
  clearTimeout(timer);
  if (!isEnded) {
    throw new VmmError("EBUSY", "the process that runs it does not let go");
  }
}
