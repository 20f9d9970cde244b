// Emits regions in a thread of their own. That thread reads records from memory 0,
// which is shared; the modules come back as bytes in shared memory, since the CPU's
// thread does not return to its event loop while it runs.

import type { WantedHandler } from "../handlers.ts";
import type { BatchPlan } from "./plan.ts";

/** Bytes of the largest module that comes back. */
const MOST_BYTES = 8 << 20;

/** Words of the control block. */
export const CONTROL = {
  /** 0 nothing is there, 1 a module is, or -1 in `LENGTH` for a failure */
  STATE: 0,
  /** bytes of the module */
  LENGTH: 1,
  WORDS: 2,
} as const;

/** What the thread is sent first. */
export interface CompilerStart {
  /** memory 0 */
  readonly state: SharedArrayBuffer;
  /** `CONTROL` */
  readonly control: SharedArrayBuffer;
  /** the module's bytes */
  readonly bytes: SharedArrayBuffer;
}

/** A handler by name, as threads tell each other. */
export interface NamedHandler {
  readonly index: number;
  readonly name: string;
  readonly shape: WantedHandler["shape"];
}

/** What the thread is sent for each batch. */
export interface CompilerJob {
  readonly batch: BatchPlan;
  /** handlers that are new since the job before */
  readonly handlers: readonly NamedHandler[];
}

type Done = (bytes: Uint8Array<ArrayBuffer> | undefined) => void;

/** The compiling thread of one virtual CPU. */
export class RegionCompiler {
  readonly #worker: Worker;
  readonly #control: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #waiting: { batch: BatchPlan; done: Done }[] = [];
  #running: Done | undefined;
  #newHandlers: NamedHandler[] = [];

  /** @param state memory 0 */
  constructor(state: SharedArrayBuffer) {
    const control = new SharedArrayBuffer(CONTROL.WORDS * 4);
    const bytes = new SharedArrayBuffer(MOST_BYTES);
    this.#control = new Int32Array(control);
    this.#bytes = new Uint8Array(bytes);
    this.#worker = new Worker(
      new URL("./compiler_worker.ts", import.meta.url),
      { type: "module", name: "regions" },
    );
    const start: CompilerStart = { state, control, bytes };
    this.#worker.postMessage(start);
  }

  /** Ends the thread. */
  close(): void {
    this.#worker.terminate();
  }

  /** Tells of a new handler. */
  learn(index: number, { definition, shape }: WantedHandler): void {
    this.#newHandlers.push({ index, name: definition.name, shape });
  }

  /** Compiles a batch; `done` is called by `take`. */
  post(batch: BatchPlan, done: Done): void {
    this.#waiting.push({ batch, done });
    this.#next();
  }

  /** Whether a module is there to be taken. */
  get isDone(): boolean {
    return Atomics.load(this.#control, CONTROL.STATE) !== 0;
  }

  /** Takes the module that is there. */
  take(): void {
    const length = this.#control[CONTROL.LENGTH]!;
    const bytes = length < 0 ? undefined : this.#bytes.slice(0, length);
    Atomics.store(this.#control, CONTROL.STATE, 0);
    const done = this.#running;
    this.#running = undefined;
    done?.(bytes as Uint8Array<ArrayBuffer> | undefined);
    this.#next();
  }

  /** What is being compiled is not wanted any more. */
  forget(): void {
    this.#waiting.length = 0;
    if (this.#running !== undefined) this.#running = () => {};
  }

  #next(): void {
    if (this.#running !== undefined) return;
    const job = this.#waiting.shift();
    if (job === undefined) return;
    this.#running = job.done;
    const message: CompilerJob = {
      batch: job.batch,
      handlers: this.#newHandlers,
    };
    this.#newHandlers = [];
    this.#worker.postMessage(message);
  }
}
