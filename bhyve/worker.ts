// The machine's thread: its devices and vCPU 0. It never returns to its event loop while
// the machine runs.

import { SUSPEND } from "../vmm/cpu/exits.ts";
import { VM_IOCTLS, type VmIn, type VmRequest } from "../vmm/ioctl.ts";
import { GuestClock } from "../vmm/platform/mod.ts";
import { machineIoctl, vcpuIoctl } from "../vmm/vm_ioctls.ts";
import { answerClock } from "./clock_sync.ts";
import { Machine } from "./machine.ts";
import { configOf, settingsOf } from "./machine_settings.ts";
import type { ThreadMessage, ThreadStart } from "./thread_messages.ts";
import {
  answerRequest,
  failureOf,
  hostTime,
  type Post,
  THREAD_LOG,
  ThreadParts,
} from "./thread_parts.ts";
import { ThreadMachine, ThreadVcpu } from "./thread_targets.ts";
import { VcpuThread } from "./vcpu_thread.ts";

/** Waits for the other threads to stop are this long each. */
const STOP_WAIT_MS = 100;

class MachineThread {
  readonly #parts: ThreadParts;
  readonly #machine: Machine;
  readonly #vcpu: VcpuThread;
  readonly #post: Post;
  readonly #targets: {
    readonly vcpu: ThreadVcpu;
    readonly machine: ThreadMachine;
  };

  constructor(start: ThreadStart, post: Post) {
    this.#post = post;
    const parts = new ThreadParts(start);
    this.#parts = parts;
    const { plan } = start;
    const config = configOf(plan);
    const settings = settingsOf(config, plan.name);
    const clock = new GuestClock(hostTime);
    const others = start.states.slice(1).map((_, n) => parts.remoteApic(n + 1));
    const machine = new Machine({
      plan,
      config,
      settings,
      memory: parts.memory,
      clock,
      board: parts.board,
      others,
      log: THREAD_LOG,
      attend: () => this.#vcpu.attend(),
      nmi: () => this.#vcpu.nmi(),
      counted: (event, source) => this.#vcpu.counted(event, source),
    });
    this.#machine = machine;
    const lapic = machine.interrupts.lapics[0]!;
    machine.interrupts.onStartup((event) => {
      if (event.kind === "init") this.#vcpu.init();
      else this.#vcpu.startup(event.vector);
    });
    const { memory, board, code, mail, posted } = parts;
    this.#vcpu = new VcpuThread({
      id: 0,
      plan,
      settings,
      memory,
      state: start.states[0]!,
      compiler: start.compilers[0]!,
      code,
      board,
      gate: parts.gates[0]!,
      clock,
      lapic,
      posted,
      mail,
      log: THREAD_LOG,
      devices: machine.access,
      poll: () => machine.poll(),
      serve: (request) =>
        answerRequest(
          post,
          request,
          () => this.#perform(request.request, request.payload),
        ),
    });
    this.#targets = {
      vcpu: new ThreadVcpu(this.#vcpu, machine.ram),
      machine: new ThreadMachine(
        machine,
        [lapic, ...others],
        this.#vcpu.apic,
      ),
    };
    for (const words of start.clocks.slice(1)) {
      answerClock(words, () => clock.now());
    }
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

const scope = self as unknown as {
  onmessage: ((event: MessageEvent<ThreadStart>) => void) | null;
  postMessage(message: ThreadMessage): void;
};
scope.onmessage = (event) => {
  const post = (message: ThreadMessage) => scope.postMessage(message);
  try {
    const thread = new MachineThread(event.data, post);
    post({ kind: "ready" });
    thread.run();
  } catch (error) {
    post(failureOf(error));
  }
};
