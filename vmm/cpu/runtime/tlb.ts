// The TLB: arrays of entries by address space and mode, their fill and flush (Intel
// SDM vol. 3, 4.10). A log of filled entries makes a flush cost what was used.

import type { CpuModule } from "../cpu_module.ts";
import {
  type FunctionBuilder,
  type I32,
  i32,
  type I64,
  i64,
} from "../wasm/mod.ts";
import {
  DR,
  META_GLOBAL,
  META_LARGE,
  TLB,
  TLB_ADDEND,
  TLB_ARRAY,
  TLB_CODE,
  TLB_ENTRIES,
  TLB_FETCH,
  TLB_LARGE,
  TLB_LOG,
  TLB_LOG_COUNT,
  TLB_LOG_KEPT,
  TLB_LOG_MAX,
  TLB_META,
  TLB_MISMATCH,
  TLB_MODES,
  TLB_READ,
  TLB_SPACES,
  TLB_STRIDE,
  TLB_WRITE,
} from "../state.ts";

/** Rights to a page, in the low bits of what a walk answers. */
export const RIGHT_READ = 0x10;
export const RIGHT_WRITE = 0x20;
export const RIGHT_FETCH = 0x40;

/** Signatures of the functions defined here. */
export const TLB_SIGNATURES = {
  /** Drops the entries of one address space, global ones too if asked: space, all. */
  flushSpace: { params: ["i32", "i32"], results: [] },
  /** Drops every entry of every address space. */
  flushAll: { params: [], results: [] },
  /** Drops what translates one page of one address space: space, linear address. */
  flushPage: { params: ["i32", "i64"], results: [] },
} as const;

/** Address of the entry for a linear address in a TLB array. */
export function tlbEntry(array: I32, la: I64): I32 {
  const shift = 12 - Math.log2(TLB_STRIDE);
  const mask = (TLB_ENTRIES - 1) * TLB_STRIDE;
  return la.toI32().shrU(shift).and(mask).add(array);
}

/** The mode of a TLB array. */
export function tlbMode(array: I32): I32 {
  return array.sub(TLB).divU(TLB_ARRAY).remU(TLB_MODES);
}

/** The page of an address. */
export function pageOf(la: I64): I64 {
  return la.and(-4096);
}

/** The TLB array of an address space and mode. */
export function tlbArray(space: number, mode: number): number {
  return TLB + (space * TLB_MODES + mode) * TLB_ARRAY;
}

/** Enters a translation into the TLB. */
export function fillTlb(
  cpu: CpuModule,
  f: FunctionBuilder,
  args: {
    array: I32;
    la: I64;
    offset: I64;
    rights: I32;
    isCode: I32;
    isReadOnly: I32;
  },
): void {
  const { state } = cpu;
  const page = f.let(pageOf(args.la));
  const entry = f.let(tlbEntry(args.array, args.la));
  const tag = (right: number, and: I32 | number = 1, matching = page) =>
    matching.when(
      args.rights.and(right).ne(0).and(and),
      page.xor(TLB_MISMATCH),
    );
  // Data breakpoints are checked on the slow path: keep data accesses there.
  const watched = f.let(state.load32(0, DR + 56).and(0xff).ne(0));
  f.do(state.store64(entry, tag(RIGHT_READ, watched.eqz()), TLB_READ));
  const writes = tag(
    RIGHT_WRITE,
    args.isReadOnly.or(watched).eqz(),
    page.xor(i64(TLB_CODE).when(args.isCode, i64(0))),
  );
  f.do(state.store64(entry, writes, TLB_WRITE));
  f.do(state.store64(entry, tag(RIGHT_FETCH), TLB_FETCH));
  f.do(state.store64(entry, pageOf(args.offset).sub(page), TLB_ADDEND));
  f.if(
    args.isCode.eqz(),
    () => void f.call(cpu.fn.noteWriter, entry),
  );
  const index = entry.sub(TLB).shrU(Math.log2(TLB_STRIDE));
  f.do(
    state.store32(
      index.shl(2),
      args.rights.and(META_GLOBAL | META_LARGE),
      TLB_META,
    ),
  );
  const space = f.let(index.divU(TLB_MODES * TLB_ENTRIES));
  f.if(args.rights.and(META_LARGE), () => {
    const seen = state.load64(space.shl(3), TLB_LARGE);
    f.do(state.store64(space.shl(3), seen.or(largeBit(args.la)), TLB_LARGE));
  });
  const count = f.let(state.load32(space.shl(2), TLB_LOG_COUNT));
  f.if(
    count.ltU(TLB_LOG_MAX),
    () =>
      f.do(
        state.store32(
          space.mul(TLB_LOG_MAX).add(count).shl(2),
          entry,
          TLB_LOG,
        ),
      ),
  );
  f.if(
    count.leU(TLB_LOG_MAX),
    () => f.do(state.store32(space.shl(2), count.add(1), TLB_LOG_COUNT)),
  );
}

