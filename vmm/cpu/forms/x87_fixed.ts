// The x87's frequent instructions in compiled code that knows the register stack, see
// `fixed_stack.ts`. What `runtime/x87_*.ts` says of them holds here where operands are
// there and no exception is raised but PE, masked; all else is left to the handler.
// Each function answers whether it emitted the instruction.

import type { Emitter } from "../emitter.ts";
import type { FixedStack, StackNumber } from "../fixed_stack.ts";
import type { X87_BINARY, X87_UNARY } from "../runtime/x87_arithmetic.ts";
import {
  CODES,
  ONE_SE,
  ONE_SIG,
  type X87_MEMORY,
} from "../runtime/x87_values.ts";
import { FLAGS_SHIFT } from "../runtime/x87_numbers.ts";
import {
  F32_FORMAT,
  F64_FORMAT,
  fastWiden,
  SPECIAL,
  WAS_DENORMAL,
} from "../softfloat/mod.ts";
import { type I32, i32, type I64, i64 } from "../wasm/mod.ts";

type Memory = (typeof X87_MEMORY)[number];
type Binary = (typeof X87_BINARY)[number];
type Registers = readonly (number | undefined)[];

/** The stack, where these registers are known to have numbers. */
function stackWith(
  x: Emitter,
  registers: Registers,
  hasRoom = false,
): FixedStack | undefined {
  const stack = x.cpu.stack;
  return stack?.holds(registers, hasRoom) ? stack : undefined;
}

/** The functions, and whether operands are exchanged. */
const BINARY = {
  add: ["x87Sum", false],
  mul: ["x87Product", false],
  sub: ["x87Difference", false],
  subr: ["x87Difference", true],
  div: ["x87Quotient", false],
  divr: ["x87Quotient", true],
} as const satisfies Record<Binary, unknown>;

function operate(
  x: Emitter,
  stack: FixedStack,
  op: Binary,
  a: StackNumber,
  b: StackNumber,
): StackNumber & { flags: I32 } {
  const [name, isReversed] = BINARY[op];
  const [y, z] = isReversed ? [b, a] : [a, b];
  const [sig, result] = x.call(name, y.sig, y.se, z.sig, z.se);
  stack.leaveWhere(result.ltS(0));
  return { sig, se: result, flags: result.shrU(FLAGS_SHIFT) };
}

/** ST(i) = ST(i) op ST(j), and pops. */
export function fixedBinary(
  x: Emitter,
  op: Binary,
  [to, from]: readonly [I32, I32],
  pops: number,
): boolean {
  const [i, j] = [to.value, from.value];
  const stack = stackWith(x, [i, j]);
  if (stack === undefined) return false;
  const made = operate(x, stack, op, stack.read(i!), stack.read(j!));
  stack.rounded(made.flags);
  stack.write(i!, made);
  stack.pop(pops);
  return true;
}

const WIDEN = {
  f32: [F32_FORMAT, "x87FromF32"],
  f64: [F64_FORMAT, "x87FromF64"],
} as const;

// A normal number needs no call.
function widened(x: Emitter, kind: "f32" | "f64", bits: I64): StackNumber {
  const { f } = x;
  const [format, name] = WIDEN[kind];
  const [sig, se] = [f.var("i64"), f.var("i32")];
  const put = (...[a, b]: [I64, I32]) => {
    f.set(sig, a);
    f.set(se, b);
  };
  f.block((end) => {
    fastWiden(f, format, bits, (a, b) => {
      put(a, b);
      f.br(end);
    });
    put(...x.call(name, bits));
  });
  return { sig: f.let(sig.get()), se: f.let(se.get()) };
}

/** ST(0) = ST(0) op memory. */
export function fixedBinaryMemory(
  x: Emitter,
  op: Binary,
  kind: Memory,
  bits: I64,
): boolean {
  if (kind !== "f32" && kind !== "f64") return false;
  const stack = stackWith(x, [0]);
  if (stack === undefined) return false;
  const made = operate(x, stack, op, stack.read(0), widened(x, kind, bits));
  stack.rounded(made.flags);
  stack.write(0, made);
  return true;
}

/** What memory holds as a number that is pushed. */
function loaded(
  x: Emitter,
  stack: FixedStack,
  kind: Memory,
  low: I64,
  high: I32,
): StackNumber | undefined {
  if (kind === "f80") return { sig: low, se: high };
  const shift = { int16: 48, int32: 32, int64: 0 }[kind as "int16"];
  if (shift !== undefined) {
    const [sig, se] = x.call("x87FromInteger", low.shl(shift).shrS(shift));
    return { sig, se };
  }
  if (kind !== "f32" && kind !== "f64") return undefined;
  const number = widened(x, kind, low);
  stack.leaveWhere(number.se.and(WAS_DENORMAL | SPECIAL).geU(SPECIAL));
  return number;
}

/** Pushes what memory holds. */
export function fixedLoad(
  x: Emitter,
  kind: Memory,
  low: I64,
  high: I32,
): boolean {
  const stack = kind === "bcd" ? undefined : stackWith(x, [], true);
  const number = stack && loaded(x, stack, kind, low, high);
  return number !== undefined && push(stack!, number);
}

