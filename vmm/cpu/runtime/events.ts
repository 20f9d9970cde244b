// Delivery of interrupts and exceptions: the real-mode vector table, gates of the
// IDT in protected and long mode, software interrupts in virtual-8086 mode (Intel
// SDM vol. 3, 6.10 to 6.14, 6.13 for error codes, 21.3.3; vol. 2, INT n). RIP
// holds what the handler is to return to.

import type { CpuModule } from "../cpu_module.ts";
import { FLAG } from "../flags.ts";
import {
  CS,
  DR,
  DS,
  ES,
  FRAME,
  FS,
  GS,
  IDTR,
  NEXT_SS,
  NMI_BLOCKED,
  RIP,
  RIP_BASE,
  SEG_LIMIT,
  SHADOW_KIND,
  SHADOW_RIP,
  SS,
  TR,
  TRACE_AFTER,
} from "../state.ts";
import { type I32, i32, type I64, i64, type Var } from "../wasm/mod.ts";
import {
  Descriptor,
  readDescriptor,
  requirePresent,
  setAccessed,
  SYSTEM_TYPE,
} from "./descriptors.ts";
import { checkTarget } from "./far.ts";
import { nextStackError } from "./frames.ts";
import { isCanonical, isNull, RSP, selectorError, Sys } from "./sysops.ts";
import { TASK_REASON } from "./tasks.ts";
import { VECTOR } from "./traps.ts";
import { CR4_VME } from "./control_bits.ts";

/** Kinds of events, as VMX numbers them. */
export const EVENT = {
  INTERRUPT: 0,
  NMI: 2,
  EXCEPTION: 3,
  /** INT n */
  SOFTWARE: 4,
  /** INT1 */
  PRIVILEGED: 5,
  /** INT3, INTO */
  SOFTWARE_EXCEPTION: 6,
} as const;

/** Signatures of the functions defined here. */
export const EVENT_SIGNATURES = {
  /** Delivers an event: vector, error code or -1, kind of `EVENT`, site. */
  deliver: { params: ["i32", "i32", "i32", "i32"], results: [] },
  /**
   * `deliver` for the event at RIP, from TypeScript: vector, error code or -1,
   * kind. Answers 0, or a status of `TRAP` where delivering raised another
   * exception (in TRAP_VECTOR and TRAP_ERROR) or left for an exit.
   */
  deliverEvent: { params: ["i32", "i32", "i32"], results: ["i32"] },
  /** Delivery in real mode: vector, site. */
  deliverReal: { params: ["i32", "i32"], results: [] },
  /** Delivery through a 64-bit gate. */
  deliverLong: { params: ["i32", "i32", "i32", "i32"], results: [] },
  /** Delivery in protected and virtual-8086 mode outside long mode. */
  deliverLegacy: { params: ["i32", "i32", "i32", "i32"], results: [] },
  /** INT n in virtual-8086 mode: vector, site; whether the 8086 handler took it. */
  redirectInterrupt: { params: ["i32", "i32"], results: ["i32"] },
  /** What every delivery ends with: vector, kind. */
  eventDelivered: { params: ["i32", "i32"], results: [] },
} as const;

// Exceptions that are faults: they push RF set (SDM vol. 3, 18.3.1.1).
const FAULTS = [0, 5, 6, 7, 9, 10, 11, 12, 13, 14, 16, 17, 19, 20, 21]
  .reduce((mask, vector) => mask | 1 << vector, 0);

interface Event {
  readonly s: Sys;
  readonly vector: I32;
  readonly error: I32;
  readonly kind: I32;
  /** EXT of error codes: 0 for software interrupts */
  readonly ext: I32;
  /** the error code that names the gate */
  readonly gateError: I32;
}

function isSoftware(kind: I32): I32 {
  return kind.eq(EVENT.SOFTWARE).or(kind.eq(EVENT.SOFTWARE_EXCEPTION));
}

function eventOf(cpu: CpuModule, f: Sys["f"]): Event {
  const kind = f.param(2, "i32");
  const ext = f.let(isSoftware(kind).eqz());
  const vector = f.param(0, "i32");
  return {
    s: new Sys(cpu, f, f.param(3, "i32")),
    vector,
    error: f.param(1, "i32"),
    kind,
    ext,
    gateError: f.let(vector.shl(3).or(2).or(ext)),
  };
}

// RFLAGS as the handler finds it on its stack.
function flagsImage({ s, vector, kind }: Event): I64 {
  const isFault = i32(FAULTS).shrU(vector).and(vector.ltU(32)).and(1)
    .and(kind.eq(EVENT.EXCEPTION));
  return s.let(s.allFlags().or(isFault.shl(16)).toI64U());
}

// Appends words to FRAME.
class FrameWriter {
  readonly #count: Var<"i32">;

