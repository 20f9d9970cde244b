// One of a machine's threads as the main thread has it: a worker with narrow permissions,
// its requests and their answers.

import { VmmError } from "../vmm/errno.ts";
import type { VmIn, VmOut, VmRequest } from "../vmm/ioctl.ts";
import { decoderPath } from "../vmm/cpu/iced/file.ts";
import type { MachinePlan } from "./plan.ts";
import { type MailedRequest, RequestMail } from "./request_mail.ts";
import type {
  ThreadCode,
  ThreadMessage,
  ThreadStart,
} from "./thread_messages.ts";

/** What a machine has to do with a thread of it. */
export interface ThreadEvents {
  /** Makes the thread look at its requests. */
  kick(): void;
  /** Is told of everything but answers. */
  told(message: ThreadMessage): void;
}

/** What all threads of a machine are made from. */
export type ThreadSpecification = Omit<ThreadStart, "vcpu" | "mail">;

type Answer = (
  message: Extract<ThreadMessage, { kind: "reply" | "refusal" }>,
) => void;

const STATUS_ERROR = 4;

// The paths are literals, so that compiled executables carry the workers.
function makeWorker(vcpu: number, options: WorkerOptions): Worker {
  return vcpu === 0
    ? new Worker(new URL("./worker.ts", import.meta.url), options)
    : new Worker(new URL("./vcpu_worker.ts", import.meta.url), options);
}

/** Exactly the plan's files for the devices' thread; nothing of them for the others. */
function permissionsOf(
  vcpu: number,
  { read, write }: MachinePlan["permissions"],
): Deno.PermissionOptionsObject {
  const none = {
    env: false,
    ffi: false,
    import: false,
    net: false,
    run: false,
    sys: false,
  } as const;
  const own = [decoderPath()];
  return vcpu === 0
    ? { ...none, read: [...read, ...own], write: [...write] }
    : { ...none, read: own, write: false };
}

/** One thread. */
export class ThreadHandle {
  readonly #vcpu: number;
  readonly #worker: Worker;
  readonly #mailMemory = RequestMail.create();
  readonly #mail = new RequestMail(this.#mailMemory);
  readonly #ready = Promise.withResolvers<void>();
  readonly #answers = new Map<number, Answer>();
  readonly #unsent: MailedRequest[] = [];
  #events: ThreadEvents | undefined;
  #failure: ThreadMessage | undefined;
  #next = 0;

  /**
   * Makes the thread, which loads its modules and waits.
   *
   * @param permissions the plan's, where the worker's are narrowed to them
   */
  constructor(vcpu: number, permissions?: MachinePlan["permissions"]) {
    this.#vcpu = vcpu;
    this.#worker = makeWorker(vcpu, {
      type: "module",
      name: `vcpu ${vcpu}`,
      ...permissions === undefined
        ? {}
        : { deno: { permissions: permissionsOf(vcpu, permissions) } },
    });
    this.#worker.onmessage = (event: MessageEvent<ThreadMessage>) =>
      this.#receive(event.data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      const { message } = event;
      this.#failure = { kind: "failure", message, status: STATUS_ERROR };
      this.#events?.told(this.#failure);
    };
  }

  /** Makes it one of a machine's threads, which hears of it from here on. */
  join(events: ThreadEvents): void {
    this.#events = events;
    if (this.#failure !== undefined) events.told(this.#failure);
  }

  /** Sends the thread what it is built from but for its processor. */
  start(specification: ThreadSpecification): void {
    const own = { vcpu: this.#vcpu, mail: this.#mailMemory };
    this.#worker.postMessage(
      { ...specification, ...own } satisfies ThreadStart,
    );
  }

  /** Sends the thread what its processor is built from. */
  finish(code: ThreadCode): void {
    this.#worker.postMessage(code);
  }

  /** Settles when the thread is built. */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  #receive(message: ThreadMessage): void {
    switch (message.kind) {
      case "ready":
        return this.#ready.resolve();
      case "reply":
      case "refusal": {
        const answer = this.#answers.get(message.id);
        this.#answers.delete(message.id);
        answer?.(message);
        return this.#sendMore();
      }
      default:
        return this.#events?.told(message);
    }
  }

  /** Asks the thread for a request. @throws {VmmError} */
  ask<R extends VmRequest>(request: R, payload: VmIn<R>): Promise<VmOut<R>> {
    const id = this.#next++;
    const { promise, resolve, reject } = Promise.withResolvers<VmOut<R>>();
    this.#answers.set(id, (message) => {
      if (message.kind === "reply") resolve(message.result as VmOut<R>);
      else reject(new VmmError(message.code, message.message));
    });
    this.#unsent.push({ id, request, payload } as MailedRequest);
    this.#sendMore();
    return promise;
  }

  // Each answer makes room for more.
  #sendMore(): void {
    while (this.#unsent.length > 0 && this.#mail.send(this.#unsent[0]!)) {
      this.#unsent.shift();
    }
    this.#events?.kick();
  }

  /** Ends the thread; what it was asked and did not answer is refused. */
  end(): void {
    this.#worker.terminate();
    for (const [id, answer] of this.#answers) {
      answer({ kind: "refusal", id, code: "ENXIO", message: "it has ended" });
    }
    this.#answers.clear();
  }
}
