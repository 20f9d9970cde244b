// The thread that compiles for a machine's vCPUs, and what BHYVE_JIT in the environment
// asks for: see `parseCompile` and `parseLog`.

import type { CompilerStart } from "../vmm/cpu/regions/compiler.ts";
import { parseCompile, type RegionOptions } from "../vmm/cpu/regions/limits.ts";
import {
  type MailMemory,
  mailMemory,
  promiseAnswers,
} from "../vmm/cpu/regions/mail.ts";
import type { RegionStatistics } from "../vmm/cpu/regions/tier.ts";
import { CompileLog, parseLog, sayTo } from "./compile_log.ts";
import { decoderFiles } from "./decoder_files.ts";

const VARIABLE = "BHYVE_JIT";

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

/** The thread. */
export class CompilerThread {
  /** What each vCPU is told of it. */
  readonly starts: readonly CompileStart[];
  readonly #log: CompileLog | undefined;
  readonly #start: CompilerStart | undefined;
  readonly #narrow: boolean;
  #worker: Worker | undefined;

  /**
   * @param states memory 0 of every vCPU
   * @param narrow whether the thread's permissions are narrowed
   */
  constructor(states: readonly WebAssembly.Memory[], narrow: boolean) {
    const { compile, log } = choice();
    const tells = log !== undefined;
    this.#log = log;
    this.#narrow = narrow;
    if (typeof compile === "boolean" || compile.sync) {
      this.starts = states.map(() => ({ compile, tells }));
      return;
    }
    const bell = new SharedArrayBuffer(4);
    const cpus = states.map(({ buffer }) => ({
      state: buffer as SharedArrayBuffer,
      mail: mailMemory(bell),
    }));
    this.starts = cpus.map(({ mail }) => ({ compile, mail, tells }));
    this.#start = { bell, cpus };
    this.#promise(true);
  }

  /**
   * Starts it, where there is to be one. What is hot before it runs waits for it: that
   * costs less than what loads its modules beside threads which the guest waits for.
   */
  start(): void {
    if (this.#start === undefined) return;
    this.#worker = new Worker(
      new URL("../vmm/cpu/regions/compiler_worker.ts", import.meta.url),
      {
        type: "module",
        name: "compiler",
        ...this.#narrow ? narrowed() : {},
      },
    );
    this.#worker.onerror = (event) => {
      event.preventDefault();
      // The processors compile for themselves.
      this.#promise(false);
    };
    this.#worker.postMessage(this.#start);
  }

  #promise(will: boolean): void {
    for (const { mail } of this.#start?.cpus ?? []) promiseAnswers(mail, will);
  }

  /** A vCPU's thread told of what it has compiled so far. */
  told(vcpu: number, statistics: RegionStatistics): void {
    this.#log?.told(vcpu, statistics);
  }

  /** Ends the thread. */
  end(): void {
    this.#log?.end();
    this.#worker?.terminate();
    this.#worker = undefined;
  }
}

function narrowed(): WorkerOptions {
  return {
    deno: {
      permissions: {
        ...{ env: false, ffi: false, import: false, net: false, run: false },
        ...{ sys: false, write: false, read: decoderFiles() },
      },
    },
  };
}
