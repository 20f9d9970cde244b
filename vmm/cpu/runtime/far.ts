// Far jumps, calls and returns: between code segments, through call gates, to
// other privilege levels (Intel SDM vol. 3, 5.8; vol. 2, CALL, JMP, RET). Task
// switches are in tasks.ts. RIP holds the next instruction when these are called.

import type { CpuModule } from "../cpu_module.ts";
import { CPL, CS, NEXT_SS, RIP, SS } from "../state.ts";
import { type I32, i32, type I64 } from "../wasm/mod.ts";
import {
  Descriptor,
  readDescriptor,
  requirePresent,
  setAccessed,
  SYSTEM_TYPE,
} from "./descriptors.ts";
import { frameWord, nextStackError } from "./frames.ts";
import { isCanonical, isNull, RSP, selectorError, Sys } from "./sysops.ts";
import { TASK_REASON } from "./tasks.ts";
import { VECTOR } from "./traps.ts";

/** Signatures of the functions defined here. */
export const FAR_SIGNATURES = {
  /** JMP far: selector, offset, site. */
  farJump: { params: ["i32", "i64", "i32"], results: [] },
  /** CALL far: selector, offset, bytes of the operand size, site. */
  farCall: { params: ["i32", "i64", "i32", "i32"], results: [] },
  /** RET far: bytes of the operand size, bytes to release, site. */
  farReturn: { params: ["i32", "i32", "i32"], results: [] },
  /** A far transfer to a gate or TSS: selector, descriptor, 1 for CALL, site. */
  farSystem: { params: ["i32", "i64", "i32", "i32"], results: [] },
  /** Through a call gate: its selector, descriptor, 1 for CALL, site. */
  callGate: { params: ["i32", "i64", "i32", "i32"], results: [] },
  /** CALL through a gate to an inner level: target, its descriptor, RIP, gate, site. */
  callInner: { params: ["i32", "i64", "i64", "i64", "i32"], results: [] },
  /** Enters checked code: selector, descriptor, RIP, CPL. */
  enterCode: { params: ["i32", "i64", "i64", "i32"], results: [] },
  /**
   * RIP for an offset in a checked code segment, within its limit or canonical:
   * offset, descriptor, EXT, site.
   */
  checkTarget: { params: ["i64", "i64", "i32", "i32"], results: ["i64"] },
  /** The target of a return, checked: selector, site; answers its descriptor. */
  checkReturn: { params: ["i32", "i32"], results: ["i64"] },
} as const;

/** Whether a code descriptor is 64-bit code here. */
export function is64BitCode(s: Sys, d: Descriptor): I32 {
  return s.isLong().and(d.isLong());
}

function defineEntry(cpu: CpuModule): void {
  cpu.define("enterCode", (f) => {
    const s = new Sys(cpu, f);
    const cpl = f.param(3, "i32");
    const selector = f.param(0, "i32").and(0xfffc).or(cpl);
    s.call("setSegment", i32(CS), selector, f.param(1, "i64"));
    s.set(CPL, cpl);
    s.setRip(f.param(2, "i64"));
    f.returnCall(cpu.fn.updateMode);
  });
  cpu.define("checkTarget", (f) => {
    const offset = f.param(0, "i64");
    const d = new Descriptor(f.param(1, "i64"));
    const ext = f.param(2, "i32");
    const s = new Sys(cpu, f, f.param(3, "i32"));
    f.if(is64BitCode(s, d), () => {
      s.failIf(isCanonical(offset).eqz(), VECTOR.GP, ext);
      f.return(offset);
    });
    const rip = s.let(offset.and(0xffff_ffff));
    s.failIf(rip.gtU(d.limit().toI64U()), VECTOR.GP, ext);
    f.return(rip);
  });
}

/** `checkTarget`, called. */
export function checkTarget(
  s: Sys,
  offset: I64,
  d: Descriptor,
  ext: I32 = i32(0),
): I64 {
  return s.call("checkTarget", offset, d.raw, ext, s.site)[0];
}

// Raises #GP for a code descriptor that cannot be entered in long mode.
function requireCodeMode(s: Sys, selector: I32, d: Descriptor): void {
  const bad = s.isLong().and(d.isLongAnd32());
  s.failIf(bad, VECTOR.GP, selectorError(selector));
}

// The checks of a far transfer straight to a code segment.
function checkDirect(s: Sys, selector: I32, d: Descriptor): void {
  const cpl = s.cpl();
  const equal = d.dpl().eq(cpl).and(selector.and(3).leU(cpl));
  const allowed = d.dpl().leU(cpl).when(d.isConforming(), equal);
  requireCodeMode(s, selector, d);
  s.failIf(allowed.eqz(), VECTOR.GP, selectorError(selector));
  requirePresent(s, selector, d);
}

