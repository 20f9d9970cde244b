// The x87's instructions as functions on its register stack (Intel SDM vol. 1,
// chapter 8): each finds its operands, computes, raises flags, and then commits,
// unless an exception that is not masked keeps it from that.

import type { CpuModule } from "../cpu_module.ts";
import {
  type FuncRef,
  type FunctionBuilder,
  type I32,
  i32,
  type I64,
  i64,
  type Var,
} from "../wasm/mod.ts";
import {
  C0,
  C1,
  C2,
  C3,
  constantSignificand,
  IE,
  OE,
  type SoftFloat,
  UE,
  type X87,
  X87_CONSTANTS,
  type X87Result,
} from "../softfloat/mod.ts";
import {
  CR0,
  CS,
  DS,
  FPU_CW,
  FPU_FCS,
  FPU_FDP,
  FPU_FDS,
  FPU_FIP,
  FPU_FOP,
  FPU_SW,
  FPU_TAGS,
  FPU_TOP,
  MODE_KEY,
  SEG_BASE,
  SEG_SELECTOR,
  SS,
} from "../state.ts";
import { MODE } from "../mode.ts";
import { SITE_STACK } from "../record.ts";
import { NO_ERROR_CODE, raise, VECTOR } from "./traps.ts";
import { CR0_NE } from "./walk.ts";
import {
  indefinite,
  INDEFINITE_SE,
  OVERFLOW,
  SUMMARY,
  UNDERFLOW,
  type Value,
  X87Stack,
} from "./x87_stack.ts";

/** Signatures of the functions defined here. */
export const X87_SIGNATURES = {
  /** Raises #MF for a pending exception: site. */
  x87Pending: { params: ["i32"], results: [] },
  /** Notes the instruction for FNSTENV: last opcode, RIP. */
  x87Note: { params: ["i32", "i64"], results: [] },
  /** Notes the instruction's operand: linear address, site. */
  x87NoteData: { params: ["i64", "i32"], results: [] },
  /**
   * Makes exceptions sticky: flags, mask of the condition codes that they replace.
   * Answers whether an unmasked IE, DE or ZE forbids the result.
   */
  x87Signal: { params: ["i32", "i32"], results: ["i32"] },
  /** ST(i) = ST(i) op ST(j): `X87_BINARY`, i, j, pops. */
  x87Binary: { params: ["i32", "i32", "i32", "i32"], results: [] },
  /** ST(0) = ST(0) op memory: `X87_BINARY`, `X87_MEMORY`, bits. */
  x87BinaryMemory: { params: ["i32", "i32", "i64"], results: [] },
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
  /** ST(0) = f(ST(0)): `X87_UNARY`. */
  x87Unary: { params: ["i32"], results: [] },
  /** ST(0) = f(ST(0), ST(1)): `X87_PAIR`. */
  x87Pair: { params: ["i32"], results: [] },
  /** ST(1) = f(ST(0), ST(1)) and a pop: `X87_REDUCE`. */
  x87Reduce: { params: ["i32"], results: [] },
  /** ST(0) gives two numbers, the second pushed: `X87_SPLIT`. */
  x87Split: { params: ["i32"], results: [] },
  /** Pushes what memory holds: `X87_MEMORY`, low 8 bytes, high 2 bytes. */
  x87Load: { params: ["i32", "i64", "i32"], results: [] },
  /** Pushes ST(i): i. */
  x87LoadRegister: { params: ["i32"], results: [] },
  /** Pushes a constant: `X87_LOADED`. */
  x87LoadConstant: { params: ["i32"], results: [] },
  /**
   * What ST(0) is in memory: `X87_MEMORY`. Gives low 8 bytes, high 2 bytes, flags;
   * flags below zero: an unmasked exception forbids the store. Nothing is changed.
   */
  x87Store: { params: ["i32"], results: ["i64", "i32", "i32"] },
  /** The end of a store: flags, pops. */
  x87Stored: { params: ["i32", "i32"], results: [] },
  /** ST(i) = ST(0): i, pops. */
  x87StoreRegister: { params: ["i32", "i32"], results: [] },
  /** FXCH: i. */
  x87Exchange: { params: ["i32"], results: [] },
  /** FCMOVcc: i, condition. */
  x87Move: { params: ["i32", "i32"], results: [] },
  /** FFREE: i, pops. */
  x87Free: { params: ["i32", "i32"], results: [] },
  /** Moves TOP: 1 or -1. */
  x87Turn: { params: ["i32"], results: [] },
  /** FNINIT. */
  x87Init: { params: [], results: [] },
  /** FNCLEX. */
  x87Clear: { params: [], results: [] },
  /** FLDCW: value. */
  x87SetControl: { params: ["i32"], results: [] },
  /** FNSTSW. */
  x87Status: { params: [], results: ["i32"] },
} as const;

