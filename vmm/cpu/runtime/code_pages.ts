// Writes to pages that hold code: such a page is not writable in the TLB, so that its
// writes come to the slow path. An index by page finds the entries that write to it.
// What lies beside the code in such a page is written without leaving emitted code.

import type { CpuModule } from "../cpu_module.ts";
import {
  CODE_PAGE_STRIDE,
  CODE_PAGES,
  HOLDERS,
  SETTLED,
  WRITE,
} from "../shared_code.ts";
import {
  CODE_GRAINS,
  CODE_HOLDER,
  GRAIN_BITS,
  GRAINS_BITS,
  GRAINS_PAGE,
  GRAINS_STRIDE,
  TLB,
  TLB_ADDEND,
  TLB_CODE,
  TLB_ENTRIES,
  TLB_SPACES,
  TLB_STRIDE,
  TLB_WRITE,
  TLB_WRITERS,
  WRITERS_BITS,
  WRITERS_MANY,
} from "../state.ts";
import {
  type FunctionBuilder,
  type I32,
  i32,
  type I64,
  i64,
} from "../wasm/mod.ts";
import { forEachEntry } from "./tlb.ts";

/** Signatures of the functions defined here. */
export const CODE_PAGE_SIGNATURES = {
  /** Makes a page of memory 1 (by number) not writable in every TLB array. */
  protectPage: { params: ["i32"], results: [] },
  /** Notes that a TLB entry may write to its page: the entry's address. */
  noteWriter: { params: ["i32"], results: [] },
  /**
   * Whether the page of an entry with `TLB_CODE` still holds code; if not, the entry
   * may write to it from now on: the entry's address.
   */
  checkCode: { params: ["i32"], results: ["i32"] },
  /**
   * Before bytes of a page with `TLB_CODE` are written: drops the code that they hit, in
   * every thread: page of memory 1 by number, offset in it, bytes.
   */
  beforeCodeWrite: { params: ["i32", "i32", "i32"], results: [] },
} as const;

/** Whether a thread holds code of a page of memory 1, by number: not 0 if so. */
export function holdsCode(cpu: CpuModule, page: I32): I32 {
  const at = page.mul(CODE_PAGE_STRIDE);
  return cpu.common.atomicLoad(4, at, CODE_PAGES).toI32().and(HOLDERS);
}

/** Where an entry writes. */
interface Writer {
  readonly tag: I64;
  /** the page of memory 1, by number */
  readonly page: I32;
  /** not 0 where the entry lets writes through */
  readonly isOpen: I32;
}

// A tag that matches has the entry's own place in its bits.
function writerAt(cpu: CpuModule, f: FunctionBuilder, entry: I32): Writer {
  const tag = f.let(cpu.state.load64(entry, TLB_WRITE));
  const sum = tag.add(cpu.state.load64(entry, TLB_ADDEND));
  const place = entry.sub(TLB).shrU(Math.log2(TLB_STRIDE));
  const isOpen = tag.shrU(12).toI32().xor(place).and(TLB_ENTRIES - 1).eqz();
  return {
    tag,
    page: f.let(sum.shrU(12).toI32()),
    isOpen: f.let(isOpen.and(entry.ne(0))),
  };
}

function slotOf(page: I32): I32 {
  return page.and((1 << WRITERS_BITS) - 1).shl(3);
}

function defineNoteWriter(cpu: CpuModule): void {
  const { state } = cpu;
  cpu.define("noteWriter", (f) => {
    const entry = f.param(0, "i32");
    const { page, isOpen } = writerAt(cpu, f, entry);
    f.if(isOpen.eqz(), () => f.return());
    const slot = f.let(slotOf(page));
    const first = f.let(state.load32(slot, TLB_WRITERS));
    f.if(first.eq(entry).or(first.eq(WRITERS_MANY)), () => f.return());
    for (const at of [TLB_WRITERS, TLB_WRITERS + 4]) {
      const known = f.let(state.load32(slot, at));
      const other = writerAt(cpu, f, known);
      const isFree = other.isOpen.and(slotOf(other.page).eq(slot)).eqz();
      f.if(isFree.or(known.eq(entry)), () => {
        f.do(state.store32(slot, entry, at));
        f.return();
      });
    }
    f.do(state.store32(slot, i32(WRITERS_MANY), TLB_WRITERS));
  });
}

