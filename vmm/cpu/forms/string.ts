// String instructions: MOVS CMPS SCAS LODS STOS INS OUTS with their repetitions (Intel
// SDM vol. 1, 7.3.9; vol. 2, REP). A repetition commits registers with each element or
// run, so that a fault or an interrupt finds it in the middle and it can go on.

import { type Emitter, REG, widthOf } from "../emitter.ts";
import { FLAG, type OpSize } from "../flags.ts";
import { type Form, form } from "../form.ts";
import {
  BUDGET,
  ES,
  FS,
  IO_STRING,
  IO_STRING_ONCE,
  IO_STRING_REP,
  RIP,
  SYSTEM_FLAGS,
} from "../state.ts";
import {
  type I32,
  i32,
  type I64,
  i64,
  type Label,
  type Var,
} from "../wasm/mod.ts";
import { isSpent } from "../runtime/run.ts";
import { STATUS } from "../runtime/traps.ts";
import { NOT_RAM } from "../runtime/walk.ts";

const AXES = { axes: ["address", "code", "flat", "rep"] } as const;

/** What one element's instruction does. */
interface StringOperation {
  /** Whether it uses [rSI] and advances rSI. */
  readonly source: boolean;
  /** Whether it uses ES:[rDI] and advances rDI. */
  readonly destination: boolean;
  /** Handles one element up to its last fault; commits nothing but memory. */
  readonly element: (x: Emitter, s: Element) => void;
  /** Commits what an element gave, where that is not done for each alone. */
  readonly finish?: (x: Emitter, s: Element) => void;
  /** Handles a run: at most `count` elements; answers how many it did. */
  readonly run?: (x: Emitter, s: Element, count: I64) => I64;
  /** Whether it uses a port, which must be allowed even where nothing is done. */
  readonly ports?: boolean;
  /** Whether it compares, so that REPE and REPNE differ and may end early. */
  readonly compares?: boolean;
}

/** Where an instruction is in its strings. */
interface Element {
  readonly size: OpSize;
  /** offset of the source in its segment */
  readonly si: I64;
  /** offset of the destination in ES */
  readonly di: I64;
  /** the numbers that a comparison subtracts; the accumulator of LODS is `a` */
  readonly a: Var<"i64">;
  readonly b: Var<"i64">;
}

function sourceSlot(x: Emitter): I32 {
  return x.fields.operand(2);
}

function sourceAddress(x: Emitter, { size, si }: Element): I64 {
  return x.linearIn(sourceSlot(x), si, widthOf(size), 0);
}

function destinationAddress(x: Emitter, s: Element, access: 0 | 1): I64 {
  return x.linear(ES, s.di, widthOf(s.size), access);
}

function loadSource(x: Emitter, s: Element): I64 {
  return x.load(widthOf(s.size), sourceAddress(x, s));
}

function log2Width(s: Element): I32 {
  return i32(Math.log2(widthOf(s.size)));
}

// --- Operations --------------------------------------------------------------

const MOVS: StringOperation = {
  source: true,
  destination: true,
  element: (x, s) => {
    const value = loadSource(x, s);
    x.store(widthOf(s.size), destinationAddress(x, s, 1), value);
  },
  run: (x, s, count) =>
    x.call(
      "copyRun",
      destinationAddress(x, s, 1),
      sourceAddress(x, s),
      count,
      log2Width(s),
    )[0],
};

const STOS: StringOperation = {
  source: false,
  destination: true,
  element: (x, s) => {
    const value = x.gpr(REG.RAX, s.size);
    x.store(widthOf(s.size), destinationAddress(x, s, 1), value);
  },
  run: (x, s, count) =>
    x.call(
      "fillRun",
      destinationAddress(x, s, 1),
      count,
      log2Width(s),
      x.gpr(REG.RAX, s.size),
    )[0],
};

const LODS: StringOperation = {
  source: true,
  destination: false,
  element: (x, s) => x.f.set(s.a, loadSource(x, s)),
  finish: (x, s) => x.setGpr(REG.RAX, s.a.get(), s.size),
};

// Runs stop before the element that ends the repetition; the last element of all is
// left to the general way, which gives the flags.
function wantsEqual(x: Emitter): I32 {
  return i32(x.shape.rep === "repe" ? 1 : 0);
}

const CMPS: StringOperation = {
  source: true,
  destination: true,
  compares: true,
  // Where neither can be read, AMD's processors fault on the destination.
  element: (x, s) => {
    x.f.set(s.b, x.load(widthOf(s.size), destinationAddress(x, s, 0)));
    x.f.set(s.a, loadSource(x, s));
  },
  run: (x, s, count) =>
    x.call(
      "compareRun",
      sourceAddress(x, s),
      destinationAddress(x, s, 0),
      count.sub(1),
      log2Width(s),
      wantsEqual(x),
    )[0],
};

