// A machine that this process runs: claimed under the machine's lock, served on its
// socket, and given back at the end. Until threads run it, it is a machine at rest in
// this process, whose requests are answered from there.

import { VmmError } from "../errno.ts";
import type { VmIn, VmOut, VmRequest } from "../ioctl.ts";
import { requirePayload } from "../ioctl_fields.ts";
import type { MappedMemory, VmmDevice } from "../vmm_device.ts";
import { socketRefusal } from "./connection.ts";
import { peekGuest, pokeGuest } from "./guest_access.ts";
import { wakeMachine } from "./holder.ts";
import {
  asVmmError,
  NodeLock,
  type NodeRecord,
  readNode,
  removeIfThere,
  removeNode,
  writeNode,
} from "./node.ts";
import type { RootPaths } from "./paths.ts";
import type { RestingMachine } from "./resting_machine.ts";
import { MachineServer, type RequestHandler } from "./server.ts";
import type { VmState } from "./state.ts";

const SOCKET_MODE = 0o600;

/** A machine at rest as what answers requests. */
function restingHandler(machine: RestingMachine): RequestHandler {
  return {
    ioctl: (request, payload) => machine.ioctl(request, payload),
    read: (gpa, length) => peekGuest(machine, gpa, length),
    write: (gpa, bytes) => pokeGuest(machine, gpa, bytes),
  };
}

function listen(path: string): Deno.Listener {
  removeIfThere(path);
  try {
    const listener = Deno.listen({ transport: "unix", path });
    Deno.chmodSync(path, SOCKET_MODE);
    return listener;
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw socketRefusal(path);
    throw asVmmError(error, `socket ${path}`);
  }
}

/** A machine that this process has. */
export class ClaimedNode implements VmmDevice {
  readonly name: string;
  readonly #paths: RootPaths;
  readonly #record: NodeRecord;
  readonly #server: MachineServer;
  #machine: RestingMachine;
  #handler: RequestHandler;
  #isReleased = false;

  private constructor(
    paths: RootPaths,
    record: NodeRecord,
    listener: Deno.Listener,
  ) {
    this.name = record.name;
    this.#paths = paths;
    this.#record = record;
    this.#machine = wakeMachine(paths, record);
    this.#handler = restingHandler(this.#machine);
    this.#server = new MachineServer(listener, () => this.#handler);
  }

  /**
   * Makes this process the machine's runner. The lock must be held.
   *
   * @throws {VmmError} where the socket cannot be made
   */
  static claim(paths: RootPaths, record: NodeRecord): ClaimedNode {
    const socket = paths.socket(record.name);
    const listener = listen(socket);
    const claimed: NodeRecord = {
      ...record,
      runner: { pid: Deno.pid, socket },
    };
    try {
      writeNode(paths, claimed);
      return new ClaimedNode(paths, claimed, listener);
    } catch (error) {
      listener.close();
      removeIfThere(socket);
      throw error;
    }
  }

  /** Whether the machine goes with this process. */
  get isMonitored(): boolean {
    return this.#record.destroyOnClose;
  }

  /**
   * The machine at rest: what its threads start from.
   *
   * @internal
   */
  get machine(): RestingMachine {
    return this.#machine;
  }

  /**
   * Makes the machine at rest anew, as it was claimed: for a reset in monitor mode.
   *
   * @internal
   */
  reload(): RestingMachine {
    this.#machine = wakeMachine(this.#paths, this.#record);
    this.#handler = restingHandler(this.#machine);
    return this.#machine;
  }

  /** Lets something else answer requests from now on. */
  serve(handler: RequestHandler): void {
    this.#handler = handler;
  }

  /**
   * Gives the machine back: it rests as it was claimed, or is gone in monitor mode.
   * Nothing happens the second time.
   *
   * @param changes what the run leaves behind in its state, such as the clock's memory
   */
  async release(changes: Partial<VmState> = {}): Promise<void> {
    if (!this.#isReleased) {
      await this.#leave((record) => {
        const state = { ...record.state, ...changes };
        writeNode(this.#paths, { ...record, state, runner: null });
      });
    }
  }

  /** Gives the machine back and destroys it, as `-D` and monitor mode ask for. */
  async destroy(): Promise<void> {
    if (!this.#isReleased) {
      await this.#leave((record) => removeNode(this.#paths, record));
    }
  }

  async #leave(keep: (record: NodeRecord) => void): Promise<void> {
    this.#isReleased = true;
    // Under the lock, or a client would take the machine for one whose process was killed.
    const lock = await NodeLock.take(this.#paths, this.name);
    try {
      await this.#server.close();
      removeIfThere(this.#paths.socket(this.name));
      const record = readNode(this.#paths, this.name);
      // Another made and claimed one of this name since this one was destroyed.
      if (record.runner?.pid !== Deno.pid) return;
      if (record.destroyOnClose) removeNode(this.#paths, record);
      else keep(record);
      if (!this.#isThere()) lock.remove();
    } catch (error) {
      if (!(error instanceof VmmError) || error.code !== "ENOENT") throw error;
      lock.remove();
    } finally {
      lock.release();
    }
  }

  #isThere(): boolean {
    try {
      Deno.lstatSync(this.#paths.node(this.name));
      return true;
    } catch {
      return false;
    }
  }

  // --- VmmDevice -----------------------------------------------------------

  async ioctl<R extends VmRequest>(
    request: R,
    payload: VmIn<R>,
  ): Promise<VmOut<R>> {
    requirePayload(request, payload);
    return await this.#handler.ioctl(request, payload);
  }

  async read(gpa: bigint, length: number): Promise<Uint8Array> {
    return await this.#handler.read(gpa, length);
  }

  async write(gpa: bigint, bytes: Uint8Array): Promise<void> {
    await this.#handler.write(gpa, bytes);
  }

  mapMemory(): Promise<MappedMemory> {
    return Promise.resolve(this.#machine.ram);
  }

  async abandon(): Promise<void> {
    await this.release();
  }

  async close(): Promise<void> {
    await this.release();
  }
}
