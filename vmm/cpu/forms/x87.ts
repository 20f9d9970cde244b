// The x87, FXSAVE and EMMS (Intel SDM vol. 1, chapter 8; vol. 2 by mnemonic). What
// an instruction does to the register stack is in `runtime/x87_*.ts`; here are its
// operands, the error of an earlier one, and what FNSTENV is to know about it.

import type { Emitter } from "../emitter.ts";
import { type Form, form, type FormOptions } from "../form.ts";
import { relationOf } from "../flags.ts";
import { X87_OPCODES } from "../x87_opcodes.ts";
import { SITE_STACK } from "../record.ts";
import { DS, FPU_CW, FPU_TAGS, FPU_TOP, SS } from "../state.ts";
import { type I32, i32, type I64, type Width } from "../wasm/mod.ts";
import {
  X87_BINARY,
  X87_PAIR,
  X87_REDUCE,
  X87_SPLIT,
  X87_UNARY,
} from "../runtime/x87_arithmetic.ts";
import { X87_LOADED } from "../runtime/x87_moves.ts";
import { X87_MEMORY } from "../runtime/x87_values.ts";
import { ENVIRONMENT_BYTES } from "../runtime/x87_image.ts";
import { VECTOR } from "../runtime/traps.ts";
import { storeDataNote, storeNote } from "../runtime/x87_note.ts";
import { checkPending } from "../vector.ts";
import {
  fixedBinary,
  fixedBinaryMemory,
  fixedCompare,
  fixedCompareFlags,
  fixedCompareMemory,
  fixedExchange,
  fixedLoad,
  fixedLoadConstant,
  fixedLoadRegister,
  fixedStore,
  fixedStoreRegister,
  fixedUnary,
} from "./x87_fixed.ts";

type Define = (x: Emitter) => void;
type Memory = (typeof X87_MEMORY)[number];

const READ: FormOptions = { unit: "x87", access: "read" };
const WRITE: FormOptions = { unit: "x87", access: "write" };

/** Bytes that each kind of operand has in memory. */
const BYTES: Readonly<Record<Memory, 2 | 4 | 8 | 10>> = {
  f32: 4,
  f64: 8,
  int16: 2,
  int32: 4,
  int64: 8,
  f80: 10,
  bcd: 10,
  trunc16: 2,
  trunc32: 4,
  trunc64: 8,
};

function indexOf<T>(table: readonly T[], name: T): I32 {
  return i32(table.indexOf(name));
}

// --- What instructions have in common ---------------------------------------

/**
 * The last opcode: the low bits of the first byte, then ModR/M. A record does not
 * have how ModR/M addressed memory: its mode and base are left zero.
 */
function lastOpcode(x: Emitter, name: string): I32 {
  const base = i32(X87_OPCODES.get(name)!);
  const n = stackOperand(name);
  return n === undefined ? base : base.or(x.register(n));
}

/** Which operand is ST(i), if any. */
function stackOperand(name: string): 0 | 1 | undefined {
  if (/_st0_sti/.test(name)) return 1;
  return /_sti/.test(name) ? 0 : undefined;
}

/** ST(i) of a form. */
function sti(x: Emitter, name: string): I32 {
  const n = stackOperand(name);
  if (n === undefined) throw new Error(`Form ${name} has no ST(i)`);
  return x.register(n);
}

// What FNSTENV is to tell of the instruction. Only whether the segment of its operand
// is SS is known here; others count as DS.
function note(x: Emitter, name: string): void {
  const { cpu, f } = x;
  const late = cpu.note;
  const opcode = lastOpcode(x, name);
  if (late !== undefined) late.set(opcode, x.rip());
  else storeNote(cpu, f, opcode, x.rip());
  if (!x.operands.some((o) => o.kind === "memory")) return;
  const slot = f.let(i32(SS).when(x.site().and(SITE_STACK), DS));
  if (late !== undefined) late.setData(slot, x.address());
  else storeDataNote(cpu, f, slot, x.address());
}

