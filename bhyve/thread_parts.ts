// What the threads of a machine are all built of: shared words, gates, stand-ins for the
// local APICs of the others, and the answers to requests.

import { GuestMemory } from "../vmm/cpu/guest_memory.ts";
import { adoptRuntimeModule } from "../vmm/cpu/handlers.ts";
import { SharedCode } from "../vmm/cpu/shared_code.ts";
import { VmmError } from "../vmm/errno.ts";
import { PostedInterrupts, RemoteApic } from "../vmm/platform/mod.ts";
import { Board } from "./board.ts";
import { MachineError, STATUS_ERROR } from "./machine_error.ts";
import { type MailedRequest, RequestMail } from "./request_mail.ts";
import type {
  ThreadCode,
  ThreadMessage,
  ThreadStart,
} from "./thread_messages.ts";
import { VcpuGate } from "./vcpu_gate.ts";
import type { VcpuThreadOptions } from "./vcpu_thread.ts";

const NS_PER_MS = 1e6;

/** Messages to the main thread. */
export type Post = (message: ThreadMessage) => void;

/** Reports to the operator, as bhyve writes them. */
export const THREAD_LOG = {
  warn: (message: string): void => console.error(message),
};

type VcpuPart =
  | ("id" | "plan" | "memory" | "state" | "compiler" | "code" | "board")
  | ("gate" | "posted" | "mail" | "log" | "compiled");

/** The parts of one thread. */
export class ThreadParts {
  readonly memory: GuestMemory;
  readonly board: Board;
  readonly gates: readonly VcpuGate[];
  readonly code: SharedCode;
  readonly mail: RequestMail;
  readonly posted: PostedInterrupts;

  constructor(readonly start: ThreadStart) {
    const { vcpu } = start;
    this.memory = new GuestMemory(start.memory);
    this.board = new Board(start.board, (n) => this.gates[n]?.kick());
    this.gates = start.states.map((state, n) =>
      new VcpuGate(this.board.gateWords(n), state)
    );
    this.code = this.#shareCode();
    this.mail = new RequestMail(start.mail);
    this.posted = new PostedInterrupts(this.board.postedWords(vcpu));
  }

  /** How many vCPUs there are. */
  get vcpus(): number {
    return this.gates.length;
  }

  #shareCode(): SharedCode {
    const { code, vcpu } = this.start;
    return new SharedCode(code, vcpu, {
      count: this.vcpus,
      isRunning: (n) => this.gates[n]!.isRunning,
      kick: (n) => this.gates[n]!.kick(),
      whileParked: (wait) => {
        this.gates[vcpu]!.setRunning(false);
        wait();
        this.gates[vcpu]!.setRunning(true);
      },
    });
  }

  /** What a `VcpuThread` needs of them. */
  forVcpu(post: Post): Pick<VcpuThreadOptions, VcpuPart> {
    const { start: { plan, vcpu, states, compilers }, memory, code, board } =
      this;
    return {
      id: vcpu,
      plan,
      memory,
      state: states[vcpu]!,
      compiler: compilers[vcpu]!,
      code,
      board,
      gate: this.gates[vcpu]!,
      posted: this.posted,
      mail: this.mail,
      log: THREAD_LOG,
      compiled: (statistics) => {
        if (compilers[vcpu]!.tells) {
          post({ kind: "compiled", vcpu, statistics });
        }
      },
    };
  }

  /** The local APIC of another vCPU. */
  remoteApic(vcpu: number): RemoteApic {
    const posted = new PostedInterrupts(this.board.postedWords(vcpu));
    return new RemoteApic(vcpu, posted, () => this.gates[vcpu]!.kick());
  }
}

/** This thread's time in nanoseconds. */
export function hostTime(): number {
  return performance.now() * NS_PER_MS;
}

/** Does a request and sends what comes of it. */
export function answerRequest(
  post: Post,
  { id }: MailedRequest,
  perform: () => unknown,
): void {
  try {
    post({ kind: "reply", id, result: perform() });
  } catch (error) {
    if (!(error instanceof VmmError)) throw error;
    const { code, message } = error;
    post({ kind: "refusal", id, code, message });
  }
}

/** What a thread says when it cannot go on. */
function failureOf(error: unknown): ThreadMessage {
  return {
    kind: "failure",
    message: error instanceof Error ? error.message : String(error),
    status: error instanceof MachineError ? error.status : STATUS_ERROR,
  };
}

/** A thread whose devices are built. */
export interface ThreadBody {
  /** Builds its processor. */
  finish(): void;
  /** Runs until the machine ends. */
  run(): void;
}

/**
 * Makes this worker one of a machine's threads, once it is told which: it is built, says
 * so, and runs until the machine ends.
 */
export function becomeThread(
  make: (start: ThreadStart, post: Post) => ThreadBody,
): void {
  const scope = self as unknown as {
    onmessage: ((event: MessageEvent<ThreadStart | ThreadCode>) => void) | null;
    postMessage(message: ThreadMessage): void;
  };
  const post = (message: ThreadMessage) => scope.postMessage(message);
  let thread: ThreadBody | undefined;
  const receive = (message: ThreadStart | ThreadCode) => {
    if ("plan" in message) thread = make(message, post);
    else if (thread !== undefined) finishAndRun(thread, message, post);
  };
  scope.onmessage = ({ data }) => {
    try {
      receive(data);
    } catch (error) {
      post(failureOf(error));
    }
  };
}

function finishAndRun(
  thread: ThreadBody,
  { runtime }: ThreadCode,
  post: Post,
): void {
  if (runtime !== undefined) adoptRuntimeModule(runtime);
  thread.finish();
  post({ kind: "ready" });
  thread.run();
}
