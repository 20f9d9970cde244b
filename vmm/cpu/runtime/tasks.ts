// Task switches with 16- and 32-bit task-state segments (Intel SDM vol. 3, 8.2 and
// 8.3, table 8-1 for the faults and their order). RIP holds the old task's next
// instruction when these are called.

import type { CpuModule } from "../cpu_module.ts";
import { FLAG } from "../flags.ts";
import {
  CPL,
  CR0,
  CR3,
  CS,
  DR,
  DS,
  ES,
  FRAME,
  FS,
  gprAddress,
  GS,
  LDTR,
  RIP,
  RIP_BASE,
  SEG_ACCESS,
  SEG_LIMIT,
  SHADOW_KIND,
  SS,
  TASK,
  TASK_SWITCH_EXITS,
  TLB_SYSTEM,
  TR,
} from "../state.ts";
import { type I32, i32, type I64 } from "../wasm/mod.ts";
import {
  Descriptor,
  readDescriptor,
  requirePresent,
  setAccessed,
  SYSTEM_TYPE,
  TSS_BUSY,
} from "./descriptors.ts";
import { EXIT_REASON } from "./host.ts";
import { FLAG_BITS, isNull, RSP, selectorError, Sys } from "./sysops.ts";
import { setScratch, VECTOR } from "./traps.ts";
import { CR0_PG, CR0_TS, CR4_PAE } from "./control_bits.ts";
import { ACCESS_WRITE } from "./walk.ts";

/** Signatures of the functions defined here. */
export const TASK_SIGNATURES = {
  /**
   * Switches to a task: TSS selector, reason of `TASK_REASON`, error code to push
   * or -1, EXT, site.
   */
  enterTask: { params: ["i32", "i32", "i32", "i32", "i32"], results: [] },
  /** Reads a TSS into TASK: base, whether it is a 32-bit one, site. */
  readTask: { params: ["i64", "i32", "i32"], results: [] },
  /** Writes the present state: base, whether it is a 32-bit TSS, RFLAGS, site. */
  writeTask: { params: ["i64", "i32", "i32", "i32"], results: [] },
  /** Makes TASK the present state; segment registers get selectors only. */
  loadTaskState: { params: ["i32"], results: [] },
  /** Loads the new task's segments in its context: EXT. */
  loadTaskSegments: { params: ["i32"], results: [] },
  /** One data segment of a new task: slot, selector, EXT. */
  loadTaskData: { params: ["i32", "i32", "i32"], results: [] },
} as const;

/** Why a task is entered, as vmm(4) numbers it. */
export const TASK_REASON = { CALL: 0, IRET: 1, JUMP: 2, GATE: 3 } as const;

// Words of TASK.
const WORD = {
  EIP: 0,
  FLAGS: 1,
  GPR: 2,
  SEGMENT: 10,
  LDT: 16,
  CR3: 17,
  TRAP: 18,
} as const;

interface TssLayout {
  readonly width: 2 | 4;
  readonly eip: number;
  readonly flags: number;
  readonly gpr: number;
  readonly segment: number;
  readonly segments: number;
  readonly ldt: number;
  /** least limit that is large enough */
  readonly limit: number;
}

// SDM vol. 3, figures 8-2 and 8-10.
const TSS32: TssLayout = {
  width: 4,
  eip: 0x20,
  flags: 0x24,
  gpr: 0x28,
  segment: 0x48,
  segments: 6,
  ldt: 0x60,
  limit: 0x67,
};
const TSS16: TssLayout = {
  width: 2,
  eip: 0x0e,
  flags: 0x10,
  gpr: 0x12,
  segment: 0x22,
  segments: 4,
  ldt: 0x2a,
  limit: 0x2b,
};
const TSS_CR3 = 0x1c;
const TSS_TRAP = 0x64;

const SEGMENT_ORDER = [ES, CS, SS, DS, FS, GS] as const;

function taskWord(n: number): number {
  return TASK + 4 * n;
}

// Offsets in the TSS and the words of TASK that belong to them.
function taskFields(layout: TssLayout): [number, number][] {
  const run = (first: number, word: number, count: number) =>
    Array.from({ length: count }, (_, n): [number, number] => [
      first + n * layout.width,
      word + n,
    ]);
  return [
    [layout.eip, WORD.EIP],
    [layout.flags, WORD.FLAGS],
    ...run(layout.gpr, WORD.GPR, 8),
    ...run(layout.segment, WORD.SEGMENT, layout.segments),
    [layout.ldt, WORD.LDT],
  ];
}