/** Operations of `x87Binary`; the reversed ones have their operands exchanged. */
export const X87_BINARY = ["add", "mul", "sub", "subr", "div", "divr"] as const;
/** Operations of `x87Unary`. */
export const X87_UNARY = [
  "sqrt",
  "roundIntegral",
  "exp2m1",
  "sin",
  "cos",
  "abs",
  "negate",
] as const;
/** Operations of `x87Pair`. */
export const X87_PAIR = ["scale", "remainder", "remainderNearest"] as const;
/** Operations of `x87Reduce`. */
export const X87_REDUCE = ["yl2x", "yl2xp1", "atan"] as const;
/** Operations of `x87Split`. */
export const X87_SPLIT = ["extract", "tan", "sincos"] as const;
/** Constants of `x87LoadConstant`. */
export const X87_LOADED = [
  "fld1",
  "fldz",
  "fldpi",
  "fldl2t",
  "fldl2e",
  "fldlg2",
  "fldln2",
] as const;
/** What memory can hold. */
export const X87_MEMORY = [
  "f32",
  "f64",
  "int16",
  "int32",
  "int64",
  "f80",
  "bcd",
  "trunc16",
  "trunc32",
  "trunc64",
] as const;

interface Builder {
  readonly cpu: CpuModule;
  readonly x87: X87;
}

/** All condition codes. */
const CODES = C0 | C1 | C2 | C3;
const ONE_SIG = 1n << 63n;
const ONE_SE = 0x3fff;

/** Defines the functions of `X87_SIGNATURES`. */
export function defineX87(cpu: CpuModule, soft: SoftFloat): void {
  const b = { cpu, x87: soft.x87 };
  defineState(cpu);
  defineNotes(cpu);
  defineBinary(b);
  defineCompares(b);
  defineExamine(cpu);
  defineUnary(b);
  definePairs(b);
  defineSplit(b);
  defineLoads(b);
  defineStores(b);
  defineMoves(cpu);
}

function defineState(cpu: CpuModule): void {
  const { state } = cpu;
  cpu.define("x87Signal", (f) => {
    const flags = f.param(0, "i32");
    const codes = f.param(1, "i32");
    const unmasked = f.let(state.load32(0, FPU_CW).xor(-1).and(0x3f));
    const sw = f.let(
      state.load32(0, FPU_SW).and(codes.xor(-1))
        .or(flags.and(codes.or(0x7f))),
    );
    const summary = i32(SUMMARY).when(sw.and(unmasked), 0);
    f.do(state.store32(0, sw.or(summary), FPU_SW));
    f.return(flags.and(unmasked).and(7));
  });
  cpu.define("x87Init", (f) => {
    f.do(state.store32(0, 0x37f, FPU_CW));
    const zeroed = [FPU_SW, FPU_TOP, FPU_TAGS, FPU_FOP, FPU_FCS, FPU_FDS];
    for (const address of zeroed) f.do(state.store32(0, 0, address));
    f.do(state.store64(0, 0, FPU_FIP));
    f.do(state.store64(0, 0, FPU_FDP));
  });
  cpu.define("x87Clear", (f) => {
    f.do(state.store32(0, state.load32(0, FPU_SW).and(CODES), FPU_SW));
  });
  cpu.define("x87SetControl", (f) => {
    new X87Stack(cpu, f).setControl(f.param(0, "i32"));
  });
  cpu.define("x87Status", (f) => f.return(new X87Stack(cpu, f).status()));
  cpu.define("x87Turn", (f) => {
    const top = state.load32(0, FPU_TOP).add(f.param(0, "i32")).and(7);
    f.do(state.store32(0, top, FPU_TOP));
    f.do(state.store32(0, state.load32(0, FPU_SW).and(~C1), FPU_SW));
  });
}

