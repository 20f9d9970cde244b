// What the thread that compiles has of one virtual CPU: its records, its handlers and its
// mail. Records may change while they are read; what comes of that is not installed, and
// an error answers with nothing.

import type { Definition } from "../form.ts";
import { ALL_FORMS } from "../forms/mod.ts";
import type { WantedHandler } from "../handlers.ts";
import { reduceShape } from "../shape.ts";
import * as steps from "../steps.ts";
import type { CompilerJob, CompilerStart } from "./compiler.ts";
import type { RecordSource } from "./emit.ts";
import { Answerer } from "./mail.ts";
import { type BatchPlan, emitBatch } from "./plan.ts";
import { Rehearsal } from "./rehearsal.ts";

const DEFINITIONS: ReadonlyMap<string, Definition> = new Map(
  [...ALL_FORMS, ...Object.values(steps)]
    .filter((one): one is Definition =>
      typeof one === "object" && "define" in one
    )
    .map((one) => [one.name, one]),
);

/** One virtual CPU that is compiled for. */
export class Customer implements RecordSource {
  /** its memory 0 */
  readonly state: DataView;
  readonly #mail: Answerer;
  readonly #rehearsal = new Rehearsal();
  readonly #handlers: (WantedHandler | undefined)[] = [];

  /** @param cpu its memory 0 and mail */
  constructor({ state, mail }: CompilerStart["cpus"][number]) {
    this.state = new DataView(state);
    this.#mail = new Answerer(mail);
  }

  /** What a handler was made from, as far as it was told of. */
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
    this.#mail.answer(this.#tryCompile(batch));
  }

  #tryCompile(batch: BatchPlan): Uint8Array<ArrayBuffer> | undefined {
    try {
      return this.compile(batch);
    } catch (error) {
      return this.failed(error);
    }
  }

  /** Makes a module and has V8 compile it. */
  protected compile(batch: BatchPlan): Uint8Array<ArrayBuffer> {
    const bytes = emitBatch(this, batch);
    this.#rehearsal.run(bytes, batch);
    return bytes;
  }

  /** There is no module: an answer of nothing. */
  protected failed(_error: unknown): undefined {}
}