/** A form that waits for errors and is noted once it has done its work. */
function waiting(
  name: string,
  define: (x: Emitter, name: string) => void,
  options: FormOptions = READ,
): Form {
  return form(name, (x) => {
    if (x.operands.some((o) => o.kind === "memory")) x.address();
    checkPending(x);
    define(x, name);
    note(x, name);
  }, options);
}

// --- Memory ----------------------------------------------------------------

/** Reads an operand: low 8 bytes, high 2 bytes. */
function read(x: Emitter, kind: Memory): { low: I64; high: I32 } {
  const bytes = BYTES[kind];
  const la = x.address();
  if (bytes !== 10) return { low: x.load(bytes, la), high: i32(0) };
  const low = x.load(8, la);
  const high = x.let(x.load(2, x.let(la.add(8))).toI32());
  return { low, high };
}

function write(x: Emitter, kind: Memory, low: I64, high: I32): void {
  const bytes = BYTES[kind];
  const la = x.address();
  if (bytes !== 10) {
    x.store(bytes as Width, la, low);
    return;
  }
  x.prepareWrite(la, bytes);
  x.store(8, la, low);
  x.store(2, x.let(la.add(8)), x.let(high.toI64U()));
}

function load(kind: Memory): Define {
  return (x) => {
    const { low, high } = read(x, kind);
    if (fixedLoad(x, kind, low, high)) return;
    x.call("x87Load", indexOf(X87_MEMORY, kind), low, high);
  };
}

function store(kind: Memory, pops: number): Define {
  return (x) => {
    const put = (low: I64, high: I32) => write(x, kind, low, high);
    if (fixedStore(x, kind, pops, put)) return;
    const index = indexOf(X87_MEMORY, kind);
    const [low, high, flags] = x.call("x87Store", index);
    // What is not stored must still be able to be.
    x.f.if(
      flags.geS(0),
      () => put(low, high),
      () => x.prepareWrite(x.address(), BYTES[kind]),
    );
    x.call("x87Stored", flags, i32(pops));
  };
}

function compareMemory(kind: Memory, pops: number): Define {
  return (x) => {
    const { low } = read(x, kind);
    if (fixedCompareMemory(x, kind, low, pops)) return;
    const index = indexOf(X87_MEMORY, kind);
    x.call("x87CompareMemory", index, low, i32(pops));
  };
}

// Mnemonic's middle and operand's name of what memory can hold.
const FLOATS: readonly [Memory, string][] = [["f32", "m32fp"], [
  "f64",
  "m64fp",
]];
const INTEGERS: readonly [Memory, string][] = [
  ["int16", "m16int"],
  ["int32", "m32int"],
  ["int64", "m64int"],
];

function loadsAndStores(): Form[] {
  return [
    ...FLOATS.flatMap(([kind, m]) => [
      waiting(`Fld_${m}`, load(kind)),
      waiting(`Fst_${m}`, store(kind, 0), WRITE),
      waiting(`Fstp_${m}`, store(kind, 1), WRITE),
    ]),
    ...INTEGERS.flatMap(([kind, m]) => {
      const truncated = `trunc${kind.slice(3)}` as Memory;
      return [
        waiting(`Fild_${m}`, load(kind)),
        waiting(`Fistp_${m}`, store(kind, 1), WRITE),
        waiting(`Fisttp_${m}`, store(truncated, 1), WRITE),
      ];
    }),
    waiting("Fist_m16int", store("int16", 0), WRITE),
    waiting("Fist_m32int", store("int32", 0), WRITE),
    waiting("Fld_m80fp", load("f80")),
    waiting("Fstp_m80fp", store("f80", 1), WRITE),
    waiting("Fbld_m80bcd", load("bcd")),
    waiting("Fbstp_m80bcd", store("bcd", 1), WRITE),
  ];
}

// --- Arithmetic -------------------------------------------------------------

