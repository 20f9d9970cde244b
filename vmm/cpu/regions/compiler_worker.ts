// The thread that emits regions: see `compiler.ts`. Records may change while they are
// read; what comes of that is not installed, and an error answers with nothing.

import type { Definition } from "../form.ts";
import { FORMS } from "../forms/mod.ts";
import type { WantedHandler } from "../handlers.ts";
import * as steps from "../steps.ts";
import { type CompilerJob, type CompilerStart, CONTROL } from "./compiler.ts";
import type { RecordSource } from "./emit.ts";
import { emitBatch } from "./plan.ts";

const DEFINITIONS: ReadonlyMap<string, Definition> = new Map(
  [...FORMS.values(), ...Object.values(steps)]
    .filter((one): one is Definition =>
      typeof one === "object" && "define" in one
    )
    .map((one) => [one.name, one]),
);

/** Emits for one virtual CPU. */
class Thread implements RecordSource {
  readonly state: DataView;
  readonly #control: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #handlers: (WantedHandler | undefined)[] = [];

  constructor({ state, control, bytes }: CompilerStart) {
    this.state = new DataView(state);
    this.#control = new Int32Array(control);
    this.#bytes = new Uint8Array(bytes);
  }

  handlerAt(index: number): WantedHandler | undefined {
    return this.#handlers[index];
  }

  compile({ batch, handlers }: CompilerJob): void {
    for (const { index, name, shape } of handlers) {
      const definition = DEFINITIONS.get(name);
      if (definition !== undefined) {
        this.#handlers[index] = { definition, shape };
      }
    }
    this.#answer(this.#emit(batch));
  }

  #emit(batch: CompilerJob["batch"]): Uint8Array | undefined {
    try {
      const bytes = emitBatch(this, batch);
      return bytes.length > this.#bytes.length ? undefined : bytes;
    } catch {
      return undefined;
    }
  }

  #answer(bytes: Uint8Array | undefined): void {
    if (bytes !== undefined) this.#bytes.set(bytes);
    this.#control[CONTROL.LENGTH] = bytes?.length ?? -1;
    Atomics.store(this.#control, CONTROL.STATE, 1);
  }
}

let thread: Thread | undefined;
const scope = self as unknown as {
  onmessage: ((event: MessageEvent<CompilerStart | CompilerJob>) => void) | null;
};
scope.onmessage = ({ data }) => {
  if ("batch" in data) thread?.compile(data);
  else thread = new Thread(data);
};