function defineReadTask(cpu: CpuModule): void {
  cpu.define("readTask", (f) => {
    const base = f.param(0, "i64");
    const s = new Sys(cpu, f, f.param(2, "i32"));
    const read = (offset: number, width: 2 | 4, word: number) => {
      const la = s.linear(base.add(offset));
      const [value] = s.call("loadSystem", la, i32(width), s.site);
      s.set(taskWord(word), value.toI32());
    };
    const readAll = (layout: TssLayout) => {
      for (const [offset, word] of taskFields(layout)) {
        read(offset, layout.width, word);
      }
    };
    f.do(s.state.fill(i32(TASK), 0, i32(80)));
    f.if(f.param(1, "i32"), () => {
      readAll(TSS32);
      read(TSS_CR3, 4, WORD.CR3);
      read(TSS_TRAP, 2, WORD.TRAP);
    }, () => readAll(TSS16));
  });
}

function defineWriteTask(cpu: CpuModule): void {
  cpu.define("writeTask", (f) => {
    const base = f.param(0, "i64");
    const flags = f.param(2, "i32");
    const s = new Sys(cpu, f, f.param(3, "i32"));
    const write = (layout: TssLayout, offset: number, value: I64) => {
      const la = s.linear(base.add(offset));
      s.call("storeSystem", la, i32(layout.width), value, s.site);
    };
    const writeAll = (layout: TssLayout) => {
      const { width } = layout;
      write(layout, layout.eip, s.get64(RIP));
      write(layout, layout.flags, s.let(flags.toI64U()));
      for (let n = 0; n < 8; n++) {
        write(layout, layout.gpr + n * width, s.get64(gprAddress(n)));
      }
      SEGMENT_ORDER.slice(0, layout.segments).forEach((slot, n) => {
        const value = s.let(s.selector(slot).toI64U());
        write(layout, layout.segment + n * width, value);
      });
    };
    f.if(f.param(1, "i32"), () => writeAll(TSS32), () => writeAll(TSS16));
  });
}

// --- The switch ------------------------------------------------------------------

interface Switch {
  readonly s: Sys;
  readonly selector: I32;
  readonly d: Descriptor;
  readonly reason: I32;
  readonly ext: I32;
  /** whether the new TSS is a 32-bit one */
  readonly is32: I32;
  /** the new task returns here: CALL, exceptions and interrupts */
  readonly isNested: I32;
  readonly isReturn: I32;
}

function checkDescriptor(
  s: Sys,
  selector: I32,
  isReturn: I32,
  ext: I32,
): Descriptor {
  const vector = s.let(i32(VECTOR.TS).when(isReturn, VECTOR.GP));
  const error = s.let(selectorError(selector, ext));
  s.failIf(isNull(selector).or(selector.and(4).ne(0)), vector, error);
  const [raw] = s.call("readDescriptor", selector, vector, ext, s.site);
  const d = new Descriptor(raw);
  // Type 16-bit or 32-bit TSS, busy only where this is a return.
  const wanted = s.let(
    i32(SYSTEM_TYPE.TSS16_BUSY).when(isReturn, SYSTEM_TYPE.TSS16),
  );
  s.failIf(d.type().and(0x17).ne(wanted), vector, error);
  requirePresent(s, selector, d, ext);
  return d;
}

function leaveForExit(w: Switch, errorCode: I32): void {
  const { s } = w;
  s.f.if(s.state.load32(0, TASK_SWITCH_EXITS), () => {
    [w.selector, w.reason, errorCode, w.ext].forEach((value, n) =>
      setScratch(s.cpu, s.f, n, value.toI64U())
    );
    s.f.call(s.cpu.host.exit, i32(EXIT_REASON.TASK_SWITCH));
    s.call("leave", s.site);
    s.f.unreachable();
  });
}

// Makes sure that bytes of a system structure can be written.
function requireWritable(s: Sys, la: I64): void {
  const array = s.state.load32(0, TLB_SYSTEM);
  s.call("translate", s.linear(la), i32(ACCESS_WRITE), array, s.site);
}

// Everything that can fault in the old task's context.
function prepare(w: Switch, oldBase: I64, oldIs32: I32): void {
  const { s, d } = w;
  const least = i32(TSS32.limit).when(w.is32, TSS16.limit);
  s.failIf(
    d.limit().ltU(least),
    VECTOR.TS,
    selectorError(w.selector, w.ext),
  );
  const oldLeast = i32(TSS32.limit).when(oldIs32, TSS16.limit);
  s.failIf(
    s.get(TR, SEG_LIMIT).ltU(oldLeast),
    VECTOR.TS,
    selectorError(s.selector(TR), w.ext),
  );
  s.call("readTask", d.base(), w.is32, s.site);
  s.f.if(w.isNested, () => requireWritable(s, d.base()));
  const first = i32(TSS32.eip).when(oldIs32, TSS16.eip).toI64U();
  const last = i32(TSS32.ldt - 1).when(oldIs32, TSS16.ldt - 1).toI64U();
  requireWritable(s, oldBase.add(first));
  requireWritable(s, oldBase.add(last));
}