  constructor(readonly s: Sys) {
    this.#count = s.f.var("i32");
  }

  put(value: I64): void {
    const { s } = this;
    const kept = s.let(value);
    s.set64(this.#count.get().shl(3), kept, FRAME);
    s.f.set(this.#count, this.#count.get().add(1));
  }

  get count(): I32 {
    return this.s.let(this.#count.get());
  }
}

// --- Gates -----------------------------------------------------------------------

// Raises #GP for a gate that software may not use.
function requireGateAccess(e: Event, gate: Descriptor): void {
  const denied = isSoftware(e.kind).and(gate.dpl().ltU(e.s.cpl()));
  e.s.failIf(denied, VECTOR.GP, e.gateError);
}

// The handler's code segment.
function handlerCode(e: Event, selector: I32): Descriptor {
  const { s, ext } = e;
  s.failIf(isNull(selector), VECTOR.GP, ext);
  const d = readDescriptor(s, selector, VECTOR.GP, ext);
  const good = d.isCode().and(d.dpl().leU(s.cpl()))
    .and(s.isLong().eqz().or(d.codeMode().eq(1)));
  s.failIf(good.eqz(), VECTOR.GP, selectorError(selector, ext));
  requirePresent(s, selector, d, ext);
  return d;
}

// Level that the handler runs at.
function handlerLevel(s: Sys, d: Descriptor): I32 {
  return s.let(s.cpl().when(d.isConforming(), d.dpl()));
}

// Flags in the handler: an interrupt gate clears IF as well.
function enterHandler(
  e: Event,
  gate: Descriptor,
  d: Descriptor,
  rip: I64,
  level: I32,
): void {
  const { s } = e;
  const isTrap = gate.hasType(1);
  const cleared = i32(0).when(isTrap, FLAG.IF)
    .or(FLAG.TF | FLAG.NT | FLAG.VM | FLAG.RF);
  s.clearFlags(cleared);
  s.call("eventDelivered", e.vector, e.kind);
  s.call("enterCode", gate.target(), d.raw, rip, level);
}

// --- Long mode -----------------------------------------------------------------

function readGateLong(e: Event): { gate: Descriptor; offset: I64 } {
  const { s } = e;
  const index = s.let(e.vector.shl(4));
  const beyond = index.add(15).gtU(s.get(IDTR, SEG_LIMIT));
  s.failIf(beyond, VECTOR.GP, e.gateError);
  const la = s.let(s.base(IDTR).add(index.toI64U()));
  const gate = new Descriptor(s.load(8, la));
  const high = s.load(8, la.add(8));
  // 64-bit interrupt and trap gates have the types of the 32-bit ones.
  const isGate = gate.type().or(1).eq(SYSTEM_TYPE.TRAP_GATE32);
  s.failIf(isGate.eqz(), VECTOR.GP, e.gateError);
  requireGateAccess(e, gate);
  s.failIf(gate.isAbsent(), VECTOR.NP, e.gateError);
  return { gate, offset: s.let(gate.offset().or(high.shl(32))) };
}

function defineLong(cpu: CpuModule): void {
  cpu.define("deliverLong", (f) => {
    const e = eventOf(cpu, f);
    const { s, ext } = e;
    const { gate, offset } = readGateLong(e);
    const target = s.let(gate.target());
    const d = handlerCode(e, target);
    const level = handlerLevel(s, d);
    s.failIf(isCanonical(offset).eqz(), VECTOR.GP, ext);
    const isInner = s.let(level.ltU(s.cpl()));
    const ist = s.let(gate.raw.shrU(32).toI32().and(7));
    const top = f.var("i64", s.get64(RSP));
    f.if(isInner.or(ist), () => {
      f.set(top, s.call("innerStack", level, ist, ext, s.site)[0]);
    });
    const frame = new FrameWriter(s);
    frame.put(s.selector(SS).toI64U());
    frame.put(s.get64(RSP));
    frame.put(flagsImage(e));
    frame.put(s.selector(CS).toI64U());
    frame.put(s.get64(RIP));
    f.if(e.error.geS(0), () => frame.put(e.error.toI64U()));
    setAccessed(s, target, d);
    const [sp] = s.call(
      "pushFrame",
      i32(SS),
      s.let(top.get().and(-16)),
      frame.count,
      i32(8),
      i32(1),
      level,
      ext,
      s.site,
    );
    // The stack segment becomes null only where the level changes.
    f.if(isInner, () => {
      s.call("setNullSegment", i32(SS), level, level);
    });
    s.set64(RSP, sp);
    enterHandler(e, gate, d, offset, level);
  });
}

// --- Protected mode ------------------------------------------------------------

function readGateLegacy(e: Event): Descriptor {
  const { s } = e;
  const index = s.let(e.vector.shl(3));
  const beyond = index.add(7).gtU(s.get(IDTR, SEG_LIMIT));
  s.failIf(beyond, VECTOR.GP, e.gateError);
  const la = s.linear(s.base(IDTR).add(index.toI64U()));
  const gate = new Descriptor(s.load(8, la));
  const type = s.let(gate.type());
  // Types 6, 7, 14 and 15.
  const isGate = type.and(0x16).eq(6).or(type.eq(SYSTEM_TYPE.TASK_GATE));
  s.failIf(isGate.eqz(), VECTOR.GP, e.gateError);
  requireGateAccess(e, gate);
  s.failIf(gate.isAbsent(), VECTOR.NP, e.gateError);
  return gate;
}

const VM86_SEGMENTS = [GS, FS, DS, ES] as const;

function defineLegacy(cpu: CpuModule): void {
  cpu.define("deliverLegacy", (f) => {
    const e = eventOf(cpu, f);
    const { s, ext } = e;
    const gate = readGateLegacy(e);
    const target = s.let(gate.target());
    f.if(gate.type().eq(SYSTEM_TYPE.TASK_GATE), () => {
      const reason = i32(TASK_REASON.GATE);
      s.call("enterTask", target, reason, e.error, ext, s.site);
      s.call("eventDelivered", e.vector, e.kind);
      f.return();
    });
    const d = handlerCode(e, target);
    const level = handlerLevel(s, d);
    const isInner = s.let(level.ltU(s.cpl()));
    const wasVm86 = s.let(s.isVm86());
    // From virtual-8086 mode only to nonconforming code of level 0.
    s.failIf(
      wasVm86.and(level.ne(0)),
      VECTOR.GP,
      selectorError(target, ext),
    );
    const top = f.var("i64", s.get64(RSP));
    const slot = f.var("i32", i32(SS));
    const stackError = f.var("i32", ext);
    const frame = new FrameWriter(s);
    f.if(isInner, () => {
      f.set(top, s.call("innerStack", level, i32(0), ext, s.site)[0]);
      f.set(slot, i32(NEXT_SS));
      f.set(stackError, nextStackError(s, ext));
      f.if(wasVm86, () => {
        for (const old of VM86_SEGMENTS) frame.put(s.selector(old).toI64U());
      });
      frame.put(s.selector(SS).toI64U());
      frame.put(s.get64(RSP));
    });
    frame.put(flagsImage(e));
    frame.put(s.selector(CS).toI64U());
    frame.put(s.get64(RIP));
    f.if(e.error.geS(0), () => frame.put(e.error.toI64U()));
    const rip = checkTarget(s, s.let(gate.offset()), d, ext);
    setAccessed(s, target, d);
    const [sp] = s.call(
      "pushFrame",
      slot.get(),
      top.get(),
      frame.count,
      s.let(i32(4).when(gate.hasType(8), 2)),
      i32(0),
      level,
      stackError.get(),
      s.site,
    );
    f.if(isInner, () => {
      s.copySegment(SS, NEXT_SS);
      s.set64(RSP, top.get());
    });
    s.setStackPointer(SS, sp, i32(0));
    f.if(wasVm86, () => {
      for (const old of VM86_SEGMENTS) {
        s.call("setNullSegment", i32(old), i32(0), i32(0));
      }
    });
    enterHandler(e, gate, d, rip, level);
  });
}

// --- Real mode and redirection in virtual-8086 mode ------------------------------

// Pushes FLAGS, CS and IP as 16-bit words and enters the vector's handler.
function enterVector(s: Sys, flags: I32, entry: I64): void {
  const target = s.load(4, entry);
  [flags, s.selector(CS)].forEach((value, n) =>
    s.set64(FRAME + 8 * n, value.toI64U())
  );
  s.set64(FRAME + 16, s.get64(RIP));
  const [sp] = s.call(
    "pushFrame",
    i32(SS),
    s.get64(RSP),
    i32(3),
    i32(2),
    i32(0),
    s.cpl(),
    i32(0),
    s.site,
  );
  s.setStackPointer(SS, sp, i32(0));
  s.call("setRealSegment", i32(CS), target.shrU(16).toI32());
  s.setRip(target.and(0xffff));
}

function defineReal(cpu: CpuModule): void {
  cpu.define("deliverReal", (f) => {
    const vector = f.param(0, "i32");
    const s = new Sys(cpu, f, f.param(1, "i32"));
    const index = s.let(vector.shl(2));
    s.protectIf(index.add(3).gtU(s.get(IDTR, SEG_LIMIT)));
    const entry = s.linear(s.base(IDTR).add(index.toI64U()));
    enterVector(s, s.allFlags(), entry);
    s.clearFlags(FLAG.IF | FLAG.TF | FLAG.AC | FLAG.RF);
    s.call("updateMode");
  });
}

// Whether the TSS's bit map leaves a software interrupt to the 8086 program.
function isRedirected(s: Sys, vector: I32): I32 {
  const base = s.base(TR);
  const limit = s.get(TR, SEG_LIMIT);
  s.protectIf(limit.ltU(103));
  const io = s.load(2, s.linear(base.add(102))).toI32();
  // The map's 32 bytes lie below the I/O bit map (SDM vol. 3, 21.3.3).
  const offset = s.let(io.sub(32).add(vector.shrU(3)));
  s.protectIf(offset.gtU(limit));
  const byte = s.load(1, s.linear(base.add(offset.toI64U()))).toI32();
  return s.let(byte.shrU(vector.and(7)).and(1).eqz());
}

function defineRedirect(cpu: CpuModule): void {
  cpu.define("redirectInterrupt", (f) => {
    const vector = f.param(0, "i32");
    const s = new Sys(cpu, f, f.param(1, "i32"));
    const isVirtual = s.let(s.iopl().ltU(3));
    f.if(isRedirected(s, vector).eqz(), () => f.return(i32(0)));
    const flags = s.allFlags();
    // Below IOPL 3 the program sees VIF as its IF, and IOPL 3.
    const vif = flags.shrU(10).and(FLAG.IF);
    const shown = flags.and(~FLAG.IF).or(vif).or(FLAG.IOPL);
    enterVector(s, s.let(shown.when(isVirtual, flags)), vector.shl(2).toI64U());
    const masked = i32(FLAG.VIF).when(isVirtual, FLAG.IF);
    s.clearFlags(masked.or(FLAG.TF | FLAG.RF));
    s.call("updateMode");
    f.return(i32(1));
  });
}

// --- Entry points ----------------------------------------------------------------

function defineDelivered(cpu: CpuModule): void {
  cpu.define("eventDelivered", (f) => {
    const vector = f.param(0, "i32");
    const kind = f.param(1, "i32");
    const s = new Sys(cpu, f);
    s.set(SHADOW_KIND, 0);
    s.set64(SHADOW_RIP, i64(-1));
    // INT n clears TF and is not traced itself (SDM vol. 3, 18.3.1.4).
    s.set(TRACE_AFTER, 1);
    f.if(kind.eq(EVENT.NMI), () => s.set(NMI_BLOCKED, 1));
    // A debug handler may use the debug registers (SDM vol. 3, 18.2.4).
    const isDebug = vector.eq(VECTOR.DB).and(
      kind.eq(EVENT.EXCEPTION).or(kind.eq(EVENT.PRIVILEGED)),
    );
    f.if(isDebug, () => s.set(DR + 56, s.get(DR + 56).and(~(1 << 13))));
  });
}

// INT n in virtual-8086 mode needs IOPL 3 unless VME redirects it.
function softwareInVm86(s: Sys, vector: I32, kind: I32): void {
  s.f.if(s.isVm86().and(kind.eq(EVENT.SOFTWARE)), () => {
    s.f.if(s.cr4(CR4_VME), () => {
      const [taken] = s.call("redirectInterrupt", vector, s.site);
      s.f.if(taken, () => s.f.return());
    });
    s.protectIf(s.iopl().ltU(3));
  });
}

function defineDeliver(cpu: CpuModule): void {
  cpu.define("deliver", (f) => {
    const [vector, error, kind, site] = [0, 1, 2, 3].map((n) =>
      f.param(n, "i32")
    ) as [I32, I32, I32, I32];
    const s = new Sys(cpu, f, site);
    f.if(s.isLong(), () => {
      f.returnCall(cpu.fn.deliverLong, vector, error, kind, site);
    });
    f.if(s.isProtected().eqz(), () => {
      s.call("deliverReal", vector, site);
      f.returnCall(cpu.fn.eventDelivered, vector, kind);
    });
    softwareInVm86(s, vector, kind);
    f.returnCall(cpu.fn.deliverLegacy, vector, error, kind, site);
  });
  cpu.define("deliverEvent", (f) => {
    const s = new Sys(cpu, f);
    s.set64(RIP_BASE, s.get64(RIP));
    f.try(
      () => {
        s.call(
          "deliver",
          f.param(0, "i32"),
          f.param(1, "i32"),
          f.param(2, "i32"),
          s.site,
        );
        f.return(i32(0));
      },
      cpu.trap,
      (kind) => f.return(kind),
    );
  });
}

/** Defines the functions of `EVENT_SIGNATURES`. */
export function defineEvents(cpu: CpuModule): void {
  defineLong(cpu);
  defineLegacy(cpu);
  defineReal(cpu);
  defineRedirect(cpu);
  defineDelivered(cpu);
  defineDeliver(cpu);
}
