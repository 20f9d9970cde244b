// What a form's definition is written with: operands, memory, flags and control
// flow, the same for threaded code (fields read from a record) and for compiled
// code (fields are constants). HELPERS.md is the guide.

import type { CpuModule, RuntimeFunctions } from "./cpu_module.ts";
import type { Fields } from "./fields.ts";
import { Flags, type OpSize, zeroExtend } from "./flags.ts";
import type { Operand } from "./operands.ts";
import {
  type AccessKind,
  type DirectMemory,
  hits,
  type PageAccess,
  pageByEntry,
} from "./page_access.ts";
import type { Shape } from "./shape.ts";
import {
  ATTENTION,
  CS,
  DS,
  EA,
  ES,
  FS,
  gprAddress,
  GS,
  MODE_KEY,
  RIP,
  RIP_BASE,
  SEG_BASE,
  SEG_LIMIT,
  SS,
  TLB_BASE,
  TLB_READ,
  TLB_WRITE,
} from "./state.ts";
import { MODE } from "./mode.ts";
import { SITE_OFFSET, SITE_STACK } from "./record.ts";
import {
  expr,
  type FunctionBuilder,
  type I32,
  i32,
  type I32Like,
  type I64,
  i64,
  type I64Like,
  MOSTLY,
  splat,
  unsignedBytes,
  type V128,
  type Values,
  type Var,
  type Width,
} from "./wasm/mod.ts";
import { NO_ERROR_CODE, STATUS } from "./runtime/traps.ts";
import { goTo, spend } from "./runtime/run.ts";
import { NOT_RAM } from "./runtime/walk.ts";
import type { RuntimeName } from "./runtime/signatures.ts";

/** General registers by name, in hardware numbering. */
export const REG = {
  RAX: 0,
  RCX: 1,
  RDX: 2,
  RBX: 3,
  RSP: 4,
  RBP: 5,
  RSI: 6,
  RDI: 7,
} as const;

/** How an emission goes on after an instruction, and after a direct branch. */
export interface Continuation {
  /** Goes on with the next instruction; may leave the path open. */
  next(): void;
  /** Goes on at the target of the direct branch; ends the path. */
  branch(x: Emitter): void;
  /** Goes on at a RIP, a kept value; ends the path. */
  jump(x: Emitter, rip: I64): void;
}

/** Runtime functions that are expressions: see `Emitter.compute`. */
type PureName = "productExceeds";

/** Bits to bytes. */
export function widthOf(size: OpSize): Width {
  return (size >> 3) as Width;
}

interface UpdateVars {
  readonly old: Var<"i64">;
  readonly value: Var<"i64">;
}

/** Emits one instruction form. */
export class Emitter {
  /** The flags. */
  readonly flags: Flags;
  #address: I64 | undefined;

  /**
   * @param cpu the module that the code goes into
   * @param f the function that the code goes into
   * @param fields the instruction's operands
   * @param shape what is fixed at emission
   * @param operands what the form's operands are
   * @param continuation how the code goes on afterwards
   */
  constructor(
    readonly cpu: CpuModule,
    readonly f: FunctionBuilder,
    readonly fields: Fields,
    readonly shape: Shape,
    readonly operands: readonly Operand[],
    readonly continuation: Continuation,
  ) {
    this.flags = new Flags(f, cpu.state);
  }

  /** Keeps a value, see `FunctionBuilder.let`. */
  let<E extends I32 | I64>(value: E): E {
    return this.f.let<E>(value);
  }

  /** Size in bits of operand `n`. */
  size(n = 0): OpSize {
    const size = this.operands[n]?.size;
    if (size !== 8 && size !== 16 && size !== 32 && size !== 64) {
      throw new Error(`Operand ${n} has no integer size`);
    }
    return size;
  }

  /** Whether operand `n` is in memory. */
  isMemory(n: number): boolean {
    const kind = this.operands[n]?.kind;
    return kind === "memory" ||
      (this.shape.memory !== "none" && kind === "either");
  }

