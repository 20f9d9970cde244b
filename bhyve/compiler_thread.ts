// The thread that builds what a machine's vCPUs start with and compiles for them, and what
// BHYVE_JIT in the environment asks for: see `parseCompile` and `parseLog`.

import { parseCompile, type RegionOptions } from "../vmm/cpu/regions/limits.ts";
import {
  createBell,
  type MailMemory,
  mailMemory,
  ringTheEnd,
} from "../vmm/cpu/regions/mail.ts";
import type { RegionStatistics } from "../vmm/cpu/regions/tier.ts";
import { CompileLog, parseLog, sayTo } from "./compile_log.ts";
import { CompilerWorker } from "./compiler_worker.ts";

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
  /** What it builds first: the code that every vCPU starts with. */
  readonly runtime: Promise<WebAssembly.Module | undefined>;
  readonly #bell = createBell();
  readonly #log: CompileLog | undefined;
  readonly #worker: CompilerWorker;

  /**
   * @param states memory 0 of every vCPU
   * @param narrow whether the thread's permissions are narrowed
   */
  constructor(states: readonly WebAssembly.Memory[], narrow: boolean) {
    const { compile, log } = choice();
    const tells = log !== undefined;
    this.#log = log;
    const isWanted = typeof compile !== "boolean" && !compile.sync;
    const bell = this.#bell;
    const cpus = (isWanted ? states : []).map(({ buffer }) => ({
      state: buffer as SharedArrayBuffer,
      mail: mailMemory(bell),
    }));
    this.starts = states.map((_, n) => {
      const mail = cpus[n]?.mail;
      return { compile, tells, ...mail === undefined ? {} : { mail } };
    });
    const worker = CompilerWorker.take(narrow);
    this.#worker = worker;
    this.runtime = worker.runtime;
    if (isWanted) worker.start({ bell, cpus });
    else void this.runtime.then(() => worker.end());
  }

  /** A vCPU's thread told of what it has compiled so far. */
  told(vcpu: number, statistics: RegionStatistics): void {
    this.#log?.told(vcpu, statistics);
  }

  /** Ends the thread. */
  end(): void {
    this.#log?.end();
    // Deno 2.9 cannot end a thread that waits.
    ringTheEnd(this.#bell);
    this.#worker.end();
  }
}
