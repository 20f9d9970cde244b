// A running machine as the main thread has it: its threads are built, started, asked and
// ended from here. The main thread never waits for them; what it wants goes into shared
// memory, and answers come as messages.

import { SUSPEND } from "../vmm/cpu/exits.ts";
import type { GuestMemory } from "../vmm/cpu/guest_memory.ts";
import { createSharedCode, SharedCode } from "../vmm/cpu/shared_code.ts";
import type { DeviceState } from "../vmm/device.ts";
import { VmmError } from "../vmm/errno.ts";
import {
  vcpuOf,
  VM_IOCTLS,
  type VmIn,
  type VmOut,
  type VmRequest,
} from "../vmm/ioctl.ts";
import { sharedIoctl } from "../vmm/vm_ioctls.ts";
import { isApicWindow } from "../vmm/platform/apic_access.ts";
import { Board, MACHINE_FLAG } from "./board.ts";
import { createClockSync } from "./clock_sync.ts";
import { Crew } from "./crew.ts";
import { GuestRam } from "./guest_ram.ts";
import { copyOut } from "./memory_access.ts";
import type { MachinePlan } from "./plan.ts";
import type { ThreadMessage, ThreadStart } from "./thread_messages.ts";
import type { ThreadHandle } from "./thread_handle.ts";
import { VcpuGate } from "./vcpu_gate.ts";

/** A machine's threads could not be built; bhyve ends with `status`. */
export class MachineSetupError extends Error {
  override readonly name = "MachineSetupError";

  constructor(message: string, readonly status: number) {
    super(message);
  }
}

/** How a machine ended. */
export type MachineEnd =
  /** suspended, for a reason of `SUSPEND` */
  | {
    readonly kind: "suspended";
    readonly how: number;
    /** the real-time clock at the end; not where the threads were ended at once */
    readonly rtc?: DeviceState;
  }
  /** with an error: what bhyve says and its status */
  | {
    readonly kind: "error";
    readonly message: string;
    readonly status: number;
  };

function crewFor({ vcpus, permissions }: MachinePlan): Crew {
  return new Crew({ vcpus: vcpus.length, permissions, narrow: true });
}

/** The threads of one machine. */
export class MachineThreads {
  readonly #memory: GuestMemory;
  readonly #ram: GuestRam;
  readonly #board: Board;
  readonly #gates: readonly VcpuGate[];
  readonly #crew: Crew;
  readonly #ended = Promise.withResolvers<MachineEnd>();
  #isEnded = false;

  private constructor(plan: MachinePlan, memory: GuestMemory, crew: Crew) {
    this.#memory = memory;
    this.#ram = new GuestRam(memory);
    this.#crew = crew;
    const { states, threads, compiler } = crew;
    const board = Board.create(states.length);
    this.#board = new Board(board, (n) => this.#gates[n]?.kick());
    this.#gates = states.map((state, n) =>
      new VcpuGate(this.#board.gateWords(n), state)
    );
    threads.forEach((thread, n) =>
      thread.join({
        kick: () => this.#gates[n]!.kick(),
        told: (message) => this.#told(message),
      })
    );
    const code = createSharedCode(memory.common);
    this.#shareWrites(code);
    crew.start({
      plan,
      memory: memory.handle,
      code,
      board,
      states,
      compilers: compiler.starts,
      clocks: states.map(() => createClockSync()),
    });
  }

  /**
   * Builds a machine in its threads, stopped.
   *
   * @param memory its memory, with what a loader put there
   * @param crew its threads, where they were made before
   * @throws {MachineSetupError} where a device cannot be made
   */
  static async create(
    plan: MachinePlan,
    memory: GuestMemory,
    crew: Crew = crewFor(plan),
  ): Promise<MachineThreads> {
    const threads = new MachineThreads(plan, memory, crew);
    const ready = Promise.all(crew.threads.map((thread) => thread.ready));
    const outcome = await Promise.race([ready, threads.ended]);
    if (Array.isArray(outcome)) return threads;
    const { message, status } = outcome.kind === "error"
      ? outcome
      : { message: "The machine ended before it ran", status: 4 };
    throw new MachineSetupError(message, status);
  }

