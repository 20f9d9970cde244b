// What an access's address must be like before any page is looked at: within the
// segment or canonical to its last byte, then aligned where that is checked (#AC,
// Intel SDM vol. 3, 6.15). The order is that of AMD's processors.

import type { CpuModule } from "../cpu_module.ts";
import {
  MODE_KEY,
  TLB_ARRAY,
  TLB_BASE,
  TLB_MODE_ALIGNED,
  TLB_MODE_USER,
} from "../state.ts";
import { MODE } from "../mode.ts";
import { type FunctionBuilder, type I32, i32, type I64 } from "../wasm/mod.ts";
import { tlbMode } from "./tlb.ts";
import { raise, VECTOR } from "./traps.ts";

/** Signatures of the functions defined here. */
export const ALIGNMENT_SIGNATURES = {
  /**
   * Checks the alignment of bytes that are not accessed yet, as `prepareRead` does,
   * for accesses whose parts are not checked or later: linear address, bytes, site.
   */
  checkAlignment: { params: ["i64", "i32", "i32"], results: [] },
} as const;

function is64Bit(cpu: CpuModule): I32 {
  return cpu.state.load32(0, MODE_KEY).and(MODE.CODE).eq(2);
}

/** The next byte's address: outside 64-bit mode, addresses wrap at 4 GiB. */
export function wrap(cpu: CpuModule, la: I64): I64 {
  return la.when(is64Bit(cpu), la.and(0xffff_ffff));
}

/**
 * Refuses bytes on both sides of 4 GiB where segments are flat: they violate the
 * limit. In 64-bit mode the last byte, too, must be canonical.
 */
export function checkTop(
  cpu: CpuModule,
  f: FunctionBuilder,
  la: I64,
  bytes: I32,
  site: I32,
): void {
  const flat = cpu.state.load32(0, MODE_KEY).and(MODE.FLAT).ne(0);
  const end = f.let(la.add(bytes.toI64U()));
  const last = f.let(end.sub(1));
  const isOutside = last.shl(16).shrS(16).ne(last)
    .when(is64Bit(cpu), flat.and(end.gtU(0x1_0000_0000)));
  f.if(isOutside, () => {
    f.call(cpu.fn.badAddress, site);
    f.unreachable();
  });
}

// The bytes of an access that are checked at once, and what their address must be a
// multiple of: all up to 16, the first 8 of the x87's 10, and none of its images,
// which have their own checks.
function checkedUnit(bytes: I32): I32 {
  const whole = i32(16).when(bytes.gtU(16), bytes);
  const other = i32(8).when(bytes.eq(10), 1);
  return whole.when(bytes.and(bytes.sub(1)).eqz(), other);
}

/** An access: linear address, bytes, TLB array, site. */
export interface Access {
  readonly la: I64;
  readonly bytes: I32;
  readonly array: I32;
  readonly site: I32;
}

/** Raises #AC where alignment is checked and an access lacks it. */
export function checkAlignment(
  cpu: CpuModule,
  f: FunctionBuilder,
  { la, bytes, array, site }: Access,
): void {
  f.if(tlbMode(array).eq(TLB_MODE_ALIGNED), () => {
    const unit = f.let(checkedUnit(bytes));
    f.if(la.toI32().and(unit.sub(1)), () => {
      // Where the first byte is not canonical, translation says so.
      f.if(la.shl(16).shrS(16).eq(la), () => {
        checkTop(cpu, f, la, unit, site);
        raise(cpu, f, site, i32(VECTOR.AC), i32(0));
      });
    });
  });
}

/** The present TLB array, or its twin for accesses whose alignment is not checked. */
export function uncheckedArray(cpu: CpuModule): I32 {
  const array = cpu.state.load32(0, TLB_BASE);
  const twin = array.sub((TLB_MODE_ALIGNED - TLB_MODE_USER) * TLB_ARRAY);
  return twin.when(tlbMode(array).eq(TLB_MODE_ALIGNED), array);
}

/** Defines the functions of `ALIGNMENT_SIGNATURES`. */
export function defineAlignment(cpu: CpuModule): void {
  cpu.define("checkAlignment", (f) => {
    const la = f.param(0, "i64");
    const bytes = f.param(1, "i32");
    const array = f.let(cpu.state.load32(0, TLB_BASE));
    checkAlignment(cpu, f, { la, bytes, array, site: f.param(2, "i32") });
  });
}
