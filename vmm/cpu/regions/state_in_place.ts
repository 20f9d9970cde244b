// Memory 0 as a small region sees it: registers stay where `state.ts` has them, so that
// there is nothing to store on the way out or where an access faults, and V8 has few
// values to keep. It compiles such a region in half the time. Flags are put off here, too.

import { FPU_TAGS, FPU_TOP, ZERO } from "../state.ts";
import {
  type Expr,
  type I32,
  type I32Like,
  type I64,
  i64,
  type I64Like,
  Memory,
  type Stmt,
  type Width,
} from "../wasm/mod.ts";
import { isSource, Origins, readFrom } from "./origins.ts";
import {
  FLAG_WORDS,
  FlagStore,
  type FlagWord,
  lowBytes,
  type RegionState,
} from "./region_state.ts";
import { type MapMark, RewindableMap } from "./rewindable_map.ts";
import { constantAddress, Unsupported } from "./vector_locals.ts";

/** Memory 0 with registers in it. */
export class StateInPlace extends Memory<"i32"> implements RegionState {
  readonly pending = new RewindableMap<FlagWord, I64>();
  readonly origins = new Origins();

  onStack = () => {};

  constructor() {
    super(0, "i32");
  }

  // The word of the flags that has an address.
  #wordAt(address: I32Like, offset: number): FlagWord | undefined {
    const at = constantAddress(address, offset);
    if (at === undefined) return undefined;
    return FLAG_WORDS.find((word) => word === (at & ~7));
  }

  // What an address has that memory 0 may not: flags that were put off, or zero.
  #known(address: I32Like, offset: number): I64 | undefined {
    const at = constantAddress(address, offset);
    if (at !== undefined && (at & ~7) === ZERO) return i64(0);
    const word = this.#wordAt(address, offset);
    const value = word === undefined ? undefined : this.pending.get(word);
    return value?.shrU(8 * (at! & 7));
  }

  override load(width: Width, address: I32Like, offset = 0): I64 {
    const known = this.#known(address, offset);
    if (known !== undefined) return lowBytes(known, width);
    const value = super.load(width, address, offset);
    const at = width < 4 ? undefined : constantAddress(address, offset);
    return at === undefined ? value : readFrom(at, value);
  }

  override load32(address: I32Like, offset = 0): I32 {
    return this.#known(address, offset)?.toI32() ??
      super.load32(address, offset);
  }

  override load16(address: I32Like, offset = 0): I32 {
    return this.#known(address, offset)?.toI32().and(0xffff) ??
      super.load16(address, offset);
  }

  override load8(address: I32Like, offset = 0): I32 {
    return this.#known(address, offset)?.toI32().and(0xff) ??
      super.load8(address, offset);
  }

  override load32S(address: I32Like, offset = 0): I64 {
    return this.#known(address, offset)?.toI32().toI64S() ??
      super.load32S(address, offset);
  }

  override store(
    width: Width,
    address: I32Like,
    value: I64Like,
    offset = 0,
  ): Stmt {
    const word = this.#wordAt(address, offset);
    if (word === undefined) {
      this.#noteStore(constantAddress(address, offset), value);
      return super.store(width, address, value, offset);
    }
    if (width !== 8) throw new Unsupported("A store to part of the flags");
    return new FlagStore(word, i64(value));
  }

  #noteStore(at: number | undefined, value: I64Like): void {
    if (at !== undefined && isSource(at)) this.origins.assign(at, i64(value));
  }

  override store32(address: I32Like, value: I32Like, offset = 0): Stmt {
    if (offset === FPU_TOP || offset === FPU_TAGS) this.onStack();
    return super.store32(address, value, offset);
  }

  assign(at: number, value: Expr): Stmt {
    return super.store(8, 0, value as I64, at);
  }

  setBase(): undefined {}
  beginBlock(): void {
    this.origins.forget();
  }
  mark(): MapMark {
    return 0;
  }
  rewind(): void {}
  enter(): void {}
  leave(): void {}
  renewTlb(): void {}
}
