// Segment and gate descriptors: reading them from the tables, their fields, and
// loading them into segment slots (Intel SDM vol. 3, 3.4.5, 3.5, 5.8.3.1).

import type { CpuModule } from "../cpu_module.ts";
import {
  ACCESS,
  CS,
  GDTR,
  LDTR,
  SEG_ACCESS,
  SEG_BASE,
  SEG_LIMIT,
  SEG_SELECTOR,
  TLB_SYSTEM,
} from "../state.ts";
import { type I32, i32, type I64, i64 } from "../wasm/mod.ts";
import { dropCode } from "./memory.ts";
import { selectorError, Sys } from "./sysops.ts";
import { VECTOR } from "./traps.ts";
import { ACCESS_WRITE, NOT_RAM } from "./walk.ts";

/** Signatures of the functions defined here. */
export const DESCRIPTOR_SIGNATURES = {
  /**
   * The descriptor that a selector names: selector, vector that a selector beyond
   * its table raises (-1: answer 0, which is no valid descriptor), EXT, site.
   */
  readDescriptor: { params: ["i32", "i32", "i32", "i32"], results: ["i64"] },
  /** The upper half of a 16-byte descriptor, with its type field checked. */
  readDescriptorHigh: {
    params: ["i32", "i32", "i32", "i32"],
    results: ["i64"],
  },
  /** Sets bits in the access byte of a descriptor: selector, bits, site. */
  setDescriptorBits: { params: ["i32", "i32", "i32"], results: [] },
  /** Clears bits in the access byte of a descriptor: selector, bits, site. */
  clearDescriptorBits: { params: ["i32", "i32", "i32"], results: [] },
  /** Loads a slot from a descriptor that was checked: slot, selector, descriptor. */
  setSegment: { params: ["i32", "i32", "i64"], results: [] },
  /** Loads a slot as in real or virtual-8086 mode: slot, selector. */
  setRealSegment: { params: ["i32", "i32"], results: [] },
  /** Makes a slot unusable: slot, selector, DPL. */
  setNullSegment: { params: ["i32", "i32", "i32"], results: [] },
} as const;

/** Types of system descriptors (Intel SDM vol. 3, table 3-2). */
export const SYSTEM_TYPE = {
  TSS16: 1,
  LDT: 2,
  TSS16_BUSY: 3,
  CALL_GATE16: 4,
  TASK_GATE: 5,
  INTERRUPT_GATE16: 6,
  TRAP_GATE16: 7,
  TSS32: 9,
  TSS32_BUSY: 11,
  CALL_GATE32: 12,
  INTERRUPT_GATE32: 14,
  TRAP_GATE32: 15,
} as const;

/** In a TSS descriptor's type: busy. */
export const TSS_BUSY = 2;

/** The fields of a descriptor. */
export class Descriptor {
  /** @param raw its eight bytes, a kept value */
  constructor(readonly raw: I64) {}

