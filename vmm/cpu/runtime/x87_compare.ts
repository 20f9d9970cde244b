// The x87's comparisons, FTST and FXAM (Intel SDM vol. 1, 8.3.6).

import type { CpuModule } from "../cpu_module.ts";
import { type FunctionBuilder, type I32, i32, i64 } from "../wasm/mod.ts";
import {
  C0,
  C1,
  C2,
  C3,
  fastCompare,
  type SoftFloat,
  type X87,
} from "../softfloat/mod.ts";
import { UNDERFLOW, X87Stack } from "./x87_stack.ts";
import { type Builder, CODES, type Number, widen } from "./x87_values.ts";

/** Signatures of the functions defined here. */
export const X87_COMPARE_SIGNATURES = {
  /** FCOM and FUCOM: 1 for quiet, i, pops. */
  x87Compare: { params: ["i32", "i32", "i32"], results: [] },
  /** FCOMI and FUCOMI: 1 for quiet, i, pops. Answers the flags as in RFLAGS. */
  x87CompareFlags: { params: ["i32", "i32", "i32"], results: ["i32"] },
  /** FCOM with memory: `X87_MEMORY`, bits, pops. */
  x87CompareMemory: { params: ["i32", "i64", "i32"], results: [] },
  /** FTST. */
  x87Test: { params: [], results: [] },
  /** FXAM. */
  x87Examine: { params: [], results: [] },
} as const;

/**
 * Compares ST(0) with a number. Gives flags as in RFLAGS and exceptions; where an
 * operand is missing, unordered with a stack underflow.
 */
function compare(
  f: FunctionBuilder,
  { x87 }: Builder,
  s: X87Stack,
  empty: I32,
  quiet: I32,
  other: () => Number,
): { relation: I32; flags: I32 } {
  const relation = f.var("i32", i32(0x45));
  const flags = f.var("i32", i32(UNDERFLOW));
  f.if(empty.eqz(), () => {
    const a = s.read(s.slot(0));
    const b = other();
    const args = [a.sig, a.se, b.sig, b.se];
    const put = (fn: X87["compareQuiet"]) => () => {
      const [found, raised] = f.call(fn, ...args);
      f.set(relation, found);
      f.set(flags, raised);
    };
    f.block((end) => {
      fastCompare(f, a, b, (found) => {
        f.set(relation, found);
        f.set(flags, i32(0));
        f.br(end);
      });
      f.if(quiet, put(x87.compareQuiet), put(x87.compareSignalling));
    });
  });
  return { relation: f.let(relation.get()), flags: f.let(flags.get()) };
}

/** Sets C0, C2 and C3 from a comparison, and pops unless that is forbidden. */
function commitCompare(
  f: FunctionBuilder,
  s: X87Stack,
  { relation, flags }: { relation: I32; flags: I32 },
  pops: I32,
): void {
  f.if(s.signal(flags.or(relation.shl(8)), CODES), () => f.return());
  s.popTimes(pops);
}

function defineCompares(b: Builder): void {
  const { cpu } = b;
  const registers = (f: FunctionBuilder, s: X87Stack) => {
    const other = s.slot(f.param(1, "i32"));
    const empty = s.isEmptyAt(0).or(s.isEmpty(other));
    return compare(f, b, s, empty, f.param(0, "i32"), () => s.read(other));
  };
  cpu.define("x87Compare", (f) => {
    const s = new X87Stack(cpu, f);
    commitCompare(f, s, registers(f, s), f.param(2, "i32"));
  });
  cpu.define("x87CompareFlags", (f) => {
    const s = new X87Stack(cpu, f);
    const { relation, flags } = registers(f, s);
    const stopped = s.signal(flags, s.faultCode(flags));
    f.if(stopped.eqz(), () => s.popTimes(f.param(2, "i32")));
    f.return(relation);
  });
  cpu.define("x87CompareMemory", (f) => {
    const s = new X87Stack(cpu, f);
    const bits = f.param(1, "i64");
    const other = () => widen(f, b, f.param(0, "i32"), bits);
    const result = compare(f, b, s, s.isEmptyAt(0), i32(0), other);
    commitCompare(f, s, result, f.param(2, "i32"));
  });
  cpu.define("x87Test", (f) => {
    const s = new X87Stack(cpu, f);
    const zero = () => ({ sig: i64(0), se: i32(0) });
    const result = compare(f, b, s, s.isEmptyAt(0), i32(0), zero);
    commitCompare(f, s, result, i32(0));
  });
}

function defineExamine(cpu: CpuModule): void {
  cpu.define("x87Examine", (f) => {
    const s = new X87Stack(cpu, f);
    const slot = s.slot(0);
    const { sig, se } = s.read(slot);
    const exp = f.let(se.and(0x7fff));
    const hasInteger = sig.ltS(0);
    const isNaN = sig.shl(1).ne(0);
    const special = i32(C0).when(isNaN, C2 | C0);
    const finite = i32(0).when(
      hasInteger.eqz(),
      special.when(exp.eq(0x7fff), C2),
    );
    const small = i32(C3).when(sig.eqz(), C3 | C2);
    const found = finite.when(exp, small);
    const kind = i32(C3 | C0).when(s.isEmpty(slot), found);
    const sign = i32(C1).when(se.and(0x8000), 0);
    f.drop(s.signal(kind.or(sign), CODES));
  });
}

/** Defines the functions of `X87_COMPARE_SIGNATURES`. */
export function defineX87Compares(cpu: CpuModule, soft: SoftFloat): void {
  defineCompares({ cpu, x87: soft.x87, wide: soft.wide });
  defineExamine(cpu);
}