  // --- Registers -----------------------------------------------------------

  /** General register `index`, the low `size` bits zero-extended. */
  gpr(index: number, size: OpSize = 64): I64 {
    return this.let(
      this.cpu.state.load(widthOf(size), 0, gprAddress(index)),
    );
  }

  /** Writes general register `index`: 32 bits clear the upper half. */
  setGpr(index: number, value: I64Like, size: OpSize = 64): void {
    this.#storeRegister(i32(gprAddress(index)), i64(value), size);
  }

  #storeRegister(address: I32, value: I64, size: OpSize): void {
    const { state } = this.cpu;
    if (size === 32) {
      this.f.do(state.store64(address, zeroExtend(value, 32)));
    } else {
      this.f.do(state.store(widthOf(size), address, value));
    }
  }

  // --- Operands ------------------------------------------------------------

  /** Operand `n`, `size` bits zero-extended to 64. */
  read(n: number, size: OpSize = this.size(n)): I64 {
    if (this.operands[n]?.kind === "immediate") return this.imm(size);
    if (this.isMemory(n)) return this.load(widthOf(size), this.address());
    const { state } = this.cpu;
    return this.let(state.load(widthOf(size), this.fields.operand(n)));
  }

  /** Writes operand `n`; what `value` has above `size` bits is ignored. */
  write(n: number, value: I64, size: OpSize = this.size(n)): void {
    if (this.isMemory(n)) {
      this.store(widthOf(size), this.address(), value);
    } else {
      this.#storeRegister(this.fields.operand(n), value, size);
    }
  }

  /**
   * Reads operand `n`, computes its new value, writes it, then calls `commit`
   * (which sets flags and other registers). In memory the write is checked first;
   * with LOCK the update is atomic, and `compute` may run more than once.
   * `compute` must not change any state.
   */
  update(
    n: number,
    compute: (old: I64) => I64,
    commit: (old: I64, value: I64) => void = () => {},
    size: OpSize = this.size(n),
  ): void {
    if (this.isMemory(n)) {
      this.updateAt(this.address(), compute, commit, widthOf(size));
      return;
    }
    const old = this.read(n, size);
    const value = this.let(compute(old));
    this.write(n, value, size);
    commit(old, value);
  }

  /** As `update`, for memory at a linear address. */
  updateAt(
    la: I64,
    compute: (old: I64) => I64,
    commit: (old: I64, value: I64) => void,
    width: Width,
  ): void {
    const vars = { old: this.f.var("i64"), value: this.f.var("i64") };
    if (this.cpu.direct !== undefined) {
      this.#updateDirect(this.cpu.direct, la, compute, vars, width);
    } else if (this.shape.lock) {
      this.#updateLocked(la, compute, vars, width);
    } else {
      this.#updatePlain(la, compute, vars, width);
    }
    commit(this.f.let(vars.old.get()), this.f.let(vars.value.get()));
  }

  #updateDirect(
    direct: DirectMemory,
    la: I64,
    compute: (old: I64) => I64,
    vars: UpdateVars,
    width: Width,
  ): void {
    const { f, cpu: { ram } } = this;
    const host = direct.offset(this.#array(), la, width, TLB_WRITE);
    if (this.shape.lock) {
      direct.leaveWhere(host.and(width - 1).ne(0));
      return this.#updateAtomic(host, compute, vars, width);
    }
    f.set(vars.old, ram.load(width, host));
    f.set(vars.value, compute(f.let(vars.old.get())));
    f.do(ram.store(width, host, vars.value.get()));
  }

  #updatePlain(
    la: I64,
    compute: (old: I64) => I64,
    vars: UpdateVars,
    width: Width,
  ): void {
    const { f, cpu: { ram } } = this;
    const host = this.hostForWrite(la, width);
    const isRam = f.let(host.ne(NOT_RAM));
    f.if(
      isRam,
      () => f.set(vars.old, ram.load(width, host)),
      () => f.set(vars.old, this.#slowLoad(la, width)),
      MOSTLY,
    );
    f.set(vars.value, compute(f.let(vars.old.get())));
    f.if(
      isRam,
      () => f.do(ram.store(width, host, vars.value.get())),
      () => this.#slowStore(la, width, f.let(vars.value.get())),
      MOSTLY,
    );
  }

  #updateLocked(
    la: I64,
    compute: (old: I64) => I64,
    vars: UpdateVars,
    width: Width,
  ): void {
    const host = this.hostForWrite(la, width);
    this.f.if(
      host.and(width - 1).eqz().and(host.ne(NOT_RAM)),
      () => this.#updateAtomic(host, compute, vars, width),
      () => this.#updateApart(la, compute, vars, width),
      MOSTLY,
    );
  }

  // At an aligned offset in memory 1.
  #updateAtomic(
    host: I64,
    compute: (old: I64) => I64,
    { old, value }: UpdateVars,
    width: Width,
  ): void {
    const { f, cpu: { ram } } = this;
    f.loop((again) => {
      f.set(old, ram.atomicLoad(width, host));
      const seen = f.let(old.get());
      f.set(value, compute(seen));
      const found = ram.atomicCmpxchg(
        width,
        host,
        seen,
        zeroExtend(f.let(value.get()), (width * 8) as OpSize),
      );
      f.brIf(again, found.ne(seen));
    });
  }

  // In RAM that is not aligned the bus is locked, from where nothing can trap any
  // more. Device memory, which can, has no other processor to be locked against.
  #updateApart(
    la: I64,
    compute: (old: I64) => I64,
    { old, value }: UpdateVars,
    width: Width,
  ): void {
    const { f, cpu: { fn } } = this;
    const bytes = i32(width);
    const [first, second] = f.call(fn.prepareLocked, la, bytes, this.site());
    const isRam = f.let(first.ne(NOT_RAM));
    f.if(isRam, () => {
      f.call(fn.lockBus);
      f.set(old, f.call(fn.loadLocked, first, second, bytes)[0]);
    }, () => f.set(old, this.#slowLoad(la, width)));
    f.set(value, compute(f.let(old.get())));
    f.if(isRam, () => {
      f.call(fn.storeLocked, first, second, bytes, f.let(value.get()));
      f.call(fn.unlockBus);
    }, () => this.#slowStore(la, width, f.let(value.get())));
  }

  /** The immediate operand, zero-extended from `size` bits. */
  imm(size: OpSize = 64): I64 {
    return this.let(zeroExtend(this.fields.imm(), size));
  }

  /** Address in memory 0 of the register in operand `n`. */
  register(n: number): I32 {
    return this.let(this.fields.operand(n));
  }

  // --- Memory --------------------------------------------------------------

  /**
   * Linear address of the memory operand. Call it first at the outermost level
   * of the definition: it is computed once.
   */
  address(): I64 {
    this.#address ??= this.let(this.#computeAddress());
    return this.#address;
  }

  #computeAddress(): I64 {
    const { state } = this.cpu;
    if (this.shape.memory === "ea") return state.load64(0, EA);
    const n = this.operands.findIndex((o) =>
      o.kind === "memory" || o.kind === "either"
    );
    const base = state.load64(this.fields.operand(n));
    const sum = base.add(this.fields.disp());
    return this.shape.address === 64
      ? sum
      : zeroExtend(sum, this.shape.address);
  }

  /** The site to report for an access, see `record.ts`. */
  site(): I32 {
    return this.fields.site();
  }

  #array(): I32 {
    return this.cpu.state.load32(0, TLB_BASE);
  }

  #slowLoad(la: I64, width: number, site = this.site()): I64 {
    return this.f.call(this.cpu.fn.loadSlow, la, i32(width), site)[0];
  }

  #slowStore(la: I64, width: number, value: I64, site = this.site()): void {
    this.f.call(this.cpu.fn.storeSlow, la, i32(width), value, site);
  }

  // The offset in memory 1, where the code leaves for what has none.
  #direct(la: I64, bytes: number, kind: AccessKind): I64 | undefined {
    return this.cpu.direct?.offset(this.#array(), la, bytes, kind);
  }

  #page(la: I64, kind: AccessKind): PageAccess {
    return pageByEntry(this.f, this.cpu.state, [this.#array(), la, kind]);
  }

  // One check for tag, page crossing and anything that must be looked at.
  #hits({ tag }: PageAccess, la: I64, bytes: number): I32 {
    return hits(tag, la, bytes);
  }

  /** Reads 1, 2, 4 or 8 bytes at a linear address, zero-extended. */
  load(width: Width, la: I64, site = this.site()): I64 {
    const { f, cpu } = this;
    const address = f.let(la);
    const offset = this.#direct(address, width, TLB_READ);
    if (offset !== undefined) return f.let(cpu.ram.load(width, offset));
    const page = this.#page(address, TLB_READ);
    const value = f.ifValue(
      this.#hits(page, address, width),
      "i64",
      () => cpu.ram.load(width, address.add(page.addend())),
      () => this.#slowLoad(address, width, site),
      MOSTLY,
    );
    return value.within(8 * width);
  }

  /** Writes the low 1, 2, 4 or 8 bytes of a value at a linear address. */
  store(width: Width, la: I64, value: I64, site = this.site()): void {
    const { f, cpu } = this;
    const address = f.let(la);
    const kept = f.let(value);
    const offset = this.#direct(address, width, TLB_WRITE);
    if (offset !== undefined) return f.do(cpu.ram.store(width, offset, kept));
    const page = this.#page(address, TLB_WRITE);
    f.if(
      this.#hits(page, address, width),
      () => f.do(cpu.ram.store(width, address.add(page.addend()), kept)),
      () => this.#slowStore(address, width, kept, site),
      MOSTLY,
    );
  }

  /** Offset in memory 1 of bytes that may be written, or `NOT_RAM`. */
  hostForWrite(la: I64, bytes: number): I64 {
    const { f, cpu } = this;
    const offset = this.#direct(la, bytes, TLB_WRITE);
    if (offset !== undefined) return offset;
    const page = this.#page(la, TLB_WRITE);
    return f.ifValue(
      this.#hits(page, la, bytes),
      "i64",
      () => la.add(page.addend()),
      () => f.call(cpu.fn.prepareWrite, la, i32(bytes), this.site())[0],
      MOSTLY,
    );
  }

  /**
   * Makes sure that `bytes` (up to 4096) at a linear address can be written, so
   * that nothing faults afterwards; an access of several parts begins with it.
   */
  prepareWrite(la: I64, bytes: I32Like, site = this.site()): void {
    this.f.call(this.cpu.fn.prepareWrite, la, i32(bytes), site);
  }

  /** Reads 16 bytes; `aligned` raises #GP(0) where the address is not. */
  loadVector(la: I64, aligned: boolean): V128 {
    const { f, cpu } = this;
    if (aligned) this.checkAligned(la, 16);
    const offset = this.#direct(la, 16, TLB_READ);
    if (offset !== undefined) return f.let(cpu.ram.loadV128(offset));
    const page = this.#page(la, TLB_READ);
    return f.ifValue(
      this.#hits(page, la, 16),
      "v128",
      () => cpu.ram.loadV128(la.add(page.addend())),
      () => this.#slowLoadVector(la),
      MOSTLY,
    );
  }

  // All of it must be there before any of it is read.
  #slowLoadVector(la: I64): V128 {
    this.call("prepareRead", la, i32(16), this.site());
    const low = this.#slowLoad(la, 8);
    const high = this.#slowLoad(this.f.let(la.add(8)), 8);
    return this.f.let(vectorOf(low, high));
  }

  /** Writes 16 bytes; `aligned` raises #GP(0) where the address is not. */
  storeVector(la: I64, value: V128, aligned: boolean): void {
    const { f, cpu } = this;
    if (aligned) this.checkAligned(la, 16);
    const kept = f.let(value);
    const offset = this.#direct(la, 16, TLB_WRITE);
    if (offset !== undefined) return f.do(cpu.ram.storeV128(offset, kept));
    const page = this.#page(la, TLB_WRITE);
    f.if(
      this.#hits(page, la, 16),
      () => f.do(cpu.ram.storeV128(la.add(page.addend()), kept)),
      () => this.#slowStoreVector(la, kept),
      MOSTLY,
    );
  }

  #slowStoreVector(la: I64, value: V128): void {
    const { f } = this;
    this.prepareWrite(la, 16);
    const low = f.let(value.lane("i64x2.extract_lane", 0));
    const high = f.let(value.lane("i64x2.extract_lane", 1));
    this.#slowStore(la, 8, low);
    this.#slowStore(f.let(la.add(8)), 8, high);
  }

  /** Raises #GP(0) where an address is not a multiple of `bytes`. */
  checkAligned(la: I64, bytes: number): void {
    const misaligned = la.and(bytes - 1).ne(0);
    this.f.rarely(misaligned, () => this.raise(13, 0));
  }

  /**
   * Linear address of `offset` in a segment (given by its slot, such as `SS`),
   * with limit and rights checked where the shape is not flat.
   *
   * @param access 0 read, 1 write
   */
  linear(
    segment: number,
    offset: I64,
    bytes: number,
    access: 0 | 1,
  ): I64 {
    const { f, cpu } = this;
    const isBased = segment === FS || segment === GS;
    if (this.shape.code === 64) {
      if (!isBased) return f.let(offset);
      const kept = f.let(offset);
      this.checkOffset(kept, bytes);
      return f.let(kept.add(cpu.state.load64(0, segment + SEG_BASE)));
    }
    if (this.shape.flat && !isBased) return f.let(zeroExtend(offset, 32));
    const site = segment === SS ? this.site().or(SITE_STACK) : this.site();
    const [la] = f.call(
      cpu.fn.segmentLinear,
      i32(segment),
      offset,
      i32(bytes),
      i32(access),
      site,
    );
    return la;
  }

  /** As `linear`, for a segment whose slot is only known when it runs. */
  linearIn(slot: I32, offset: I64, bytes: number, access: 0 | 1): I64 {
    const { f, cpu } = this;
    const segment = f.let(slot);
    const isBased = segment.geU(FS);
    if (this.shape.code === 64) {
      const kept = f.let(offset);
      f.if(isBased, () => this.checkOffset(kept, bytes));
      const base = cpu.state.load64(segment, SEG_BASE);
      return f.let(kept.add(base.when(isBased, 0)));
    }
    const checked = () => {
      const site = this.site();
      const [la] = f.call(
        cpu.fn.segmentLinear,
        segment,
        offset,
        i32(bytes),
        i32(access),
        site.or(SITE_STACK).when(segment.eq(SS), site),
      );
      return la;
    };
    if (!this.shape.flat) return checked();
    const plain = zeroExtend(offset, 32);
    return f.ifValue(isBased, "i64", checked, () => plain);
  }

  /**
   * Raises #GP(0) where an offset in FS or GS is not canonical, from its first byte
   * to its last, before the base is added: AMD's processors want both so, the offset
   * and the sum, of which the manuals only name the sum. For 64-bit mode.
   */
  checkOffset(offset: I64, bytes: I32Like): void {
    if (this.shape.address !== 64) return;
    const beyond = (at: I64) => at.shl(16).shrS(16).xor(at);
    const last = this.let(offset.add(i32(bytes).toI64U()).sub(1));
    const bad = beyond(offset).or(beyond(last)).ne(0);
    this.f.rarely(bad, () => this.call("badAddress", this.site()));
  }

  // --- Stack ---------------------------------------------------------------

  /** The stack pointer, zero-extended from the stack's size. */
  stackPointer(): I64 {
    return this.gpr(REG.RSP, this.shape.stack);
  }

  /** Writes the stack pointer in the stack's size. */
  setStackPointer(value: I64): void {
    this.setGpr(REG.RSP, value, this.shape.stack);
  }

  #below(bytes: Width): I64 {
    const sp = this.stackPointer().sub(bytes);
    return this.let(zeroExtend(sp, this.shape.stack));
  }

  /** Pushes a value of `size` bits. */
  push(value: I64, size: 16 | 32 | 64): void {
    const bytes = widthOf(size);
    const kept = this.let(value);
    const sp = this.#below(bytes);
    const la = this.linear(SS, sp, bytes, 1);
    this.store(bytes, la, kept, this.site().or(SITE_STACK));
    this.setStackPointer(sp);
  }

  /** Makes sure that `size` bits can be pushed. */
  preparePush(size: 16 | 32 | 64): void {
    const bytes = widthOf(size);
    const la = this.linear(SS, this.#below(bytes), bytes, 1);
    this.prepareWrite(la, bytes, this.site().or(SITE_STACK));
  }

  /** Reads a value of `size` bits at `offset` above the stack's top; pops nothing. */
  peek(size: 16 | 32 | 64, offset = 0): I64 {
    const bytes = widthOf(size);
    const sp = this.let(
      zeroExtend(this.stackPointer().add(offset), this.shape.stack),
    );
    const la = this.linear(SS, sp, bytes, 0);
    return this.load(bytes, la, this.site().or(SITE_STACK));
  }

  /** Moves the stack pointer up by `bytes`. */
  release(bytes: I64Like): void {
    this.setStackPointer(this.stackPointer().add(i64(bytes)));
  }

  /** Pops a value of `size` bits. */
  pop(size: 16 | 32 | 64): I64 {
    const value = this.peek(size);
    this.release(widthOf(size));
    return value;
  }

  // --- Control -------------------------------------------------------------

  /** RIP of this instruction. */
  rip(): I64 {
    const { state } = this.cpu;
    const offset = this.site().and(SITE_OFFSET).toI64U();
    return this.let(this.#maskRip(state.load64(0, RIP_BASE).add(offset)));
  }

  /** RIP of the next instruction. */
  nextRip(): I64 {
    const { state } = this.cpu;
    const offset = this.site().and(SITE_OFFSET).add(this.fields.length());
    return this.let(
      this.#maskRip(state.load64(0, RIP_BASE).add(offset.toI64U())),
    );
  }

  // RIP_BASE may lie below zero where CS.base is not a multiple of a page.
  #maskRip(rip: I64): I64 {
    return this.shape.code === 64 ? rip : zeroExtend(rip, 32);
  }

  /** Raises an exception and ends the path. */
  raise(vector: I32Like, error: I32Like = NO_ERROR_CODE): void {
    this.f.call(this.cpu.fn.raise, this.site(), i32(vector), i32(error));
    this.f.unreachable();
  }

  /** Calls a runtime function with its arguments as they are. */
  call<N extends RuntimeName>(
    name: N,
    ...values: (I32 | I64)[]
  ): Values<RuntimeFunctions[N]["type"]["results"]> {
    return this.f.call(this.cpu.fn[name], ...values) as Values<
      RuntimeFunctions[N]["type"]["results"]
    >;
  }

  /**
   * What a runtime function gives that neither reads nor changes any state, as an
   * expression of kept arguments: it is called where that is used, if at all.
   */
  compute(name: PureName, ...values: I64[]): I64 {
    const { index } = this.cpu.fn[name];
    return expr("i64", [0x10, ...unsignedBytes(index)], values);
  }

  /** Goes on at the target of the direct branch; ends the path. */
  branch(): void {
    this.continuation.branch(this);
  }

  /**
   * Raises #GP(0) where a branch may not go to `rip`: not canonical, or beyond the
   * code segment's limit. Needs the axes "code" and "flat".
   *
   * @param first what may raise another exception instead
   */
  checkTarget(rip: I64, first = () => {}): void {
    const { f, cpu } = this;
    const refuse = () => {
      first();
      this.raise(13, 0);
    };
    if (this.shape.code === 64) {
      const canonical = rip.shl(16).shrS(16).eq(rip);
      f.rarely(canonical.eqz(), refuse);
    } else if (!this.shape.flat) {
      const limit = cpu.state.load32(0, CS + SEG_LIMIT).toI64U();
      f.rarely(rip.gtU(limit), refuse);
    }
  }

  /** Goes on at a RIP in the same mode; ends the path. */
  jumpTo(rip: I64): void {
    this.continuation.jump(this, this.let(rip));
  }

  /**
   * Goes on at `rip` after a change of the mode, of translations or of what lets
   * events in: by way of the engine where an event waits or it looks at every
   * instruction.
   */
  goOnAt(rip: I64): void {
    const { state } = this.cpu;
    const kept = this.let(rip);
    const looks = state.load32(0, ATTENTION)
      .or(state.load32(0, MODE_KEY).and(MODE.STEP));
    this.f.rarely(looks, () => this.endAt(kept));
    this.jumpTo(kept);
  }

  /** `goOnAt` the next instruction. */
  goOn(): void {
    this.goOnAt(this.nextRip());
  }

  /**
   * Ends the instruction at `rip` and has the engine look for events and at the
   * mode: for what others than emitted code decide on.
   */
  endAt(rip: I64): void {
    const { state } = this.cpu;
    const kept = this.let(rip);
    this.f.do(state.store64(0, kept, RIP));
    spend(this.cpu, this.f, this.fields.count(), () => kept);
    this.f.return(i32(STATUS.EVENTS));
  }

  /** `endAt` the next instruction. */
  endBlock(): void {
    this.endAt(this.nextRip());
  }

  /** Goes on with the next instruction; a form that does not end its block has it added. */
  next(): void {
    this.continuation.next();
  }
}

