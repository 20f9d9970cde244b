// The machine's thread: its devices and vCPU 0. It never returns to its event loop while
// the machine runs.

import { SUSPEND } from "../vmm/cpu/exits.ts";
import { VM_IOCTLS, type VmIn, type VmRequest } from "../vmm/ioctl.ts";
import { GuestClock, type RemoteApic } from "../vmm/platform/mod.ts";
import { machineIoctl, vcpuIoctl } from "../vmm/vm_ioctls.ts";
import { answerClock } from "./clock_sync.ts";
import { Machine, type MachineOptions } from "./machine.ts";
import { configOf, settingsOf } from "./machine_settings.ts";
import type { ThreadStart } from "./thread_messages.ts";
import {
  answerRequest,
  becomeThread,
  hostTime,
  type Post,
  THREAD_LOG,
  type ThreadBody,
  ThreadParts,
} from "./thread_parts.ts";
import { ThreadMachine, ThreadVcpu } from "./thread_targets.ts";
import { VcpuThread, type VcpuThreadOptions } from "./vcpu_thread.ts";

/** Waits for the other threads to stop are this long each. */
const STOP_WAIT_MS = 100;

class MachineThread implements ThreadBody {
  readonly #parts: ThreadParts;
  readonly #machine: Machine;
  readonly #others: readonly RemoteApic[];
  readonly #options: VcpuThreadOptions;
  readonly #post: Post;
  #vcpu!: VcpuThread;
  #targets!: {
    readonly vcpu: ThreadVcpu;
    readonly machine: ThreadMachine;
  };

  constructor(start: ThreadStart, post: Post) {
    this.#post = post;
    const parts = new ThreadParts(start);
    this.#parts = parts;
    const config = configOf(start.plan);
    const settings = settingsOf(config, start.plan.name);
    const clock = new GuestClock(hostTime);
    const others = start.states.slice(1).map((_, n) => parts.remoteApic(n + 1));
    this.#others = others;
    this.#machine = this.#makeMachine({ config, settings, clock, others });
    const { interrupts, access } = this.#machine;
    this.#options = {
      ...parts.forVcpu(post),
      settings,
      clock,
      lapic: interrupts.lapics[0]!,
      devices: access,
      poll: () => this.#machine.poll(),
      serve: (request) =>
        answerRequest(
          post,
          request,
          () => this.#perform(request.request, request.payload),
        ),
    };
  }

  /** Builds vCPU 0. */
  finish(): void {
    const { clock, lapic } = this.#options;
    this.#vcpu = new VcpuThread(this.#options);
    this.#targets = {
      vcpu: new ThreadVcpu(this.#vcpu, this.#machine.ram),
      machine: new ThreadMachine(
        this.#machine,
        [lapic, ...this.#others],
        this.#vcpu.apic,
      ),
    };
    for (const words of this.#parts.start.clocks.slice(1)) {
      answerClock(words, () => clock.now());
    }
  }

  #makeMachine(
    own: Pick<MachineOptions, "config" | "settings" | "clock" | "others">,
  ): Machine {
    const { start: { plan }, memory, board } = this.#parts;
    const machine = new Machine({
      ...own,
      plan,
      memory,
      board,
      log: THREAD_LOG,
      attend: () => this.#vcpu.attend(),
      nmi: () => this.#vcpu.nmi(),
      counted: (event, source) => this.#vcpu.counters.addApic(event, source),
    });
    machine.interrupts.onStartup((event) => {
      if (event.kind === "init") this.#vcpu.init();
      else this.#vcpu.startup(event.vector);
    });
    return machine;
  }

  #perform<R extends VmRequest>(request: R, payload: VmIn<R>): unknown {
    return VM_IOCTLS[request].scope === "vcpu"
      ? vcpuIoctl(this.#targets.vcpu, request, payload)
      : machineIoctl(this.#targets.machine, request, payload);
  }

  /** Runs until the machine ends. */
  run(): void {
    const { board, gates } = this.#parts;
    this.#vcpu.run();
    // Those that wait for a device are answered until they stopped.
    while (!board.isStopped) {
      const mark = gates[0]!.mark;
      this.#machine.poll();
      if (!board.isStopped) gates[0]!.wait(mark, STOP_WAIT_MS);
    }
    const how = board.how === SUSPEND.NONE ? SUSPEND.DESTROY : board.how;
    const rtc = this.#machine.interrupts.rtc.save();
    this.#post({ kind: "end", how, rtc });
  }
}

becomeThread((start, post) => new MachineThread(start, post));
