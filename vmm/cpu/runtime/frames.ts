// Frames that transfers between segments push and pop, and the stacks that they
// switch to (Intel SDM vol. 3, 5.8.5, 6.12.1, 6.14.2 to 6.14.5, 7.7).

import type { CpuModule } from "../cpu_module.ts";
import { FLAG } from "../flags.ts";
import {
  ACCESS,
  CR0,
  FRAME,
  NEXT_SS,
  SEG_LIMIT,
  SEG_SELECTOR,
  SS,
  SYSTEM_FLAGS,
  TLB,
  TLB_ADDEND,
  TLB_ARRAY,
  TLB_BASE,
  TLB_MODE_ALIGNED,
  TLB_MODE_OPEN,
  TLB_MODE_SUPERVISOR,
  TLB_MODE_USER,
  TLB_MODES,
  TLB_READ,
  TLB_SPACE,
  TLB_WRITE,
  TR,
} from "../state.ts";
import { type I32, i32, type I64, i64 } from "../wasm/mod.ts";
import { readDescriptor, setAccessed } from "./descriptors.ts";
import { isCanonical, isNull, selectorError, Sys } from "./sysops.ts";
import { VECTOR } from "./traps.ts";
import { CR0_AM, CR4_SMAP } from "./control_bits.ts";
import { tlbEntry } from "./tlb.ts";
import { ACCESS_WRITE } from "./walk.ts";

/** Signatures of the functions defined here. */
export const FRAME_SIGNATURES = {
  /** The TLB array for accesses at a privilege level. */
  arrayAt: { params: ["i32"], results: ["i32"] },
  /**
   * Linear address of bytes on a stack, checked: stack slot, offset, bytes, whether
   * it is a 64-bit stack, error code of the #SS that it raises, site.
   */
  stackLinear: {
    params: ["i32", "i64", "i32", "i32", "i32", "i32"],
    results: ["i64"],
  },
  /**
   * Pushes the first words of FRAME, the first one first, and answers the stack
   * pointer afterwards: stack slot, stack pointer, count, bytes of a word, whether
   * it is a 64-bit stack, privilege level, error code of #SS, site. Everything is
   * checked before anything is written.
   */
  pushFrame: {
    params: ["i32", "i64", "i32", "i32", "i32", "i32", "i32", "i32"],
    results: ["i64"],
  },
  /**
   * Reads words from the stack into FRAME: stack pointer, first index in FRAME,
   * count, bytes of a word, site. Sets no register.
   */
  readFrame: { params: ["i64", "i32", "i32", "i32", "i32"], results: [] },
  /**
   * The stack for a privilege level, from the TSS: level, index in the interrupt
   * stack table or 0, EXT, site. Leaves the segment in NEXT_SS and answers the
   * stack pointer.
   */
  innerStack: { params: ["i32", "i32", "i32", "i32"], results: ["i64"] },
  /**
   * Checks the stack segment that a return to an outer level (or in 64-bit mode)
   * names, and leaves it in NEXT_SS: selector, level, whether it returns to 64-bit
   * code, site.
   */
  outerStack: { params: ["i32", "i32", "i32", "i32"], results: [] },
} as const;

/** Address of a word of FRAME. */
export function frameWord(n: number): number {
  return FRAME + 8 * n;
}

function defineArray(cpu: CpuModule): void {
  cpu.define("arrayAt", (f) => {
    const s = new Sys(cpu, f);
    const hasAc = s.let(s.state.load32(0, SYSTEM_FLAGS).and(FLAG.AC).ne(0));
    const open = s.cr4(CR4_SMAP).eqz().or(hasAc);
    const supervisor = i32(TLB_MODE_OPEN).when(open, TLB_MODE_SUPERVISOR);
    const isAligned = hasAc.and(s.state.load32(0, CR0).and(CR0_AM).ne(0));
    const user = i32(TLB_MODE_ALIGNED).when(isAligned, TLB_MODE_USER);
    const isUser = f.param(0, "i32").eq(3);
    const mode = user.when(isUser, supervisor);
    const space = s.state.load32(0, TLB_SPACE).mul(TLB_MODES);
    f.return(space.add(mode).mul(TLB_ARRAY).add(TLB));
  });
}

