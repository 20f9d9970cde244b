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
    if (effectOf(callee.name) === "writes") this.#hasWritten = true;
    return super.call(callee, ...values);
  }

  /**
   * Between the parts: what a write dropped may be the second record, which then has
   * another handler. Writes that are not calls never meet code.
   */
  enterSecond(second: I32): void {
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
