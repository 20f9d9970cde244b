// One of a machine's threads as the main thread has it: a worker with narrow permissions,
// its requests and their answers.

import type { RuntimeModule } from "../vmm/cpu/handlers.ts";
import { VmmError } from "../vmm/errno.ts";
import type { VmIn, VmOut, VmRequest } from "../vmm/ioctl.ts";
import { decoderFiles } from "./decoder_files.ts";
import type { MachinePlan } from "./plan.ts";
import { type MailedRequest, RequestMail } from "./request_mail.ts";
import type { ThreadMessage, ThreadStart } from "./thread_messages.ts";

/** What a handle is made with. */
export interface ThreadHandleOptions {
  /** whether the worker's permissions are narrowed to the plan's */
  readonly narrow: boolean;
  /** makes the thread look at its requests */
  readonly kick: () => void;
  /** told of everything but answers */
  readonly told: (message: ThreadMessage) => void;
}

/** What a thread is made from, but for the code that is compiled meanwhile. */
export type ThreadSpecification = Omit<ThreadStart, "runtime">;

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
  { read, write }: MachinePlan["permissions"],
  vcpu: number,
): Deno.PermissionOptionsObject {
  const none = {
    env: false,
    ffi: false,
    import: false,
    net: false,
    run: false,
    sys: false,
  } as const;
  const own = decoderFiles();
  return vcpu === 0
    ? { ...none, read: [...read, ...own], write: [...write] }
    : { ...none, read: own, write: false };
}

/** One thread. */
export class ThreadHandle {
  readonly #worker: Worker;
  readonly #start: ThreadSpecification;
  readonly #options: ThreadHandleOptions;
  readonly #mail: RequestMail;
  readonly #ready = Promise.withResolvers<void>();
  readonly #answers = new Map<number, Answer>();
  readonly #unsent: MailedRequest[] = [];
  #next = 0;

  constructor(start: ThreadSpecification, options: ThreadHandleOptions) {
    this.#options = options;
    this.#start = start;
    this.#mail = new RequestMail(start.mail);
    const { permissions } = start.plan;
    this.#worker = makeWorker(start.vcpu, {
      type: "module",
      name: `vcpu ${start.vcpu}`,
      ...options.narrow
        ? { deno: { permissions: permissionsOf(permissions, start.vcpu) } }
        : {},
    });
    this.#worker.onmessage = (event: MessageEvent<ThreadMessage>) =>
      this.#receive(event.data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#options.told({
        kind: "failure",
        message: event.message,
        status: STATUS_ERROR,
      });
    };
  }

  /** Sends the thread what it is built from. */
  start(runtime: RuntimeModule | undefined): void {
    this.#worker.postMessage({ ...this.#start, runtime } satisfies ThreadStart);
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
        return this.#options.told(message);
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
    this.#options.kick();
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
