// The thread that compiles for a machine's vCPUs, and what BHYVE_JIT in the environment
// asks for: see `parseCompile`.

import type { CompilerStart } from "../vmm/cpu/regions/compiler.ts";
import { parseCompile, type RegionOptions } from "../vmm/cpu/regions/limits.ts";
import { type MailMemory, mailMemory } from "../vmm/cpu/regions/mail.ts";
import { decoderFiles } from "./decoder_files.ts";

const VARIABLE = "BHYVE_JIT";

/** What a vCPU compiles, and its mail to the thread that does it. */
export interface CompileStart {
  readonly compile: boolean | Partial<RegionOptions>;
  readonly mail?: MailMemory;
}

function choice(): boolean | Partial<RegionOptions> {
  const permission = { name: "env", variable: VARIABLE } as const;
  const isReadable = Deno.permissions.querySync(permission).state === "granted";
  return parseCompile(isReadable ? Deno.env.get(VARIABLE) ?? "" : "");
}

/** The thread. */
export class CompilerThread {
  /** What each vCPU is told of it. */
  readonly starts: readonly CompileStart[];
  #worker: Worker | undefined;

  /**
   * @param states memory 0 of every vCPU
   * @param narrow whether the thread's permissions are narrowed
   */
  constructor(states: readonly WebAssembly.Memory[], narrow: boolean) {
    const compile = choice();
    if (typeof compile === "boolean" || compile.sync) {
      this.starts = states.map(() => ({ compile }));
      return;
    }
    const bell = new SharedArrayBuffer(4);
    const mails = states.map(() => mailMemory(bell));
    this.starts = mails.map((mail) => ({ compile, mail }));
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

  /** Ends the thread. */
  end(): void {
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