const SCAS: StringOperation = {
  source: false,
  destination: true,
  compares: true,
  element: (x, s) => {
    x.f.set(s.a, x.gpr(REG.RAX, s.size));
    x.f.set(s.b, x.load(widthOf(s.size), destinationAddress(x, s, 0)));
  },
  run: (x, s, count) =>
    x.call(
      "scanRun",
      destinationAddress(x, s, 0),
      count.sub(1),
      log2Width(s),
      x.gpr(REG.RAX, s.size),
      wantsEqual(x),
    )[0],
};

function checkedPort(x: Emitter, size: OpSize): I32 {
  const port = x.let(x.gpr(REG.RDX, 16).toI32());
  x.call("checkPort", port, i32(widthOf(size)), x.site());
  return port;
}

// Marks an access to a port as a string instruction's, for the exit it may become.
function asString<T>(x: Emitter, access: () => T): T {
  const { state } = x.cpu;
  const kind = x.shape.rep === "none" ? IO_STRING_ONCE : IO_STRING_REP;
  x.f.do(state.store32(0, kind, IO_STRING));
  const result = access();
  x.f.do(state.store32(0, 0, IO_STRING));
  return result;
}

// The port is read last of all that can fault or be done anew: it must not lose what it
// gave, so that where that goes is found before.
const INS: StringOperation = {
  source: false,
  destination: true,
  ports: true,
  element: (x, s) => {
    const { f, cpu: { ram } } = x;
    const width = widthOf(s.size);
    const port = checkedPort(x, s.size);
    const la = destinationAddress(x, s, 1);
    const host = x.hostForWrite(la, width);
    const value = asString(
      x,
      () => x.call("portIn", port, i32(width), x.site())[0],
    );
    f.if(
      host.ne(NOT_RAM),
      () => f.do(ram.store(width, host, value)),
      () => x.store(width, la, value),
    );
  },
};

const OUTS: StringOperation = {
  source: true,
  destination: false,
  ports: true,
  element: (x, s) => {
    const port = checkedPort(x, s.size);
    const value = loadSource(x, s);
    const width = i32(widthOf(s.size));
    asString(x, () => x.call("portOut", port, width, value, x.site()));
  },
};

// --- One element -------------------------------------------------------------

function elementAt(x: Emitter, size: OpSize): Element {
  const { address } = x.shape;
  return {
    size,
    si: x.gpr(REG.RSI, address),
    di: x.gpr(REG.RDI, address),
    a: x.f.var("i64"),
    b: x.f.var("i64"),
  };
}

// Moves the index registers over elements in the direction that DF gives.
function advance(
  x: Emitter,
  s: Element,
  operation: StringOperation,
  elements: I64,
): void {
  const { address } = x.shape;
  const bytes = x.let(elements.mul(widthOf(s.size)));
  const isDown = x.cpu.state.load32(0, SYSTEM_FLAGS).and(FLAG.DF);
  const step = x.let(i64(0).sub(bytes).when(isDown, bytes));
  if (operation.source) x.setGpr(REG.RSI, s.si.add(step), address);
  if (operation.destination) x.setGpr(REG.RDI, s.di.add(step), address);
}

function compareFlags(x: Emitter, s: Element): void {
  const a = x.let(s.a.get());
  const b = x.let(s.b.get());
  x.flags.sub(s.size, a, b, x.let(a.sub(b)));
}

function once(x: Emitter, operation: StringOperation, size: OpSize): void {
  const s = elementAt(x, size);
  operation.element(x, s);
  advance(x, s, operation, i64(1));
  operation.finish?.(x, s);
  if (operation.compares) compareFlags(x, s);
}

// --- Repetition --------------------------------------------------------------

// Whether addresses go on through a page as its linear addresses do.
function canRun(x: Emitter, operation: StringOperation): I32 {
  const { code, flat, address } = x.shape;
  if (code !== 64 && !flat) return i32(0);
  const isPlain = !operation.source || (code === 64 && address === 64);
  return isPlain ? i32(1) : sourceSlot(x).ltU(FS);
}

