// The thread that compiles: the code that every processor starts with, which it builds
// and answers, then regions. See `compiler.ts` and `customer.ts`.

import { runtimeBytes } from "../handlers.ts";
import type { BuiltRuntime, CompilerStart } from "./compiler.ts";
import { Customer } from "./customer.ts";

// Errors tell how to go on, many times a second: nobody looks at their stacks.
Error.stackTraceLimit = 0;

const scope = self as unknown as {
  onmessage: ((event: MessageEvent<CompilerStart | "build">) => void) | null;
  postMessage(message: BuiltRuntime): void;
};
scope.onmessage = ({ data }) => {
  if (data === "build") scope.postMessage(build());
  else serve(data);
};

function build(): BuiltRuntime {
  const bytes = runtimeBytes();
  return { bytes, module: new WebAssembly.Module(bytes) };
}

function serve({ bell, cpus }: CompilerStart): void {
  const rings = new Int32Array(bell);
  const customers = cpus.map((cpu) => new Customer(cpu));
  for (;;) {
    const before = Atomics.load(rings, 0);
    for (const customer of customers) customer.serve();
    Atomics.wait(rings, 0, before);
  }
}
