// Memory 0 with the vector registers in locals of a function. A definition that reads
// or writes part of one works on the local's lanes.

import { VECTOR_STRIDE, XMM } from "../state.ts";
import {
  type Expr,
  type F32,
  type F64,
  type FunctionBuilder,
  type I32,
  type I32Like,
  type I64,
  i64,
  type I64Like,
  localSet,
  Memory,
  type SimdShape,
  Stmt,
  type V128,
  type Var,
  type Width,
} from "../wasm/mod.ts";

/** Thrown where a definition cannot be part of a region. */
export class Unsupported extends Error {}

const XMM_END = XMM + 16 * VECTOR_STRIDE;

const SHAPES: Readonly<Record<Width, SimdShape>> = {
  1: "i8x16",
  2: "i16x8",
  4: "i32x4",
  8: "i64x2",
};

/** A vector register that is a local. */
interface VectorWord {
  readonly variable: Var<"v128">;
  /** whether it must be stored on the way out */
  isWritten: boolean;
}

/** A statement that assigns a local. */
export function setLocal(index: number, value: Expr): Stmt {
  return new Stmt(localSet(index), [value]);
}

/** A constant address, if it is one. */
export function constantAddress(
  address: I32Like,
  offset: number,
): number | undefined {
  const value = typeof address === "number" ? address : address.value;
  return value === undefined ? undefined : value + offset;
}

/** Memory 0 with vector registers in locals. */
export class VectorLocals extends Memory<"i32"> {
  /** The function. */
  protected readonly f: FunctionBuilder;
  readonly #vectors = new Map<number, VectorWord>();

  /** @param f the region's function */
  constructor(f: FunctionBuilder) {
    super(0, "i32");
    this.f = f;
  }

  // The vector register that has an address, and how many lanes lie before that.
  #lane(
    address: I32Like,
    offset: number,
    width: Width | 16,
  ): { word: VectorWord; index: number } | undefined {
    const at = constantAddress(address, offset);
    if (at === undefined || at < XMM || at >= XMM_END) return undefined;
    const place = (at - XMM) % VECTOR_STRIDE;
    if (place % width !== 0 || place >= 16) {
      throw new Unsupported(`An access to part of a vector at ${place}`);
    }
    return { word: this.#word(at - place), index: place / width };
  }

  #word(at: number): VectorWord {
    let word = this.#vectors.get(at);
    if (word === undefined) {
      word = { variable: this.f.reserve("v128"), isWritten: false };
      this.#vectors.set(at, word);
    }
    return word;
  }

  #assign(word: VectorWord, value: V128): Stmt {
    word.isWritten = true;
    return setLocal(word.variable.index, value);
  }

  override load(width: Width, address: I32Like, offset = 0): I64 {
    const lane = this.#lane(address, offset, width);
    if (lane === undefined) return super.load(width, address, offset);
    const vector = lane.word.variable.get();
    if (width === 8) return vector.lane("i64x2.extract_lane", lane.index);
    return integerLane(vector, width, lane.index).toI64U();
  }

  override store(
    width: Width,
    address: I32Like,
    value: I64Like,
    offset = 0,
  ): Stmt {
    const lane = this.#lane(address, offset, width);
    if (lane === undefined) return super.store(width, address, value, offset);
    const part = width === 8 ? i64(value) : i64(value).toI32();
    const vector = lane.word.variable.get();
    return this.#assign(
      lane.word,
      vector.withLane(SHAPES[width], lane.index, part),
    );
  }

  override loadF32(address: I32Like, offset = 0): F32 {
    const lane = this.#lane(address, offset, 4);
    return lane === undefined
      ? super.loadF32(address, offset)
      : lane.word.variable.get().lane("f32x4.extract_lane", lane.index);
  }

  override loadF64(address: I32Like, offset = 0): F64 {
    const lane = this.#lane(address, offset, 8);
    return lane === undefined
      ? super.loadF64(address, offset)
      : lane.word.variable.get().lane("f64x2.extract_lane", lane.index);
  }

  override loadV128(address: I32Like, offset = 0): V128 {
    const lane = this.#lane(address, offset, 16);
    return lane === undefined
      ? super.loadV128(address, offset)
      : lane.word.variable.get();
  }

  override storeV128(address: I32Like, value: V128, offset = 0): Stmt {
    const lane = this.#lane(address, offset, 16);
    return lane === undefined
      ? super.storeV128(address, value, offset)
      : this.#assign(lane.word, value);
  }

  /** Refuses an access of another kind to a register. */
  protected refuse(address: I32Like, offset: number): void {
    if (this.#lane(address, offset, 1) !== undefined) {
      throw new Unsupported("An access of another kind to a vector");
    }
  }

  override load32(address: I32Like, offset = 0): I32 {
    this.refuse(address, offset);
    return super.load32(address, offset);
  }
  override load16(address: I32Like, offset = 0): I32 {
    this.refuse(address, offset);
    return super.load16(address, offset);
  }
  override load8(address: I32Like, offset = 0): I32 {
    this.refuse(address, offset);
    return super.load8(address, offset);
  }
  override load32S(address: I32Like, offset = 0): I64 {
    this.refuse(address, offset);
    return super.load32S(address, offset);
  }

  /** Loads every local that the function uses. */
  enter(): void {
    for (const [at, { variable }] of this.#vectors) {
      this.f.set(variable, super.loadV128(0, at));
    }
  }

  /** Stores every local that the function writes. */
  leave(): void {
    for (const [at, { variable, isWritten }] of this.#vectors) {
      if (isWritten) this.f.do(super.storeV128(0, variable.get(), at));
    }
  }
}

function integerLane(vector: V128, width: 1 | 2 | 4, index: number): I32 {
  switch (width) {
    case 4:
      return vector.lane("i32x4.extract_lane", index);
    case 2:
      return vector.lane("i16x8.extract_lane_u", index);
    default:
      return vector.lane("i8x16.extract_lane_u", index);
  }
}
