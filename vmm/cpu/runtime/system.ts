// System instructions that work on flags, model-specific registers and exits, and
// the fast system calls (Intel SDM vol. 2, STI, CLI, SYSCALL to SYSEXIT,
// RDMSR, XSETBV; vol. 3, 6.8.3 and 21.3 for virtual interrupts; AMD APM vol. 2,
// 6.1 for what differs by vendor). RIP holds the next instruction where that matters.

import type { CpuModule } from "../cpu_module.ts";
import { FLAG } from "../flags.ts";
import {
  CPL,
  CR0,
  CS,
  CSTAR,
  EFER,
  gprAddress,
  LSTAR,
  RIP,
  SCRATCH,
  SEG_ACCESS,
  SEG_BASE,
  SEG_LIMIT,
  SEG_SELECTOR,
  SFMASK,
  SS,
  STAR,
  SYSENTER_CS,
  SYSENTER_EIP,
  SYSENTER_ESP,
  SYSTEM_FLAGS,
  TRACE_AFTER,
  VENDOR_INTEL,
  XCR0,
  XCR0_RESERVED,
} from "../state.ts";
import { type I32, i32, type I64 } from "../wasm/mod.ts";
import { HOST } from "./host.ts";
import { FLAG_BITS, isCanonical, isNull, RSP, Sys } from "./sysops.ts";
import { VECTOR } from "./traps.ts";
import {
  CR4_OSXSAVE,
  CR4_PCE,
  CR4_PVI,
  CR4_UMIP,
  CR4_VME,
  EFER_SCE,
} from "./control_bits.ts";

/** Signatures of the functions defined here. */
export const SYSTEM_SIGNATURES = {
  /** CLI where IOPL forbids it: clears VIF or raises #GP(0): site. */
  clearVirtualInterrupts: { params: ["i32"], results: [] },
  /** STI where IOPL forbids it: sets VIF or raises #GP(0): site. */
  setVirtualInterrupts: { params: ["i32"], results: [] },
  /** SYSCALL: site. */
  systemCall: { params: ["i32"], results: [] },
  /** SYSRET: 1 for the 64-bit operand size, site. */
  systemReturn: { params: ["i32", "i32"], results: [] },
  /** SYSENTER: site. */
  systemEnter: { params: ["i32"], results: [] },
  /** SYSEXIT: 1 for the 64-bit operand size, site. */
  systemExit: { params: ["i32", "i32"], results: [] },
  /** RDMSR: site. */
  readMsr: { params: ["i32"], results: [] },
  /** WRMSR: site. */
  writeMsr: { params: ["i32"], results: [] },
  /** RDPMC: site. */
  readCounter: { params: ["i32"], results: [] },
  /** CPUID: site. */
  identify: { params: ["i32"], results: [] },
  /** XGETBV: site. */
  readXcr: { params: ["i32"], results: [] },
  /** XSETBV: site. */
  writeXcr: { params: ["i32"], results: [] },
  /** The host's `exit`: reason of `EXIT_REASON`; answers `HOST`. */
  hostExit: { params: ["i32"], results: ["i32"] },
  /** Raises #GP(0) where CR4.UMIP forbids SGDT, SIDT, SLDT, SMSW and STR: site. */
  checkUmip: { params: ["i32"], results: [] },
} as const;

const RAX = gprAddress(0);
const RCX = gprAddress(1);
const RDX = gprAddress(2);
const RBX = gprAddress(3);
const R11 = gprAddress(11);

// --- The interrupt flag and RFLAGS -------------------------------------------------

// Whether VME or PVI gives this code a virtual interrupt flag.
function hasVirtualFlag(s: Sys): I32 {
  const protectedUser = s.cr4(CR4_PVI).and(s.cpl().eq(3));
  return s.cr4(CR4_VME).when(s.isVm86(), protectedUser);
}

function defineVirtual(cpu: CpuModule): void {
  cpu.define("clearVirtualInterrupts", (f) => {
    const s = new Sys(cpu, f, f.param(0, "i32"));
    s.protectIf(hasVirtualFlag(s).eqz());
    s.clearFlags(FLAG.VIF);
  });
  cpu.define("setVirtualInterrupts", (f) => {
    const s = new Sys(cpu, f, f.param(0, "i32"));
    const isPending = s.flags().and(FLAG.VIP).ne(0);
    s.protectIf(hasVirtualFlag(s).eqz().or(isPending));
    s.set(SYSTEM_FLAGS, s.flags().or(FLAG.VIF));
  });
}

// --- SYSCALL and SYSRET --------------------------------------------------------------

/** Access words of the flat segments that fast system calls load. */
const FLAT = {
  CODE64: 0xa09b,
  CODE32: 0xc09b,
  DATA: 0xc093,
} as const;

// Loads CS or SS as flat, without a look at the descriptor tables.
function setFlat(s: Sys, slot: number, selector: I32, access: I32): void {
  s.set64(slot, 0, SEG_BASE);
  s.set(slot, -1, SEG_LIMIT);
  s.set(slot, access, SEG_ACCESS);
  s.set(slot, selector.and(0xffff), SEG_SELECTOR);
}

