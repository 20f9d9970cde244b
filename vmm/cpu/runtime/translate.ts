// Translation of a linear address to an offset in guest memory: by the TLB, else by a
// walk that fills it.

import type { CpuModule } from "../cpu_module.ts";
import { i32, i64 } from "../wasm/mod.ts";
import {
  EFER,
  TLB_ADDEND,
  TLB_CODE,
  TLB_MODE_ALIGNED,
  TLB_MODE_USER,
} from "../state.ts";
import { holdsCode } from "./code_pages.ts";
import { EFER_LMA } from "./control_bits.ts";
import { setScratch } from "./traps.ts";
import { fillTlb, pageOf, tlbEntry, tlbMode } from "./tlb.ts";
import {
  ACCESS_PROBE,
  ACCESS_QUIET,
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
    setScratch(cpu, f, SCRATCH_CODE, i64(0));
    const entry = f.let(tlbEntry(array, la));
    const tag = f.let(state.load64(entry.add(access.and(3).shl(3))));
    const known = la.add(state.load64(entry, TLB_ADDEND));
    f.if(tag.eq(pageOf(la)), () => f.return(known));
    const isWrite = f.let(access.and(3).eq(ACCESS_WRITE));
    f.if(isWrite.and(tag.eq(pageOf(la).xor(TLB_CODE))), () => {
      const [isCode] = f.call(cpu.fn.checkCode, entry);
      setScratch(cpu, f, SCRATCH_CODE, isCode.toI64U());
      f.return(known);
    });
    const long = state.load32(0, EFER).and(EFER_LMA).ne(0);
    const canonical = la.shl(16).shrS(16).eq(la);
    f.if(long.and(canonical.eqz()), () => {
      f.if(
        access.and(ACCESS_PROBE | ACCESS_QUIET),
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
    setScratch(cpu, f, SCRATCH_PA, pa);
    const [writeOffset] = f.call(cpu.fn.mapGpaWrite, pa);
    const offset = f.var("i64", writeOffset);
    f.rarely(
      writeOffset.eq(NOT_RAM).and(isWrite.eqz()),
      () => f.set(offset, f.call(cpu.fn.mapGpa, pa)[0]),
    );
    f.if(offset.get().eq(NOT_RAM), () => f.return(i64(NOT_RAM)));
    const isCode = f.let(holdsCode(cpu, offset.get().shrU(12).toI32()));
    f.if(
      isWrite,
      () => setScratch(cpu, f, SCRATCH_CODE, isCode.toI64U()),
    );
    f.if(access.and(ACCESS_PROBE).or(isAligned).eqz(), () =>
      fillTlb(cpu, f, {
        array,
        la,
        offset: f.let(offset.get()),
        rights: f.let(page.toI32().and(0xfff)),
        isCode,
        isReadOnly: writeOffset.eq(NOT_RAM),
      }));
    f.return(offset.get());
  });
}
