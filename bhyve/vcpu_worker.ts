// The thread of a vCPU other than the first: its processor, its local APIC and its time.
// Devices are in the machine's thread. It never returns to its event loop.

import { VM_IOCTLS, type VmIn, type VmRequest } from "../vmm/ioctl.ts";
import { ApicBus, GuestClock, LocalApic } from "../vmm/platform/mod.ts";
import type { MachineTarget } from "../vmm/vm_target.ts";
import { machineIoctl, vcpuIoctl } from "../vmm/vm_ioctls.ts";
import { MACHINE_FLAG } from "./board.ts";
import { askClock } from "./clock_sync.ts";
import { GuestRam } from "./guest_ram.ts";
import { LocalTimers } from "./local_timers.ts";
import { configOf, settingsOf } from "./machine_settings.ts";
import { RemoteDevices } from "./remote_devices.ts";
import type { ThreadStart } from "./thread_messages.ts";
import {
  answerRequest,
  becomeThread,
  hostTime,
  type Post,
  type ThreadBody,
  ThreadParts,
} from "./thread_parts.ts";
import { ThreadVcpu } from "./thread_targets.ts";
import { VcpuThread } from "./vcpu_thread.ts";

class OtherVcpu implements ThreadBody {
  readonly #parts: ThreadParts;
  readonly #post: Post;
  #vcpu!: VcpuThread;
  #target!: ThreadVcpu;

  constructor(start: ThreadStart, post: Post) {
    this.#parts = new ThreadParts(start);
    this.#post = post;
  }

  /** Builds the vCPU. */
  finish(): void {
    const parts = this.#parts;
    const post = this.#post;
    const { start, memory, board } = parts;
    const { plan, vcpu: id } = start;
    const { offset } = askClock(start.clocks[id]!, hostTime);
    const clock = new GuestClock(() => hostTime() + offset, 0);
    const settings = settingsOf(configOf(plan), plan.name);
    const devices = new RemoteDevices({
      board,
      timers: new LocalTimers(clock, board.times),
      thread: {
        vcpu: id,
        whileParked: (wait) => this.#vcpu.whileParked(wait),
      },
      strictIo: settings.strictIo,
    });
    const lapic = this.#makeApic(parts, clock, devices);
    this.#vcpu = new VcpuThread({
      ...parts.forVcpu(post),
      settings,
      clock,
      lapic,
      devices,
      takeAnswer: () => devices.takeAnswer(),
      poll: () => false,
      serve: (request) =>
        answerRequest(
          post,
          request,
          () => this.#perform(request.request, request.payload),
        ),
    });
    this.#target = new ThreadVcpu(this.#vcpu, new GuestRam(memory));
  }

  #makeApic(
    parts: ThreadParts,
    clock: GuestClock,
    devices: RemoteDevices,
  ): LocalApic {
    const { board, posted, vcpus, start } = parts;
    const bus = new ApicBus();
    const lapic = new LocalApic({
      id: start.vcpu,
      clock,
      bus,
      words: posted,
      extInt: {
        get isRequesting() {
          return board.has(MACHINE_FLAG.INTR);
        },
        acknowledge: () => devices.acknowledge(),
      },
      host: {
        attend: () => this.#vcpu.attend(),
        nmi: () => this.#vcpu.nmi(),
        init: () => this.#vcpu.init(),
        startup: (vector) => this.#vcpu.startup(vector),
        endOfInterrupt: (vector) => board.postEnd(vector),
        counted: (event, source) => this.#vcpu.counters.addApic(event, source),
      },
    });
    for (let n = 0; n < vcpus; n++) {
      bus.connect(n === start.vcpu ? lapic : parts.remoteApic(n));
    }
    return lapic;
  }

  // Of the machine's requests only those for its local APIC come here.
  #perform<R extends VmRequest>(request: R, payload: VmIn<R>): unknown {
    if (VM_IOCTLS[request].scope === "vcpu") {
      return vcpuIoctl(this.#target, request, payload);
    }
    const { apic } = this.#vcpu;
    const target: Pick<MachineTarget, "readKernemu" | "writeKernemu"> = {
      readKernemu: (_vcpu, gpa, bytes) => apic.read(gpa, bytes),
      writeKernemu: (_vcpu, gpa, bytes, value) => apic.write(gpa, bytes, value),
    };
    return machineIoctl(target as MachineTarget, request, payload);
  }

  /** Runs until the machine ends. */
  run(): void {
    this.#vcpu.run();
  }
}

becomeThread((start, post) => new OtherVcpu(start, post));
