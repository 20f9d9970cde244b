// The thread that compiles: the code that every processor starts with, which it answers,
// then regions. See `compiler.ts` and `customer.ts`. What compiles is loaded where it is
// needed, since what is kept of an earlier run is there sooner.

import { KeptRuntime } from "../kept_runtime.ts";
import type { CompilerStart } from "./compiler.ts";
import { BELL } from "./mail.ts";

// Errors tell how to go on, many times a second: nobody looks at their stacks.
Error.stackTraceLimit = 0;

const scope = self as unknown as {
  onmessage: ((event: MessageEvent<CompilerStart | "build">) => void) | null;
  postMessage(message: WebAssembly.Module): void;
};
let work = Promise.resolve();
scope.onmessage = ({ data }) => {
  work = work.then(() => data === "build" ? build() : serve(data));
};

async function build(): Promise<void> {
  const kept = await KeptRuntime.open();
  const found = await kept?.find();
  if (found !== undefined) {
    scope.postMessage(found);
    await import("./customer.ts");
    return;
  }
  const { runtimeBytes } = await import("../handlers.ts");
  const bytes = runtimeBytes();
  scope.postMessage(new WebAssembly.Module(bytes));
  await kept?.keep(bytes);
}

async function serve({ bell, cpus }: CompilerStart): Promise<void> {
  const { Customer } = await import("./customer.ts");
  const words = new Int32Array(bell);
  const customers = cpus.map((cpu) => new Customer(cpu));
  for (;;) {
    const before = Atomics.load(words, BELL.RINGS);
    if (Atomics.load(words, BELL.ENDED) !== 0) return;
    for (const customer of customers) customer.serve();
    Atomics.wait(words, BELL.RINGS, before);
  }
}
