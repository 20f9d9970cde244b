// The thread that compiles regions: see `compiler.ts`. Records may change while they
// are read; what comes of that is not installed, and an error answers with nothing.

import type { Definition } from "../form.ts";
import { FORMS } from "../forms/mod.ts";
import type { WantedHandler } from "../handlers.ts";
import { reduceShape } from "../shape.ts";
import * as steps from "../steps.ts";
import type { CompilerJob, CompilerStart } from "./compiler.ts";
import type { RecordSource } from "./emit.ts";
import { Answerer } from "./mail.ts";
import { type BatchPlan, emitBatch } from "./plan.ts";
import { Rehearsal } from "./rehearsal.ts";

const DEFINITIONS: ReadonlyMap<string, Definition> = new Map(
  [...FORMS.values(), ...Object.values(steps)]
    .filter((one): one is Definition =>
      typeof one === "object" && "define" in one
    )
    .map((one) => [one.name, one]),
);

/** What the thread has of one virtual CPU. */
class Customer implements RecordSource {
  readonly state: DataView;
  readonly #mail: Answerer;
  readonly #rehearsal = new Rehearsal();
  readonly #handlers: (WantedHandler | undefined)[] = [];

  constructor({ state, mail }: CompilerStart["cpus"][number]) {
    this.state = new DataView(state);
    this.#mail = new Answerer(mail);
  }

  handlerAt(index: number): WantedHandler | undefined {
    return this.#handlers[index];
  }

  /** Answers its question, if it has one. */
  serve(): void {
    const question = this.#mail.next();
    if (question === undefined) return;
    const text = new TextDecoder().decode(question);
    const { batch, handlers } = JSON.parse(text) as CompilerJob;
    for (const { index, name, shape } of handlers) {
      const definition = DEFINITIONS.get(name);
      if (definition !== undefined) {
        const reduced = reduceShape(shape, definition.axes);
        this.#handlers[index] = { definition, shape: reduced };
      }
    }
    this.#mail.answer(this.#compile(batch));
  }

  #compile(batch: BatchPlan): Uint8Array<ArrayBuffer> | undefined {
    try {
      const bytes = emitBatch(this, batch);
      this.#rehearsal.run(bytes, batch);
      return bytes;
    } catch {
      return undefined;
    }
  }
}

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