  // This thread holds no code, but what it writes others may have decoded.
  #shareWrites(code: ThreadStart["code"]): void {
    const shared = new SharedCode(code, -1, {
      count: this.#gates.length,
      isRunning: (n) => this.#gates[n]!.isRunning,
      kick: (n) => this.#gates[n]!.kick(),
      whileParked: (wait) => wait(),
    });
    this.#ram.onWritten((offset, length) => shared.wroteBytes(offset, length));
  }

  #told(message: ThreadMessage): void {
    if (message.kind === "compiled") {
      this.#crew.compiler.told(message.vcpu, message.statistics);
    }
    if (message.kind === "end") {
      const { how, rtc } = message;
      this.#end({ kind: "suspended", how, rtc });
    }
    if (message.kind === "failure") {
      this.#end({
        kind: "error",
        message: message.message,
        status: message.status,
      });
    }
  }

  #end(end: MachineEnd): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    // Deno 2.9 cannot end a thread that waits.
    this.#board.suspendOnce(SUSPEND.DESTROY);
    this.#crew.end();
    this.#ended.resolve(end);
  }

  /** Settles when the machine has ended; its threads are gone then. */
  get ended(): Promise<MachineEnd> {
    return this.#ended.promise;
  }

  /** Lets the vCPUs run. */
  run(): void {
    this.#board.set(MACHINE_FLAG.GO, true);
    for (const gate of this.#gates) gate.kick();
  }

  /** Ends the machine's threads at once. */
  terminate(): void {
    this.#end({ kind: "suspended", how: SUSPEND.DESTROY });
  }

  /** Wakes the machine's thread: it looks at its TTY backends. */
  wake(): void {
    this.#gates[0]!.kick();
  }

  /** Presses the power button; false where the guest does not listen to it. */
  pressPowerButton(): boolean {
    if (!this.#board.has(MACHINE_FLAG.ACPI)) return false;
    this.#board.set(MACHINE_FLAG.POWER_BUTTON, true);
    this.#gates[0]!.kick();
    return true;
  }

  // --- Requests ------------------------------------------------------------

  /**
   * Does a request of scope `vcpu`, `machine` or `shared`; those of scope `static` are
   * about the machine's description, which its caller has.
   *
   * @throws {VmmError} what vm(4) gives; ENXIO where the machine has ended
   */
  async ioctl<R extends VmRequest>(
    request: R,
    payload: VmIn<R>,
  ): Promise<VmOut<R>> {
    if (this.#isEnded) throw new VmmError("ENXIO");
    switch (VM_IOCTLS[request].scope) {
      case "shared":
        return this.#shared(request, payload);
      case "vcpu":
        return await this.#thread(vcpuOf(payload)).ask(request, payload);
      case "machine":
        return await this.#thread(apicOwner(request, payload))
          .ask(request, payload);
      default:
        throw new VmmError("ENOTTY");
    }
  }

  #shared<R extends VmRequest>(request: R, payload: VmIn<R>): VmOut<R> {
    const vcpu = vcpuOf(payload);
    if (vcpu !== undefined && vcpu !== -1) this.#thread(vcpu);
    return sharedIoctl(this.#board, request, payload);
  }

  #thread(vcpu: number | undefined): ThreadHandle {
    const thread = vcpu === undefined ? undefined : this.#crew.threads[vcpu];
    if (thread === undefined) throw new VmmError("EINVAL");
    return thread;
  }

  /** Reads guest memory; holes read as zeros. @throws {VmmError} EFAULT */
  read(gpa: bigint, length: number): Uint8Array {
    return copyOut(this.#memory, gpa, length);
  }

  /** Writes guest memory. @throws {VmmError} EFAULT outside RAM */
  write(gpa: bigint, bytes: Uint8Array): void {
    const at = Number(gpa);
    const view = this.#ram.view(at, bytes.length);
    if (view === undefined) throw new VmmError("EFAULT");
    view.set(bytes);
    this.#ram.written(at, bytes.length);
  }
}

// The thread that a request for the machine's devices goes to: that of vCPU 0, but for
// a vCPU's own local APIC.
function apicOwner(request: VmRequest, payload: object): number {
  if (request !== "VM_GET_KERNEMU_DEV" && request !== "VM_SET_KERNEMU_DEV") {
    return 0;
  }
  const { gpa } = payload as VmIn<"VM_GET_KERNEMU_DEV">;
  return isApicWindow(Number(gpa)) ? vcpuOf(payload) ?? 0 : 0;
}
