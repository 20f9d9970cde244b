// The debug registers (Intel SDM vol. 3, 18.2; vol. 2, MOV to and from debug
// registers). Breakpoints are matched by the engine and by the memory slow path.

import type { CpuModule } from "../cpu_module.ts";
import { DR } from "../state.ts";
import { type I32, i32 } from "../wasm/mod.ts";
import { changed } from "./control.ts";
import { Sys } from "./sysops.ts";
import { VECTOR } from "./traps.ts";
import { CR4_DE } from "./control_bits.ts";

/** Signatures of the functions defined here. */
export const DEBUG_SIGNATURES = {
  /** MOV to a debug register: number, value, site. */
  writeDebug: { params: ["i32", "i64", "i32"], results: [] },
  /** MOV from a debug register: number, site. */
  readDebug: { params: ["i32", "i32"], results: ["i64"] },
} as const;

const DR6_BITS = 0xe00f;
const DR6_ONES = 0xffff_0ff0n;
const DR7_BITS = 0xffff_23ffn;
const DR7_ONES = 0x400;
const DR7_GD = 1 << 13;
const DR6_BD = 1 << 13;

// The register that a number names, with DR4 and DR5 as DR6 and DR7 where CR4.DE
// is clear; raises what any access raises.
function debugNumber(s: Sys, number: I32): I32 {
  const isAlias = number.and(-2).eq(4);
  s.failIf(number.geU(8).or(isAlias.and(s.cr4(CR4_DE))), VECTOR.UD);
  s.requireCpl0();
  s.f.if(s.get(DR + 56).and(DR7_GD), () => {
    s.set(DR + 48, s.get(DR + 48).or(DR6_BD));
    s.raise(VECTOR.DB);
  });
  return s.let(number.or(i32(2).when(isAlias, 0)));
}

/** Defines the functions of `DEBUG_SIGNATURES`. */
export function defineDebug(cpu: CpuModule): void {
  cpu.define("readDebug", (f) => {
    const s = new Sys(cpu, f, f.param(1, "i32"));
    const number = debugNumber(s, f.param(0, "i32"));
    f.return(s.get64(number.shl(3), DR));
  });
  cpu.define("writeDebug", (f) => {
    const value = f.param(1, "i64");
    const s = new Sys(cpu, f, f.param(2, "i32"));
    const number = debugNumber(s, f.param(0, "i32"));
    s.protectIf(number.geU(6).and(value.shrU(32).ne(0)));
    f.if(number.ltU(4), () => {
      s.set64(number.shl(3), value, DR);
      f.return();
    });
    f.if(number.eq(6), () => {
      s.set64(DR + 48, value.and(DR6_BITS).or(DR6_ONES));
      f.return();
    });
    const old = s.get(DR + 56);
    s.set64(DR + 56, value.and(DR7_BITS).or(DR7_ONES));
    // Entries made while no breakpoint was on would hide accesses from them.
    f.if(changed(value.toI32(), old, 0xff), () => void s.call("flushAll"));
    f.returnCall(cpu.fn.updateMode);
  });
}
