// Translation of a linear address to an offset in guest memory: by the TLB, else by a
// walk that fills it.

import type { CpuModule } from "../cpu_module.ts";
import { i32, i64 } from "../wasm/mod.ts";
import {
  EFER,
  SCRATCH,
  TLB_ADDEND,
  TLB_MODE_ALIGNED,
  TLB_MODE_USER,
} from "../state.ts";
import { EFER_LMA } from "./control_bits.ts";
import { fillTlb, pageOf, tlbEntry, tlbMode } from "./tlb.ts";
import {
  ACCESS_PROBE,
  ACCESS_WRITE,
  NO_TRANSLATION,
  NOT_RAM,
  SCRATCH_CODE,
  SCRATCH_PA,
} from "./walk.ts";

/** Signatures of the function defined here. */
export const TRANSLATE_SIGNATURES = {
  /**
   * Offset in memory 1 of a linear address, or `NOT_RAM` with the address in
   * SCRATCH: linear address, access, TLB array, site. Fills the TLB.
   */
  translate: { params: ["i64", "i32", "i32", "i32"], results: ["i64"] },
} as const;

/** Defines the function of `TRANSLATE_SIGNATURES`. */
export function defineTranslate(cpu: CpuModule): void {
  const { state } = cpu;
  cpu.define("translate", (f) => {
    const la = f.param(0, "i64");
    const access = f.param(1, "i32");
    const array = f.param(2, "i32");
    const site = f.param(3, "i32");
    f.do(state.store64(0, i64(0), SCRATCH + 8 * SCRATCH_CODE));
    const entry = f.let(tlbEntry(array, la));
    const tag = state.load64(entry.add(access.and(3).shl(3)));
    f.if(
      tag.eq(pageOf(la)),
      () => f.return(la.add(state.load64(entry, TLB_ADDEND))),
    );
    const long = state.load32(0, EFER).and(EFER_LMA).ne(0);
    const canonical = la.shl(16).shrS(16).eq(la);
    f.if(long.and(canonical.eqz()), () => {
      f.if(
        access.and(ACCESS_PROBE),
        () => f.return(i64(NO_TRANSLATION)),
      );
      f.call(cpu.fn.badAddress, site);
      f.unreachable();
    });
    const mode = f.let(tlbMode(array));
    const isAligned = f.let(mode.eq(TLB_MODE_ALIGNED));
    const rights = i32(TLB_MODE_USER).when(isAligned, mode);
    const [page] = f.call(cpu.fn.walk, la, access, f.let(rights), site);
    f.if(page.eq(NO_TRANSLATION), () => f.return(page));
    const pa = f.let(pageOf(page).or(la.and(0xfff)));
    f.do(state.store64(0, pa, SCRATCH + 8 * SCRATCH_PA));
    const isWrite = f.let(access.and(3).eq(ACCESS_WRITE));
    const offset = f.var("i64");
    const [readOffset] = f.call(cpu.fn.mapGpa, pa);
    const [writeOffset] = f.call(cpu.fn.mapGpaWrite, pa);
    f.set(offset, writeOffset.when(isWrite, readOffset));
    f.if(offset.get().eq(NOT_RAM), () => f.return(i64(NOT_RAM)));
    const [isCode] = f.call(
      cpu.host.isCode,
      f.let(offset.get().shrU(12).toI32()),
    );
    f.if(
      isWrite,
      () => f.do(state.store64(0, isCode.toI64U(), SCRATCH + 8 * SCRATCH_CODE)),
    );
    const readOnly = writeOffset.eq(NOT_RAM);
    f.if(access.and(ACCESS_PROBE).or(isAligned).eqz(), () =>
      fillTlb(cpu, f, {
        array,
        la,
        offset: f.let(offset.get()),
        rights: f.let(page.toI32().and(0xfff)),
        isCode: f.let(isCode.or(readOnly)),
      }));
    f.return(offset.get());
  });
}