function arithmetic(op: (typeof X87_BINARY)[number]): Form[] {
  const index = indexOf(X87_BINARY, op);
  const zero = i32(0);
  const memory = (kind: Memory): Define => (x) => {
    const { low } = read(x, kind);
    if (fixedBinaryMemory(x, op, kind, low)) return;
    x.call("x87BinaryMemory", index, indexOf(X87_MEMORY, kind), low);
  };
  const registers = (x: Emitter, to: I32, from: I32, pops: number) => {
    if (fixedBinary(x, op, [to, from], pops)) return;
    x.call("x87Binary", index, to, from, i32(pops));
  };
  const toStack = (pops: number) => (x: Emitter, name: string) =>
    registers(x, sti(x, name), zero, pops);
  return [
    waiting(
      `F${op}_st0_sti`,
      (x, name) => registers(x, zero, sti(x, name), 0),
    ),
    waiting(`F${op}_sti_st0`, toStack(0)),
    waiting(`F${op}p_sti_st0`, toStack(1)),
    ...FLOATS.map(([kind, m]) => waiting(`F${op}_${m}`, memory(kind))),
    ...INTEGERS.slice(0, 2).map(([kind, m]) =>
      waiting(`Fi${op}_${m}`, memory(kind))
    ),
  ];
}

function compare(names: readonly string[], quiet: 0 | 1, pops: number): Form[] {
  return names.map((one) =>
    waiting(one, (x, name) => {
      const other = stackOperand(name) === undefined ? i32(1) : sti(x, name);
      if (fixedCompare(x, other, pops)) return;
      x.call("x87Compare", i32(quiet), other, i32(pops));
    })
  );
}

function compareFlags(name: string, quiet: 0 | 1, pops: number): Form {
  return waiting(name, (x) => {
    const other = sti(x, name);
    const bits = fixedCompareFlags(x, other, pops) ??
      x.call("x87CompareFlags", i32(quiet), other, i32(pops))[0];
    x.flags.compare(relationOf(x.f, bits));
  });
}

function comparisons(): Form[] {
  return [
    ...compare(["Fcom_st0_sti", "Fcom_st0_sti_DCD0"], 0, 0),
    ...compare(
      ["Fcomp_st0_sti", "Fcomp_st0_sti_DCD8", "Fcomp_st0_sti_DED0"],
      0,
      1,
    ),
    ...compare(["Fcompp"], 0, 2),
    ...compare(["Fucom_st0_sti"], 1, 0),
    ...compare(["Fucomp_st0_sti"], 1, 1),
    ...compare(["Fucompp"], 1, 2),
    compareFlags("Fcomi_st0_sti", 0, 0),
    compareFlags("Fcomip_st0_sti", 0, 1),
    compareFlags("Fucomi_st0_sti", 1, 0),
    compareFlags("Fucomip_st0_sti", 1, 1),
    ...FLOATS.flatMap(([kind, m]) => [
      waiting(`Fcom_${m}`, compareMemory(kind, 0)),
      waiting(`Fcomp_${m}`, compareMemory(kind, 1)),
    ]),
    ...INTEGERS.slice(0, 2).flatMap(([kind, m]) => [
      waiting(`Ficom_${m}`, compareMemory(kind, 0)),
      waiting(`Ficomp_${m}`, compareMemory(kind, 1)),
    ]),
    waiting("Ftst", (x) => void x.call("x87Test")),
    waiting("Fxam", (x) => void x.call("x87Examine")),
  ];
}

/** Instructions that name an operation of one of the runtime's tables. */
function named<T extends string>(
  table: readonly T[],
  call: "x87Pair" | "x87Reduce" | "x87Split",
  names: Readonly<Record<string, T>>,
): Form[] {
  return Object.entries(names).map(([name, op]) =>
    waiting(name, (x) => void x.call(call, indexOf(table, op)))
  );
}

