// The worker of the thread that compiles: it builds the runtime first where that is not
// there yet, for which it needs to know nothing, so it may be made before all else of the
// program is loaded.

import { embeddedRuntime } from "../vmm/cpu/embedded_runtime.ts";
import { KeptRuntime } from "../vmm/cpu/kept_runtime.ts";
import type {
  BuiltRuntime,
  CompilerStart,
} from "../vmm/cpu/regions/compiler.ts";

const MODULE = new URL(
  "../vmm/cpu/regions/compiler_worker.ts",
  import.meta.url,
);
/** It needs nothing of the host. */
const NARROWED: WorkerOptions = { deno: { permissions: "none" } };

// What came with this program, or its first machine built, serves all that follow.
let built: WebAssembly.Module | undefined;
let ahead: CompilerWorker | undefined;

/** One worker. */
export class CompilerWorker {
  readonly #worker: Worker;
  readonly #runtime = Promise.withResolvers<WebAssembly.Module | undefined>();

  /** @param narrow whether its permissions are narrowed */
  constructor(narrow: boolean) {
    const worker = new Worker(MODULE, {
      type: "module",
      name: "compiler",
      ...narrow ? NARROWED : {},
    });
    this.#worker = worker;
    // Without it the processors' threads do for themselves what it does.
    worker.onerror = (event) => {
      event.preventDefault();
      this.#runtime.resolve(undefined);
    };
    built ??= embeddedRuntime();
    if (built === undefined) void this.#find();
    else this.#runtime.resolve(built);
  }

  // Takes what the last run from these sources kept, or has it built.
  async #find(): Promise<void> {
    const kept = await KeptRuntime.open();
    const found = await kept?.find();
    if (found !== undefined) return this.#found(found);
    this.#worker.onmessage = ({ data }: MessageEvent<BuiltRuntime>) => {
      this.#found(data.module);
      void kept?.keep(data.bytes);
    };
    this.#worker.postMessage("build");
  }

  #found(runtime: WebAssembly.Module): void {
    built = runtime;
    this.#runtime.resolve(runtime);
  }

  /** The one that was made ahead, or another. */
  static take(narrow: boolean): CompilerWorker {
    const worker = ahead ?? new CompilerWorker(narrow);
    ahead = undefined;
    return worker;
  }

  /** What it builds first: the code that every vCPU starts with. */
  get runtime(): Promise<WebAssembly.Module | undefined> {
    return this.#runtime.promise;
  }

  /** Has it compile for processors, and do nothing else from then on. */
  start(start: CompilerStart): void {
    void this.runtime.then(() => this.#worker.postMessage(start));
  }

  /** Ends it. */
  end(): void {
    this.#worker.terminate();
  }
}

// Otherwise the operator would be asked, even where there will be no machine.
function mayLoad(): boolean {
  const file = { name: "read", path: MODULE } as const;
  return MODULE.protocol === "file:" &&
    Deno.permissions.querySync(file).state === "granted";
}

/** Makes the first machine's worker, which takes longest to have something to show. */
export function startAhead(): void {
  if (mayLoad()) ahead = new CompilerWorker(true);
}