function defineNotes(cpu: CpuModule): void {
  const { state } = cpu;
  cpu.define("x87Pending", (f) => {
    // Without CR0.NE the error goes to a pin, which has no interrupt behind it
    // here: as with IGNNE# asserted, the instruction goes on.
    f.if(
      state.load32(0, CR0).and(CR0_NE),
      () =>
        raise(cpu, f, f.param(0, "i32"), i32(VECTOR.MF), i32(NO_ERROR_CODE)),
    );
  });
  cpu.define("x87Note", (f) => {
    f.do(state.store32(0, f.param(0, "i32"), FPU_FOP));
    f.do(state.store64(0, f.param(1, "i64"), FPU_FIP));
    f.do(state.store32(0, state.load32(0, CS + SEG_SELECTOR), FPU_FCS));
  });
  cpu.define("x87NoteData", (f) => {
    // Only whether the segment is SS is known here; others count as DS.
    const slot = f.let(i32(SS).when(f.param(1, "i32").and(SITE_STACK), DS));
    const is64Bit = state.load32(0, MODE_KEY).and(MODE.CODE).eq(2);
    const base = i64(0).when(is64Bit, state.load64(slot, SEG_BASE));
    f.do(state.store64(0, f.param(0, "i64").sub(base), FPU_FDP));
    f.do(state.store32(0, state.load32(slot, SEG_SELECTOR), FPU_FDS));
  });
}

function values(
  [sig, se, flags]: readonly [I64, I32, I32],
): Value {
  return { sig, se, flags };
}

/** Runs the case that `index` selects and gives its number. */
function choose(
  f: FunctionBuilder,
  index: I32,
  cases: readonly (() => Value)[],
): Value {
  const sig = f.var("i64");
  const se = f.var("i32");
  const flags = f.var("i32");
  const put = (value: Value) => {
    f.set(sig, value.sig);
    f.set(se, value.se);
    f.set(flags, value.flags);
  };
  f.switch(index, cases.map((compute) => () => put(compute())));
  return {
    sig: f.let(sig.get()),
    se: f.let(se.get()),
    flags: f.let(flags.get()),
  };
}

interface Number {
  readonly sig: I64;
  readonly se: I32;
}

/** a op b for the operations of `X87_BINARY`. */
function arithmetic(
  f: FunctionBuilder,
  { x87 }: Builder,
  s: X87Stack,
  op: I32,
  a: Number,
  b: Number,
): Value {
  const cw = f.let(s.control());
  const run = (fn: FuncRef<X87Result>, x: Number, y: Number) => () =>
    values(f.call(fn, x.sig, x.se, y.sig, y.se, cw));
  return choose(f, op, [
    run(x87.add, a, b),
    run(x87.mul, a, b),
    run(x87.sub, a, b),
    run(x87.sub, b, a),
    run(x87.div, a, b),
    run(x87.div, b, a),
  ]);
}

function defineBinary(b: Builder): void {
  const { cpu } = b;
  cpu.define("x87Binary", (f) => {
    const s = new X87Stack(cpu, f);
    const [to, from] = [s.slot(f.param(1, "i32")), s.slot(f.param(2, "i32"))];
    const empty = s.isEmpty(to).or(s.isEmpty(from));
    const result = s.unless(empty, () => {
      const op = f.param(0, "i32");
      return arithmetic(f, b, s, op, s.read(to), s.read(from));
    });
    f.if(s.signal(result.flags), () => f.return());
    s.write(to, result.sig, result.se);
    s.popTimes(f.param(3, "i32"));
  });
  cpu.define("x87BinaryMemory", (f) => {
    const s = new X87Stack(cpu, f);
    const to = s.slot(0);
    const result = s.unless(s.isEmpty(to), () => {
      const operand = widen(f, b, f.param(1, "i32"), f.param(2, "i64"));
      return arithmetic(f, b, s, f.param(0, "i32"), s.read(to), operand);
    });
    f.if(s.signal(result.flags), () => f.return());
    s.write(to, result.sig, result.se);
  });
}

/** An operand from memory as it is: neither quieted nor flagged. */
function widen(
  f: FunctionBuilder,
  { x87 }: Builder,
  kind: I32,
  bits: I64,
): Number {
  const signed = (shift: number) => bits.shl(shift).shrS(shift);
  const load = (fn: FuncRef<readonly ["i64", "i32"]>, value: I64) => () => {
    const [sig, se] = f.call(fn, value);
    return { sig, se, flags: i32(0) };
  };
  return choose(f, kind, [
    load(x87.widenF32, bits),
    load(x87.widenF64, bits),
    load(x87.loadInt, signed(48)),
    load(x87.loadInt, signed(32)),
  ]);
}

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
    f.if(quiet, put(x87.compareQuiet), put(x87.compareSignalling));
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