function unary(
  names: Readonly<Record<string, (typeof X87_UNARY)[number]>>,
): Form[] {
  return Object.entries(names).map(([name, op]) =>
    waiting(name, (x) => {
      if (!fixedUnary(x, op)) x.call("x87Unary", indexOf(X87_UNARY, op));
    })
  );
}

function functions(): Form[] {
  return [
    ...unary({
      Fsqrt: "sqrt",
      Frndint: "roundIntegral",
      F2xm1: "exp2m1",
      Fsin: "sin",
      Fcos: "cos",
      Fabs: "abs",
      Fchs: "negate",
    }),
    ...named(X87_PAIR, "x87Pair", {
      Fscale: "scale",
      Fprem: "remainder",
      Fprem1: "remainderNearest",
    }),
    ...named(X87_REDUCE, "x87Reduce", {
      Fyl2x: "yl2x",
      Fyl2xp1: "yl2xp1",
      Fpatan: "atan",
    }),
    ...named(X87_SPLIT, "x87Split", {
      Fxtract: "extract",
      Fptan: "tan",
      Fsincos: "sincos",
    }),
    ...X87_LOADED.map((name) =>
      waiting(
        name[0]!.toUpperCase() + name.slice(1),
        (x) => {
          if (fixedLoadConstant(x, name)) return;
          x.call("x87LoadConstant", indexOf(X87_LOADED, name));
        },
      )
    ),
  ];
}

// --- The register stack ------------------------------------------------------

/** FCMOVcc by condition number (as in Jcc). */
const CONDITIONS: readonly [string, number][] = [
  ["Fcmovb", 2],
  ["Fcmovnb", 3],
  ["Fcmove", 4],
  ["Fcmovne", 5],
  ["Fcmovbe", 6],
  ["Fcmovnbe", 7],
  ["Fcmovu", 10],
  ["Fcmovnu", 11],
];

function stackForms(): Form[] {
  const storeTo = (pops: number) => (x: Emitter, name: string) => {
    const to = sti(x, name);
    if (fixedStoreRegister(x, to, pops)) return;
    x.call("x87StoreRegister", to, i32(pops));
  };
  const free = (pops: number) => (x: Emitter, name: string) => {
    x.call("x87Free", sti(x, name), i32(pops));
  };
  const pops = ["Fstp_sti", "Fstp_sti_DFD0", "Fstp_sti_DFD8"];
  const exchanges = ["Fxch_st0_sti", "Fxch_st0_sti_DDC8", "Fxch_st0_sti_DFC8"];
  return [
    waiting("Fld_sti", (x, name) => {
      const from = sti(x, name);
      if (!fixedLoadRegister(x, from)) x.call("x87LoadRegister", from);
    }),
    waiting("Fst_sti", storeTo(0)),
    ...pops.map((name) => waiting(name, storeTo(1))),
    waiting("Fstpnce_sti", (x, name) => {
      x.call("x87StoreQuiet", sti(x, name));
    }),
    ...exchanges.map((one) =>
      waiting(one, (x, name) => {
        const other = sti(x, name);
        if (!fixedExchange(x, other)) x.call("x87Exchange", other);
      })
    ),
    waiting("Ffree_sti", free(0)),
    waiting("Ffreep_sti", free(1)),
    waiting("Fincstp", (x) => void x.call("x87Turn", i32(1))),
    waiting("Fdecstp", (x) => void x.call("x87Turn", i32(-1))),
    waiting("Fnop", () => {}),
    ...CONDITIONS.map(([name, condition]) =>
      waiting(`${name}_st0_sti`, (x, full) => {
        const holds = x.let(x.flags.condition(condition));
        x.call("x87Move", sti(x, full), holds);
      })
    ),
  ];
}

// --- Control -----------------------------------------------------------------

/** A form that is not noted; `checks` says whether it waits for errors. */
function control(
  name: string,
  checks: boolean,
  define: Define,
  options: FormOptions = READ,
): Form {
  return form(name, (x) => {
    if (x.operands.some((o) => o.kind === "memory")) x.address();
    if (checks) checkPending(x);
    define(x);
  }, options);
}

