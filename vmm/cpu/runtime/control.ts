// Control and debug registers, address spaces and the TLB instructions (Intel SDM
// vol. 3, 2.5, 4.4.1, 4.10, 5.5, 10.8.5, 18.2; vol. 2, MOV CR, MOV DR, INVPCID).

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
  DR,
  EFER,
  PDPTE,
  RESERVED_PA,
  SCRATCH,
  SEG_ACCESS,
  SPACE_PCIDS,
  SPACE_VICTIM,
  TLB_SPACE,
  TLB_SPACES,
  TR,
} from "../state.ts";
import { type I32, i32, type I64, i64 } from "../wasm/mod.ts";
import { isCanonical, Sys } from "./sysops.ts";
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
  NOT_RAM,
} from "./walk.ts";

/** Signatures of the functions defined here. */
export const CONTROL_SIGNATURES = {
  /** MOV to a control register: number, value, site. */
  writeControl: { params: ["i32", "i64", "i32"], results: [] },
  /** MOV from a control register: number, site. */
  readControl: { params: ["i32", "i32"], results: ["i64"] },
  /** MOV to CR0, LMSW: value, site. */
  writeCr0: { params: ["i64", "i32"], results: [] },
  /** MOV to CR3: value, site. */
  writeCr3: { params: ["i64", "i32"], results: [] },
  /** MOV to CR4: value, site. */
  writeCr4: { params: ["i64", "i32"], results: [] },
  /** Loads the PDPTEs of a CR3 under PAE paging: whether they are valid. */
  loadPdptes: { params: ["i64"], results: ["i32"] },
  /** Drops what does not survive a change of CR3 without PCIDs. */
  flushContext: { params: [], results: [] },
  /** Drops everything, and forgets which PCID is in which address space. */
  flushEverything: { params: [], results: [] },
  /** Selects the address space of a PCID: PCID, whether to keep what it holds. */
  selectPcid: { params: ["i32", "i32"], results: [] },
  /** MOV to a debug register: number, value, site. */
  writeDebug: { params: ["i32", "i64", "i32"], results: [] },
  /** MOV from a debug register: number, site. */
  readDebug: { params: ["i32", "i32"], results: ["i64"] },
  /** INVLPG: linear address, site. */
  invalidatePage: { params: ["i64", "i32"], results: [] },
  /** INVPCID: type, descriptor's low and high half, site. */
  invalidatePcid: { params: ["i64", "i64", "i64", "i32"], results: [] },
} as const;

const CR0_ET = 0x10;
const CR0_NW = 0x2000_0000;
const CR0_CD = 0x4000_0000;
const CR0_BITS = CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_NE | CR0_WP |
  CR0_AM | CR0_NW | CR0_CD | CR0_PG;