function defineUnary(b: Builder): void {
  const { cpu, x87 } = b;
  cpu.define("x87Unary", (f) => {
    const s = new X87Stack(cpu, f);
    const slot = s.slot(0);
    const op = f.param(0, "i32");
    const result = s.unless(s.isEmpty(slot), () => {
      const a = s.read(slot);
      const cw = f.let(s.control());
      const run = (fn: FuncRef<X87Result>) => () =>
        values(f.call(fn, a.sig, a.se, cw));
      const sign = (se: I32) => () => ({ ...a, se, flags: i32(0) });
      return choose(f, op, [
        run(x87.sqrt),
        run(x87.roundIntegral),
        run(x87.exp2m1),
        run(x87.sin),
        run(x87.cos),
        sign(a.se.and(0x7fff)),
        sign(a.se.xor(0x8000)),
      ]);
    });
    const codes = i32(C1 | C2).when(isTrigonometric(op), C1);
    f.if(s.signal(result.flags, codes), () => f.return());
    s.write(slot, result.sig, result.se);
  });
}

/** Whether an operation of `X87_UNARY` reports in C2. */
function isTrigonometric(op: I32): I32 {
  return op.eq(X87_UNARY.indexOf("sin")).or(op.eq(X87_UNARY.indexOf("cos")));
}

/** f(ST(0), ST(1)) for one of a row of operations. */
function pairwise(
  f: FunctionBuilder,
  s: X87Stack,
  cases: readonly FuncRef<X87Result>[],
  swapped: readonly boolean[],
): Value {
  const empty = s.isEmptyAt(0).or(s.isEmptyAt(1));
  return s.unless(empty, () => {
    const [x, y] = [s.read(s.slot(0)), s.read(s.slot(1))];
    const cw = f.let(s.control());
    return choose(
      f,
      f.param(0, "i32"),
      cases.map((fn, n) => () => {
        const [a, b] = swapped[n] ? [y, x] : [x, y];
        return values(f.call(fn, a.sig, a.se, b.sig, b.se, cw));
      }),
    );
  });
}

function definePairs({ cpu, x87 }: Builder): void {
  cpu.define("x87Pair", (f) => {
    const s = new X87Stack(cpu, f);
    const cases = X87_PAIR.map((name) => x87[name]);
    const result = pairwise(f, s, cases, []);
    // Without a remainder (a NaN, or a denormal operand that is not masked) there
    // is no quotient: C0 and C3 stay.
    const none = isNaN(result).or(s.stops(result.flags).ne(0));
    const partial = i32(C1 | C2).when(none, CODES);
    const codes = i32(C1).when(f.param(0, "i32").eqz(), partial);
    f.if(s.signal(result.flags, codes), () => f.return());
    s.writeAt(0, result);
  });
  cpu.define("x87Reduce", (f) => {
    const s = new X87Stack(cpu, f);
    const cases = X87_REDUCE.map((name) => x87[name]);
    // FPATAN's first operand is the height, which is in ST(1).
    const result = pairwise(f, s, cases, [false, false, true]);
    f.if(s.signal(result.flags), () => f.return());
    s.writeAt(1, result);
    s.pop();
  });
}

interface Split {
  readonly kept: Value;
  readonly pushed: Number;
}

function isNaN(n: Number): I32 {
  return n.se.and(0x7fff).eq(0x7fff).and(n.sig.shl(1).ne(0));
}

/** The two numbers of an instruction that pushes its second. */
function split(
  f: FunctionBuilder,
  { x87 }: Builder,
  s: X87Stack,
): Split {
  const sig = f.var("i64");
  const se = f.var("i32");
  const a = s.read(s.slot(0));
  const cw = f.let(s.control());
  const push = (n: Number) => {
    f.set(sig, n.sig);
    f.set(se, n.se);
  };
  const kept = choose(f, f.param(0, "i32"), [
    () => {
      const [m, mSe, e, eSe, flags] = f.call(x87.extract, a.sig, a.se, cw);
      push({ sig: m, se: mSe });
      return { sig: e, se: eSe, flags };
    },
    () => {
      const result = values(f.call(x87.tan, a.sig, a.se, cw));
      // A NaN is pushed again in place of 1.
      const nan = f.let(isNaN(result));
      push({
        sig: result.sig.when(nan, i64(ONE_SIG)),
        se: result.se.when(nan, ONE_SE),
      });
      return result;
    },
    () => {
      const [sine, sSe, c, cSe, flags] = f.call(x87.sincos, a.sig, a.se, cw);
      push({ sig: c, se: cSe });
      return { sig: sine, se: sSe, flags };
    },
  ]);
  return { kept, pushed: { sig: f.let(sig.get()), se: f.let(se.get()) } };
}

