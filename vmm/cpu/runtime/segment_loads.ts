// Loading segment registers, LDTR and TR, and the instructions that look at
// descriptors (Intel SDM vol. 3, 5.4 to 5.10; vol. 2, MOV, LAR, LSL, VERR, LTR).

import type { CpuModule } from "../cpu_module.ts";
import { FLAG, Flags } from "../flags.ts";
import {
  ACCESS,
  ES,
  FS,
  GS,
  LDTR,
  SEG_ACCESS,
  SEG_BASE,
  SEG_SELECTOR,
  SS,
  TR,
} from "../state.ts";
import { DS } from "../state.ts";
import { type I32, i32, i64 } from "../wasm/mod.ts";
import {
  Descriptor,
  readDescriptor,
  requirePresent,
  setAccessed,
  SYSTEM_TYPE,
  TSS_BUSY,
} from "./descriptors.ts";
import { isCanonical, isNull, selectorError, Sys } from "./sysops.ts";
import { VECTOR } from "./traps.ts";

/** Signatures of the functions defined here. */
export const SEGMENT_LOAD_SIGNATURES = {
  /** Loads ES, SS, DS, FS or GS, in any mode: slot, selector, site. */
  loadSegment: { params: ["i32", "i32", "i32"], results: [] },
  /** LLDT: selector, site. */
  loadLdt: { params: ["i32", "i32"], results: [] },
  /** LTR: selector, site. */
  loadTask: { params: ["i32", "i32"], results: [] },
  /** LAR: selector, site: bits 23:8 of the descriptor, or -1; ZF is set. */
  accessRights: { params: ["i32", "i32"], results: ["i64"] },
  /** LSL: selector, site: limit in bytes, or -1; ZF is set. */
  segmentLimit: { params: ["i32", "i32"], results: ["i64"] },
  /** VERR and VERW: selector, 0 read or 1 write, site; ZF is set. */
  verifySegment: { params: ["i32", "i32", "i32"], results: [] },
  /** After CPL grew: data segments that it may not use become null. */
  dropSegments: { params: [], results: [] },
} as const;

function loadStackSegment(s: Sys, selector: I32): void {
  const { f } = s;
  const cpl = s.cpl();
  const rpl = selector.and(3);
  f.if(isNull(selector), () => {
    const allowed = s.is64().and(cpl.ne(3)).and(rpl.eq(cpl));
    s.protectIf(allowed.eqz());
    s.call("setNullSegment", i32(SS), selector, cpl);
    f.returnCall(s.cpu.fn.updateMode);
  });
  const d = readDescriptor(s, selector, VECTOR.GP);
  const error = selectorError(selector);
  const good = d.isWritable().and(rpl.eq(cpl)).and(d.dpl().eq(cpl));
  s.failIf(good.eqz(), VECTOR.GP, error);
  s.failIf(d.isAbsent(), VECTOR.SS, error);
  setAccessed(s, selector, d);
  s.call("setSegment", i32(SS), selector, d.raw);
  f.returnCall(s.cpu.fn.updateMode);
}

// Data and nonconforming code may be used from DPL on down to privilege.
function isPrivileged(s: Sys, selector: I32, d: Descriptor): I32 {
  const beyond = selector.and(3).gtU(d.dpl()).or(s.cpl().gtU(d.dpl()));
  return beyond.and(d.isConforming().eqz());
}

function defineLoadSegment(cpu: CpuModule): void {
  cpu.define("loadSegment", (f) => {
    const slot = f.param(0, "i32");
    const selector = f.param(1, "i32");
    const s = new Sys(cpu, f, f.param(2, "i32"));
    f.if(s.hasDescriptors().eqz(), () => {
      s.call("setRealSegment", slot, selector);
      f.returnCall(cpu.fn.updateMode);
    });
    f.if(slot.eq(SS), () => loadStackSegment(s, selector));
    f.if(isNull(selector), () => {
      s.call("setNullSegment", slot, selector, i32(0));
    }, () => {
      const d = readDescriptor(s, selector, VECTOR.GP);
      const refused = d.isReadable().eqz().or(isPrivileged(s, selector, d));
      s.failIf(refused, VECTOR.GP, selectorError(selector));
      requirePresent(s, selector, d);
      setAccessed(s, selector, d);
      s.call("setSegment", slot, selector, d.raw);
    });
    // In 64-bit mode the mode key does not depend on data segments.
    f.if(s.is64().eqz(), () => void s.call("updateMode"));
  });
}

function isType(d: Descriptor, type: number): I32 {
  return d.type().eq(type);
}

// Loads LDTR or TR, whose descriptors have 16 bytes in long mode.
function loadSystemSegment(
  s: Sys,
  slot: number,
  selector: I32,
  d: Descriptor,
): void {
  const { f } = s;
  const error = selectorError(selector);
  const high = f.var("i64");
  f.if(s.isLong(), () => {
    const [upper] = s.call(
      "readDescriptorHigh",
      selector,
      i32(VECTOR.GP),
      i32(0),
      s.site,
    );
    f.set(high, upper.shl(32));
    const base = s.let(d.base().or(high.get()));
    s.failIf(isCanonical(base).eqz(), VECTOR.GP, error);
  });
  if (slot === TR) {
    s.call("setDescriptorBits", selector, i32(TSS_BUSY), s.site);
  }
  s.call("setSegment", i32(slot), selector, d.raw);
  s.set64(slot, s.base(slot).or(high.get()), SEG_BASE);
  if (slot === TR) s.set(slot, s.access(slot).or(TSS_BUSY), SEG_ACCESS);
}