function changed(a: I32, b: I32, bits: number): I32 {
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

// --- CR3 and address spaces ----------------------------------------------------

const PDPTE_RESERVED = 0xfff0_0000_0000_01e6n;

function definePdptes(cpu: CpuModule): void {
  cpu.define("loadPdptes", (f) => {
    const s = new Sys(cpu, f);
    const cr3 = f.param(0, "i64");
    const [at] = s.call("mapGpa", s.let(cr3.and(0xffff_ffe0)));
    const inRam = s.let(at.ne(NOT_RAM));
    const reserved = s.let(
      s.get64(RESERVED_PA).or(BigInt.asIntN(64, PDPTE_RESERVED)),
    );
    const entries = [0, 8, 16, 24].map((offset) => {
      // A table outside RAM reads as not present.
      const entry = f.ifValue(
        inRam,
        "i64",
        () => cpu.ram.load64(at, offset),
        () => i64(0),
      );
      const bad = entry.and(1).ne(0).and(entry.and(reserved).ne(0));
      f.if(bad, () => f.return(i32(0)));
      return entry;
    });
    entries.forEach((entry, n) => s.set64(PDPTE + 8 * n, entry));
    f.return(i32(1));
  });
}

function defineSpaces(cpu: CpuModule): void {
  cpu.define("flushContext", (f) => {
    const s = new Sys(cpu, f);
    s.call("flushSpace", s.get(TLB_SPACE), i32(0));
    s.call("dropJumps");
  });
  cpu.define("flushEverything", (f) => {
    const s = new Sys(cpu, f);
    s.call("flushAll");
    for (let n = 0; n < TLB_SPACES; n++) s.set(SPACE_PCIDS + 4 * n, 0);
    s.set(TLB_SPACE, 0);
    // The first space holds what is in use now, under its PCID if it has one.
    const pcid = s.get(CR3).and(0xfff).add(1);
    s.set(SPACE_PCIDS, pcid.when(s.cr4(CR4_PCIDE), 1));
    s.set(SPACE_VICTIM, 1);
    s.call("dropJumps");
  });
  cpu.define("selectPcid", (f) => {
    const s = new Sys(cpu, f);
    const name = s.let(f.param(0, "i32").add(1));
    const keeps = f.param(1, "i32");
    s.call("dropJumps");
    for (let n = 0; n < TLB_SPACES; n++) {
      f.if(s.get(SPACE_PCIDS + 4 * n).eq(name), () => {
        s.set(TLB_SPACE, n);
        f.if(
          keeps.eqz(),
          () => void s.call("flushSpace", i32(n), i32(0)),
        );
        f.return();
      });
    }
    // In turn, but not the one that was in use just now.
    const turn = s.get(SPACE_VICTIM);
    const isBusy = turn.eq(s.get(TLB_SPACE));
    const victim = s.let(turn.add(isBusy).remU(TLB_SPACES));
    s.set(SPACE_VICTIM, victim.add(1).remU(TLB_SPACES));
    s.call("flushSpace", victim, i32(1));
    s.set(victim.shl(2), name, SPACE_PCIDS);
    s.set(TLB_SPACE, victim);
  });
}

const KEEP_BIT = 1n << 63n;

function defineCr3(cpu: CpuModule): void {
  cpu.define("writeCr3", (f) => {
    const value = f.param(0, "i64");
    const s = new Sys(cpu, f, f.param(1, "i32"));
    const pcids = s.let(s.cr4(CR4_PCIDE));
    const plain = s.let(
      value.and(i64(~KEEP_BIT).when(pcids, i64(-1))),
    );
    const reserved = s.get64(RESERVED_PA)
      .or(BigInt.asIntN(64, 0xfff0_0000_0000_0000n));
    s.protectIf(s.isLong().and(plain.and(reserved).ne(0)));
    const isPae = s.get(CR0).and(CR0_PG).ne(0).and(s.cr4(CR4_PAE))
      .and(s.isLong().eqz());
    f.if(isPae, () => {
      s.protectIf(s.call("loadPdptes", plain)[0].eqz());
    });
    s.set64(CR3, plain);
    f.if(pcids, () => {
      const pcid = plain.toI32().and(0xfff);
      s.call("selectPcid", pcid, s.let(value.ltS(0)));
    }, () => void s.call("flushContext"));
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

// --- Debug registers -------------------------------------------------------------

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

function defineDebug(cpu: CpuModule): void {
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

// --- INVLPG and INVPCID ----------------------------------------------------------

// A global translation may lie in every address space.
function flushInSpaces(s: Sys, la: I64): void {
  for (let n = 0; n < TLB_SPACES; n++) s.call("flushPage", i32(n), la);
}

function defineInvalidate(cpu: CpuModule): void {
  cpu.define("invalidatePage", (f) => {
    const la = f.param(0, "i64");
    const s = new Sys(cpu, f, f.param(1, "i32"));
    s.requireCpl0();
    f.if(s.isLong().and(isCanonical(la).eqz()), () => f.return());
    f.if(
      s.cr4(CR4_PCIDE),
      () => flushInSpaces(s, la),
      () => void s.call("flushPage", s.get(TLB_SPACE), la),
    );
    f.returnCall(cpu.fn.dropJumps);
  });
  cpu.define("invalidatePcid", (f) => {
    const type = f.param(0, "i64");
    const low = f.param(1, "i64");
    const la = f.param(2, "i64");
    const s = new Sys(cpu, f, f.param(3, "i32"));
    s.requireCpl0();
    s.protectIf(type.gtU(3));
    s.protectIf(low.shrU(12).ne(0));
    const pcid = s.let(low.toI32());
    const isOne = type.leU(1);
    s.protectIf(isOne.and(s.cr4(CR4_PCIDE).eqz()).and(pcid.ne(0)));
    s.protectIf(type.eqz().and(isCanonical(la).eqz()));
    const eachOf = (body: (n: number) => void) => {
      for (let n = 0; n < TLB_SPACES; n++) {
        f.if(s.get(SPACE_PCIDS + 4 * n).eq(pcid.add(1)), () => body(n));
      }
    };
    // Without PCIDs the space in use is that of PCID 0.
    f.if(
      s.cr4(CR4_PCIDE).eqz(),
      () => s.set(s.get(TLB_SPACE).shl(2), 1, SPACE_PCIDS),
    );
    f.switch(type.toI32(), [
      () => eachOf((n) => void s.call("flushPage", i32(n), la)),
      () => eachOf((n) => void s.call("flushSpace", i32(n), i32(0))),
      () => void s.call("flushAll"),
      () => {
        for (let n = 0; n < TLB_SPACES; n++) {
          s.call("flushSpace", i32(n), i32(0));
        }
      },
    ]);
    f.returnCall(cpu.fn.dropJumps);
  });
}

/** Defines the functions of `CONTROL_SIGNATURES`. */
export function defineControl(cpu: CpuModule): void {
  defineCr0(cpu);
  definePdptes(cpu);
  defineSpaces(cpu);
  defineCr3(cpu);
  defineCr4(cpu);
  defineByNumber(cpu);
  defineDebug(cpu);
  defineInvalidate(cpu);
}