function defineSplit(b: Builder): void {
  const { cpu } = b;
  cpu.define("x87Split", (f) => {
    const s = new X87Stack(cpu, f);
    const missing = s.isEmptyAt(0);
    const full = s.isEmptyAt(-1).eqz();
    const codes = i32(C1 | C2).when(f.param(0, "i32"), C1);
    f.if(missing.or(full), () => {
      const flags = i32(UNDERFLOW).when(missing, OVERFLOW);
      f.if(s.signal(flags, codes), () => f.return());
      s.writeAt(0, indefinite(0));
      s.push(indefinite(0));
      f.return();
    });
    const { kept, pushed } = split(f, b, s);
    f.if(s.signal(kept.flags, codes), () => f.return());
    f.if(kept.flags.and(C2), () => f.return());
    s.writeAt(0, kept);
    s.push({ ...pushed, flags: i32(0) });
  });
}

/** Pushes a number unless the stack is full or its flags forbid it. */
function pushValue(f: FunctionBuilder, s: X87Stack, value: () => Value): void {
  f.if(s.isEmptyAt(-1).eqz(), () => {
    f.if(s.signal(i32(OVERFLOW)), () => f.return());
    s.push(indefinite(0));
    f.return();
  });
  // A denormal is pushed even where that is an error.
  const found = value();
  f.if(s.signal(found.flags).and(IE), () => f.return());
  s.push(found);
}

function defineLoads(b: Builder): void {
  const { cpu } = b;
  cpu.define("x87Load", (f) => {
    const s = new X87Stack(cpu, f);
    pushValue(f, s, () => loaded(f, b));
  });
  cpu.define("x87LoadRegister", (f) => {
    const s = new X87Stack(cpu, f);
    const from = s.slot(f.param(0, "i32"));
    const missing = s.isEmpty(from);
    const full = s.isEmptyAt(-1).eqz();
    // A missing operand counts before a full stack.
    const value = s.unless(missing, () => {
      const fault = indefinite(OVERFLOW);
      const found = s.read(from);
      return {
        sig: fault.sig.when(full, found.sig),
        se: fault.se.when(full, found.se),
        flags: fault.flags.when(full, 0),
      };
    });
    f.if(s.signal(value.flags), () => f.return());
    s.push(value);
  });
  cpu.define("x87LoadConstant", (f) => {
    const s = new X87Stack(cpu, f);
    pushValue(f, s, () => {
      const rc = f.let(s.control().shrU(10).and(3).toI64U());
      const cases = X87_LOADED.map((name) => () => constant(name, rc));
      return choose(f, f.param(0, "i32"), cases);
    });
  });
}

function constant(name: (typeof X87_LOADED)[number], rc: I64): Value {
  const flags = i32(0);
  if (name === "fldz") return { sig: i64(0), se: i32(0), flags };
  if (name === "fld1") return { sig: i64(ONE_SIG), se: i32(ONE_SE), flags };
  const c = X87_CONSTANTS[name];
  return { sig: constantSignificand(c, rc), se: i32(c.se), flags };
}

/** What `x87Load` is to push. */
function loaded(f: FunctionBuilder, { x87 }: Builder): Value {
  const low = f.param(1, "i64");
  const high = f.param(2, "i32");
  const flags = i32(0);
  const integer = (shift: number) => () => {
    const [sig, se] = f.call(x87.loadInt, low.shl(shift).shrS(shift));
    return { sig, se, flags };
  };
  return choose(f, f.param(0, "i32"), [
    () => values(f.call(x87.loadF32, low)),
    () => values(f.call(x87.loadF64, low)),
    integer(48),
    integer(32),
    integer(0),
    () => ({ sig: low, se: high, flags }),
    () => {
      const [sig, se] = f.call(x87.loadBcd, low, high);
      return { sig, se, flags };
    },
  ]);
}

/** The exceptions that keep a store from memory: all but PE. */
const STORE_STOPS = 7 | OE | UE;
/** Marks flags that forbid a store. */
const FORBIDDEN = 1 << 31;