/** A vector of two 64-bit lanes. */
export function vectorOf(low: I64, high: I64): V128 {
  return splat("i64x2", low).withLane("i64x2", 1, high);
}

/** Segment slots by their register number: ES CS SS DS FS GS. */
export const SEGMENT_SLOTS = [ES, CS, SS, DS, FS, GS] as const;

/** How threaded code goes on. */
export class ThreadedContinuation implements Continuation {
  /** @param following the record to go on at */
  constructor(
    readonly cpu: CpuModule,
    readonly f: FunctionBuilder,
    readonly following: I32,
  ) {}

  next(): void {
    goTo(this.cpu, this.f, this.f.let(this.following));
  }

  branch(x: Emitter): void {
    const { f, cpu } = this;
    spend(cpu, f, x.fields.count(), () => branchTarget(x));
    goTo(cpu, f, f.let(x.fields.link()));
  }

  jump(x: Emitter, rip: I64): void {
    jumpOut(x, rip);
  }
}

/** Spends the block and goes on at a RIP wherever its code may be; ends the path. */
export function jumpOut({ cpu, f, fields }: Emitter, rip: I64): void {
  spend(cpu, f, fields.count(), () => rip);
  f.returnCall(cpu.fn.dispatch, rip);
}

/** RIP that the direct branch leads to: its immediate is relative to RIP_BASE. */
export function branchTarget(x: Emitter): I64 {
  const sum = x.cpu.state.load64(0, RIP_BASE).add(x.fields.imm());
  return x.let(x.shape.code === 64 ? sum : zeroExtend(sum, 32));
}
