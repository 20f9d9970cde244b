// The thread that compiles regions: see `compiler.ts`. Records may change while they
// are read; what comes of that is not installed, and an error answers with nothing.

import type { Definition } from "../form.ts";
import { FORMS } from "../forms/mod.ts";
import type { WantedHandler } from "../handlers.ts";
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

/** Compiles for one virtual CPU. */
class Thread implements RecordSource {
  readonly state: DataView;
  readonly #mail: Answerer;
  readonly #rehearsal = new Rehearsal();
  readonly #handlers: (WantedHandler | undefined)[] = [];

  constructor({ state, mail }: CompilerStart) {
    this.state = new DataView(state);
    this.#mail = new Answerer(mail);
  }

  handlerAt(index: number): WantedHandler | undefined {
    return this.#handlers[index];
  }

  run(): never {
    for (;;) {
      const question = new TextDecoder().decode(this.#mail.next());
      const { batch, handlers } = JSON.parse(question) as CompilerJob;
      for (const { index, name, shape } of handlers) {
        const definition = DEFINITIONS.get(name);
        if (definition !== undefined) {
          this.#handlers[index] = { definition, shape };
        }
      }
      this.#mail.answer(this.#compile(batch));
    }
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

const scope = self as unknown as {
  onmessage: ((event: MessageEvent<CompilerStart>) => void) | null;
};
scope.onmessage = ({ data }) => new Thread(data).run();