function defineStackLinear(cpu: CpuModule): void {
  cpu.define("stackLinear", (f) => {
    const slot = f.param(0, "i32");
    const offset = f.param(1, "i64");
    const bytes = f.param(2, "i32");
    const error = f.param(4, "i32");
    const s = new Sys(cpu, f, f.param(5, "i32"));
    const last = s.let(offset.add(bytes.toI64U()).sub(1));
    f.if(f.param(3, "i32"), () => {
      const good = isCanonical(offset).and(isCanonical(last));
      s.failIf(good.eqz(), VECTOR.SS, error);
      f.return(offset);
    });
    const access = s.access(slot);
    const limit = s.let(s.get(slot, SEG_LIMIT).toI64U());
    const top = i32(-1).when(access.and(ACCESS.DB).ne(0), 0xffff).toI64U();
    const below = offset.gtU(limit).and(last.leU(top));
    const expandsDown = access.and(ACCESS.EXPAND_DOWN).ne(0);
    const inside = below.when(expandsDown, last.leU(limit));
    const usable = access.and(ACCESS.UNUSABLE).eqz()
      .or(s.isProtected().eqz());
    s.failIf(inside.and(usable).eqz(), VECTOR.SS, error);
    f.return(s.base(slot).add(offset).and(0xffff_ffff));
  });
}

// Runs `body` with each index below a count that is not zero.
function forEachWord(s: Sys, count: I32, body: (index: I32) => void): void {
  const n = s.f.var("i32");
  s.f.loop((again) => {
    body(s.let(n.get()));
    s.f.set(n, n.get().add(1));
    s.f.brIf(again, n.get().ltU(count));
  });
}

interface PushArgs {
  readonly slot: I32;
  readonly count: I32;
  readonly bytes: I32;
  readonly wide: I32;
  readonly error: I32;
  readonly array: I32;
  readonly mask: I64;
  readonly sp: I64;
}

function frameAt(s: Sys, index: I32): I64 {
  return s.state.load64(index.shl(3), FRAME);
}

// Linear address of the word that is pushed as number `index`.
function pushedWord(s: Sys, a: PushArgs, index: I32): I64 {
  const below = index.add(1).mul(a.bytes).toI64U();
  const offset = s.let(a.sp.sub(below).and(a.mask));
  return s.call(
    "stackLinear",
    a.slot,
    offset,
    a.bytes,
    a.wide,
    a.error,
    s.site,
  )[0];
}

function pushSlowly(s: Sys, a: PushArgs): void {
  const access = i32(ACCESS_WRITE);
  forEachWord(s, a.count, (index) => {
    const la = pushedWord(s, a, index);
    s.call("translate", la, access, a.array, s.site);
    const last = s.let(la.add(a.bytes.sub(1).toI64U()));
    s.call("translate", last, access, a.array, s.site);
  });
  forEachWord(s, a.count, (index) => {
    const la = pushedWord(s, a, index);
    const value = s.let(frameAt(s, index));
    s.call("storeVia", la, a.bytes, value, a.array, s.site);
  });
}

function definePushFrame(cpu: CpuModule): void {
  cpu.define("pushFrame", (f) => {
    const s = new Sys(cpu, f, f.param(7, "i32"));
    const sp = f.param(1, "i64");
    const count = f.param(2, "i32");
    const bytes = f.param(3, "i32");
    const wide = f.param(4, "i32");
    const [array] = s.call("arrayAt", f.param(5, "i32"));
    const mask = s.stackMask(f.param(0, "i32"), wide);
    const total = s.let(count.mul(bytes).toI64U());
    const bottom = s.let(sp.sub(total).and(mask));
    f.if(wide.and(bytes.eq(8)), () => {
      const entry = s.let(tlbEntry(array, bottom));
      const inPage = bottom.xor(s.state.load64(entry, TLB_WRITE));
      f.if(inPage.leU(i64(4096).sub(total)), () => {
        const top = s.let(
          bottom.add(s.state.load64(entry, TLB_ADDEND)).add(total),
        );
        forEachWord(s, count, (index) => {
          const at = top.sub(index.shl(3).toI64U());
          f.do(cpu.ram.store(8, at.sub(8), frameAt(s, index)));
        });
        f.return(bottom);
      });
    });
    pushSlowly(s, {
      slot: f.param(0, "i32"),
      count,
      bytes,
      wide,
      error: f.param(6, "i32"),
      array,
      mask,
      sp,
    });
    f.return(bottom);
  });
}

// AMD's processors read what IRET goes on with, from the flags down, before the stack
// that it switches to, from the selector down; RETF's selector, too, before its offset.
function orderOfReads(count: I32, done: I32): I32 {
  const end = count.when(count.ltU(3), 3);
  return end.sub(1).sub(done).when(done.ltU(3), count.add(2).sub(done));
}