function defineStores(b: Builder): void {
  const { cpu } = b;
  cpu.define("x87Store", (f) => {
    const s = new X87Stack(cpu, f);
    const low = f.var("i64");
    const high = f.var("i32");
    const flags = f.var("i32", i32(UNDERFLOW));
    f.if(
      s.isEmptyAt(0),
      () => storeIndefinite(f, low, high),
      () => stored(f, b, s, { low, high, flags }),
    );
    const stops = flags.get().and(s.control().xor(-1)).and(STORE_STOPS);
    const mark = i32(FORBIDDEN).when(stops, 0);
    f.return(low.get(), high.get(), flags.get().or(mark));
  });
  cpu.define("x87Stored", (f) => {
    const s = new X87Stack(cpu, f);
    const flags = f.param(0, "i32");
    f.drop(s.signal(flags));
    f.if(flags.ltS(0), () => f.return());
    s.popTimes(f.param(1, "i32"));
  });
  cpu.define("x87StoreRegister", (f) => {
    const s = new X87Stack(cpu, f);
    const from = s.slot(0);
    const value = s.unless(s.isEmpty(from), () => ({
      ...s.read(from),
      flags: i32(0),
    }));
    f.if(s.signal(value.flags), () => f.return());
    s.writeAt(f.param(0, "i32"), value);
    s.popTimes(f.param(1, "i32"));
  });
}

interface StoreVars {
  readonly low: Var<"i64">;
  readonly high: Var<"i32">;
  readonly flags: Var<"i32">;
}

/** What stands in memory for a number that is not there. */
function storeIndefinite(
  f: FunctionBuilder,
  low: Var<"i64">,
  high: Var<"i32">,
): void {
  const nan = 3n << 62n;
  const bits: Record<(typeof X87_MEMORY)[number], bigint> = {
    f32: 0xffc00000n,
    f64: 0xfff8n << 48n,
    int16: 1n << 15n,
    int32: 1n << 31n,
    int64: 1n << 63n,
    f80: nan,
    bcd: 0xc000n << 48n,
    trunc16: 1n << 15n,
    trunc32: 1n << 31n,
    trunc64: 1n << 63n,
  };
  f.set(high, i32(INDEFINITE_SE));
  f.switch(
    f.param(0, "i32"),
    X87_MEMORY.map((kind) => () => f.set(low, i64(bits[kind]))),
  );
}

/** ST(0) as `x87Store` is to give it. */
function stored(
  f: FunctionBuilder,
  { x87 }: Builder,
  s: X87Stack,
  { low, high, flags }: StoreVars,
): void {
  const { sig, se } = s.read(s.slot(0));
  const cw = f.let(s.control());
  const run = (fn: FuncRef<readonly ["i64", "i32"]>) => () => {
    const [bits, found] = f.call(fn, sig, se, cw);
    f.set(low, bits);
    f.set(flags, found);
  };
  const whole = () => {
    f.set(low, sig);
    f.set(high, se);
    f.set(flags, i32(0));
  };
  const decimal = () => {
    const [bits, top, found] = f.call(x87.storeBcd, sig, se, cw);
    f.set(low, bits);
    f.set(high, top);
    f.set(flags, found);
  };
  f.switch(f.param(0, "i32"), [
    run(x87.storeF32),
    run(x87.storeF64),
    run(x87.storeInt16),
    run(x87.storeInt32),
    run(x87.storeInt64),
    whole,
    decimal,
    run(x87.truncInt16),
    run(x87.truncInt32),
    run(x87.truncInt64),
  ]);
}

function defineMoves(cpu: CpuModule): void {
  cpu.define("x87Exchange", (f) => {
    const s = new X87Stack(cpu, f);
    const [a, b] = [s.slot(0), s.slot(f.param(0, "i32"))];
    const read = (slot: I32) =>
      s.unless(s.isEmpty(slot), () => ({ ...s.read(slot), flags: i32(0) }));
    const [x, y] = [read(a), read(b)];
    f.if(s.signal(x.flags.or(y.flags)), () => f.return());
    s.write(a, y.sig, y.se);
    s.write(b, x.sig, x.se);
  });
  cpu.define("x87Move", (f) => {
    const s = new X87Stack(cpu, f);
    const from = s.slot(f.param(0, "i32"));
    const empty = s.isEmptyAt(0).or(s.isEmpty(from));
    const value = s.unless(empty, () => ({ ...s.read(from), flags: i32(0) }));
    const code = s.faultCode(value.flags);
    f.if(s.signal(value.flags, code), () => f.return());
    f.if(
      f.param(1, "i32").or(value.flags.and(IE)),
      () => s.writeAt(0, value),
    );
  });
  cpu.define("x87Free", (f) => {
    const s = new X87Stack(cpu, f);
    s.free(s.slot(f.param(0, "i32")));
    s.popTimes(f.param(1, "i32"));
  });
}
