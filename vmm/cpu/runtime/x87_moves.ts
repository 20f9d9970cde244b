// The x87's loads, stores and moves (Intel SDM vol. 1, 8.3.3 and 8.3.4).

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
  C1,
  constantSignificand,
  F32_FORMAT,
  F64_FORMAT,
  fastInteger,
  fastNarrow,
  fastWiden,
  IE,
  isNearest,
  OE,
  PE,
  type SoftFloat,
  UE,
  whereNormal,
  X87_CONSTANTS,
} from "../softfloat/mod.ts";
import {
  indefinite,
  INDEFINITE_SE,
  OVERFLOW,
  UNDERFLOW,
  type Value,
  X87Stack,
} from "./x87_stack.ts";
import {
  type Builder,
  choose,
  ONE_SE,
  ONE_SIG,
  values,
  X87_MEMORY,
} from "./x87_values.ts";

/** Signatures of the functions defined here. */
export const X87_MOVE_SIGNATURES = {
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
  /** FSTPNCE, which copies nothing where there is nothing: i. */
  x87StoreQuiet: { params: ["i32"], results: [] },
  /** FXCH: i. */
  x87Exchange: { params: ["i32"], results: [] },
  /** FCMOVcc: i, condition. */
  x87Move: { params: ["i32", "i32"], results: [] },
  /** FFREE: i, pops. */
  x87Free: { params: ["i32", "i32"], results: [] },
} as const;

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

/** Pushes what memory holds and returns, where nothing about it is special. */
function loadQuickly(f: FunctionBuilder, s: X87Stack): void {
  const low = f.param(1, "i64");
  const push = (sig: I64, se: I32) => {
    s.clearCode();
    s.push({ sig, se, flags: i32(0) });
    f.return();
  };
  const integer = (bits: number) => () =>
    fastInteger(f, f.let(low.shl(64 - bits).shrS(64 - bits)), push);
  f.if(s.isEmptyAt(-1), () => {
    f.switch(f.param(0, "i32"), [
      () => fastWiden(f, F32_FORMAT, low, push),
      () => fastWiden(f, F64_FORMAT, low, push),
      ...[16, 32, 64].map(integer),
      () => push(low, f.param(2, "i32")),
    ], () => {});
  });
}

function defineLoads(b: Builder): void {
  const { cpu } = b;
  cpu.define("x87Load", (f) => {
    const s = new X87Stack(cpu, f);
    loadQuickly(f, s);
    pushValue(f, s, () => loaded(f, b));
  });
  cpu.define("x87LoadRegister", (f) => {
    const s = new X87Stack(cpu, f);
    const from = s.slot(f.param(0, "i32"));
    const missing = s.isEmpty(from);
    const full = f.let(s.isEmptyAt(-1).eqz());
    f.if(missing.or(full).eqz(), () => {
      s.clearCode();
      s.push({ ...s.read(from), flags: i32(0) });
      f.return();
    });
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

/** Returns what a float is in memory, where nothing about it is special. */
function storeQuickly(f: FunctionBuilder, s: X87Stack): void {
  const kind = f.param(0, "i32");
  const slot = s.slot(0);
  const isFloat = kind.ltU(X87_MEMORY.indexOf("int16"));
  f.if(isFloat.and(s.isEmpty(slot).eqz()), () => {
    const number = s.read(slot);
    whereNormal(f, isNearest(s.control()), [number], () => {
      const done = (bits: I64, flags: I32) => f.return(bits, i32(0), flags);
      f.if(
        kind,
        () => fastNarrow(f, F64_FORMAT, number, done),
        () => fastNarrow(f, F32_FORMAT, number, done),
      );
    });
  });
}

function defineStores(b: Builder): void {
  const { cpu } = b;
  cpu.define("x87Store", (f) => {
    const s = new X87Stack(cpu, f);
    storeQuickly(f, s);
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
    f.if(
      flags.and(~(PE | C1)),
      () => f.drop(s.signal(flags)),
      () => s.rounded(flags),
    );
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

function defineQuietStore(cpu: CpuModule): void {
  cpu.define("x87StoreQuiet", (f) => {
    const s = new X87Stack(cpu, f);
    const flags = i32(0);
    f.drop(s.signal(flags));
    f.if(s.isEmptyAt(0).eqz(), () => {
      s.writeAt(f.param(0, "i32"), { ...s.read(s.slot(0)), flags });
    });
    s.pop();
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
    f.if(s.isEmpty(a).or(s.isEmpty(b)).eqz(), () => {
      const [x, y] = [s.read(a), s.read(b)];
      s.replace(a, { ...y, flags: i32(0) });
      s.replace(b, { ...x, flags: i32(0) });
      f.return();
    });
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

/** Defines the functions of `X87_MOVE_SIGNATURES`. */
export function defineX87Moves(cpu: CpuModule, soft: SoftFloat): void {
  const b = { cpu, x87: soft.x87, wide: soft.wide };
  defineLoads(b);
  defineStores(b);
  defineQuietStore(cpu);
  defineMoves(cpu);
}