function defineSystemLoads(cpu: CpuModule): void {
  cpu.define("loadLdt", (f) => {
    const selector = f.param(0, "i32");
    const s = new Sys(cpu, f, f.param(1, "i32"));
    s.requireCpl0();
    f.if(isNull(selector), () => {
      s.call("setNullSegment", i32(LDTR), selector, i32(0));
      f.return();
    });
    const error = selectorError(selector);
    s.failIf(selector.and(4).ne(0), VECTOR.GP, error);
    const d = readDescriptor(s, selector, VECTOR.GP);
    s.failIf(isType(d, SYSTEM_TYPE.LDT).eqz(), VECTOR.GP, error);
    requirePresent(s, selector, d);
    loadSystemSegment(s, LDTR, selector, d);
  });
  cpu.define("loadTask", (f) => {
    const selector = f.param(0, "i32");
    const s = new Sys(cpu, f, f.param(1, "i32"));
    s.requireCpl0();
    s.protectIf(isNull(selector));
    const error = selectorError(selector);
    s.failIf(selector.and(4).ne(0), VECTOR.GP, error);
    const d = readDescriptor(s, selector, VECTOR.GP);
    const is16 = isType(d, SYSTEM_TYPE.TSS16).and(s.isLong().eqz());
    const good = isType(d, SYSTEM_TYPE.TSS32).or(is16);
    s.failIf(good.eqz(), VECTOR.GP, error);
    requirePresent(s, selector, d);
    loadSystemSegment(s, TR, selector, d);
  });
}

function setZf(s: Sys, on: I32): void {
  const flags = new Flags(s.f, s.state);
  const others = flags.value().and(~FLAG.ZF);
  flags.assign(s.let(others.or(i64(FLAG.ZF).when(on, 0))));
}

function typeMask(...types: number[]): number {
  return types.reduce((mask, type) => mask | 1 << type, 0);
}

// System descriptors that LAR and LSL accept, outside and in long mode.
const LSL_TYPES = typeMask(1, 2, 3, 9, 11);
const LSL_TYPES_LONG = typeMask(2, 9, 11);
const LAR_TYPES = LSL_TYPES | typeMask(4, 5, 12);
const LAR_TYPES_LONG = LSL_TYPES_LONG | typeMask(12);

function defineInspections(cpu: CpuModule): void {
  const define = (
    name: "accessRights" | "segmentLimit",
    types: number,
    typesLong: number,
    answer: (d: Descriptor) => I32,
  ) =>
    cpu.define(name, (f) => {
      const selector = f.param(0, "i32");
      const s = new Sys(cpu, f, f.param(1, "i32"));
      const good = f.var("i32");
      const raw = f.var("i64");
      f.if(isNull(selector).eqz(), () => {
        const d = readDescriptor(s, selector, -1);
        f.set(raw, d.raw);
        const isSystem = d.type().and(0x10).eqz();
        const valid = i32(typesLong).when(s.isLong(), types)
          .shrU(d.type().and(15)).and(1);
        const typed = valid.or(isSystem.eqz());
        f.set(good, typed.and(isPrivileged(s, selector, d).eqz()));
      });
      setZf(s, s.let(good.get()));
      const value = answer(new Descriptor(s.let(raw.get()))).toI64U();
      f.return(value.when(good.get(), i64(-1)));
    });
  define(
    "accessRights",
    LAR_TYPES,
    LAR_TYPES_LONG,
    (d) => d.raw.shrU(32).toI32().and(0xff_ff00),
  );
  define("segmentLimit", LSL_TYPES, LSL_TYPES_LONG, (d) => d.limit());
  cpu.define("verifySegment", (f) => {
    const selector = f.param(0, "i32");
    const s = new Sys(cpu, f, f.param(2, "i32"));
    const good = f.var("i32");
    f.if(isNull(selector).eqz(), () => {
      const d = readDescriptor(s, selector, -1);
      const usable = d.isWritable().when(f.param(1, "i32"), d.isReadable());
      f.set(good, usable.and(isPrivileged(s, selector, d).eqz()));
    });
    setZf(s, s.let(good.get()));
  });
}

function defineDrop(cpu: CpuModule): void {
  cpu.define("dropSegments", (f) => {
    const s = new Sys(cpu, f);
    const cpl = s.cpl();
    for (const slot of [ES, DS, FS, GS]) {
      const access = s.access(slot);
      const isConforming = access.and(ACCESS.CODE | ACCESS.EXPAND_DOWN)
        .eq(ACCESS.CODE | ACCESS.EXPAND_DOWN);
      const dpl = access.shrU(ACCESS.DPL_SHIFT).and(3);
      const dropped = dpl.ltU(cpl).and(isConforming.eqz())
        .and(access.and(ACCESS.UNUSABLE).eqz());
      // The hidden base stays, which FS and GS rely on in 64-bit mode.
      f.if(dropped, () => {
        s.set(slot, ACCESS.UNUSABLE, SEG_ACCESS);
        s.set(slot, 0, SEG_SELECTOR);
      });
    }
  });
}

/** Defines the functions of `SEGMENT_LOAD_SIGNATURES`. */
export function defineSegmentLoads(cpu: CpuModule): void {
  defineLoadSegment(cpu);
  defineSystemLoads(cpu);
  defineInspections(cpu);
  defineDrop(cpu);
}
