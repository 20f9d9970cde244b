// Segmentation of data accesses (Intel SDM vol. 3, 5.3 and 5.4).

import type { CpuModule } from "../cpu_module.ts";
import { type I32, i32 } from "../wasm/mod.ts";
import {
  ACCESS,
  CR0,
  SEG_ACCESS,
  SEG_BASE,
  SEG_LIMIT,
  SYSTEM_FLAGS,
} from "../state.ts";
import { FLAG } from "../flags.ts";
import { CR0_PE } from "./control_bits.ts";

/** Signatures of the functions defined here. */
export const SEGMENT_SIGNATURES = {
  /**
   * Linear address of an offset in a segment outside 64-bit mode, with limit and
   * rights checked: slot, offset, bytes, access (0 read, 1 write), site.
   * Raises #GP(0), or #SS(0) where the site says so.
   */
  segmentLinear: {
    params: ["i32", "i64", "i32", "i32", "i32"],
    results: ["i64"],
  },
} as const;

/**
 * Whether limit and rights of a segment let all through: four gigabytes, of code where
 * that is asked for and else of data that does not grow down.
 *
 * @param slot its address
 * @param access bits of `ACCESS` that it must have
 */
export function segmentIsOpen(
  { state }: CpuModule,
  slot: I32,
  access: number,
): I32 {
  const wanted = ACCESS.PRESENT | ACCESS.S | access;
  const isCode = (access & ACCESS.CODE) !== 0;
  const refused = ACCESS.UNUSABLE |
    (isCode ? 0 : ACCESS.CODE | ACCESS.EXPAND_DOWN);
  return state.load32(slot, SEG_LIMIT).eq(-1)
    .and(state.load32(slot, SEG_ACCESS).and(wanted | refused).eq(wanted));
}

/** Defines the functions of `SEGMENT_SIGNATURES`. */
export function defineSegments(cpu: CpuModule): void {
  const { state } = cpu;
  cpu.define("segmentLinear", (f) => {
    const slot = f.param(0, "i32");
    const offset = f.param(1, "i64");
    const bytes = f.param(2, "i32");
    const isWrite = f.param(3, "i32");
    const site = f.param(4, "i32");
    const access = f.let(state.load32(slot, SEG_ACCESS));
    const limit = f.let(state.load32(slot, SEG_LIMIT).toI64U());
    const isCode = access.and(ACCESS.CODE).ne(0);
    const expandDown = f.let(
      isCode.eqz().and(access.and(ACCESS.EXPAND_DOWN).ne(0)),
    );
    const last = f.let(offset.add(bytes.toI64U()).sub(1));
    const top = i32(-1).when(access.and(ACCESS.DB).ne(0), 0xffff).toI64U();
    // Expand-down: valid offsets lie above the limit (SDM vol. 3, 5.3).
    const inside = offset.gtU(limit).and(last.leU(top))
      .when(expandDown, last.leU(limit));
    const bad = f.var("i32", inside.eqz());
    const isProtected = state.load32(0, CR0).and(CR0_PE).ne(0)
      .and(state.load32(0, SYSTEM_FLAGS).and(FLAG.VM).eqz());
    f.if(isProtected, () => {
      const writable = isCode.eqz().and(access.and(ACCESS.WRITABLE).ne(0));
      const readable = isCode.eqz().or(access.and(ACCESS.WRITABLE).ne(0));
      const allowed = writable.when(isWrite, readable)
        .and(access.and(ACCESS.UNUSABLE).eqz());
      f.set(bad, bad.get().or(allowed.eqz()));
    });
    f.if(bad.get(), () => {
      f.call(cpu.fn.badAddress, site);
      f.unreachable();
    });
    const sum = state.load64(slot, SEG_BASE).add(offset);
    f.return(sum.and(0xffff_ffff));
  });
}
