// Fused handlers: one handler does what two records in a row say, the second in place of
// the tail call to it. Threaded code spends about half of its instructions on going from
// record to record. The second record keeps its own handler, for whoever begins there.

import type { CpuModule } from "./cpu_module.ts";
import { ThreadedContinuation } from "./emitter.ts";
import { HANDLER_TYPE } from "./record.ts";
import { effectOf } from "./regions/effects.ts";
import { goTo } from "./runtime/run.ts";
import { CODE_DROPPED } from "./state.ts";
import {
  type Expr,
  type FuncRef,
  FunctionBuilder,
  type I32,
  type ValType,
  type Values,
} from "./wasm/mod.ts";

/** A fused handler's function, which knows what its first part did. */
export class FusedFunction extends FunctionBuilder {
  #isSecond = false;
  #hasWritten = false;
  readonly #cpu: CpuModule;

  constructor(cpu: CpuModule) {
    super(cpu.m, HANDLER_TYPE);
    this.#cpu = cpu;
  }

  override call<R extends readonly ValType[]>(
    callee: FuncRef<R>,
    ...values: Expr[]
  ): Values<R> {
    if (!this.#isSecond) this.#note(callee.name);
    return super.call(callee, ...values);
  }

  #note(callee: string): void {
    const effect = effectOf(callee);
    if (effect === undefined || effect === "privilege") {
      throw new Error(`"${callee}" may decide how the second part is to run`);
    }
    if (effect === "writes") this.#hasWritten = true;
  }

  /**
   * Between the parts: what a write dropped may be the second record, which then has
   * another handler. Stores that are not calls never meet code. What other processors
   * drop meanwhile may be seen an instruction later (Intel SDM vol. 3, 9.1.3).
   */
  enterSecond(second: I32): void {
    this.#isSecond = true;
    if (!this.#hasWritten) return;
    const dropped = this.#cpu.state.load32(0, CODE_DROPPED);
    this.rarely(dropped, () => goTo(this.#cpu, this, this.let(second)));
  }
}

/** How the first part goes on: into what is emitted next. */
export class FirstContinuation extends ThreadedContinuation {
  override next(): void {
    throw new Error("Only the second part ends a fused handler");
  }
}