function defineReadFrame(cpu: CpuModule): void {
  cpu.define("readFrame", (f) => {
    const s = new Sys(cpu, f, f.param(4, "i32"));
    const sp = f.param(0, "i64");
    const to = s.let(f.param(1, "i32").shl(3));
    const count = f.param(2, "i32");
    const bytes = f.param(3, "i32");
    const wide = s.let(s.is64());
    const put = (index: I32, value: I64) =>
      s.set64(to.add(index.shl(3)), value, FRAME);
    f.if(wide.and(bytes.eq(8)), () => {
      const entry = s.let(tlbEntry(s.state.load32(0, TLB_BASE), sp));
      const inPage = sp.xor(s.state.load64(entry, TLB_READ));
      const room = i64(4096).sub(count.shl(3).toI64U());
      f.if(inPage.leU(room), () => {
        const host = s.let(sp.add(s.state.load64(entry, TLB_ADDEND)));
        forEachWord(s, count, (index) => {
          put(index, cpu.ram.load64(host.add(index.shl(3).toI64U())));
        });
        f.return();
      });
    });
    const mask = s.stackMask(i32(SS), wide);
    forEachWord(s, count, (done) => {
      const index = s.let(orderOfReads(count, done));
      const above = index.mul(bytes).toI64U();
      const offset = s.let(sp.add(above).and(mask));
      const [la] = s.call(
        "stackLinear",
        i32(SS),
        offset,
        bytes,
        wide,
        i32(0),
        s.site,
      );
      put(index, s.call("loadSlow", la, bytes, s.site)[0]);
    });
  });
}

// In long mode a stack is a pointer alone, and its selector is null.
function innerStackLong(s: Sys, dpl: I32, ist: I32, error: I32): void {
  const { f } = s;
  const offset = s.let(
    ist.shl(3).add(28).when(ist.ne(0), dpl.shl(3).add(4)),
  );
  s.failIf(offset.add(7).gtU(s.get(TR, SEG_LIMIT)), VECTOR.TS, error);
  s.call("setNullSegment", i32(NEXT_SS), dpl, dpl);
  f.return(s.load(8, s.base(TR).add(offset.toI64U())));
}

function defineInnerStack(cpu: CpuModule): void {
  cpu.define("innerStack", (f) => {
    const dpl = f.param(0, "i32");
    const ext = f.param(2, "i32");
    const s = new Sys(cpu, f, f.param(3, "i32"));
    const tssError = s.let(selectorError(s.selector(TR), ext));
    f.if(
      s.isLong(),
      () => innerStackLong(s, dpl, f.param(1, "i32"), tssError),
    );
    const is32 = s.let(s.access(TR).and(8).ne(0));
    const shift = i32(3).when(is32, 2);
    const offset = s.let(dpl.shl(shift).add(i32(4).when(is32, 2)));
    const last = offset.add(i32(5).when(is32, 3));
    s.failIf(last.gtU(s.get(TR, SEG_LIMIT)), VECTOR.TS, tssError);
    const la = s.linear(s.base(TR).add(offset.toI64U()));
    const sp = f.ifValue(
      is32,
      "i64",
      () => s.load(4, la),
      () => s.load(2, la),
    );
    const after = s.let(la.add(i64(4).when(is32, i64(2))));
    const selector = s.let(s.load(2, after).toI32());
    s.failIf(isNull(selector), VECTOR.TS, ext);
    const error = s.let(selectorError(selector, ext));
    const d = readDescriptor(s, selector, VECTOR.TS, ext);
    const good = selector.and(3).eq(dpl).and(d.dpl().eq(dpl))
      .and(d.isWritable());
    s.failIf(good.eqz(), VECTOR.TS, error);
    s.failIf(d.isAbsent(), VECTOR.SS, error);
    setAccessed(s, selector, d);
    s.call("setSegment", i32(NEXT_SS), selector, d.raw);
    f.return(sp);
  });
}

function defineOuterStack(cpu: CpuModule): void {
  cpu.define("outerStack", (f) => {
    const selector = f.param(0, "i32");
    const level = f.param(1, "i32");
    const s = new Sys(cpu, f, f.param(3, "i32"));
    f.if(isNull(selector), () => {
      const allowed = f.param(2, "i32").and(level.ne(3));
      s.protectIf(allowed.eqz());
      s.call("setNullSegment", i32(NEXT_SS), selector, level);
      f.return();
    });
    const error = s.let(selectorError(selector));
    const d = readDescriptor(s, selector, VECTOR.GP);
    const good = selector.and(3).eq(level).and(d.dpl().eq(level))
      .and(d.isWritable());
    s.failIf(good.eqz(), VECTOR.GP, error);
    s.failIf(d.isAbsent(), VECTOR.SS, error);
    setAccessed(s, selector, d);
    s.call("setSegment", i32(NEXT_SS), selector, d.raw);
  });
}

/** The error code that names the stack in NEXT_SS. */
export function nextStackError(s: Sys, ext: I32): I32 {
  return selectorError(s.get(NEXT_SS, SEG_SELECTOR), ext);
}

/** Defines the functions of `FRAME_SIGNATURES`. */
export function defineFrames(cpu: CpuModule): void {
  defineArray(cpu);
  defineStackLinear(cpu);
  definePushFrame(cpu);
  defineReadFrame(cpu);
  defineInnerStack(cpu);
  defineOuterStack(cpu);
}