// Enters flat code at a privilege level with the stack segment after the code's.
function enterFlat(
  s: Sys,
  level: 0 | 3,
  code: I32,
  stack: I32,
  wide: I32,
): void {
  const dpl = level << 5;
  const access = i32(FLAT.CODE64).when(wide, FLAT.CODE32).or(dpl);
  setFlat(s, CS, code, access);
  setFlat(s, SS, stack, i32(FLAT.DATA | dpl));
  s.set(CPL, level);
  s.f.returnCall(s.cpu.fn.updateMode);
}

function requireSyscall(s: Sys): void {
  const enabled = s.state.load32(0, EFER).and(EFER_SCE).ne(0);
  // Intel has it in 64-bit mode only, AMD in every protected mode.
  const intel = s.state.load32(0, VENDOR_INTEL).ne(0);
  const modeAllows = s.is64().when(intel, s.isProtected());
  s.failIf(enabled.and(modeAllows).eqz(), VECTOR.UD);
}

function callLong(s: Sys, star: I32): void {
  const isFrom64 = s.is64();
  const target = s.let(
    s.state.load64(0, LSTAR).when(isFrom64, s.state.load64(0, CSTAR)),
  );
  const flags = s.let(s.allFlags().and(~FLAG.RF));
  s.set64(RCX, s.state.load64(0, RIP));
  s.set64(R11, flags.toI64U());
  s.setRip(target);
  const mask = s.get(SFMASK);
  s.setFlags(flags.and(mask.xor(-1)), FLAG_BITS);
  const code = s.let(star.and(0xfffc));
  enterFlat(s, 0, code, code.add(8), i32(1));
}

function defineSyscall(cpu: CpuModule): void {
  cpu.define("systemCall", (f) => {
    const s = new Sys(cpu, f, f.param(0, "i32"));
    requireSyscall(s);
    s.set(TRACE_AFTER, 1);
    const star = s.let(s.state.load64(0, STAR).shrU(32).toI32());
    f.if(s.isLong(), () => callLong(s, star));
    s.set64(RCX, s.state.load64(0, RIP).and(0xffff_ffff));
    s.setRip(s.state.load64(0, STAR).and(0xffff_ffff));
    s.clearFlags(FLAG.VM | FLAG.IF | FLAG.RF);
    const code = s.let(star.and(0xfffc));
    enterFlat(s, 0, code, code.add(8), i32(0));
  });
  cpu.define("systemReturn", (f) => {
    const wide = f.param(0, "i32");
    const s = new Sys(cpu, f, f.param(1, "i32"));
    requireSyscall(s);
    s.requireCpl0();
    const rcx = s.get64(RCX);
    // AMD goes to the address and faults there.
    const intel = s.state.load32(0, VENDOR_INTEL).ne(0);
    s.protectIf(wide.and(intel).and(isCanonical(rcx).eqz()));
    s.set(TRACE_AFTER, 1);
    f.if(s.isLong(), () => {
      const image = s.get(R11).and(FLAG_BITS & ~(FLAG.RF | FLAG.VM));
      s.setFlags(s.let(image), FLAG_BITS);
    }, () => s.set(SYSTEM_FLAGS, s.flags().or(FLAG.IF)));
    s.setRip(rcx.when(wide, rcx.and(0xffff_ffff)));
    const star = s.let(s.state.load64(0, STAR).shrU(48).toI32());
    const code = s.let(star.add(i32(16).when(wide, 0)).or(3));
    enterFlat(s, 3, code, s.let(star.add(8).or(3)), wide);
  });
}

// --- SYSENTER and SYSEXIT --------------------------------------------------------------

function requireSysenter(s: Sys): void {
  const intel = s.state.load32(0, VENDOR_INTEL).ne(0);
  s.failIf(s.isLong().and(intel.eqz()), VECTOR.UD);
  s.protectIf(s.isProtected().eqz());
  s.protectIf(isNull(s.get(SYSENTER_CS)));
}

function defineSysenter(cpu: CpuModule): void {
  cpu.define("systemEnter", (f) => {
    const s = new Sys(cpu, f, f.param(0, "i32"));
    requireSysenter(s);
    const wide = s.let(s.isLong());
    const narrow = (value: I64) => value.when(wide, value.and(0xffff_ffff));
    s.clearFlags(FLAG.VM | FLAG.IF | FLAG.RF);
    s.set64(RSP, narrow(s.get64(SYSENTER_ESP)));
    s.setRip(narrow(s.get64(SYSENTER_EIP)));
    const code = s.let(s.get(SYSENTER_CS).and(0xfffc));
    enterFlat(s, 0, code, code.add(8), wide);
  });
  cpu.define("systemExit", (f) => {
    const wide = f.param(0, "i32");
    const s = new Sys(cpu, f, f.param(1, "i32"));
    requireSysenter(s);
    s.requireCpl0();
    const rip = s.get64(RDX);
    const sp = s.get64(RCX);
    const good = isCanonical(rip).and(isCanonical(sp));
    s.protectIf(wide.and(good.eqz()));
    s.setRip(rip.when(wide, rip.and(0xffff_ffff)));
    s.set64(RSP, sp.when(wide, sp.and(0xffff_ffff)));
    const first = s.get(SYSENTER_CS).and(0xfffc);
    const code = s.let(first.add(i32(32).when(wide, 16)).or(3));
    enterFlat(s, 3, code, s.let(code.add(8)), wide);
  });
}

