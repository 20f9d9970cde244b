// The workers of a machine, made before anything else of it is known: they load their
// modules, and the code that all vCPUs start with is built, while the machine is claimed.

import { createStateMemory } from "../vmm/cpu/state.ts";
import { CompilerThread } from "./compiler_thread.ts";
import type { MachinePlan } from "./plan.ts";
import { ThreadHandle, type ThreadSpecification } from "./thread_handle.ts";

/** What workers are made for. */
export interface CrewOutline {
  /** how many vCPUs there are */
  readonly vcpus: number;
  /** the plan's: files that the devices' thread may use */
  readonly permissions: MachinePlan["permissions"];
  /**
   * whether the threads' permissions are narrowed to these. Programs without Deno's
   * unstable feature `worker-options` cannot narrow, and Deno ends them where they try.
   */
  readonly narrow: boolean;
}

/** The workers. */
export class Crew {
  /** memory 0 of every vCPU */
  readonly states: readonly WebAssembly.Memory[];
  readonly compiler: CompilerThread;
  /** a thread for each vCPU */
  readonly threads: readonly ThreadHandle[];
  #isEnded = false;

  constructor({ vcpus, permissions, narrow }: CrewOutline) {
    this.states = Array.from({ length: vcpus }, () => createStateMemory());
    this.compiler = new CompilerThread(this.states, narrow);
    this.threads = this.states.map((_, vcpu) =>
      new ThreadHandle(vcpu, narrow ? permissions : undefined)
    );
  }

  /** Builds a machine in them: its processors once the code that they begin with is there. */
  start(specification: ThreadSpecification): void {
    for (const thread of this.threads) thread.start(specification);
    void this.#finish();
  }

  async #finish(): Promise<void> {
    const runtime = await this.compiler.runtime;
    if (this.#isEnded) return;
    for (const thread of this.threads) thread.finish({ runtime });
  }

  /** Ends them. */
  end(): void {
    this.#isEnded = true;
    for (const thread of this.threads) thread.end();
    this.compiler.end();
  }
}
