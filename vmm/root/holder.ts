// Who has a machine: nobody, so that it rests on disk; a process that runs it; or one
// that ran it and was killed, which is found out and put right here.

import { VmmError } from "../errno.ts";
import { MachineConnection } from "./connection.ts";
import { loadImage, saveImage } from "./memory_image.ts";
import {
  nodeExists,
  NodeLock,
  type NodeRecord,
  readNode,
  removeIfThere,
  removeNode,
  writeNode,
} from "./node.ts";
import type { RootPaths } from "./paths.ts";
import { RestingMachine } from "./resting_machine.ts";

/** A machine whose lock is held. */
export interface HeldNode {
  readonly record: NodeRecord;
  readonly lock: NodeLock;
}

/**
 * The connection to who runs a machine, or undefined where it rests. What a killed
 * process left is put right; a machine in monitor mode goes with its process.
 *
 * @throws {VmmError} ENOENT, EACCES
 */
export async function connectRunner(
  paths: RootPaths,
  name: string,
): Promise<MachineConnection | undefined> {
  const { runner } = readNode(paths, name);
  if (runner === null) return undefined;
  const connection = await MachineConnection.open(runner.socket);
  if (connection !== undefined) return connection;
  const held = await holdNode(paths, name);
  if (held === undefined) return connectRunner(paths, name);
  held.lock.release();
  return undefined;
}

/**
 * Takes the lock of a machine that rests, which was found out to be so; undefined where
 * a process runs it.
 *
 * @throws {VmmError} ENOENT, EACCES
 */
export async function holdNode(
  paths: RootPaths,
  name: string,
): Promise<HeldNode | undefined> {
  if (!nodeExists(paths, name)) throw new VmmError("ENOENT");
  const lock = await NodeLock.take(paths, name);
  try {
    const record = await settle(paths, name);
    if (record !== undefined) return { record, lock };
    lock.release();
    return undefined;
  } catch (error) {
    if (error instanceof VmmError && error.code === "ENOENT") lock.remove();
    lock.release();
    throw error;
  }
}

/**
 * A machine's record once it is true; undefined where a process runs it. The lock must
 * be held.
 *
 * @throws {VmmError} ENOENT where it went with its process
 */
async function settle(
  paths: RootPaths,
  name: string,
): Promise<NodeRecord | undefined> {
  const record = readNode(paths, name);
  const { runner } = record;
  if (runner === null && !record.destroyOnClose) return record;
  if (runner !== null) {
    const connection = await MachineConnection.open(runner.socket);
    if (connection !== undefined) {
      connection.close();
      return undefined;
    }
  }
  if (record.destroyOnClose) {
    removeNode(paths, record);
    throw new VmmError("ENOENT");
  }
  removeIfThere(runner!.socket);
  const settled: NodeRecord = { ...record, runner: null };
  writeNode(paths, settled);
  return settled;
}

/** A machine at rest from its node. @throws {VmmError} EIO where it is damaged */
export function wakeMachine(
  paths: RootPaths,
  { name, state, memory }: NodeRecord,
): RestingMachine {
  return new RestingMachine(
    state,
    (ram) => memory === null ? [] : loadImage(paths, name, memory, ram),
  );
}

/** Saves a machine at rest where it changed. The lock must be held. */
export function saveMachine(
  paths: RootPaths,
  record: NodeRecord,
  machine: RestingMachine,
): void {
  const { ram } = machine;
  if (!ram.isWritten) {
    if (machine.isChanged) {
      writeNode(paths, { ...record, state: machine.save() });
    }
    return;
  }
  const { name, generation, memory } = record;
  const path = paths.memory(name, generation);
  // A process that was killed while it saved leaves one that nobody refers to.
  removeIfThere(path);
  try {
    const image = saveImage(path, generation, ram.memory.bytes, ram.touched);
    writeNode(paths, {
      ...record,
      generation: generation + 1,
      memory: image,
      state: machine.save(),
    });
  } catch (error) {
    removeIfThere(path);
    throw error;
  }
  if (memory !== null) removeIfThere(paths.memory(name, memory.generation));
}
