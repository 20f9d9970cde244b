// Segment registers, descriptor tables and what inspects descriptors: MOV, PUSH and
// POP of segment registers, LDS to LSS, LLDT to SIDT, LAR, LSL, VERR, VERW, ARPL,
// SMSW, LMSW (Intel SDM vol. 2; vol. 3, 2.8.1, 5.10).

import { type Emitter, SEGMENT_SLOTS, widthOf } from "../emitter.ts";
import type { OpSize } from "../flags.ts";
import { type Form, form } from "../form.ts";
import {
  CPL,
  CR0,
  GDTR,
  IDTR,
  LDTR,
  SEG_BASE,
  SEG_LIMIT,
  SEG_SELECTOR,
  SHADOW_KIND,
  SHADOW_RIP,
  SS,
  TR,
} from "../state.ts";
import { type I32, i32, type I64 } from "../wasm/mod.ts";
import { VECTOR } from "../runtime/traps.ts";
import { CR0_PE } from "../runtime/walk.ts";
import { readPointer } from "./far.ts";
import { serialize } from "./hints.ts";

const CODE = { axes: ["code"] } as const;
const ENDS = { ...CODE, ends: true } as const;
const STACK = { axes: ["code", "stack", "flat"] } as const;

const SHADOW_SS = 2;

function selectorOf(x: Emitter, slot: I32 | number): I64 {
  return x.let(x.cpu.state.load32(slot, SEG_SELECTOR).toI64U());
}

// --- Loading ---------------------------------------------------------------------

// After a load of SS, interrupts wait for one more instruction.
function shadowNext(x: Emitter): void {
  const { state } = x.cpu;
  x.f.do(state.store64(0, x.nextRip(), SHADOW_RIP));
  x.f.do(state.store32(0, SHADOW_SS, SHADOW_KIND));
}

/** Ends an instruction that loaded a segment register. */
function finishLoad(x: Emitter, slot: I32): void {
  x.f.if(slot.eq(SS), () => {
    shadowNext(x);
    x.endBlock();
  });
  // Outside 64-bit mode the mode may be another one now, which the jump heeds.
  x.jumpTo(x.nextRip());
}

function moves(): Form[] {
  const stores = ["rm16", "r32m16", "r64m16"].map((operand) =>
    form(`Mov_${operand}_Sreg`, (x) => {
      const value = selectorOf(x, x.fields.operand(1));
      x.write(0, value, x.isMemory(0) ? 16 : x.size(0));
    }, { access: "write" })
  );
  const loads = ["rm16", "r32m16", "r64m16"].map((operand) =>
    form(`Mov_Sreg_${operand}`, (x) => {
      const selector = x.read(1, 16).toI32();
      const slot = x.register(0);
      x.call("loadSegment", slot, selector, x.site());
      finishLoad(x, slot);
    }, ENDS)
  );
  return [...stores, ...loads];
}

const SIZES = { w: 16, d: 32, q: 64 } as const;
const NAMES = ["ES", "CS", "SS", "DS", "FS", "GS"] as const;
type Name = (typeof NAMES)[number];

/** Those that 64-bit code can push and pop, and load together with an offset. */
const PUSHED_IN_64_BITS: ReadonlySet<Name> = new Set(["FS", "GS"]);
const LOADED_IN_64_BITS: ReadonlySet<Name> = new Set(["SS", "FS", "GS"]);

function pushesAndPops(): Form[] {
  return (["w", "d", "q"] as const).flatMap((suffix) =>
    NAMES.flatMap((name, n) => {
      const slot = SEGMENT_SLOTS[n]!;
      const size = SIZES[suffix];
      const push = form.bind(null, `Push${suffix}_${name}`, (x: Emitter) => {
        x.push(selectorOf(x, slot), size);
      }, STACK);
      const pop = form.bind(null, `Pop${suffix}_${name}`, (x: Emitter) => {
        const selector = x.let(x.peek(size).toI32().and(0xffff));
        x.call("loadSegment", i32(slot), selector, x.site());
        x.release(widthOf(size));
        finishLoad(x, i32(slot));
      }, { ...STACK, ends: true });
      if (suffix === "q" && !PUSHED_IN_64_BITS.has(name)) return [];
      // There is no POP CS but the 8086's, which no later processor has.
      return name === "CS" ? [push()] : [push(), pop()];
    })
  );
}

function pointers(): Form[] {
  return NAMES.filter((name) => name !== "CS").flatMap((name) => {
    const slot = SEGMENT_SLOTS[NAMES.indexOf(name)]!;
    const sizes = LOADED_IN_64_BITS.has(name)
      ? [16, 32, 64] as const
      : [16, 32] as const;
    return sizes.map((bits) =>
      form(`L${name.toLowerCase()}_r${bits}_m16${bits}`, (x) => {
        const { selector, offset } = readPointer(x, bits);
        x.call("loadSegment", i32(slot), selector.toI32(), x.site());
        x.write(0, offset);
        // LSS does not hold interrupts back: it loads the pointer as well.
        x.jumpTo(x.nextRip());
      }, ENDS)
    );
  });
}

// --- LDTR and TR -------------------------------------------------------------------

const OPERANDS = ["rm16", "r32m16", "r64m16"] as const;