// --- Real and virtual-8086 mode ------------------------------------------------

function enterReal(s: Sys, selector: I32, offset: I64): void {
  s.call("setRealSegment", i32(CS), selector);
  s.setRip(offset);
  s.f.returnCall(s.cpu.fn.updateMode);
}

function requireRealTarget(s: Sys, offset: I64): void {
  s.protectIf(offset.gtU(s.limit(CS)));
}

// --- JMP and CALL ----------------------------------------------------------------

function defineJump(cpu: CpuModule): void {
  cpu.define("farJump", (f) => {
    const selector = f.param(0, "i32");
    const offset = f.param(1, "i64");
    const s = new Sys(cpu, f, f.param(2, "i32"));
    f.if(s.hasDescriptors().eqz(), () => {
      requireRealTarget(s, offset);
      enterReal(s, selector, offset);
    });
    s.protectIf(isNull(selector));
    const d = readDescriptor(s, selector, VECTOR.GP);
    f.if(d.isCode().eqz(), () => {
      f.returnCall(cpu.fn.farSystem, selector, d.raw, i32(0), s.site);
    });
    checkDirect(s, selector, d);
    const rip = checkTarget(s, offset, d);
    setAccessed(s, selector, d);
    f.returnCall(cpu.fn.enterCode, selector, d.raw, rip, s.cpl());
  });
}

// Pushes CS and RIP on the present stack and answers the stack pointer.
function pushReturn(s: Sys, bytes: I32, wide: I32): I64 {
  s.set64(frameWord(0), s.selector(CS).toI64U());
  s.set64(frameWord(1), s.get64(RIP));
  return s.call(
    "pushFrame",
    i32(SS),
    s.get64(RSP),
    i32(2),
    bytes,
    wide,
    s.cpl(),
    i32(0),
    s.site,
  )[0];
}

function defineCall(cpu: CpuModule): void {
  cpu.define("farCall", (f) => {
    const selector = f.param(0, "i32");
    const offset = f.param(1, "i64");
    const bytes = f.param(2, "i32");
    const s = new Sys(cpu, f, f.param(3, "i32"));
    f.if(s.hasDescriptors().eqz(), () => {
      requireRealTarget(s, offset);
      const sp = pushReturn(s, bytes, i32(0));
      s.setStackPointer(SS, sp, i32(0));
      enterReal(s, selector, offset);
    });
    s.protectIf(isNull(selector));
    const d = readDescriptor(s, selector, VECTOR.GP);
    f.if(d.isCode().eqz(), () => {
      f.returnCall(cpu.fn.farSystem, selector, d.raw, i32(1), s.site);
    });
    checkDirect(s, selector, d);
    const rip = checkTarget(s, offset, d);
    setAccessed(s, selector, d);
    const wide = s.let(s.is64());
    s.setStackPointer(SS, pushReturn(s, bytes, wide), wide);
    f.returnCall(cpu.fn.enterCode, selector, d.raw, rip, s.cpl());
  });
}

// --- Gates and tasks ---------------------------------------------------------------

function oneOf(type: I32, types: readonly number[]): I32 {
  const mask = types.reduce((bits, t) => bits | 1 << t, 0);
  return i32(mask).shrU(type).and(1);
}

const LEGACY_TARGETS = [
  SYSTEM_TYPE.TSS16,
  SYSTEM_TYPE.TSS32,
  SYSTEM_TYPE.TASK_GATE,
  SYSTEM_TYPE.CALL_GATE16,
  SYSTEM_TYPE.CALL_GATE32,
];
const CALL_GATES = [SYSTEM_TYPE.CALL_GATE16, SYSTEM_TYPE.CALL_GATE32];

function defineSystemTargets(cpu: CpuModule): void {
  cpu.define("farSystem", (f) => {
    const selector = f.param(0, "i32");
    const d = new Descriptor(f.param(1, "i64"));
    const isCall = f.param(2, "i32");
    const s = new Sys(cpu, f, f.param(3, "i32"));
    const error = s.let(selectorError(selector));
    const type = s.let(d.type());
    // Data descriptors have bit 4 set, which no entry of these lists has.
    const known = type.eq(SYSTEM_TYPE.CALL_GATE32)
      .when(s.isLong(), oneOf(type, LEGACY_TARGETS))
      .and(type.and(0x10).eqz());
    s.failIf(known.eqz(), VECTOR.GP, error);
    const dpl = s.let(d.dpl());
    const denied = dpl.ltU(s.cpl()).or(dpl.ltU(selector.and(3)));
    s.failIf(denied, VECTOR.GP, error);
    requirePresent(s, selector, d);
    f.if(oneOf(type, CALL_GATES), () => {
      f.returnCall(cpu.fn.callGate, selector, d.raw, isCall, s.site);
    });
    const reason = s.let(
      i32(TASK_REASON.CALL).when(isCall, TASK_REASON.JUMP),
    );
    const task = s.let(
      d.target().when(type.eq(SYSTEM_TYPE.TASK_GATE), selector),
    );
    s.call("enterTask", task, reason, i32(-1), i32(0), s.site);
  });
}

