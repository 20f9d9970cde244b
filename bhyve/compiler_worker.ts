// The worker of the thread that compiles: it finds or builds the runtime first, for which
// it needs to know nothing, so it may be made before all else of the program is loaded.

import { embeddedRuntime } from "../vmm/cpu/embedded_runtime.ts";
import { mayRead, RUNTIME_SOURCES } from "../vmm/cpu/kept_runtime.ts";
import type { CompilerStart } from "../vmm/cpu/regions/compiler.ts";

const MODULE = new URL(
  "../vmm/cpu/regions/compiler_worker.ts",
  import.meta.url,
);

/** It needs to know its own sources, and nothing else of the host. */
function narrowed(): WorkerOptions {
  const read = RUNTIME_SOURCES.filter(mayRead);
  return { deno: { permissions: read.length > 0 ? { read } : "none" } };
}

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
      ...narrow ? narrowed() : {},
    });
    this.#worker = worker;
    worker.onmessage = ({ data }: MessageEvent<WebAssembly.Module>) => {
      built = data;
      this.#runtime.resolve(data);
    };
    // Without it the processors' threads do for themselves what it does.
    worker.onerror = (event) => {
      event.preventDefault();
      this.#runtime.resolve(undefined);
    };
    built ??= embeddedRuntime();
    if (built === undefined) worker.postMessage("build");
    else this.#runtime.resolve(built);
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
    this.#worker.postMessage(start);
  }

  /** Ends it. */
  end(): void {
    this.#worker.terminate();
  }
}

/** Makes the first machine's worker, which takes longest to have something to show. */
export function startAhead(): void {
  if (mayRead(MODULE)) ahead = new CompilerWorker(true);
}
