// The thread that compiles for a machine's vCPUs, and what BHYVE_JIT in the environment
// asks for: see `parseCompile` and `parseLog`.

import type { CompilerStart } from "../vmm/cpu/regions/compiler.ts";
import { parseCompile, type RegionOptions } from "../vmm/cpu/regions/limits.ts";
import { type MailMemory, mailMemory } from "../vmm/cpu/regions/mail.ts";
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
  #worker: Worker | undefined;

  /**
   * @param states memory 0 of every vCPU
   * @param narrow whether the thread's permissions are narrowed
   */
  constructor(states: readonly WebAssembly.Memory[], narrow: boolean) {
    const { compile, log } = choice();
    const tells = log !== undefined;
    this.#log = log;
    if (typeof compile === "boolean" || compile.sync) {
      this.starts = states.map(() => ({ compile, tells }));
      return;
    }
    const bell = new SharedArrayBuffer(4);
    const mails = states.map(() => mailMemory(bell));
    this.starts = mails.map((mail) => ({ compile, mail, tells }));
    this.#worker = new Worker(
      new URL("../vmm/cpu/regions/compiler_worker.ts", import.meta.url),
      { type: "module", name: "compiler", ...narrow ? narrowed() : {} },
    );
    // Without it the processors compile for themselves.
    this.#worker.onerror = (event) => event.preventDefault();
    const start: CompilerStart = {
      bell,
      cpus: states.map(({ buffer }, n) => ({
        state: buffer as SharedArrayBuffer,
        mail: mails[n]!,
      })),
    };
    this.#worker.postMessage(start);
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