// --- What TypeScript answers -------------------------------------------------------------

// Acts on a host function's answer unless it is DONE.
function requireDone(s: Sys, answer: I32): void {
  s.f.if(answer.eq(HOST.EXIT), () => {
    s.call("leave", s.site);
    s.f.unreachable();
  });
  s.protectIf(answer.eq(HOST.FAULT));
}

function setPair(s: Sys, value: I64): void {
  s.set64(RAX, value.and(0xffff_ffff));
  s.set64(RDX, value.shrU(32));
}

function pair(s: Sys): I64 {
  const low = s.state.load32(0, RAX).toI64U();
  return s.let(low.or(s.state.load64(0, RDX).shl(32)));
}

function defineMsrs(cpu: CpuModule): void {
  cpu.define("readMsr", (f) => {
    const s = new Sys(cpu, f, f.param(0, "i32"));
    s.requireCpl0();
    const [answer] = f.call(cpu.host.readMsr, s.get(RCX));
    requireDone(s, answer);
    setPair(s, s.get64(SCRATCH));
  });
  cpu.define("writeMsr", (f) => {
    const s = new Sys(cpu, f, f.param(0, "i32"));
    s.requireCpl0();
    s.set64(SCRATCH, pair(s));
    const [answer] = f.call(cpu.host.writeMsr, s.get(RCX));
    requireDone(s, answer);
    f.returnCall(cpu.fn.updateMode);
  });
  cpu.define("readCounter", (f) => {
    const s = new Sys(cpu, f, f.param(0, "i32"));
    const allowed = s.cr4(CR4_PCE).or(s.cpl().eqz());
    // No events are counted: the four counters that always exist stay at 0.
    s.protectIf(allowed.eqz().or(s.get(RCX).geU(4)));
    setPair(s, s.let(s.get64(RCX).and(0)));
  });
}

function defineIdentify(cpu: CpuModule): void {
  const registers = [RAX, RBX, RCX, RDX];
  cpu.define("identify", (f) => {
    const s = new Sys(cpu, f, f.param(0, "i32"));
    registers.forEach((r, n) => s.set64(SCRATCH + 8 * n, s.get(r).toI64U()));
    const [answer] = f.call(cpu.host.cpuid);
    requireDone(s, answer);
    registers.forEach((r, n) => s.set64(r, s.get(SCRATCH + 8 * n).toI64U()));
  });
}

const XCR0_X87 = 1;
const XCR0_SSE = 2;
const XCR0_AVX = 4;
// The components that are implemented; XCR0_RESERVED says which CPUID lacks.
const XCR0_BITS = XCR0_X87 | XCR0_SSE | XCR0_AVX;

function defineXcr(cpu: CpuModule): void {
  cpu.define("readXcr", (f) => {
    const s = new Sys(cpu, f, f.param(0, "i32"));
    s.failIf(s.cr4(CR4_OSXSAVE).eqz(), VECTOR.UD);
    s.protectIf(s.get(RCX).ne(0));
    setPair(s, s.get64(XCR0));
  });
  cpu.define("writeXcr", (f) => {
    const s = new Sys(cpu, f, f.param(0, "i32"));
    s.failIf(s.cr4(CR4_OSXSAVE).eqz(), VECTOR.UD);
    s.requireCpl0();
    const value = pair(s);
    const low = s.let(value.toI32());
    const avxAlone = low.and(XCR0_SSE | XCR0_AVX).eq(XCR0_AVX);
    const bad = s.get(RCX).ne(0).or(low.and(XCR0_X87).eqz()).or(avxAlone)
      .or(value.and(s.get64(XCR0_RESERVED).or(~XCR0_BITS)).ne(0));
    s.protectIf(bad);
    s.set64(XCR0, value);
  });
}

/** Defines the functions of `SYSTEM_SIGNATURES`. */
export function defineSystem(cpu: CpuModule): void {
  defineVirtual(cpu);
  defineSyscall(cpu);
  defineSysenter(cpu);
  defineMsrs(cpu);
  defineIdentify(cpu);
  defineXcr(cpu);
  cpu.define("hostExit", (f) => {
    f.return(f.call(cpu.host.exit, f.param(0, "i32"))[0]);
  });
  cpu.define("checkUmip", (f) => {
    const s = new Sys(cpu, f, f.param(0, "i32"));
    const user = s.cpl().ne(0).and(s.get(CR0).and(1).ne(0));
    s.protectIf(user.and(s.cr4(CR4_UMIP)));
  });
}
