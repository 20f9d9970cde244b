// Compiles regions in a thread of their own: see `compiler_worker.ts`. That thread reads
// records from memory 0, which is shared, and answers with a module's bytes.

import type { WantedHandler } from "../handlers.ts";
import { Asker, type MailMemory } from "./mail.ts";
import type { BatchPlan } from "./plan.ts";

/** What the thread is sent to compile regions. */
export interface CompilerStart {
  /** what wakes it */
  readonly bell: SharedArrayBuffer;
  /** the processors that it compiles regions for: their memories 0 and mail */
  readonly cpus: readonly {
    readonly state: SharedArrayBuffer;
    readonly mail: MailMemory;
  }[];
}

/** A handler by name, as threads tell each other. */
export interface NamedHandler {
  readonly index: number;
  readonly name: string;
  readonly shape: WantedHandler["shape"];
}

/** One question to the thread, as JSON. */
export interface CompilerJob {
  readonly batch: BatchPlan;
  /** handlers that are new since the job before */
  readonly handlers: readonly NamedHandler[];
}

/** What V8 still optimizes of a batch takes about as long as the batch took. */
const REST = 1;

type Done = (bytes: Uint8Array<ArrayBuffer> | undefined) => void;

/** The compiling thread as one virtual CPU has it. */
export class RegionCompiler {
  readonly #mail: Asker;
  #running: Done | undefined;
  #newHandlers: NamedHandler[] = [];
  #asked = 0;
  #restsUntil = 0;

  /** @param mail to the thread */
  constructor(mail: MailMemory) {
    this.#mail = new Asker(mail);
  }

  /** Tells of a new handler. */
  learn(index: number, { definition, shape }: WantedHandler): void {
    this.#newHandlers.push({ index, name: definition.name, shape });
  }

  /** Compiles a batch, where it is free; `done` is called by `take`. */
  post(batch: BatchPlan, done: Done): void {
    const job: CompilerJob = { batch, handlers: this.#newHandlers };
    const question = new TextEncoder().encode(JSON.stringify(job));
    if (!this.#mail.ask(question)) return done(undefined);
    this.#newHandlers = [];
    this.#asked = performance.now();
    this.#running = done;
  }

  /** Whether the thread runs: it may need a while to start, or never do. */
  get isReady(): boolean {
    return this.#mail.isHeard;
  }

  /** Whether it may be given a batch. */
  get isFree(): boolean {
    return this.#running === undefined;
  }

  /** Whether it has work, or V8 has some of what it did last. */
  get isBusy(): boolean {
    return !this.isFree || performance.now() < this.#restsUntil;
  }

  /** Whether a module is there to be taken. */
  get isDone(): boolean {
    return this.#mail.isAnswered;
  }

  /** Takes the module that is there. */
  take(): void {
    const bytes = this.#mail.take();
    const done = this.#running;
    this.#running = undefined;
    const now = performance.now();
    this.#restsUntil = now + (now - this.#asked) * REST;
    done?.(bytes);
  }

  /** What is being compiled is not wanted any more. */
  forget(): void {
    if (this.#running !== undefined) this.#running = () => {};
  }
}