function taskRegisters(): Form[] {
  const loads = OPERANDS.flatMap((operand) => [
    form(`Lldt_${operand}`, (x) => {
      x.call("loadLdt", x.read(0, 16).toI32(), x.site());
      serialize(x);
    }, ENDS),
    form(`Ltr_${operand}`, (x) => {
      x.call("loadTask", x.read(0, 16).toI32(), x.site());
      serialize(x);
    }, ENDS),
  ]);
  const stores = ([["Sldt", LDTR], ["Str", TR]] as const).flatMap((
    [mnemonic, slot],
  ) =>
    OPERANDS.map((operand) =>
      form(`${mnemonic}_${operand}`, (x) => {
        x.call("checkUmip", x.site());
        x.write(0, selectorOf(x, slot), x.isMemory(0) ? 16 : x.size(0));
      }, { access: "write" })
    )
  );
  return [...loads, ...stores];
}

// --- GDTR and IDTR -----------------------------------------------------------------

// The operand: a 16-bit limit, then a base of 24, 32 or 64 bits.
const TABLE_FORMS = [
  { suffix: "m1632_16", base: 4, mask: 0xff_ffffn },
  { suffix: "m1632", base: 4, mask: 0xffff_ffffn },
  { suffix: "m1664", base: 8, mask: -1n },
] as const;

function requireCpl0(x: Emitter): void {
  const isUser = x.cpu.state.load32(0, CPL).ne(0);
  x.f.if(isUser, () => x.raise(VECTOR.GP, 0));
}

function baseAddress(x: Emitter, la: I64): I64 {
  const next = la.add(2);
  return x.let(x.shape.code === 64 ? next : next.and(0xffff_ffff));
}

function loadTable(x: Emitter, slot: number, width: 4 | 8, mask: bigint) {
  const { state } = x.cpu;
  requireCpl0(x);
  const la = x.address();
  const limit = x.load(2, la);
  const base = x.load(width, baseAddress(x, la));
  if (width === 8) {
    const canonical = base.shl(16).shrS(16).eq(base);
    x.f.if(canonical.eqz(), () => x.raise(VECTOR.GP, 0));
  }
  x.f.do(state.store64(slot, base.and(mask), SEG_BASE));
  x.f.do(state.store32(slot, limit.toI32(), SEG_LIMIT));
}

function storeTable(x: Emitter, slot: number, width: 4 | 8): void {
  const { state } = x.cpu;
  x.call("checkUmip", x.site());
  const la = x.address();
  x.prepareWrite(la, 2);
  x.prepareWrite(baseAddress(x, la), width);
  x.store(2, la, x.let(state.load32(slot, SEG_LIMIT).toI64U()));
  x.store(width, baseAddress(x, la), x.let(state.load64(slot, SEG_BASE)));
}

function tables(): Form[] {
  return ([["gdt", GDTR], ["idt", IDTR]] as const).flatMap(([name, slot]) =>
    TABLE_FORMS.flatMap(({ suffix, base, mask }) => [
      form(
        `L${name}_${suffix}`,
        (x) => {
          loadTable(x, slot, base, mask);
          serialize(x);
        },
        ENDS,
      ),
      form(
        `S${name}_${suffix}`,
        (x) => storeTable(x, slot, base),
        { ...CODE, access: "write" },
      ),
    ])
  );
}

// --- Inspection --------------------------------------------------------------------

function inspections(): Form[] {
  const shapes = [["r16", "rm16"], ["r32", "r32m16"], ["r64", "r64m16"]];
  const reads = ([["Lar", "accessRights"], ["Lsl", "segmentLimit"]] as const)
    .flatMap(
      ([mnemonic, call]) =>
        shapes.map(([to, from]) =>
          form(`${mnemonic}_${to}_${from}`, (x) => {
            const [value] = x.call(call, x.read(1, 16).toI32(), x.site());
            x.f.if(value.ne(-1), () => x.write(0, value));
          })
        ),
    );
  const checks = ([["Verr", 0], ["Verw", 1]] as const).flatMap((
    [mnemonic, write],
  ) =>
    OPERANDS.map((operand) =>
      form(`${mnemonic}_${operand}`, (x) => {
        const selector = x.read(0, 16).toI32();
        x.call("verifySegment", selector, i32(write), x.site());
      })
    )
  );
  return [...reads, ...checks];
}

// Memory is written only where it changes, as AMD's processors have it.
function adjust(): Form[] {
  return ["Arpl_rm16_r16", "Arpl_r32m16_r32"].map((name) =>
    form(name, (x) => {
      const rpl = x.let(x.read(1, 16).and(3));
      const old = x.read(0, 16);
      const less = x.let(old.and(3).ltU(rpl));
      x.f.if(less, () => x.write(0, old.and(~3).or(rpl), 16));
      x.flags.setZf(less);
    }, { access: "update" })
  );
}

// --- The machine status word ---------------------------------------------------------

const LMSW_BITS = 0xf;

function statusWord(): Form[] {
  const stores = OPERANDS.map((operand) =>
    form(`Smsw_${operand}`, (x) => {
      x.call("checkUmip", x.site());
      const size: OpSize = x.isMemory(0) ? 16 : x.size(0);
      x.write(0, x.let(x.cpu.state.load64(0, CR0)), size);
    }, { access: "write" })
  );
  const loads = OPERANDS.map((operand) =>
    form(`Lmsw_${operand}`, (x) => {
      requireCpl0(x);
      const value = x.read(0, 16).and(LMSW_BITS);
      const old = x.let(x.cpu.state.load64(0, CR0));
      // LMSW can set PE and never clears it.
      const kept = old.and(~LMSW_BITS | CR0_PE);
      x.call("writeCr0", kept.or(value), x.site());
      x.goOn();
    }, ENDS)
  );
  return [...stores, ...loads];
}

/** The forms of this group. */
export const SEGMENT_FORMS: readonly Form[] = [
  ...moves(),
  ...pushesAndPops(),
  ...pointers(),
  ...taskRegisters(),
  ...tables(),
  ...inspections(),
  ...adjust(),
  ...statusWord(),
];
