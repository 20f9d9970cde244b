// CR0 and CR4: which values they take, and what changes with them (Intel SDM vol. 3,
// 2.5, 10.8.5; vol. 2, MOV to and from control registers).

import type { CpuModule } from "../cpu_module.ts";
import {
  ACCESS,
  CPL,
  CR0,
  CR2,
  CR3,
  CR4,
  CR4_RESERVED,
  CR8,
  CS,
  EFER,
  SCRATCH,
  SEG_ACCESS,
  TR,
} from "../state.ts";
import { type I32, i32 } from "../wasm/mod.ts";
import { Sys } from "./sysops.ts";
import { VECTOR } from "./traps.ts";
import {
  CR0_AM,
  CR0_EM,
  CR0_MP,
  CR0_NE,
  CR0_PE,
  CR0_PG,
  CR0_TS,
  CR0_WP,
  CR4_DE,
  CR4_FSGSBASE,
  CR4_OSFXSR,
  CR4_OSXMMEXCPT,
  CR4_OSXSAVE,
  CR4_PAE,
  CR4_PCE,
  CR4_PCIDE,
  CR4_PGE,
  CR4_PSE,
  CR4_PVI,
  CR4_SMAP,
  CR4_SMEP,
  CR4_TSD,
  CR4_UMIP,
  CR4_VME,
  EFER_LMA,
  EFER_LME,
} from "./control_bits.ts";

/** Signatures of the functions defined here. */
export const CONTROL_SIGNATURES = {
  /** MOV to a control register: number, value, site. */
  writeControl: { params: ["i32", "i64", "i32"], results: [] },
  /** MOV from a control register: number, site. */
  readControl: { params: ["i32", "i32"], results: ["i64"] },
  /** MOV to CR0, LMSW: value, site. */
  writeCr0: { params: ["i64", "i32"], results: [] },
  /** MOV to CR4: value, site. */
  writeCr4: { params: ["i64", "i32"], results: [] },
} as const;

const CR0_ET = 0x10;
const CR0_NW = 0x2000_0000;
const CR0_CD = 0x4000_0000;
const CR0_BITS = CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_NE | CR0_WP |
  CR0_AM | CR0_NW | CR0_CD | CR0_PG;

/** Whether two values differ in some bits. */
export function changed(a: I32, b: I32, bits: number): I32 {
  return a.xor(b).and(bits).ne(0);
}

// --- CR0 -------------------------------------------------------------------------

// Entering or leaving long mode with PG (SDM vol. 3, 10.8.5).
function checkPagingChange(s: Sys, on: I32): void {
  const is64Code = s.get(CS, SEG_ACCESS).and(ACCESS.L).ne(0);
  const isLong = s.let(s.isLong());
  const wantsLong = s.state.load32(0, EFER).and(EFER_LME).ne(0);
  const is16Task = s.access(TR).and(0x0d).eq(1);
  const badEntry = s.cr4(CR4_PAE).eqz().or(is64Code).or(is16Task);
  s.protectIf(on.and(wantsLong).and(badEntry));
  const badExit = isLong.and(is64Code).or(s.cr4(CR4_PCIDE));
  s.protectIf(on.eqz().and(badExit));
}

function setLongActive(s: Sys, paging: I32): void {
  const efer = s.get(EFER);
  const active = paging.and(efer.and(EFER_LME).ne(0));
  s.set(EFER, efer.and(~EFER_LMA).or(i32(EFER_LMA).when(active, 0)));
}

function defineCr0(cpu: CpuModule): void {
  cpu.define("writeCr0", (f) => {
    const value = f.param(0, "i64");
    const s = new Sys(cpu, f, f.param(1, "i32"));
    const low = s.let(value.toI32().and(CR0_BITS).or(CR0_ET));
    const on = (bit: number) => low.and(bit).ne(0);
    const bad = value.shrU(32).ne(0)
      .or(on(CR0_PG).and(on(CR0_PE).eqz()))
      .or(on(CR0_NW).and(on(CR0_CD).eqz()));
    s.protectIf(bad);
    const old = s.get(CR0);
    const paging = s.let(on(CR0_PG));
    const togglesPaging = s.let(changed(low, old, CR0_PG));
    f.if(togglesPaging, () => checkPagingChange(s, paging));
    const wantsLong = s.state.load32(0, EFER).and(EFER_LME).ne(0);
    const reloads = paging.and(s.cr4(CR4_PAE)).and(wantsLong.eqz())
      .and(changed(low, old, CR0_PG | CR0_CD | CR0_NW));
    f.if(reloads, () => {
      s.protectIf(s.call("loadPdptes", s.get64(CR3))[0].eqz());
    });
    s.set64(CR0, low.toI64U());
    f.if(togglesPaging, () => setLongActive(s, paging));
    const flushes = changed(low, old, CR0_PG | CR0_WP | CR0_PE);
    f.if(flushes, () => void s.call("flushEverything"));
    f.if(on(CR0_PE).eqz(), () => s.set(CPL, 0));
    f.returnCall(cpu.fn.updateMode);
  });
}

