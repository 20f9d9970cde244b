// Vector operands on top of `Emitter`: XMM and MMX registers, 128-bit groups, what an
// encoding does with its operands (Intel SDM vol. 1, 9.2, 10.2.2, 14.3.1; vol. 2,
// 2.3.10). An operation is written for one group; a builder here lays out operands.

import type { RuntimeFunctions } from "./cpu_module.ts";
import type { Emitter } from "./emitter.ts";
import { type Form, form, type FormOptions } from "./form.ts";
import {
  FPU_SW,
  FPU_TAGS,
  FPU_TOP,
  MXCSR,
  vectorAddress,
  XMM,
} from "./state.ts";
import {
  type Expr,
  type FunctionBuilder,
  type I32,
  i32,
  type I64,
  type SimdShape,
  splat,
  type V128,
  v128,
  v128i64,
  type Values,
} from "./wasm/mod.ts";
import type { RuntimeName } from "./runtime/signatures.ts";
import { SUMMARY } from "./runtime/x87_stack.ts";

/** Bytes of a group: the part of a vector that operations do not look beyond. */
const GROUP = 16;

/** What an encoding does with its operands. */
export interface Encoding {
  /** 128-bit groups in a vector */
  readonly groups: number;
  /** operand that is the first source: 0, the destination, outside VEX */
  readonly first: 0 | 1;
  /** the destination's part above the groups is cleared */
  readonly zeroUpper: boolean;
  /** memory operands of a whole vector must be aligned */
  readonly aligned: boolean;
}

/** SSE: the destination is the first source, its upper part is left alone. */
export const LEGACY: Encoding = {
  groups: 1,
  first: 0,
  zeroUpper: false,
  aligned: true,
};

/** A vector of zeros. */
export const ZERO: V128 = v128i64(0n, 0n);

const LANE_BYTES: Readonly<Record<SimdShape, number>> = {
  i8x16: 1,
  i16x8: 2,
  i32x4: 4,
  i64x2: 8,
  f32x4: 4,
  f64x2: 8,
};

/** Bytes of one lane of a shape. */
export function laneBytes(shape: SimdShape): number {
  return LANE_BYTES[shape];
}

/** A constant vector from its integer lanes, the lowest first. */
export function lanes(shape: SimdShape, values: readonly number[]): V128 {
  const bytes = LANE_BYTES[shape];
  return v128(
    values.flatMap((value) =>
      Array.from(
        { length: bytes },
        (_, n) => Number(BigInt(value) >> BigInt(8 * n) & 0xffn),
      )
    ),
  );
}

/** A constant vector with the same 32 bits in each lane. */
export function fill32(value: number): V128 {
  return lanes("i32x4", [value, value, value, value]);
}

/** A constant vector with the same 64 bits in each lane. */
export function fill64(value: bigint): V128 {
  return v128i64(value, value);
}

/** The numbers from `first` to the last of 16 bytes. */
export function counting(first = 0, step = 1): number[] {
  return Array.from({ length: GROUP }, (_, n) => first + n * step);
}

/** A vector whose low 64 bits are given and whose high ones are zero. */
export function lowVector(value: I64): V128 {
  return ZERO.withLane("i64x2", 0, value);
}

/** The low 64 bits of a vector. */
export function low64(value: V128): I64 {
  return value.lane("i64x2.extract_lane", 0);
}

/** The high 64 bits of a vector. */
export function high64(value: V128): I64 {
  return value.lane("i64x2.extract_lane", 1);
}

/** Emits an instruction with vector operands. */
export class VectorEmitter {
  /** The function that the code goes into. */
  readonly f: FunctionBuilder;
  /** The last operand, where it is an immediate of 8 bits. */
  readonly imm: I32;

  /**
   * @param x emits everything else
   * @param encoding what is done with the operands
   */
  constructor(readonly x: Emitter, readonly encoding: Encoding = LEGACY) {
    this.f = x.f;
    const hasImmediate = x.operands.at(-1)?.kind === "immediate";
    this.imm = hasImmediate ? this.f.let(x.imm(8).toI32()) : i32(0);
  }

  /** Keeps a value. */
  let<E extends Expr>(value: E): E {
    return this.f.let(value);
  }

  /** Calls a runtime function. */
  call<N extends RuntimeName>(
    name: N,
    ...values: Expr[]
  ): Values<RuntimeFunctions[N]["type"]["results"]> {
    return this.f.call(this.x.cpu.fn[name], ...values) as Values<
      RuntimeFunctions[N]["type"]["results"]
    >;
  }

  /** The groups of operand `n`. */
  read(n: number, aligned: boolean = this.encoding.aligned): V128[] {
    const { x, f } = this;
    const groups = Array.from({ length: this.encoding.groups }, (_, g) => g);
    if (x.isMemory(n)) {
      const la = x.address();
      return groups.map((g) =>
        x.loadVector(f.let(la.add(GROUP * g)), aligned && g === 0)
      );
    }
    const register = x.register(n);
    return groups.map((g) => f.let(x.cpu.state.loadV128(register, GROUP * g)));
  }

  /** Writes the groups of operand `n`. */
  write(
    n: number,
    values: readonly V128[],
    aligned: boolean = this.encoding.aligned,
  ): void {
    if (this.x.isMemory(n)) this.#store(values, aligned);
    else this.#writeRegister(this.x.register(n), values);
  }

