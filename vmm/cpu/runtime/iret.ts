// IRET in every mode: real, virtual-8086, protected to the same or an outer level,
// to virtual-8086 mode, to another task, 64-bit (Intel SDM vol. 2, IRET; vol. 3,
// 6.12.1, 21.2.3, 21.3). RIP holds the next instruction when it is called.

import type { CpuModule } from "../cpu_module.ts";
import { ARITHMETIC, FLAG } from "../flags.ts";
import {
  CPL,
  CS,
  DS,
  ES,
  FS,
  GS,
  NEXT_SS,
  NMI_BLOCKED,
  SS,
  TR,
} from "../state.ts";
import { type I32, i32, type I64 } from "../wasm/mod.ts";
import { Descriptor } from "./descriptors.ts";
import { checkTarget, is64BitCode } from "./far.ts";
import { frameWord } from "./frames.ts";
import { FLAG_BITS, RSP, Sys } from "./sysops.ts";
import { TASK_REASON } from "./tasks.ts";
import { CR4_VME } from "./control_bits.ts";

/** Signatures of the functions defined here. */
export const IRET_SIGNATURES = {
  /** IRET: bytes of the operand size, site. */
  interruptReturn: { params: ["i32", "i32"], results: [] },
  /** IRET in real and virtual-8086 mode: bytes, site. */
  returnReal: { params: ["i32", "i32"], results: [] },
  /** IRET to virtual-8086 mode; FRAME has EIP, CS and EFLAGS: site. */
  returnToVm86: { params: ["i32"], results: [] },
  /** IRET in protected and long mode: bytes, site. */
  returnProtected: { params: ["i32", "i32"], results: [] },
} as const;

function word(s: Sys, n: number): I64 {
  return s.get64(frameWord(n));
}

/** RFLAGS bits that user code may always change. */
const USER_FLAGS = ARITHMETIC | FLAG.TF | FLAG.DF | FLAG.NT;
const WIDE_FLAGS = FLAG.RF | FLAG.AC | FLAG.ID;

/** The bits of RFLAGS that IRET at the present level loads. */
function loadedFlags(s: Sys, bytes: I32): I32 {
  const cpl = s.cpl();
  const wide = bytes.gtU(2);
  const isKernel = cpl.eqz();
  return i32(USER_FLAGS)
    .or(i32(WIDE_FLAGS).when(wide, 0))
    .or(i32(FLAG.IF).when(cpl.leU(s.iopl()), 0))
    .or(i32(FLAG.IOPL).when(isKernel, 0))
    .or(i32(FLAG.VIF | FLAG.VIP).when(isKernel.and(wide), 0));
}

// RF only matters to instruction breakpoints; without any it is dropped at once
// rather than after the next instruction.
function withoutRf(s: Sys, image: I32): I32 {
  return s.let(
    image.when(s.hasBreakpoints(), image.and(~FLAG.RF)),
  );
}

// The flags that IRET pops in virtual-8086 mode below IOPL 3, where VME allows it.
function setVirtualFlags(s: Sys, bytes: I32, image: I32): void {
  s.protectIf(s.cr4(CR4_VME).eqz().or(bytes.ne(2)));
  const pending = s.flags().and(FLAG.VIP).ne(0).and(image.and(FLAG.IF).ne(0));
  s.protectIf(pending.or(image.and(FLAG.TF).ne(0)));
  const vif = image.and(FLAG.IF).shl(10);
  s.setFlags(
    image.and(~FLAG.VIF).or(vif),
    USER_FLAGS & ~FLAG.TF | FLAG.VIF,
  );
}

function defineReturnReal(cpu: CpuModule): void {
  cpu.define("returnReal", (f) => {
    const bytes = f.param(0, "i32");
    const s = new Sys(cpu, f, f.param(1, "i32"));
    const isVm86 = s.let(s.isVm86());
    const isVirtual = s.let(isVm86.and(s.iopl().ne(3)));
    s.protectIf(isVirtual.and(s.cr4(CR4_VME).eqz().or(bytes.ne(2))));
    const sp = s.get64(RSP);
    s.call("readFrame", sp, i32(0), i32(3), bytes, s.site);
    const rip = word(s, 0);
    const image = s.let(word(s, 2).toI32());
    s.protectIf(rip.gtU(s.limit(CS)));
    f.if(isVirtual, () => setVirtualFlags(s, bytes, image), () => {
      const real = i32(USER_FLAGS | FLAG.IF | FLAG.IOPL)
        .or(i32(WIDE_FLAGS).when(bytes.gtU(2), 0));
      const mask = real.and(i32(~FLAG.IOPL).when(isVm86, -1));
      s.setFlags(withoutRf(s, image), mask);
    });
    s.setStackPointer(SS, sp.add(bytes.mul(3).toI64U()), i32(0));
    const selector = s.let(word(s, 1).toI32().and(0xffff));
    s.call("setRealSegment", i32(CS), selector);
    s.setRip(rip);
    f.returnCall(cpu.fn.updateMode);
  });
}