function storeWord(word: (x: Emitter) => I32): Define {
  return (x) => x.store(2, x.address(), x.let(word(x).toI64U()));
}

function controlWord(x: Emitter): I32 {
  return x.cpu.state.load32(0, FPU_CW);
}

function statusWord(x: Emitter): I32 {
  return x.call("x87Status")[0];
}

/** The 16-bit and 32-bit layouts of an instruction on the state's image. */
function images(
  mnemonic: string,
  sizes: readonly [number, number],
  checks: boolean,
  call:
    | "x87StoreEnvironment"
    | "x87LoadEnvironment"
    | "x87Save"
    | "x87Restore",
  options: FormOptions,
): Form[] {
  return sizes.map((bytes, wide) =>
    control(`${mnemonic}_m${bytes}byte`, checks, (x) => {
      x.call(call, x.address(), i32(wide), x.site());
    }, options)
  );
}

function controlForms(): Form[] {
  const environment = ENVIRONMENT_BYTES;
  const whole = [94, 108] as const;
  // The 8087's and 80287's instructions that later processors ignore.
  const ignored = ["Fneni", "Fndisi", "Fnsetpm"];
  return [
    control("Wait", true, () => {}, { unit: "wait" }),
    control("Fninit", false, (x) => void x.call("x87Init")),
    control("Fnclex", false, (x) => void x.call("x87Clear")),
    ...ignored.map((name) => control(name, false, () => {})),
    control("Fldcw_m2byte", true, (x) => {
      const value = x.load(2, x.address());
      x.call("x87SetControl", x.let(value.toI32()));
    }),
    control("Fnstcw_m2byte", false, storeWord(controlWord), WRITE),
    control("Fnstsw_m2byte", false, storeWord(statusWord), WRITE),
    control(
      "Fnstsw_AX",
      false,
      (x) => x.write(0, x.let(statusWord(x).toI64U()), 16),
    ),
    ...images("Fnstenv", environment, false, "x87StoreEnvironment", WRITE),
    ...images("Fldenv", environment, true, "x87LoadEnvironment", READ),
    ...images("Fnsave", whole, false, "x87Save", WRITE),
    ...images("Frstor", whole, true, "x87Restore", READ),
  ];
}

// --- FXSAVE and EMMS ---------------------------------------------------------

/** #GP(0), but #AC where that is enabled for four bytes, as AMD's processors have it. */
function misaligned(x: Emitter, la: I64): void {
  x.call("checkAlignment", la, i32(4), x.site());
  x.raise(VECTOR.GP, 0);
}

function fxForms(): Form[] {
  const one = (
    name: string,
    call: "fxSave" | "fxRestore",
    wide: boolean,
    access: "read" | "write",
  ) =>
    form(name, (x) => {
      const la = x.address();
      x.f.if(la.and(15).ne(0), () => misaligned(x, la));
      const count = i32(x.shape.code === 64 ? 16 : 8);
      x.call(call, la, i32(Number(wide)), count, x.site());
    }, { unit: "fxsr", access, axes: ["code"] });
  return [
    one("Fxsave_m512byte", "fxSave", false, "write"),
    one("Fxsave64_m512byte", "fxSave", true, "write"),
    one("Fxrstor_m512byte", "fxRestore", false, "read"),
    one("Fxrstor64_m512byte", "fxRestore", true, "read"),
  ];
}

const EMMS = form("Emms", (x) => {
  checkPending(x);
  x.f.do(x.cpu.state.store32(0, 0, FPU_TOP));
  x.f.do(x.cpu.state.store32(0, 0, FPU_TAGS));
}, { unit: "mmx" });

/** The forms of this group. */
export const X87_FORMS: readonly Form[] = [
  ...loadsAndStores(),
  ...X87_BINARY.flatMap(arithmetic),
  ...comparisons(),
  ...functions(),
  ...stackForms(),
  ...controlForms(),
  ...fxForms(),
  EMMS,
];