// --- CR4 -------------------------------------------------------------------------

const CR4_MCE = 0x40;
// The bits that are implemented; CR4_RESERVED says which the guest's CPUID lacks.
const CR4_BITS = CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE |
  CR4_MCE | CR4_PGE | CR4_PCE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_UMIP |
  CR4_FSGSBASE | CR4_PCIDE | CR4_OSXSAVE | CR4_SMEP | CR4_SMAP;

// What a walk or a TLB entry depends on.
const CR4_PAGING = CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP |
  CR4_SMAP;

function defineCr4(cpu: CpuModule): void {
  cpu.define("writeCr4", (f) => {
    const value = f.param(0, "i64");
    const s = new Sys(cpu, f, f.param(1, "i32"));
    const low = s.let(value.toI32());
    const old = s.get(CR4);
    const on = (bit: number) => low.and(bit).ne(0);
    const reserved = s.get64(CR4_RESERVED).or(~CR4_BITS);
    s.protectIf(value.and(reserved).ne(0));
    s.protectIf(s.isLong().and(on(CR4_PAE).eqz()));
    const startsPcids = on(CR4_PCIDE).and(old.and(CR4_PCIDE).eqz());
    const canStart = s.isLong().and(s.get(CR3).and(0xfff).eqz());
    s.protectIf(startsPcids.and(canStart.eqz()));
    const reloads = s.get(CR0).and(CR0_PG).ne(0).and(on(CR4_PAE))
      .and(s.isLong().eqz())
      .and(changed(low, old, CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP));
    f.if(reloads, () => {
      s.protectIf(s.call("loadPdptes", s.get64(CR3))[0].eqz());
    });
    s.set64(CR4, value);
    f.if(
      changed(low, old, CR4_PAGING),
      () => void s.call("flushEverything"),
    );
    f.returnCall(cpu.fn.updateMode);
  });
}

// --- By number -------------------------------------------------------------------

function defineByNumber(cpu: CpuModule): void {
  cpu.define("writeControl", (f) => {
    const number = f.param(0, "i32");
    const value = f.param(1, "i64");
    const s = new Sys(cpu, f, f.param(2, "i32"));
    const undefinedRegister = () => s.raise(VECTOR.UD);
    f.if(number.ne(1).and(number.ltU(5)).or(number.eq(8)).eqz(), () => {
      undefinedRegister();
    });
    s.requireCpl0();
    f.switch(number, [
      () => f.returnCall(cpu.fn.writeCr0, value, s.site),
      undefinedRegister,
      () => s.set64(CR2, value),
      () => f.returnCall(cpu.fn.writeCr3, value, s.site),
      () => f.returnCall(cpu.fn.writeCr4, value, s.site),
    ], () => {
      s.protectIf(value.shrU(4).ne(0));
      s.set64(CR8, value);
      s.set64(SCRATCH, value);
      f.call(cpu.host.writeCr8);
    });
  });
  cpu.define("readControl", (f) => {
    const number = f.param(0, "i32");
    const s = new Sys(cpu, f, f.param(1, "i32"));
    const exists = number.ne(1).and(number.ltU(5)).or(number.eq(8));
    s.failIf(exists.eqz(), VECTOR.UD);
    s.requireCpl0();
    f.if(number.eq(8), () => {
      f.call(cpu.host.readCr8);
      f.return(s.get64(SCRATCH));
    });
    f.return(s.get64(number.shl(3), CR0));
  });
}

/** Defines the functions of `CONTROL_SIGNATURES`. */
export function defineControl(cpu: CpuModule): void {
  defineCr0(cpu);
  defineCr4(cpu);
  defineByNumber(cpu);
}
