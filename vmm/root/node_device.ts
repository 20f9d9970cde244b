// A machine's device, `/dev/vmm/NAME`: requests go to the process that runs the
// machine, or are done here on the machine at rest, under its lock.

import { VmmError } from "../errno.ts";
import { vcpuOf, type VmIn, type VmOut, type VmRequest } from "../ioctl.ts";
import { requirePayload } from "../ioctl_fields.ts";
import type { MappedMemory, VmmDevice } from "../vmm_device.ts";
import { ConnectionEndedError, type MachineConnection } from "./connection.ts";
import {
  connectRunner,
  type HeldNode,
  holdNode,
  saveMachine,
  wakeMachine,
} from "./holder.ts";
import type { RootPaths } from "./paths.ts";
import { peekGuest, pokeGuest } from "./guest_access.ts";
import { requireVcpu, type RestingMachine } from "./resting_machine.ts";
import { TRANSFER_BYTES_MAX } from "./wire.ts";

interface Mapped extends HeldNode {
  readonly machine: RestingMachine;
}

/** An open machine. */
export class NodeDevice implements VmmDevice {
  readonly #paths: RootPaths;
  #connection: MachineConnection | undefined;
  #mapped: Mapped | undefined;

  /**
   * @param paths the vmm root
   * @param name a machine that has a node
   */
  constructor(paths: RootPaths, readonly name: string) {
    this.#paths = paths;
  }

  async ioctl<R extends VmRequest>(
    request: R,
    payload: VmIn<R>,
  ): Promise<VmOut<R>> {
    requirePayload(request, payload);
    if (request === "VM_RUN") await this.#makeRunnable(vcpuOf(payload)!);
    return await this.#perform(
      async (connection) =>
        (await connection.call(request, payload)).json as {
          result: VmOut<R>;
        },
      (machine) => ({ result: machine.ioctl(request, payload) }),
    ).then(({ result }) => result);
  }

  // What a vCPU did stays in this process until the machine is closed: an instruction
  // may be half done.
  async #makeRunnable(vcpuid: number): Promise<void> {
    requireVcpu(vcpuid, "VM_RUN");
    await this.mapMemory();
    await this.#mapped!.machine.makeRunnable(vcpuid);
  }

  async read(gpa: bigint, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length;) {
      const count = Math.min(TRANSFER_BYTES_MAX, length - done);
      const at = gpa + BigInt(done);
      const part = await this.#perform(
        async (connection) =>
          (await connection.call("read", { gpa: at, length: count })).bytes,
        (machine) => peekGuest(machine, at, count),
      );
      bytes.set(part, done);
      done += count;
    }
    return bytes;
  }

  async write(gpa: bigint, bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length;) {
      const part = bytes.subarray(done, done + TRANSFER_BYTES_MAX);
      const at = gpa + BigInt(done);
      await this.#perform(
        async (connection) => {
          await connection.call("write", { gpa: at }, part);
        },
        (machine) => pokeGuest(machine, at, part),
      );
      done += part.length;
    }
  }

  async mapMemory(): Promise<MappedMemory> {
    if (this.#mapped === undefined) {
      const held = await holdNode(this.#paths, this.name);
      if (held === undefined) throw new VmmError("EBUSY");
      const machine = wakeMachine(this.#paths, held.record);
      this.#mapped = { ...held, machine };
    }
    return this.#mapped.machine.ram;
  }

  async close(): Promise<void> {
    const mapped = this.#mapped;
    try {
      if (mapped !== undefined) {
        saveMachine(this.#paths, mapped.record, mapped.machine);
      }
    } finally {
      await this.abandon();
    }
  }

  abandon(): Promise<void> {
    this.#connection?.close();
    this.#connection = undefined;
    this.#mapped?.lock.release();
    this.#mapped = undefined;
    return Promise.resolve();
  }

  // Does something by who has the machine, which may change until it is done.
  async #perform<T>(
    running: (connection: MachineConnection) => Promise<T>,
    resting: (machine: RestingMachine) => T,
  ): Promise<T> {
    if (this.#mapped !== undefined) return resting(this.#mapped.machine);
    for (;;) {
      this.#connection ??= await connectRunner(this.#paths, this.name);
      if (this.#connection !== undefined) {
        const done = await this.#ask(this.#connection, running);
        if (done !== undefined) return done.result;
        continue;
      }
      const held = await holdNode(this.#paths, this.name);
      if (held === undefined) continue;
      try {
        const machine = wakeMachine(this.#paths, held.record);
        const result = resting(machine);
        saveMachine(this.#paths, held.record, machine);
        return result;
      } finally {
        held.lock.release();
      }
    }
  }

  // Undefined where the process had ended before.
  async #ask<T>(
    connection: MachineConnection,
    running: (connection: MachineConnection) => Promise<T>,
  ): Promise<{ result: T } | undefined> {
    try {
      return { result: await running(connection) };
    } catch (error) {
      const isEnded = error instanceof ConnectionEndedError;
      const isGone = error instanceof VmmError && error.code === "ENXIO";
      if (isEnded || isGone) {
        connection.close();
        this.#connection = undefined;
      }
      if (isEnded) return undefined;
      throw error;
    }
  }
}
