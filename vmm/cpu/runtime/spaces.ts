// Address spaces: CR3, PDPTEs, PCIDs and the instructions that drop translations
// (Intel SDM vol. 3, 4.4.1, 4.10; vol. 2, INVLPG, INVPCID).

import type { CpuModule } from "../cpu_module.ts";
import {
  CR0,
  CR3,
  PDPTE,
  RESERVED_PA,
  SPACE_JUMPS,
  SPACE_PCIDS,
  SPACE_VICTIM,
  TLB_SPACE,
  TLB_SPACES,
} from "../state.ts";
import { type I32, i32, type I64, i64 } from "../wasm/mod.ts";
import { isCanonical, Sys } from "./sysops.ts";
import { CR0_PG, CR4_PAE, CR4_PCIDE } from "./control_bits.ts";
import { NOT_RAM } from "./walk.ts";

/** Signatures of the functions defined here. */
export const SPACE_SIGNATURES = {
  /** MOV to CR3: value, site. */
  writeCr3: { params: ["i64", "i32"], results: [] },
  /** Loads the PDPTEs of a CR3 under PAE paging: whether they are valid. */
  loadPdptes: { params: ["i64"], results: ["i32"] },
  /** Drops what does not survive a change of CR3 without PCIDs. */
  flushContext: { params: [], results: [] },
  /** Drops everything, and forgets which PCID is in which address space. */
  flushEverything: { params: [], results: [] },
  /**
   * Notes that the address space in use holds the present PCID, which is so however
   * CR3 was set: from outside as well, after which every space is empty.
   */
  nameSpace: { params: [], results: [] },
  /** Selects the address space of a PCID: PCID, whether to keep what it holds. */
  selectPcid: { params: ["i32", "i32"], results: [] },
  /** INVLPG: linear address, site. */
  invalidatePage: { params: ["i64", "i32"], results: [] },
  /** INVPCID: type, descriptor's low and high half, site. */
  invalidatePcid: { params: ["i64", "i64", "i64", "i32"], results: [] },
} as const;

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

// Drops what an address space has, before `changeJumps`.
function emptySpace(s: Sys, space: I32, all: number): void {
  s.call("flushSpace", space, i32(all));
  s.set(space.shl(2), i32(0), SPACE_JUMPS);
}

function defineSelection(cpu: CpuModule): void {
  cpu.define("flushContext", (f) => {
    const s = new Sys(cpu, f);
    emptySpace(s, s.get(TLB_SPACE), 0);
    s.call("changeJumps");
  });
  cpu.define("flushEverything", (f) => {
    const s = new Sys(cpu, f);
    s.call("flushAll");
    for (let n = 0; n < TLB_SPACES; n++) s.set(SPACE_PCIDS + 4 * n, 0);
    s.set(TLB_SPACE, 0);
    s.set(SPACE_VICTIM, 1);
    s.call("dropJumps");
  });
  cpu.define("nameSpace", (f) => {
    const s = new Sys(cpu, f);
    const pcid = s.get(CR3).and(0xfff).when(s.cr4(CR4_PCIDE), 0);
    const name = s.let(pcid.add(1));
    for (let n = 0; n < TLB_SPACES; n++) {
      const slot = SPACE_PCIDS + 4 * n;
      f.if(s.get(slot).eq(name), () => s.set(slot, 0));
    }
    s.set(s.get(TLB_SPACE).shl(2), name, SPACE_PCIDS);
  });
  cpu.define("selectPcid", (f) => {
    const s = new Sys(cpu, f);
    const name = s.let(f.param(0, "i32").add(1));
    const keeps = f.param(1, "i32");
    for (let n = 0; n < TLB_SPACES; n++) {
      f.if(s.get(SPACE_PCIDS + 4 * n).eq(name), () => {
        s.set(TLB_SPACE, n);
        f.if(
          keeps.eqz(),
          () => emptySpace(s, i32(n), 0),
        );
        f.returnCall(cpu.fn.changeJumps);
      });
    }
    // In turn, but not the one that was in use just now.
    const turn = s.get(SPACE_VICTIM);
    const isBusy = turn.eq(s.get(TLB_SPACE));
    const victim = s.let(turn.add(isBusy).remU(TLB_SPACES));
    s.set(SPACE_VICTIM, victim.add(1).remU(TLB_SPACES));
    emptySpace(s, victim, 1);
    s.set(victim.shl(2), name, SPACE_PCIDS);
    s.set(TLB_SPACE, victim);
    f.returnCall(cpu.fn.changeJumps);
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
    f.if(pcids, () => void s.call("nameSpace"));
    s.set64(CR3, plain);
    f.if(pcids, () => {
      const pcid = plain.toI32().and(0xfff);
      s.call("selectPcid", pcid, s.let(value.ltS(0)));
    }, () => void s.call("flushContext"));
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
    f.returnCall(cpu.fn.dropPageJumps, la);
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
    s.call("nameSpace");
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

/** Defines the functions of `SPACE_SIGNATURES`. */
export function defineSpaces(cpu: CpuModule): void {
  definePdptes(cpu);
  defineSelection(cpu);
  defineCr3(cpu);
  defineInvalidate(cpu);
}
