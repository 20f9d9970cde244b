// The thread that compiles regions: see `compiler.ts` and `customer.ts`.

import type { CompilerStart } from "./compiler.ts";
import { Customer } from "./customer.ts";

// Errors tell how to go on, many times a second: nobody looks at their stacks.
Error.stackTraceLimit = 0;

const scope = self as unknown as {
  onmessage: ((event: MessageEvent<CompilerStart>) => void) | null;
};
scope.onmessage = ({ data }) => {
  const bell = new Int32Array(data.bell);
  const customers = data.cpus.map((cpu) => new Customer(cpu));
  for (;;) {
    const before = Atomics.load(bell, 0);
    for (const customer of customers) customer.serve();
    Atomics.wait(bell, 0, before);
  }
};