function push(stack: FixedStack, number: StackNumber): true {
  stack.clearCode();
  stack.push(number);
  return true;
}

/** Pushes ST(i). */
export function fixedLoadRegister(x: Emitter, i: I32): boolean {
  const stack = stackWith(x, [i.value], true);
  return stack !== undefined && push(stack, stack.read(i.value!));
}

/** Pushes 1 or 0. */
export function fixedLoadConstant(x: Emitter, name: string): boolean {
  if (name !== "fld1" && name !== "fldz") return false;
  const stack = stackWith(x, [], true);
  if (stack === undefined) return false;
  const isOne = name === "fld1";
  const [sig, se] = isOne ? [i64(ONE_SIG), i32(ONE_SE)] : [i64(0), i32(0)];
  return push(stack, { sig, se });
}

const NARROW = {
  f32: "x87ToF32",
  f64: "x87ToF64",
  int16: "x87ToInt16",
  int32: "x87ToInt32",
  int64: "x87ToInt64",
  trunc16: "x87TruncateToInt16",
  trunc32: "x87TruncateToInt32",
  trunc64: "x87TruncateToInt64",
} as const;

/** Stores ST(0) by `write` and pops. */
export function fixedStore(
  x: Emitter,
  kind: Memory,
  pops: number,
  write: (low: I64, high: I32) => void,
): boolean {
  if (kind === "bcd") return false;
  const stack = stackWith(x, [0]);
  if (stack === undefined) return false;
  const { sig, se } = stack.read(0);
  if (kind === "f80") {
    write(sig, se);
    stack.clearCode();
  } else {
    const [bits, flags] = x.call(NARROW[kind], sig, se);
    stack.leaveWhere(flags.ltS(0));
    write(bits, i32(0));
    stack.rounded(flags);
  }
  stack.pop(pops);
  return true;
}

/** ST(i) = ST(0), and pops. */
export function fixedStoreRegister(x: Emitter, i: I32, pops: number): boolean {
  // What was empty may be written, but then it is another stack.
  const stack = stackWith(x, [0, i.value]);
  if (stack === undefined) return false;
  stack.clearCode();
  if (i.value !== 0) stack.write(i.value!, stack.read(0));
  stack.pop(pops);
  return true;
}

/** Exchanges ST(0) and ST(i). */
export function fixedExchange(x: Emitter, i: I32): boolean {
  const stack = stackWith(x, [0, i.value]);
  if (stack === undefined) return false;
  const [first, other] = [stack.read(0), stack.read(i.value!)];
  stack.clearCode();
  stack.write(0, other);
  stack.write(i.value!, first);
  return true;
}

/** FABS and FCHS. */
export function fixedUnary(
  x: Emitter,
  op: (typeof X87_UNARY)[number],
): boolean {
  if (op !== "abs" && op !== "negate") return false;
  const stack = stackWith(x, [0]);
  if (stack === undefined) return false;
  const { sig, se } = stack.read(0);
  stack.clearCode();
  const changed = op === "abs" ? se.and(0x7fff) : se.xor(0x8000);
  stack.write(0, { sig, se: changed });
  return true;
}

/** Unordered, or what has flags. */
const NOT_ORDERED = 0x45;

/** The relation of ST(0) to a number, as in RFLAGS. */
function relation(x: Emitter, stack: FixedStack, other: StackNumber): I32 {
  const { sig, se } = stack.read(0);
  const [found] = x.call("x87Relation", sig, se, other.sig, other.se);
  stack.leaveWhere(found.geU(NOT_ORDERED));
  return found;
}

// Sets the condition codes by the relation to a number, and pops.
function compare(
  x: Emitter,
  stack: FixedStack,
  other: StackNumber,
  pops: number,
): true {
  stack.setCodes(relation(x, stack, other).shl(8), CODES);
  stack.pop(pops);
  return true;
}

/** Compares ST(0) with ST(i), and pops. */
export function fixedCompare(x: Emitter, i: I32, pops: number): boolean {
  const stack = stackWith(x, pops > 1 ? [0, 1, i.value] : [0, i.value]);
  return stack !== undefined &&
    compare(x, stack, stack.read(i.value!), pops);
}

/** Compares ST(0) with memory, and pops. */
export function fixedCompareMemory(
  x: Emitter,
  kind: Memory,
  bits: I64,
  pops: number,
): boolean {
  if (kind !== "f32" && kind !== "f64") return false;
  const stack = stackWith(x, [0]);
  return stack !== undefined &&
    compare(x, stack, widened(x, kind, bits), pops);
}

/** Compares ST(0) with ST(i) for RFLAGS, and pops: the relation, or undefined. */
export function fixedCompareFlags(
  x: Emitter,
  i: I32,
  pops: number,
): I32 | undefined {
  const stack = stackWith(x, [0, i.value]);
  if (stack === undefined) return undefined;
  const found = relation(x, stack, stack.read(i.value!));
  stack.pop(pops);
  return found;
}
