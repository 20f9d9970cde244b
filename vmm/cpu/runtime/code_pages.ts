// Writes to pages that hold code: such a page is not writable in the TLB, so that its
// writes come to the slow path. An index by page finds the entries that write to it.

import type { CpuModule } from "../cpu_module.ts";
import { CODE_PAGE_STRIDE, CODE_PAGES, HOLDERS } from "../shared_code.ts";
import {
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

/** Defines the functions of `CODE_PAGE_SIGNATURES`. */
export function defineCodePages(cpu: CpuModule): void {
  defineNoteWriter(cpu);
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