// Leaves for events with the repetition unfinished, where the budget is spent.
function spendElements(x: Emitter, s: Element, elements: I64, left: I64): void {
  const { state } = x.cpu;
  const lines = elements.mul(widthOf(s.size)).shrU(6).toI32().add(1);
  const budget = x.let(state.load32(0, BUDGET).sub(lines));
  x.f.do(state.store32(0, budget, BUDGET));
  x.f.if(isSpent(x.cpu, budget).and(left.ne(0)), () => {
    x.f.do(state.store64(0, x.rip(), RIP));
    x.f.return(i32(STATUS.EVENTS));
  });
}

// Elements done at once; where that is none, one is done the general way.
function someElements(
  x: Emitter,
  s: Element,
  operation: StringOperation,
  count: I64,
  compared: Var<"i32">,
): I64 {
  const { f } = x;
  const done = f.var("i64");
  const { run } = operation;
  if (run !== undefined) {
    // With no budget left, the engine wants one element at a time.
    const hasBudget = x.cpu.state.load32(0, BUDGET).gtS(0);
    f.if(
      canRun(x, operation).and(hasBudget),
      () => f.set(done, run(x, s, count)),
    );
  }
  f.set(compared, i32(0));
  f.if(done.get().eqz(), () => {
    operation.element(x, s);
    f.set(done, i64(1));
    f.set(compared, i32(1));
  });
  return f.let(done.get());
}

function repeat(x: Emitter, operation: StringOperation, size: OpSize): void {
  const { f, shape: { address, rep } } = x;
  const compared = f.var("i32");
  if (operation.ports) {
    f.if(x.gpr(REG.RCX, address).eqz(), () => void checkedPort(x, size));
  }
  // The flags are those of the last element, and are set when it is known.
  const endIf = (end: Label, s: Element, left: I64) => {
    const isOver = s.a.get().eq(s.b.get()).eq(rep === "repe" ? 0 : 1);
    f.if(compared.get().and(isOver.or(left.eqz())), () => {
      compareFlags(x, s);
      f.br(end);
    });
  };
  f.block((end) =>
    f.loop((again) => {
      const count = x.gpr(REG.RCX, address);
      f.brIf(end, count.eqz());
      const s = elementAt(x, size);
      const done = someElements(x, s, operation, count, compared);
      const left = x.let(count.sub(done));
      advance(x, s, operation, done);
      operation.finish?.(x, s);
      x.setGpr(REG.RCX, left, address);
      if (operation.compares) endIf(end, s, left);
      spendElements(x, s, done, left);
      f.br(again);
    })
  );
}

// --- Forms -------------------------------------------------------------------

const SIZES = { b: 8, w: 16, d: 32, q: 64 } as const;
const ACCUMULATORS = { b: "AL", w: "AX", d: "EAX", q: "RAX" } as const;
type Letter = keyof typeof SIZES;

/** Operations with the part of their forms' names after the mnemonic's letter. */
const OPERATIONS: readonly {
  readonly mnemonic: string;
  readonly operation: StringOperation;
  readonly operands: (letter: Letter) => string;
}[] = [
  { mnemonic: "Movs", operation: MOVS, operands: twoStrings },
  { mnemonic: "Cmps", operation: CMPS, operands: twoStrings },
  {
    mnemonic: "Stos",
    operation: STOS,
    operands: (letter) => `m${SIZES[letter]}_${ACCUMULATORS[letter]}`,
  },
  { mnemonic: "Lods", operation: LODS, operands: afterAccumulator },
  { mnemonic: "Scas", operation: SCAS, operands: afterAccumulator },
  {
    mnemonic: "Ins",
    operation: INS,
    operands: (letter) => `m${SIZES[letter]}_DX`,
  },
  {
    mnemonic: "Outs",
    operation: OUTS,
    operands: (letter) => `DX_m${SIZES[letter]}`,
  },
];

function twoStrings(letter: Letter): string {
  return `m${SIZES[letter]}_m${SIZES[letter]}`;
}

function afterAccumulator(letter: Letter): string {
  return `${ACCUMULATORS[letter]}_m${SIZES[letter]}`;
}

function stringForm(
  name: string,
  operation: StringOperation,
  size: OpSize,
): Form {
  return form(
    name,
    (x) =>
      x.shape.rep === "none"
        ? once(x, operation, size)
        : repeat(x, operation, size),
    AXES,
  );
}

/** The forms of this group. */
export const STRING_FORMS: readonly Form[] = OPERATIONS.flatMap(
  ({ mnemonic, operation, operands }) => {
    const isPort = operation === INS || operation === OUTS;
    const letters: Letter[] = isPort ? ["b", "w", "d"] : ["b", "w", "d", "q"];
    return letters.map((letter) =>
      stringForm(
        `${mnemonic}${letter}_${operands(letter)}`,
        operation,
        SIZES[letter],
      )
    );
  },
);
