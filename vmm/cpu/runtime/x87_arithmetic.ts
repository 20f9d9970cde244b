// The x87's arithmetic on its register stack (Intel SDM vol. 1, 8.3.5 to 8.3.9): each
// function finds its operands, computes, raises flags, and then commits, unless an
// exception that is not masked keeps it from that.

import type { CpuModule } from "../cpu_module.ts";
import {
  type FuncRef,
  type FunctionBuilder,
  type I32,
  i32,
  type I64,
  i64,
} from "../wasm/mod.ts";
import {
  C1,
  C2,
  fastProduct,
  fastQuotient,
  fastSum,
  isNearest,
  type SoftFloat,
  whereNormal,
  type X87Result,
} from "../softfloat/mod.ts";
import {
  indefinite,
  OVERFLOW,
  UNDERFLOW,
  type Value,
  X87Stack,
} from "./x87_stack.ts";
import {
  type Builder,
  choose,
  CODES,
  type Number,
  ONE_SE,
  ONE_SIG,
  values,
  widen,
} from "./x87_values.ts";

/** Signatures of the functions defined here. */
export const X87_ARITHMETIC_SIGNATURES = {
  /** ST(i) = ST(i) op ST(j): `X87_BINARY`, i, j, pops. */
  x87Binary: { params: ["i32", "i32", "i32", "i32"], results: [] },
  /** ST(0) = ST(0) op memory: `X87_BINARY`, `X87_MEMORY`, bits. */
  x87BinaryMemory: { params: ["i32", "i32", "i64"], results: [] },
  /** ST(0) = f(ST(0)): `X87_UNARY`. */
  x87Unary: { params: ["i32"], results: [] },
  /** ST(0) = f(ST(0), ST(1)): `X87_PAIR`. */
  x87Pair: { params: ["i32"], results: [] },
  /** ST(1) = f(ST(0), ST(1)) and a pop: `X87_REDUCE`. */
  x87Reduce: { params: ["i32"], results: [] },
  /** ST(0) gives two numbers, the second pushed: `X87_SPLIT`. */
  x87Split: { params: ["i32"], results: [] },
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

/** Computes a op b, commits and returns where nothing about it is special. */
function quickly(
  f: FunctionBuilder,
  { wide }: Builder,
  s: X87Stack,
  op: I32,
  [a, b]: readonly [Number, Number],
  commit: (value: Value) => void,
): void {
  const cw = f.let(s.control());
  whereNormal(f, isNearest(cw), [a, b], () => {
    const sig = f.var("i64");
    const se = f.var("i32");
    const flags = f.var("i32");
    f.block((slow) => {
      f.block((end) => {
        const done = (...[x, y, z]: [I64, I32, I32]) => {
          f.set(sig, x);
          f.set(se, y);
          f.set(flags, z);
          f.br(end);
        };
        const [ab, ba] = [{ f, a, b, cw, done }, { f, a: b, b: a, cw, done }];
        f.switch(op, [
          () => fastSum(ab, false),
          () => fastProduct(ab),
          () => fastSum(ab, true),
          () => fastSum(ba, true),
          () => fastQuotient(ab, wide),
          () => fastQuotient(ba, wide),
        ]);
        f.br(slow);
      });
      commit({ sig: sig.get(), se: se.get(), flags: flags.get() });
      f.return();
    });
  });
}

function defineBinary(b: Builder): void {
  const { cpu } = b;
  cpu.define("x87Binary", (f) => {
    const s = new X87Stack(cpu, f);
    const [to, from] = [s.slot(f.param(1, "i32")), s.slot(f.param(2, "i32"))];
    const empty = f.let(s.isEmpty(to).or(s.isEmpty(from)));
    const op = f.param(0, "i32");
    f.if(
      empty.eqz(),
      () =>
        quickly(f, b, s, op, [s.read(to), s.read(from)], (value) => {
          s.replace(to, value);
          s.popTimes(f.param(3, "i32"));
        }),
    );
    const result = s.unless(
      empty,
      () => arithmetic(f, b, s, op, s.read(to), s.read(from)),
    );
    f.if(s.signal(result.flags), () => f.return());
    s.write(to, result.sig, result.se);
    s.popTimes(f.param(3, "i32"));
  });
  cpu.define("x87BinaryMemory", (f) => {
    const s = new X87Stack(cpu, f);
    const to = s.slot(0);
    const result = s.unless(s.isEmpty(to), () => {
      const op = f.param(0, "i32");
      const operand = widen(f, b, f.param(1, "i32"), f.param(2, "i64"));
      const first = s.read(to);
      quickly(f, b, s, op, [first, operand], (value) => s.replace(to, value));
      return arithmetic(f, b, s, op, first, operand);
    });
    f.if(s.signal(result.flags), () => f.return());
    s.write(to, result.sig, result.se);
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

/** Defines the functions of `X87_ARITHMETIC_SIGNATURES`. */
export function defineX87Arithmetic(cpu: CpuModule, soft: SoftFloat): void {
  const b = { cpu, x87: soft.x87, wide: soft.wide };
  defineBinary(b);
  defineUnary(b);
  definePairs(b);
  defineSplit(b);
}
