// A machine from its start to the end of the process: threads, serial lines, signals,
// the machine's socket; in monitor mode again after each reset.

import type { GuestMemory } from "../vmm/cpu/guest_memory.ts";
import { SUSPEND } from "../vmm/cpu/exits.ts";
import type { RestingMachine } from "../vmm/root/resting_machine.ts";
import type { RequestHandler } from "../vmm/root/server.ts";
import type { VmState } from "../vmm/root/state.ts";
import type { ReadyMachine } from "./claim.ts";
import type { CommandHost, HandledSignal } from "./host.ts";
import { STATUS } from "./option_error.ts";
import type { MachinePlan } from "./plan.ts";
import type { SerialLines } from "./serial_lines.ts";

/** Why a machine ended. */
export interface MachineEnd {
  /** of `SUSPEND` */
  readonly how: number;
  /** what it leaves behind in its state at rest */
  readonly changes?: Partial<VmState>;
}

/** What ends a machine with an error. */
export class MachineFailure extends Error {
  override readonly name = "MachineFailure";

  /** @param status what bhyve exits with */
  constructor(message: string, readonly status: number) {
    super(message);
  }
}

/** A machine in threads of its own. */
export interface RunningMachine {
  /**
   * Settled when it ended; rejected where it cannot go on, with a `MachineFailure`.
   */
  readonly ended: Promise<MachineEnd>;
  /** what answers requests to it */
  readonly handler: RequestHandler;
  /** Lets its vCPUs run. */
  run(): void;
  /** Lets it look for input. */
  wake(): void;
  /** Presses the power button; answers whether the guest listens to it. */
  pressPowerButton(): boolean;
  /** Ends its threads at once. */
  terminate(): void;
}

/** Makes a machine's threads. @throws {Error} where a device cannot be made */
export type StartMachine = (
  plan: MachinePlan,
  memory: GuestMemory,
  resting: RestingMachine,
) => Promise<RunningMachine>;

/** bhyve's exit statuses by why a machine ended; others are errors. */
const STATUSES: Readonly<Record<number, number>> = {
  [SUSPEND.RESET]: 0,
  [SUSPEND.POWEROFF]: 1,
  [SUSPEND.HALT]: 2,
  [SUSPEND.TRIPLEFAULT]: 3,
};

/** What a shell says of a process that a signal ended. */
const SIGNAL_STATUSES: Readonly<Record<HandledSignal, number>> = {
  SIGHUP: 128 + 1,
  SIGINT: 128 + 2,
  SIGQUIT: 128 + 3,
  SIGTERM: 128 + 15,
};

/** What a session is about. */
export interface SessionParts {
  readonly host: Pick<CommandHost, "err" | "onSignal">;
  readonly ready: Pick<
    ReadyMachine,
    "claimed" | "memory" | "restart" | "state"
  >;
  readonly lines: Pick<SerialLines, "serve" | "onInput" | "finish">;
  /** Makes the machine's threads. */
  readonly start: StartMachine;
  /** what the machine starts from, each time */
  readonly plan: () => MachinePlan;
  /** monitor mode: a reset starts it again */
  readonly monitor: boolean;
  readonly destroyOnPowerOff: boolean;
}

/** How a session ends. */
interface Outcome extends MachineEnd {
  readonly status: number;
  /** whether the operator wants it over at once */
  readonly isHurried: boolean;
}

function outcomeOf(end: MachineEnd): Outcome {
  const status = STATUSES[end.how] ?? STATUS.ERROR;
  return { ...end, status, isHurried: false };
}

/** One call of the command, once its machine is ready. */
export class Session {
  readonly #parts: SessionParts;
  readonly #stop = Promise.withResolvers<Outcome>();
  #machine: RunningMachine | undefined;
  #hasStarted = false;

  constructor(parts: SessionParts) {
    this.#parts = parts;
  }

  /** Whether the machine ran at all. */
  get hasStarted(): boolean {
    return this.#hasStarted;
  }

  /** Ends the machine as if its power went away. */
  unplug(): void {
    const how = SUSPEND.POWEROFF;
    this.#stop.resolve({ how, status: STATUSES[how]!, isHurried: true });
  }

  /**
   * Runs the machine until the session is over, and gives it back.
   *
   * @returns the exit status
   * @throws {Error} where the machine cannot be started
   */
  async run(): Promise<number> {
    const { lines } = this.#parts;
    const unlisten = this.#listen();
    let hurry: Promise<unknown> = Promise.resolve();
    try {
      lines.serve();
      const outcome = await this.#untilOver();
      await this.#giveBack(outcome);
      if (!outcome.isHurried) hurry = this.#stop.promise;
      return outcome.status;
    } finally {
      this.#machine?.terminate();
      await lines.finish(hurry);
      unlisten();
    }
  }

  #listen(): () => void {
    const { host } = this.#parts;
    const end = (signal: HandledSignal) => () => this.#end(signal);
    const removers = [
      host.onSignal("SIGTERM", () => {
        if (this.#machine?.pressPowerButton() !== true) this.#end("SIGTERM");
      }),
      ...(["SIGHUP", "SIGINT", "SIGQUIT"] as const).map((signal) =>
        host.onSignal(signal, end(signal))
      ),
    ];
    return () => removers.forEach((remove) => remove());
  }

  #end(signal: HandledSignal): void {
    const status = SIGNAL_STATUSES[signal];
    this.#stop.resolve({ how: SUSPEND.NONE, status, isHurried: true });
  }

  async #untilOver(): Promise<Outcome> {
    const { monitor, ready } = this.#parts;
    const { suspend } = ready.state;
    // As vmm(4): what was suspended while it was at rest does not run.
    if (suspend !== SUSPEND.NONE) return outcomeOf({ how: suspend });
    for (;;) {
      const outcome = await this.#once();
      this.#machine?.terminate();
      this.#machine = undefined;
      if (!monitor || outcome.how !== SUSPEND.RESET) return outcome;
      ready.restart();
    }
  }

  // Runs it until it ends or is ended.
  async #once(): Promise<Outcome> {
    const { lines, plan, ready, start } = this.#parts;
    const { claimed, memory } = ready;
    const machine = await start(plan(), memory, claimed.machine);
    this.#machine = machine;
    this.#hasStarted = true;
    lines.onInput(() => machine.wake());
    claimed.serve(machine.handler);
    machine.run();
    return await Promise.race([this.#endOf(machine), this.#stop.promise]);
  }

  async #endOf(machine: RunningMachine): Promise<Outcome> {
    try {
      return outcomeOf(await machine.ended);
    } catch (error) {
      if (!(error instanceof MachineFailure)) throw error;
      const { message, status } = error;
      this.#parts.host.err(`bhyve: ${message}`);
      return { how: SUSPEND.NONE, status, isHurried: false };
    }
  }

  async #giveBack({ how, changes }: Outcome): Promise<void> {
    const { destroyOnPowerOff, ready: { claimed } } = this.#parts;
    const isGone = destroyOnPowerOff && how === SUSPEND.POWEROFF;
    await (isGone ? claimed.destroy() : claimed.release(changes));
  }
}