function defineReturnToVm86(cpu: CpuModule): void {
  cpu.define("returnToVm86", (f) => {
    const s = new Sys(cpu, f, f.param(0, "i32"));
    const above = s.let(s.get64(RSP).add(12));
    s.call("readFrame", above, i32(3), i32(6), i32(4), s.site);
    const rip = word(s, 0);
    s.protectIf(rip.gtU(0xffff));
    s.setFlags(withoutRf(s, s.let(word(s, 2).toI32())), FLAG_BITS);
    s.set(CPL, 3);
    const selectors: [number, number][] = [
      [CS, 1],
      [SS, 4],
      [ES, 5],
      [DS, 6],
      [FS, 7],
      [GS, 8],
    ];
    for (const [slot, n] of selectors) {
      const selector = s.let(word(s, n).toI32().and(0xffff));
      s.call("setRealSegment", i32(slot), selector);
    }
    s.set64(RSP, word(s, 3).and(0xffff_ffff));
    s.setRip(rip);
    f.returnCall(cpu.fn.updateMode);
  });
}

function returnFromTask(s: Sys): void {
  s.f.if(s.flags().and(FLAG.NT), () => {
    s.protectIf(s.isLong());
    const link = s.load(2, s.base(TR)).toI32();
    s.f.returnCall(
      s.cpu.fn.enterTask,
      s.let(link),
      i32(TASK_REASON.IRET),
      i32(-1),
      i32(0),
      s.site,
    );
  });
}

function defineReturnProtected(cpu: CpuModule): void {
  cpu.define("returnProtected", (f) => {
    const bytes = f.param(0, "i32");
    const s = new Sys(cpu, f, f.param(1, "i32"));
    const from64 = s.let(s.is64());
    const sp = s.get64(RSP);
    // 64-bit code always pops the stack as well.
    const count = s.let(i32(5).when(from64, 3));
    s.call("readFrame", sp, i32(0), count, bytes, s.site);
    const image = s.let(word(s, 2).toI32());
    const oldCpl = s.cpl();
    const toVm86 = image.and(FLAG.VM).ne(0).and(bytes.eq(4))
      .and(oldCpl.eqz()).and(s.isLong().eqz());
    f.if(toVm86, () => f.returnCall(cpu.fn.returnToVm86, s.site));
    const offset = word(s, 0);
    const selector = s.let(word(s, 1).toI32().and(0xffff));
    const [raw] = s.call("checkReturn", selector, s.site);
    const d = new Descriptor(raw);
    const level = s.let(selector.and(3));
    const isOuter = s.let(level.gtU(oldCpl));
    const popsStack = s.let(isOuter.or(from64));
    const wide = s.let(is64BitCode(s, d));
    const newSp = f.var("i64", sp.add(bytes.mul(3).toI64U()));
    f.if(popsStack, () => {
      f.if(from64.eqz(), () => {
        const above = s.let(newSp.get());
        s.call("readFrame", above, i32(3), i32(2), bytes, s.site);
      });
      const stack = s.let(word(s, 4).toI32().and(0xffff));
      s.call("outerStack", stack, level, wide, s.site);
      f.set(newSp, word(s, 3));
    });
    const rip = checkTarget(s, offset, d);
    const mask = s.let(loadedFlags(s, bytes));
    f.if(popsStack, () => s.copySegment(SS, NEXT_SS));
    s.setStackPointer(SS, s.let(newSp.get()), wide);
    s.setFlags(withoutRf(s, image), mask);
    s.call("enterCode", selector, raw, rip, level);
    f.if(isOuter, () => {
      s.call("dropSegments");
      f.if(s.is64().eqz(), () => void s.call("updateMode"));
    });
  });
}

/** Defines the functions of `IRET_SIGNATURES`. */
export function defineIret(cpu: CpuModule): void {
  defineReturnReal(cpu);
  defineReturnToVm86(cpu);
  defineReturnProtected(cpu);
  cpu.define("interruptReturn", (f) => {
    const bytes = f.param(0, "i32");
    const site = f.param(1, "i32");
    const s = new Sys(cpu, f, site);
    // NMIs are unblocked even where IRET faults (SDM vol. 3, 6.7.1).
    s.set(NMI_BLOCKED, 0);
    f.if(s.hasDescriptors().eqz(), () => {
      f.returnCall(cpu.fn.returnReal, bytes, site);
    });
    returnFromTask(s);
    f.returnCall(cpu.fn.returnProtected, bytes, site);
  });
}