function defineProtectPage(cpu: CpuModule): void {
  const { state } = cpu;
  cpu.define("protectPage", (f) => {
    const page = f.param(0, "i32");
    const slot = f.let(slotOf(page));
    const close = (entry: I32, others?: () => void) => {
      const writer = writerAt(cpu, f, entry);
      f.if(writer.isOpen.and(writer.page.eq(page)), () => {
        f.do(state.store64(entry, writer.tag.xor(TLB_CODE), TLB_WRITE));
      }, others);
    };
    const first = f.let(state.load32(slot, TLB_WRITERS));
    const second = f.let(state.load32(slot, TLB_WRITERS + 4));
    f.if(first.ne(WRITERS_MANY), () => {
      close(first);
      close(second);
      f.return();
    });
    // The slot is made anew from those of its entries that go on writing.
    f.do(state.store64(slot, i64(0), TLB_WRITERS));
    for (let space = 0; space < TLB_SPACES; space++) {
      forEachEntry(cpu, f, i32(space), (entry) => {
        const at = f.let(entry);
        close(at, () => {
          const isHere = slotOf(writerAt(cpu, f, at).page).eq(slot);
          f.if(isHere, () => void f.call(cpu.fn.noteWriter, at));
        });
      });
    }
  });
}

// Notes a write to a page, as `SharedCode.wrote` does; whether that was all, since no
// other thread holds code of it.
function isOwnWrite(cpu: CpuModule, f: FunctionBuilder, page: I32): I32 {
  const { common, state } = cpu;
  const at = f.let(page.mul(CODE_PAGE_STRIDE));
  const old = f.let(common.atomicLoad(4, at, CODE_PAGES));
  const next = old.and(~SETTLED).add(WRITE).and(0xffff_ffff);
  const found = common.atomicCmpxchg(4, at, old, next, CODE_PAGES);
  const isNoted = f.let(found.eq(old));
  const holders = old.toI32().and(HOLDERS);
  return isNoted.and(holders.eq(state.load32(0, CODE_HOLDER)));
}

/** Most bytes whose parts' bits, which begin anywhere in a byte, lie in four. */
const MOST_BYTES = 128;

// Whether code lies in the parts of its page that a few bytes touch: not 0 if so.
function touchesCode(
  cpu: CpuModule,
  f: FunctionBuilder,
  entry: I32,
  [from, bytes]: readonly [I32, I32],
): I32 {
  const first = f.let(from.shrU(GRAIN_BITS));
  const last = from.add(bytes).sub(1).shrU(GRAIN_BITS);
  const touched = i32(2).shl(last.sub(first)).sub(1);
  const bits = cpu.state.load32(entry.add(first.shrU(3)));
  return bits.shrU(first.and(7)).and(touched);
}

function defineBeforeCodeWrite(cpu: CpuModule): void {
  const { state } = cpu;
  cpu.define("beforeCodeWrite", (f) => {
    const page = f.param(0, "i32");
    const from = f.param(1, "i32");
    const bytes = f.param(2, "i32");
    const index = page.and((1 << GRAINS_BITS) - 1);
    const entry = f.let(index.mul(GRAINS_STRIDE).add(CODE_GRAINS));
    const isNoted = state.load32(entry, GRAINS_PAGE).eq(page.add(1));
    f.if(isNoted.and(bytes.leU(MOST_BYTES)), () => {
      f.if(touchesCode(cpu, f, entry, [from, bytes]).eqz(), () => {
        f.if(isOwnWrite(cpu, f, page), () => f.return());
      });
    });
    f.call(cpu.host.codeWrite, page, from, bytes);
  });
}

/** Defines the functions of `CODE_PAGE_SIGNATURES`. */
export function defineCodePages(cpu: CpuModule): void {
  defineNoteWriter(cpu);
  defineBeforeCodeWrite(cpu);
  defineProtectPage(cpu);
  cpu.define("checkCode", (f) => {
    const entry = f.param(0, "i32");
    const page = f.let(cpu.state.load64(entry, TLB_WRITE).xor(TLB_CODE));
    const sum = page.add(cpu.state.load64(entry, TLB_ADDEND));
    const isCode = f.let(holdsCode(cpu, sum.shrU(12).toI32()));
    f.if(isCode.eqz(), () => {
      f.do(cpu.state.store64(entry, page, TLB_WRITE));
      f.call(cpu.fn.noteWriter, entry);
    });
    f.return(isCode);
  });
}