  #bits(shift: number, mask: number): I32 {
    return this.raw.shrU(shift).toI32().and(mask);
  }

  /** Type and S bit. */
  type(): I32 {
    return this.#bits(40, 0x1f);
  }
  /** Descriptor privilege level. */
  dpl(): I32 {
    return this.#bits(45, 3);
  }
  /** Whether the P bit is clear. */
  isAbsent(): I32 {
    return this.#bits(47, 1).eqz();
  }
  /** Whether it is a code segment. */
  isCode(): I32 {
    return this.#bits(40, 0x18).eq(0x18);
  }
  /** Whether it is a conforming code segment. */
  isConforming(): I32 {
    return this.#bits(40, 0x1c).eq(0x1c);
  }
  /** Whether it is a writable data segment. */
  isWritable(): I32 {
    return this.#bits(40, 0x1a).eq(0x12);
  }
  /** Whether it is a data segment or a readable code segment. */
  isReadable(): I32 {
    return this.#bits(40, 0x10).ne(0).and(this.#bits(40, 0x0a).ne(8));
  }
  /** Whether the L bit is set. */
  isLong(): I32 {
    return this.#bits(53, 1);
  }
  /** Whether both L and D are set, which no code segment may have. */
  isLongAnd32(): I32 {
    return this.#bits(53, 3).eq(3);
  }
  /** L and D: 1 for 64-bit code. */
  codeMode(): I32 {
    return this.#bits(53, 3);
  }
  /** Whether a type bit is set. */
  hasType(bit: number): I32 {
    return this.#bits(40, bit).ne(0);
  }
  /** Base, bits 31:0. */
  base(): I64 {
    return this.raw.shrU(16).and(0xff_ffff)
      .or(this.raw.shrU(56).shl(24));
  }
  /** Limit in bytes, as 32 bits. */
  limit(): I32 {
    const limit = this.raw.toI32().and(0xffff).or(this.#bits(32, 0xf_0000));
    return limit.shl(12).or(0xfff).when(this.#bits(55, 1), limit);
  }
  /** Access word of a slot. */
  access(): I32 {
    return this.#bits(40, 0xf0ff);
  }
  /** Gate: selector of the target. */
  target(): I32 {
    return this.#bits(16, 0xffff);
  }
  /** Gate: offset, bits 31:0; 16-bit gates have 16. */
  offset(): I64 {
    const low = this.raw.and(0xffff);
    const high = this.raw.shrU(32).and(0xffff_0000);
    return low.or(high.when(this.hasType(8), i64(0)));
  }
}

function tableOf(selector: I32): I32 {
  return i32(LDTR).when(selector.and(4), GDTR);
}

// Linear address of a descriptor, without a check.
function descriptorAddress(s: Sys, selector: I32): I64 {
  const index = selector.and(0xfff8).toI64U();
  return s.linear(s.base(tableOf(selector)).add(index));
}

function defineReads(cpu: CpuModule): void {
  const define = (
    name: "readDescriptor" | "readDescriptorHigh",
    bytes: 8 | 16,
  ) =>
    cpu.define(name, (f) => {
      const selector = f.param(0, "i32");
      const vector = f.param(1, "i32");
      const ext = f.param(2, "i32");
      const s = new Sys(cpu, f, f.param(3, "i32"));
      const refuse = () => {
        f.if(vector.ltS(0), () => f.return(i64(0)));
        s.raise(vector, selectorError(selector, ext));
      };
      const table = s.let(tableOf(selector));
      const last = selector.or(7).and(0xffff).add(bytes - 8);
      const beyond = last.gtU(s.get(table, SEG_LIMIT));
      const noLdt = selector.and(4).ne(0)
        .and(s.access(LDTR).and(ACCESS.UNUSABLE).ne(0));
      f.if(beyond.or(noLdt), refuse);
      const la = descriptorAddress(s, selector);
      if (bytes === 8) {
        f.return(s.load(8, la));
        return;
      }
      const high = s.load(8, la.add(8));
      // The second type field must be 0, so that no selector can name it.
      f.if(high.shrU(40).and(0x1f).ne(0), refuse);
      f.return(high);
    });
  define("readDescriptor", 8);
  define("readDescriptorHigh", 16);
}

function defineBits(cpu: CpuModule): void {
  const define = (
    name: "setDescriptorBits" | "clearDescriptorBits",
    op: "or" | "and",
  ) =>
    cpu.define(name, (f) => {
      const bits = f.param(1, "i32");
      const s = new Sys(cpu, f, f.param(2, "i32"));
      const mask = s.let((op === "or" ? bits : bits.xor(0xff)).toI64U());
      const la = s.let(descriptorAddress(s, f.param(0, "i32")).add(5));
      const [at] = s.call(
        "translate",
        la,
        i32(ACCESS_WRITE),
        cpu.state.load32(0, TLB_SYSTEM),
        s.site,
      );
      f.if(at.eq(NOT_RAM), () => {
        const old = s.load(1, la);
        s.store(1, la, s.let(op === "or" ? old.or(mask) : old.and(mask)));
      }, () => {
        dropCode(cpu, f, at, i32(1));
        f.drop(cpu.ram.atomicRmw(op, 1, at, mask));
      });
    });
  define("setDescriptorBits", "or");
  define("clearDescriptorBits", "and");
}

function defineSlots(cpu: CpuModule): void {
  cpu.define("setSegment", (f) => {
    const s = new Sys(cpu, f);
    const slot = f.param(0, "i32");
    const d = new Descriptor(f.param(2, "i64"));
    const access = s.let(d.access());
    // 64-bit code has no base (SDM vol. 3, 3.2.4).
    const flat = slot.eq(CS).and(d.isLong()).and(s.isLong());
    s.set64(slot, i64(0).when(flat, d.base()), SEG_BASE);
    s.set(slot, d.limit(), SEG_LIMIT);
    const accessed = access.and(ACCESS.S).ne(0);
    s.set(slot, access.or(accessed), SEG_ACCESS);
    s.set(slot, f.param(1, "i32"), SEG_SELECTOR);
  });
  cpu.define("setRealSegment", (f) => {
    const s = new Sys(cpu, f);
    const slot = f.param(0, "i32");
    const selector = f.param(1, "i32");
    s.set64(slot, selector.toI64U().shl(4), SEG_BASE);
    s.set(slot, selector, SEG_SELECTOR);
    f.if(s.isVm86(), () => {
      s.set(slot, 0xffff, SEG_LIMIT);
      s.set(slot, 0xf3, SEG_ACCESS);
    }, () => {
      // Limit and size stay as they are: "big real mode".
      const kept = s.access(slot).and(ACCESS.DB | ACCESS.G | ACCESS.AVL);
      s.set(slot, kept.or(0x93), SEG_ACCESS);
    });
  });
  cpu.define("setNullSegment", (f) => {
    const s = new Sys(cpu, f);
    const slot = f.param(0, "i32");
    const dpl = f.param(2, "i32").shl(ACCESS.DPL_SHIFT);
    s.set64(slot, 0, SEG_BASE);
    s.set(slot, 0, SEG_LIMIT);
    s.set(slot, dpl.or(ACCESS.UNUSABLE), SEG_ACCESS);
    s.set(slot, f.param(1, "i32"), SEG_SELECTOR);
  });
}

/** Reads a descriptor and keeps it. */
export function readDescriptor(
  s: Sys,
  selector: I32,
  vector: number,
  ext: I32 = i32(0),
): Descriptor {
  const [raw] = s.call("readDescriptor", selector, i32(vector), ext, s.site);
  return new Descriptor(raw);
}

/** Sets the accessed bit of a code or data descriptor where it is clear. */
export function setAccessed(s: Sys, selector: I32, d: Descriptor): void {
  s.f.if(d.hasType(ACCESS.ACCESSED).eqz(), () => {
    s.call("setDescriptorBits", selector, i32(ACCESS.ACCESSED), s.site);
  });
}

/** Raises #NP for a descriptor that is not present. */
export function requirePresent(
  s: Sys,
  selector: I32,
  d: Descriptor,
  ext: I32 = i32(0),
): void {
  s.failIf(d.isAbsent(), VECTOR.NP, selectorError(selector, ext));
}

/** Defines the functions of `DESCRIPTOR_SIGNATURES`. */
export function defineDescriptors(cpu: CpuModule): void {
  defineReads(cpu);
  defineBits(cpu);
  defineSlots(cpu);
}