// The gate's offset: in long mode its upper half lies in the next eight bytes.
function gateOffset(s: Sys, selector: I32, gate: Descriptor): I64 {
  const offset = s.f.var("i64", gate.offset());
  s.f.if(s.isLong(), () => {
    const [high] = s.call(
      "readDescriptorHigh",
      selector,
      i32(VECTOR.GP),
      i32(0),
      s.site,
    );
    s.f.set(offset, offset.get().or(high.shl(32)));
  });
  return s.let(offset.get());
}

// Bytes of the words that go through a call gate.
function gateBytes(s: Sys, gate: Descriptor): I32 {
  const legacy = i32(4).when(gate.hasType(8), 2);
  return s.let(i32(8).when(s.isLong(), legacy));
}

function defineCallGate(cpu: CpuModule): void {
  cpu.define("callGate", (f) => {
    const selector = f.param(0, "i32");
    const gate = new Descriptor(f.param(1, "i64"));
    const isCall = f.param(2, "i32");
    const s = new Sys(cpu, f, f.param(3, "i32"));
    const offset = gateOffset(s, selector, gate);
    const target = s.let(gate.target());
    s.protectIf(isNull(target));
    const d = readDescriptor(s, target, VECTOR.GP);
    const cpl = s.cpl();
    const dpl = s.let(d.dpl());
    // A jump keeps the level; a call may go inwards.
    const mayDiffer = isCall.or(d.isConforming());
    const reachable = dpl.leU(cpl).when(mayDiffer, dpl.eq(cpl));
    const codeMode = s.isLong().eqz().or(d.codeMode().eq(1));
    const good = d.isCode().and(reachable).and(codeMode);
    s.failIf(good.eqz(), VECTOR.GP, selectorError(target));
    requirePresent(s, target, d);
    const rip = checkTarget(s, offset, d);
    const isInner = isCall.and(dpl.ltU(cpl)).and(d.isConforming().eqz());
    f.if(isInner, () => {
      f.returnCall(cpu.fn.callInner, target, d.raw, rip, gate.raw, s.site);
    });
    setAccessed(s, target, d);
    f.if(isCall, () => {
      const wide = s.let(s.isLong());
      const sp = pushReturn(s, gateBytes(s, gate), wide);
      s.setStackPointer(SS, sp, wide);
    });
    f.returnCall(cpu.fn.enterCode, target, d.raw, rip, cpl);
  });
}

// Copies a legacy gate's parameters into FRAME, the highest first.
function copyParameters(s: Sys, count: I32, bytes: I32): void {
  const { f } = s;
  f.if(count, () => {
    s.call("readFrame", s.get64(RSP), i32(2), count, bytes, s.site);
    const low = f.var("i32", i32(2));
    const high = f.var("i32", count.add(1));
    f.block((done) =>
      f.loop((again) => {
        f.brIf(done, low.get().geU(high.get()));
        const a = s.let(low.get().shl(3));
        const b = s.let(high.get().shl(3));
        const kept = s.get64(a, frameWord(0));
        s.set64(a, s.get64(b, frameWord(0)), frameWord(0));
        s.set64(b, kept, frameWord(0));
        f.set(low, low.get().add(1));
        f.set(high, high.get().sub(1));
        f.br(again);
      })
    );
  });
}