// Busy bits, the old task's state, the link.
function saveOld(w: Switch, oldBase: I64, oldIs32: I32): void {
  const { s, selector } = w;
  const { f } = s;
  const busy = i32(TSS_BUSY);
  const oldSelector = s.selector(TR);
  f.if(
    w.isReturn.eqz(),
    () => s.call("setDescriptorBits", selector, busy, s.site),
  );
  f.if(
    w.isNested.eqz(),
    () => s.call("clearDescriptorBits", oldSelector, busy, s.site),
  );
  const flags = s.allFlags();
  const saved = flags.and(~FLAG.NT).when(w.isReturn, flags);
  s.call("writeTask", oldBase, oldIs32, saved, s.site);
  f.if(w.isNested, () => {
    const link = s.let(oldSelector.toI64U());
    s.store(2, s.linear(w.d.base()), link);
    const image = s.get(taskWord(WORD.FLAGS)).or(FLAG.NT);
    s.set(taskWord(WORD.FLAGS), image);
  });
}

function loadRegister(w: Switch): void {
  const { s } = w;
  s.call("setSegment", i32(TR), w.selector, w.d.raw);
  s.set(TR, s.access(TR).or(TSS_BUSY), SEG_ACCESS);
  s.set(CR0, s.get(CR0).or(CR0_TS));
  // The local breakpoints and LE belong to the old task.
  s.set(DR + 56, s.get(DR + 56).and(~0x155));
}

// After the switch: the error code, EIP, the T flag.
function finish(w: Switch, error: I32): void {
  const { f, cpu } = w.s;
  const s = new Sys(cpu, f, i32(0));
  f.if(error.geS(0), () => {
    s.set64(FRAME, error.toI64U());
    const [sp] = s.call(
      "pushFrame",
      i32(SS),
      s.get64(RSP),
      i32(1),
      s.let(i32(4).when(w.is32, 2)),
      i32(0),
      s.cpl(),
      w.ext,
      s.site,
    );
    s.setStackPointer(SS, sp, i32(0));
  });
  s.failIf(s.get64(RIP).gtU(s.limit(CS)), VECTOR.GP, w.ext);
  f.if(s.get(taskWord(WORD.TRAP)).and(1), () => {
    s.set(DR + 48, s.get(DR + 48).or(1 << 15));
    s.raise(VECTOR.DB);
  });
}

function defineEnterTask(cpu: CpuModule): void {
  cpu.define("enterTask", (f) => {
    const selector = f.param(0, "i32");
    const reason = f.param(1, "i32");
    const error = f.param(2, "i32");
    const ext = f.param(3, "i32");
    const s = new Sys(cpu, f, f.param(4, "i32"));
    const isReturn = s.let(reason.eq(TASK_REASON.IRET));
    const d = checkDescriptor(s, selector, isReturn, ext);
    const isNested = s.let(
      reason.eq(TASK_REASON.CALL).or(reason.eq(TASK_REASON.GATE)),
    );
    const is32 = s.let(d.hasType(8));
    const w = { s, selector, d, reason, ext, is32, isNested, isReturn };
    leaveForExit(w, error);
    const oldBase = s.base(TR);
    const oldIs32 = s.let(s.access(TR).and(8).ne(0));
    prepare(w, oldBase, oldIs32);
    saveOld(w, oldBase, oldIs32);
    loadRegister(w);
    s.call("loadTaskState", is32);
    s.call("loadTaskSegments", ext);
    finish(w, error);
  });
}

// --- The new task ------------------------------------------------------------------

function loadPaging(s: Sys): void {
  const { f } = s;
  f.if(s.get(CR0).and(CR0_PG), () => {
    const cr3 = s.let(s.get(taskWord(WORD.CR3)).toI64U());
    f.if(s.cr4(CR4_PAE), () => {
      const [good] = s.call("loadPdptes", cr3);
      s.protectIf(good.eqz());
    });
    s.set64(CR3, cr3);
    s.call("flushContext");
  });
}

