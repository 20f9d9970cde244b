// The thread that compiles: the code that every processor starts with, which it builds
// and answers, then regions. See `compiler.ts` and `customer.ts`.

import { getRuntimeModule } from "../handlers.ts";
import type { CompilerStart } from "./compiler.ts";
import { Customer } from "./customer.ts";

// Errors tell how to go on, many times a second: nobody looks at their stacks.
Error.stackTraceLimit = 0;

const scope = self as unknown as {
  onmessage: ((event: MessageEvent<CompilerStart>) => void) | null;
  postMessage(message: WebAssembly.Module): void;
};
scope.onmessage = ({ data }) => {
  const bell = new Int32Array(data.bell);
  const customers = data.cpus.map((cpu) => new Customer(cpu));
  if (data.buildsRuntime) scope.postMessage(getRuntimeModule());
  if (customers.length === 0) return;
  for (;;) {
    const before = Atomics.load(bell, 0);
    for (const customer of customers) customer.serve();
    Atomics.wait(bell, 0, before);
  }
};