  #store(values: readonly V128[], aligned: boolean): void {
    const { x, f } = this;
    const la = x.address();
    if (values.length > 1) {
      if (aligned) x.checkAligned(la, GROUP * values.length);
      x.prepareWrite(la, GROUP * values.length);
    }
    values.forEach((value, g) =>
      x.storeVector(f.let(la.add(GROUP * g)), value, aligned && g === 0)
    );
  }

  #writeRegister(register: I32, values: readonly V128[]): void {
    const { state } = this.x.cpu;
    const kept = values.map((value) => this.f.let(value));
    if (this.encoding.zeroUpper && kept.length === 1) kept.push(ZERO);
    kept.forEach((value, g) =>
      this.f.do(state.storeV128(register, value, GROUP * g))
    );
  }

  /** Writes one group of a destination whose rest is cleared or left alone. */
  writeOne(n: number, value: V128): void {
    this.#writeRegister(this.x.register(n), [value]);
  }

  /** The low group of a register operand. */
  readLow(n: number): V128 {
    const { x } = this;
    return this.f.let(x.cpu.state.loadV128(x.register(n)));
  }

  /** The low `bits` of operand `n`, in each lane of that size. */
  readSplat(n: number, bits: 32 | 64): V128 {
    const { x, f } = this;
    if (x.isMemory(n)) {
      const value = x.read(n, bits);
      return f.let(
        bits === 32 ? splat("i32x4", value.toI32()) : splat("i64x2", value),
      );
    }
    // As floats, registers stay among the host's vector registers.
    const { state } = x.cpu;
    const register = x.register(n);
    return f.let(
      bits === 32
        ? splat("f32x4", state.loadF32(register))
        : splat("f64x2", state.loadF64(register)),
    );
  }

  /** The groups of vector register 0, an implied operand. */
  readRegister0(): V128[] {
    const { state } = this.x.cpu;
    return Array.from(
      { length: this.encoding.groups },
      (_, g) => this.f.let(state.loadV128(0, vectorAddress(0) + GROUP * g)),
    );
  }

  /** Writes the low group of vector register 0, an implied operand. */
  writeRegister0(value: V128): void {
    this.f.do(this.x.cpu.state.storeV128(0, value, XMM));
  }

  /** MXCSR. */
  mxcsr(): I32 {
    return this.x.cpu.state.load32(0, MXCSR);
  }
}

/** An operation on one group of one source. */
export type Unary = (v: VectorEmitter, a: V128) => V128;
/** An operation on one group of two sources. */
export type Binary = (v: VectorEmitter, a: V128, b: V128) => V128;
/** A definition of a form. */
export type Define = (x: Emitter) => void;

/** The options of SSE's forms. */
export const SSE: FormOptions = { unit: "sse" };
/** The options of SSE's forms that write a memory operand. */
export const SSE_WRITE: FormOptions = { unit: "sse", access: "write" };

/** First source, second source (which may be in memory) to destination. */
export function binary(op: Binary, encoding: Encoding = LEGACY): Define {
  return (x) => {
    const v = new VectorEmitter(x, encoding);
    const b = v.read(encoding.first + 1);
    const a = v.read(encoding.first);
    v.write(0, a.map((group, g) => v.let(op(v, group, b[g]!))));
  };
}

/** Operand 1 to operand 0. */
export function unary(op: Unary, encoding: Encoding = LEGACY): Define {
  return (x) => {
    const v = new VectorEmitter(x, encoding);
    v.write(0, v.read(1).map((group) => v.let(op(v, group))));
  };
}

/** First source and an immediate to destination. */
export function inPlace(op: Unary, encoding: Encoding = LEGACY): Define {
  return (x) => {
    const v = new VectorEmitter(x, encoding);
    v.write(0, v.read(encoding.first).map((group) => v.let(op(v, group))));
  };
}

/** Forms with a common suffix, from a table by mnemonic. */
export function table<T>(
  rows: Readonly<Record<string, T>>,
  suffix: string,
  define: (row: T) => Define,
  options: FormOptions = SSE,
): Form[] {
  return Object.entries(rows).map(([mnemonic, row]) =>
    form(`${mnemonic}_${suffix}`, define(row), options)
  );
}

// --- MMX -------------------------------------------------------------------

/** The options of MMX forms. */
export const MMX: FormOptions = { unit: "mmx" };

/** Raises #MF where an x87 exception is pending, as waiting x87 and MMX instructions do first. */
export function checkPending(x: Emitter): void {
  if (x.cpu.stack?.isClear) return;
  const summary = x.cpu.state.load32(0, FPU_SW).and(SUMMARY);
  x.f.rarely(summary, () => x.call("x87Pending", x.site()));
  x.cpu.stack?.setClear();
}

/** The x87 state that every MMX instruction leaves: TOP 0, all tags valid. */
export function enterMmx(x: Emitter): void {
  const { state } = x.cpu;
  x.f.do(state.store32(0, 0, FPU_TOP));
  x.f.do(state.store32(0, 0xff, FPU_TAGS));
}

/** Operand `n`, an MMX register or memory, as a vector's low half. */
export function readMmx(x: Emitter, n: number, bits: 32 | 64 = 64): V128 {
  return x.f.let(lowVector(x.read(n, bits)));
}

/** Writes an MMX register: the significand, and ones above it. */
export function writeMmx(x: Emitter, n: number, value: I64): void {
  const { state } = x.cpu;
  const register = x.register(n);
  x.f.do(state.store64(register, value));
  x.f.do(state.store16(register, 0xffff, 8));
}