function defineLoadState(cpu: CpuModule): void {
  cpu.define("loadTaskState", (f) => {
    const is32 = f.param(0, "i32");
    const s = new Sys(cpu, f, i32(0));
    const word = (n: number) => s.get(taskWord(n));
    const flags = word(WORD.FLAGS);
    // From here on a fault is one of the new task's first instruction.
    const rip = s.let(word(WORD.EIP).toI64U());
    s.setRip(rip);
    s.set64(RIP_BASE, rip);
    s.set(SHADOW_KIND, 0);
    s.setFlags(flags, FLAG_BITS);
    for (let n = 0; n < 8; n++) {
      s.set64(gprAddress(n), word(WORD.GPR + n).toI64U());
    }
    const isVm86 = flags.and(FLAG.VM).ne(0);
    const level = s.let(word(WORD.SEGMENT + 1).and(3));
    const cpl = s.let(i32(3).when(isVm86, level));
    s.set(CPL, cpl);
    SEGMENT_ORDER.forEach((slot, n) => {
      const selector = word(WORD.SEGMENT + n).and(0xffff);
      s.call("setNullSegment", i32(slot), selector, cpl);
    });
    const ldt = word(WORD.LDT).and(0xffff);
    s.call("setNullSegment", i32(LDTR), ldt, i32(0));
    f.if(is32, () => loadPaging(s));
    s.call("updateMode");
  });
}

function loadTaskLdt(s: Sys, ext: I32): void {
  const selector = s.selector(LDTR);
  s.f.if(isNull(selector).eqz(), () => {
    const error = s.let(selectorError(selector, ext));
    s.failIf(selector.and(4).ne(0), VECTOR.TS, error);
    const d = readDescriptor(s, selector, VECTOR.TS, ext);
    const good = d.type().eq(SYSTEM_TYPE.LDT).and(d.isAbsent().eqz());
    s.failIf(good.eqz(), VECTOR.TS, error);
    s.call("setSegment", i32(LDTR), selector, d.raw);
  });
}

function loadTaskCode(s: Sys, ext: I32): void {
  const selector = s.selector(CS);
  const error = s.let(selectorError(selector, ext));
  s.failIf(isNull(selector), VECTOR.TS, error);
  const d = readDescriptor(s, selector, VECTOR.TS, ext);
  const level = selector.and(3);
  const dpl = d.dpl();
  const good = dpl.leU(level).when(d.isConforming(), dpl.eq(level))
    .and(d.isCode());
  s.failIf(good.eqz(), VECTOR.TS, error);
  requirePresent(s, selector, d, ext);
  setAccessed(s, selector, d);
  s.call("setSegment", i32(CS), selector, d.raw);
}

function loadTaskStack(s: Sys, ext: I32): void {
  const selector = s.selector(SS);
  const error = s.let(selectorError(selector, ext));
  s.failIf(isNull(selector), VECTOR.TS, error);
  const d = readDescriptor(s, selector, VECTOR.TS, ext);
  const cpl = s.cpl();
  const good = d.isWritable().and(d.dpl().eq(cpl))
    .and(selector.and(3).eq(cpl));
  s.failIf(good.eqz(), VECTOR.TS, error);
  s.failIf(d.isAbsent(), VECTOR.SS, error);
  setAccessed(s, selector, d);
  s.call("setSegment", i32(SS), selector, d.raw);
}

function defineLoadSegments(cpu: CpuModule): void {
  cpu.define("loadTaskSegments", (f) => {
    const ext = f.param(0, "i32");
    const s = new Sys(cpu, f, i32(0));
    loadTaskLdt(s, ext);
    f.if(s.isVm86(), () => {
      for (const slot of SEGMENT_ORDER) {
        s.call("setRealSegment", i32(slot), s.selector(slot));
      }
    }, () => {
      loadTaskCode(s, ext);
      loadTaskStack(s, ext);
      for (const slot of [ES, DS, FS, GS]) {
        s.call("loadTaskData", i32(slot), s.selector(slot), ext);
      }
    });
    s.call("updateMode");
  });
  cpu.define("loadTaskData", (f) => {
    const slot = f.param(0, "i32");
    const selector = f.param(1, "i32");
    const ext = f.param(2, "i32");
    const s = new Sys(cpu, f, i32(0));
    f.if(isNull(selector), () => f.return());
    const d = readDescriptor(s, selector, VECTOR.TS, ext);
    const dpl = d.dpl();
    const denied = dpl.ltU(s.cpl()).or(dpl.ltU(selector.and(3)))
      .and(d.isConforming().eqz());
    const refused = d.isReadable().eqz().or(denied);
    s.failIf(refused, VECTOR.TS, selectorError(selector, ext));
    requirePresent(s, selector, d, ext);
    setAccessed(s, selector, d);
    s.call("setSegment", slot, selector, d.raw);
  });
}

/** Defines the functions of `TASK_SIGNATURES`. */
export function defineTasks(cpu: CpuModule): void {
  defineReadTask(cpu);
  defineWriteTask(cpu);
  defineEnterTask(cpu);
  defineLoadState(cpu);
  defineLoadSegments(cpu);
}
