// The thread that builds what a machine's vCPUs start with and compiles for them, and what
// BHYVE_JIT in the environment asks for: see `parseCompile` and `parseLog`.

import type { CompilerStart } from "../vmm/cpu/regions/compiler.ts";
import { embeddedRuntime } from "../vmm/cpu/embedded_runtime.ts";
import { parseCompile, type RegionOptions } from "../vmm/cpu/regions/limits.ts";
import { type MailMemory, mailMemory } from "../vmm/cpu/regions/mail.ts";
import type { RegionStatistics } from "../vmm/cpu/regions/tier.ts";
import { CompileLog, parseLog, sayTo } from "./compile_log.ts";

const VARIABLE = "BHYVE_JIT";
/** It needs nothing of the host. */
const NARROWED: WorkerOptions = { deno: { permissions: "none" } };

/** What a vCPU compiles, and its mail to the thread that does it. */
export interface CompileStart {
  readonly compile: boolean | Partial<RegionOptions>;
  readonly mail?: MailMemory;
  /** whether it tells of what it compiled */
  readonly tells: boolean;
}

interface Choice {
  readonly compile: boolean | Partial<RegionOptions>;
  readonly log?: CompileLog;
}

function choice(): Choice {
  const permission = { name: "env", variable: VARIABLE } as const;
  const isReadable = Deno.permissions.querySync(permission).state === "granted";
  const text = isReadable ? Deno.env.get(VARIABLE) ?? "" : "";
  const { rest, file } = parseLog(text);
  const compile = parseCompile(rest);
  return file === undefined
    ? { compile }
    : { compile, log: new CompileLog(sayTo(file)) };
}

// What came with this program, or its first machine built, serves all that follow.
let builtRuntime = embeddedRuntime();

/** The thread. */
export class CompilerThread {
  /** What each vCPU is told of it. */
  readonly starts: readonly CompileStart[];
  readonly #log: CompileLog | undefined;
  readonly #runtime = Promise.withResolvers<WebAssembly.Module | undefined>();
  readonly #worker: Worker | undefined;

  /**
   * @param states memory 0 of every vCPU
   * @param narrow whether the thread's permissions are narrowed
   */
  constructor(states: readonly WebAssembly.Memory[], narrow: boolean) {
    const { compile, log } = choice();
    const tells = log !== undefined;
    this.#log = log;
    const isWanted = typeof compile !== "boolean" && !compile.sync;
    const bell = new SharedArrayBuffer(4);
    const cpus = (isWanted ? states : []).map(({ buffer }) => ({
      state: buffer as SharedArrayBuffer,
      mail: mailMemory(bell),
    }));
    this.starts = states.map((_, n) => {
      const mail = cpus[n]?.mail;
      return { compile, tells, ...mail === undefined ? {} : { mail } };
    });
    const buildsRuntime = builtRuntime === undefined;
    if (!buildsRuntime) this.#runtime.resolve(builtRuntime);
    if (buildsRuntime || isWanted) {
      this.#worker = this.#startWorker({ bell, cpus, buildsRuntime }, narrow);
    }
  }

  #startWorker(start: CompilerStart, narrow: boolean): Worker {
    const worker = new Worker(
      new URL("../vmm/cpu/regions/compiler_worker.ts", import.meta.url),
      { type: "module", name: "compiler", ...narrow ? NARROWED : {} },
    );
    worker.onmessage = ({ data }: MessageEvent<WebAssembly.Module>) => {
      if (start.cpus.length === 0) worker.terminate();
      builtRuntime = data;
      this.#runtime.resolve(data);
    };
    // Without it the processors' threads do for themselves what it does.
    worker.onerror = (event) => {
      event.preventDefault();
      this.#runtime.resolve(undefined);
    };
    worker.postMessage(start);
    return worker;
  }

  /** What it builds first: the code that every vCPU starts with. */
  get runtime(): Promise<WebAssembly.Module | undefined> {
    return this.#runtime.promise;
  }

  /** A vCPU's thread told of what it has compiled so far. */
  told(vcpu: number, statistics: RegionStatistics): void {
    this.#log?.told(vcpu, statistics);
  }

  /** Ends the thread. */
  end(): void {
    this.#log?.end();
    this.#worker?.terminate();
  }
}
