// A block as one function: the same definitions that make the handlers, emitted
// with their operands as constants. The block's first record is given the function
// as its handler, so threaded and compiled blocks lead to each other freely.

import type { Block, BlockRecord } from "./block_cache.ts";
import { CpuModule } from "./cpu_module.ts";
import { branchTarget, type Continuation, Emitter } from "./emitter.ts";
import { ConstantFields, type FieldValues } from "./fields.ts";
import {
  HANDLER_TYPE,
  REC_COUNT,
  REC_DISP,
  REC_HANDLER,
  REC_IMM,
  REC_LENGTH,
  REC_LINK,
  REC_OPERAND,
  REC_SITE,
  SITE_OFFSET,
} from "./record.ts";
import { goTo, spend } from "./runtime/run.ts";
import { STATUS } from "./runtime/traps.ts";
import { reduceShape } from "./shape.ts";
import { RIP, RIP_BASE } from "./state.ts";
import { type FunctionBuilder, i32, type Label } from "./wasm/mod.ts";

/** The values of a record's fields in memory 0. */
export function readFields(state: DataView, record: number): FieldValues {
  const operand = (n: number) =>
    state.getInt32(record + REC_OPERAND + 4 * n, true);
  return {
    operands: [operand(0), operand(1), operand(2)],
    imm: state.getBigInt64(record + REC_IMM, true),
    disp: state.getInt32(record + REC_DISP, true),
    site: state.getUint16(record + REC_SITE, true),
    length: state.getUint8(record + REC_LENGTH),
    count: state.getUint8(record + REC_COUNT),
  };
}

/** How compiled code goes on: falls through, and links as its record does. */
class CompiledContinuation implements Continuation {
  constructor(
    readonly cpu: CpuModule,
    readonly f: FunctionBuilder,
    readonly record: number,
    readonly end: Label,
  ) {}

  next(): void {
    this.f.br(this.end);
  }

  branch(x: Emitter): void {
    const { cpu, f } = this;
    spend(cpu, f, x.fields.count(), () => branchTarget(x));
    // The link may be set after this code was made.
    goTo(cpu, f, f.let(cpu.state.load32(i32(this.record), REC_LINK)));
  }
}

// Leaves a block whose code an instruction of its own has changed.
function leaveIfDropped(
  cpu: CpuModule,
  f: FunctionBuilder,
  args: { block: Block; handler: number; next: number },
): void {
  const { state } = cpu;
  const now = state.load32(i32(args.block.start), REC_HANDLER);
  f.if(now.ne(args.handler), () => {
    f.do(state.store64(0, state.load64(0, RIP_BASE).add(args.next), RIP));
    f.return(i32(STATUS.EVENTS));
  });
}

/** Builds a module that puts a block's function at `handler` of the table. */
export function compileBlock(
  state: DataView,
  block: Block,
  records: readonly BlockRecord[],
  handler: number,
): WebAssembly.Module {
  const cpu = new CpuModule("handlers");
  const { params, results } = HANDLER_TYPE;
  const ref = cpu.m.func("block", params, results, (f) => {
    for (const { definition, shape, address } of records) {
      const values = readFields(state, address);
      f.block((end) => {
        const x = new Emitter(
          cpu,
          f,
          new ConstantFields(values),
          reduceShape(shape, definition.axes),
          definition.operands,
          new CompiledContinuation(cpu, f, address, end),
        );
        definition.define(x);
      });
      if (definition.ends) break;
      const next = (values.site & SITE_OFFSET) + values.length;
      leaveIfDropped(cpu, f, { block, handler, next });
    }
  });
  cpu.m.elements(handler, [ref]);
  return new WebAssembly.Module(cpu.m.encode());
}