function defineCallInner(cpu: CpuModule): void {
  cpu.define("callInner", (f) => {
    const target = f.param(0, "i32");
    const d = new Descriptor(f.param(1, "i64"));
    const rip = f.param(2, "i64");
    const gate = new Descriptor(f.param(3, "i64"));
    const s = new Sys(cpu, f, f.param(4, "i32"));
    const bytes = gateBytes(s, gate);
    const wide = s.let(s.isLong());
    const level = s.let(d.dpl());
    const [newSp] = s.call("innerStack", level, i32(0), i32(0), s.site);
    const parameters = s.let(
      i32(0).when(wide, gate.raw.shrU(32).toI32().and(31)),
    );
    copyParameters(s, parameters, bytes);
    s.set64(frameWord(0), s.selector(SS).toI64U());
    s.set64(frameWord(1), s.get64(RSP));
    const after = s.let(parameters.shl(3));
    s.set64(after, s.selector(CS).toI64U(), frameWord(2));
    s.set64(after, s.get64(RIP), frameWord(3));
    setAccessed(s, target, d);
    const [sp] = s.call(
      "pushFrame",
      i32(NEXT_SS),
      newSp,
      parameters.add(4),
      bytes,
      wide,
      level,
      nextStackError(s, i32(0)),
      s.site,
    );
    s.copySegment(SS, NEXT_SS);
    // A new 16-bit stack keeps no bits of the old pointer (SDM: ESP is loaded).
    s.set64(RSP, newSp);
    s.setStackPointer(SS, sp, wide);
    f.returnCall(cpu.fn.enterCode, target, d.raw, rip, level);
  });
}

// --- RET -----------------------------------------------------------------------

function word(s: Sys, n: number): I64 {
  return s.get64(frameWord(n));
}

function defineCheckReturn(cpu: CpuModule): void {
  cpu.define("checkReturn", (f) => {
    const selector = f.param(0, "i32");
    const s = new Sys(cpu, f, f.param(1, "i32"));
    s.protectIf(isNull(selector));
    const d = readDescriptor(s, selector, VECTOR.GP);
    const level = selector.and(3);
    const dpl = d.dpl();
    const reachable = dpl.leU(level).when(d.isConforming(), dpl.eq(level));
    const good = d.isCode().and(reachable).and(level.geU(s.cpl()));
    s.failIf(good.eqz(), VECTOR.GP, selectorError(selector));
    requireCodeMode(s, selector, d);
    requirePresent(s, selector, d);
    setAccessed(s, selector, d);
    f.return(d.raw);
  });
}

function returnReal(s: Sys, bytes: I32, release: I32): void {
  s.call("readFrame", s.get64(RSP), i32(0), i32(2), bytes, s.site);
  const offset = word(s, 0);
  requireRealTarget(s, offset);
  const sp = s.get64(RSP).add(bytes.shl(1).add(release).toI64U());
  s.setStackPointer(SS, sp, i32(0));
  enterReal(s, word(s, 1).toI32().and(0xffff), offset);
}

function defineReturn(cpu: CpuModule): void {
  cpu.define("farReturn", (f) => {
    const bytes = f.param(0, "i32");
    const release = f.param(1, "i32");
    const s = new Sys(cpu, f, f.param(2, "i32"));
    f.if(s.hasDescriptors().eqz(), () => returnReal(s, bytes, release));
    const rsp = s.get64(RSP);
    s.call("readFrame", rsp, i32(0), i32(2), bytes, s.site);
    const offset = word(s, 0);
    const selector = s.let(word(s, 1).toI32().and(0xffff));
    const level = s.let(selector.and(3));
    const used = s.let(rsp.add(bytes.shl(1).add(release).toI64U()));
    // To another level, inner ones too, the stack is read before CS is looked at
    // (APM vol. 3, RETF).
    f.if(level.ne(s.cpl()), () => {
      s.call("readFrame", used, i32(0), i32(2), bytes, s.site);
    });
    const [raw] = s.call("checkReturn", selector, s.site);
    const d = new Descriptor(raw);
    f.if(level.eq(s.cpl()), () => {
      const rip = checkTarget(s, offset, d);
      s.setStackPointer(SS, used, s.let(s.is64()));
      f.returnCall(cpu.fn.enterCode, selector, raw, rip, level);
    });
    const outer = s.let(word(s, 1).toI32().and(0xffff));
    const wide = s.let(is64BitCode(s, d));
    s.call("outerStack", outer, level, wide, s.site);
    const rip = checkTarget(s, offset, d);
    const newSp = s.let(word(s, 0).add(release.toI64U()));
    s.copySegment(SS, NEXT_SS);
    s.setStackPointer(SS, newSp, wide);
    s.call("enterCode", selector, raw, rip, level);
    s.call("dropSegments");
    f.if(s.is64().eqz(), () => void s.call("updateMode"));
  });
}

/** Defines the functions of `FAR_SIGNATURES`. */
export function defineFar(cpu: CpuModule): void {
  defineEntry(cpu);
  defineJump(cpu);
  defineCall(cpu);
  defineSystemTargets(cpu);
  defineCallGate(cpu);
  defineCallInner(cpu);
  defineCheckReturn(cpu);
  defineReturn(cpu);
}