/** The bit of `TLB_LARGE` for an address's gigabyte. */
export function largeBit(la: I64): I64 {
  return i64(1).shl(la.shrU(30).xor(la.shrU(42)));
}

// The lowest page that has its entry at this address.
function tlbPage(entry: I32): I64 {
  const index = entry.sub(TLB).shrU(Math.log2(TLB_STRIDE));
  return index.and(TLB_ENTRIES - 1).shl(12).toI64U();
}

function invalidate(cpu: CpuModule, f: FunctionBuilder, entry: I32): void {
  const mismatch = f.let(tlbPage(entry).xor(TLB_MISMATCH));
  for (const tag of [TLB_READ, TLB_WRITE, TLB_FETCH]) {
    f.do(cpu.state.store64(entry, mismatch, tag));
  }
}

/** Flags of the entry at an address. */
export function metaOf(cpu: CpuModule, entry: I32): I32 {
  const index = entry.sub(TLB).shrU(Math.log2(TLB_STRIDE));
  return cpu.state.load32(index.shl(2), TLB_META);
}

/**
 * Runs `body` for each logged entry of a space, or for all where it overflowed.
 *
 * @param from the first that counts
 */
export function forEachEntry(
  cpu: CpuModule,
  f: FunctionBuilder,
  space: I32,
  body: (entry: I32) => void,
  from: I32 = i32(0),
): void {
  const { state } = cpu;
  const count = f.let(state.load32(space.shl(2), TLB_LOG_COUNT));
  const overflow = f.let(count.gtU(TLB_LOG_MAX));
  const total = f.let(
    i32(TLB_MODES * TLB_ENTRIES).when(overflow, count),
  );
  const base = f.let(space.mul(TLB_MODES * TLB_ARRAY).add(TLB));
  const i = f.var("i32");
  f.set(i, from);
  f.block((done) =>
    f.loop((again) => {
      f.brIf(done, i.get().geU(total));
      const entry = f.ifValue(
        overflow,
        "i32",
        () => base.add(i.get().mul(TLB_STRIDE)),
        () => state.load32(space.mul(TLB_LOG_MAX).add(i.get()).shl(2), TLB_LOG),
      );
      body(entry);
      f.set(i, i.get().add(1));
      f.br(again);
    })
  );
}

/** Defines the functions of `TLB_SIGNATURES`. */
export function defineTlb(cpu: CpuModule): void {
  const { state } = cpu;
  cpu.define("flushSpace", (f) => {
    const space = f.param(0, "i32");
    const all = f.param(1, "i32");
    const kept = f.var("i32");
    const overflow = state.load32(space.shl(2), TLB_LOG_COUNT).gtU(TLB_LOG_MAX);
    const isSparing = f.let(all.or(overflow).eqz());
    // What was global at the last flush either is, or was filled and logged again.
    const before = f.let(state.load32(space.shl(2), TLB_LOG_KEPT));
    f.set(kept, before.when(isSparing, i32(0)));
    forEachEntry(cpu, f, space, (entry) => {
      const isGlobal = metaOf(cpu, entry).and(META_GLOBAL).ne(0);
      f.if(isGlobal.and(isSparing), () => {
        f.do(
          state.store32(
            space.mul(TLB_LOG_MAX).add(kept.get()).shl(2),
            entry,
            TLB_LOG,
          ),
        );
        f.set(kept, kept.get().add(1));
      }, () => invalidate(cpu, f, entry));
    }, f.let(kept.get()));
    f.do(state.store32(space.shl(2), kept.get(), TLB_LOG_COUNT));
    f.do(state.store32(space.shl(2), kept.get(), TLB_LOG_KEPT));
    f.if(
      kept.get().eqz(),
      () => f.do(state.store64(space.shl(3), i64(0), TLB_LARGE)),
    );
  });
  cpu.define("flushAll", (f) => {
    for (let space = 0; space < TLB_SPACES; space++) {
      f.call(cpu.fn.flushSpace, i32(space), i32(1));
    }
  });
  cpu.define("flushPage", (f) => {
    const space = f.param(0, "i32");
    const la = f.param(1, "i64");
    for (let mode = 0; mode < TLB_MODES; mode++) {
      const array = space.mul(TLB_MODES).add(mode).mul(TLB_ARRAY).add(TLB);
      invalidate(cpu, f, f.let(tlbEntry(array, la)));
    }
    // A large page has an entry for each 4 KiB that was used: find them all.
    const large = state.load64(space.shl(3), TLB_LARGE);
    f.if(large.and(largeBit(la)).eqz(), () => f.return());
    forEachEntry(cpu, f, space, (entry) => {
      // A tag that does not match is off by one page, which is near as well.
      const tag = state.load64(entry, TLB_READ);
      const near = tag.xor(la).shrU(30).eqz();
      f.if(
        metaOf(cpu, entry).and(META_LARGE).ne(0).and(near),
        () => invalidate(cpu, f, entry),
      );
    });
  });
}
