// What the architecture leaves undefined, or the vendors do differently: the only reasons for
// which two CPUs may disagree. From the SDM, volume 2, and the APM, volumes 3 and 5.

import { Mnemonic } from "iced-x86";

const CF = 0x1, PF = 0x4, AF = 0x10, ZF = 0x40, SF = 0x80, OF = 0x800;
/** The arithmetic flags. */
export const ALL_FLAGS = CF | PF | AF | ZF | SF | OF;
/** x87 condition codes, where the status word has them. */
const C0 = 0x100, C1 = 0x200, C2 = 0x400, C3 = 0x4000;

type Name = keyof typeof Mnemonic;

interface Row {
  reason: string;
  mask: number;
  mnemonics: readonly Name[];
}

/** Flags in RFLAGS that an instruction leaves undefined whatever its operands. */
const FLAG_ROWS: readonly Row[] = [
  {
    reason: "logic: AF is undefined",
    mask: AF,
    mnemonics: ["And", "Or", "Xor", "Test"],
  },
  {
    reason: "MUL, IMUL: only CF and OF are defined",
    mask: SF | ZF | AF | PF,
    mnemonics: ["Mul", "Imul"],
  },
  {
    reason: "division leaves no flag defined",
    mask: ALL_FLAGS,
    mnemonics: ["Div", "Idiv"],
  },
  {
    reason: "bit tests define CF and keep ZF",
    mask: OF | SF | AF | PF,
    mnemonics: ["Bt", "Bts", "Btr", "Btc"],
  },
  {
    reason: "bit scans define ZF only",
    mask: CF | OF | SF | AF | PF,
    mnemonics: ["Bsf", "Bsr"],
  },
  {
    reason: "LZCNT, TZCNT define CF and ZF only",
    mask: OF | SF | AF | PF,
    mnemonics: ["Lzcnt", "Tzcnt"],
  },
  {
    reason: "AF and PF are undefined",
    mask: AF | PF,
    mnemonics: ["Andn", "Blsi", "Blsr", "Blsmsk", "Bzhi"],
  },
  {
    reason: "BEXTR: AF, SF and PF are undefined",
    mask: AF | SF | PF,
    mnemonics: ["Bextr"],
  },
  {
    reason: "AAA, AAS: only AF and CF are defined",
    mask: OF | SF | ZF | PF,
    mnemonics: ["Aaa", "Aas"],
  },
  { reason: "DAA, DAS: OF is undefined", mask: OF, mnemonics: ["Daa", "Das"] },
  {
    reason: "AAM, AAD: only SF, ZF and PF are defined",
    mask: OF | AF | CF,
    mnemonics: ["Aam", "Aad"],
  },
];

/** Condition codes that an x87 instruction leaves undefined. */
const STATUS_ROWS: readonly Row[] = [
  {
    reason: "only C1 is defined",
    mask: C0 | C2 | C3,
    mnemonics: [
      ...[
        "F2xm1",
        "Fabs",
        "Fadd",
        "Faddp",
        "Fiadd",
        "Fbld",
        "Fbstp",
        "Fchs",
      ] as const,
      ...[
        "Fdecstp",
        "Fincstp",
        "Fdiv",
        "Fdivp",
        "Fdivr",
        "Fdivrp",
        "Fidiv",
      ] as const,
      ...[
        "Fidivr",
        "Fild",
        "Fist",
        "Fistp",
        "Fisttp",
        "Fld",
        "Fld1",
        "Fldl2e",
      ] as const,
      ...[
        "Fldl2t",
        "Fldlg2",
        "Fldln2",
        "Fldpi",
        "Fldz",
        "Fmul",
        "Fmulp",
      ] as const,
      ...[
        "Fimul",
        "Fpatan",
        "Frndint",
        "Fscale",
        "Fsqrt",
        "Fst",
        "Fstp",
      ] as const,
      ...[
        "Fsub",
        "Fsubp",
        "Fsubr",
        "Fsubrp",
        "Fisub",
        "Fisubr",
        "Fxch",
      ] as const,
      ...[
        "Fxtract",
        "Fyl2x",
        "Fyl2xp1",
        "Fcmovb",
        "Fcmovbe",
        "Fcmove",
      ] as const,
      ...["Fcmovnb", "Fcmovnbe", "Fcmovne", "Fcmovnu", "Fcmovu"] as const,
    ],
  },
  {
    reason: "only C1 and C2 are defined",
    mask: C0 | C3,
    mnemonics: ["Fsin", "Fcos", "Fsincos", "Fptan"],
  },
  {
    reason: "no condition code is defined",
    mask: C0 | C1 | C2 | C3,
    mnemonics: [
      ...[
        "Fnclex",
        "Ffree",
        "Ffreep",
        "Fldcw",
        "Fnop",
        "Fnstcw",
        "Fnstenv",
      ] as const,
      ...["Fnstsw", "Wait"] as const,
    ],
  },
];

function maskTable(rows: readonly Row[]): Map<Mnemonic, number> {
  return new Map(
    rows.flatMap(({ mask, mnemonics }) =>
      mnemonics.map((name) => [Mnemonic[name], mask] as const)
    ),
  );
}

const FLAGS = maskTable(FLAG_ROWS);
const STATUS = maskTable(STATUS_ROWS);

function mnemonics(...names: Name[]): Set<Mnemonic> {
  return new Set(names.map((name) => Mnemonic[name]));
}

const SHIFTS = mnemonics("Shl", "Sal", "Shr", "Sar");
const DOUBLE_SHIFTS = mnemonics("Shld", "Shrd");
const ROTATES = mnemonics("Rol", "Ror", "Rcl", "Rcr");
const KEEPS_CARRY = mnemonics("Sar");

/**
 * Flags that a shift or rotate leaves undefined: OF unless the count is one, AF unless it is zero,
 * and CF if a SHL or SHR shifts all bits of its `size` bytes out, or a SHLD or SHRD more than all.
 */
function shiftFlags(
  mnemonic: Mnemonic,
  size: number,
  count: number | undefined,
): number {
  const masked = count === undefined
    ? undefined
    : count & (size === 8 ? 63 : 31);
  if (masked === 0) return 0;
  const overflow = masked === 1 ? 0 : OF;
  if (ROTATES.has(mnemonic)) return overflow;
  const most = size * 8 - (DOUBLE_SHIFTS.has(mnemonic) ? 0 : 1);
  const beyond = size < 4 && (masked === undefined || masked > most);
  const carry = beyond && !KEEPS_CARRY.has(mnemonic) ? CF : 0;
  return overflow | AF | carry;
}

function isShift(mnemonic: Mnemonic): boolean {
  return SHIFTS.has(mnemonic) || DOUBLE_SHIFTS.has(mnemonic) ||
    ROTATES.has(mnemonic);
}

/**
 * The RFLAGS bits that an instruction with operands of `size` bytes leaves undefined; `count` is
 * the shift count, if known.
 */
export function undefinedFlags(
  mnemonic: Mnemonic,
  size: number,
  count?: number,
): number {
  return isShift(mnemonic)
    ? shiftFlags(mnemonic, size, count)
    : FLAGS.get(mnemonic) ?? 0;
}

/** Whether the instruction keeps all flags when its count is zero. */
export function mayKeepFlags(mnemonic: Mnemonic): boolean {
  return isShift(mnemonic);
}

/** The bits of the x87 status word that an instruction leaves undefined. */
export function undefinedStatus(mnemonic: Mnemonic): number {
  return STATUS.get(mnemonic) ?? 0;
}

/**
 * Results that are not exact: the manuals promise 1 ulp for the x87 transcendentals in extended
 * precision, and with it neither the rounding (C1) nor PE and UE.
 */
export const TRANSCENDENTAL = mnemonics(
  ...[
    "F2xm1",
    "Fyl2x",
    "Fyl2xp1",
    "Fsin",
    "Fcos",
    "Fsincos",
    "Fptan",
    "Fpatan",
  ] as const,
);

/**
 * The operands that FYL2XP1 is defined for (SDM), and the units in the last place that the software
 * CPU may be off beyond them, where it adds before it takes the logarithm.
 */
export const LOG_RANGE = [Math.SQRT1_2 - 1, Math.SQRT2 - 1] as const;
export const LOG_BEYOND = 4n;

/** Approximations with a relative error of at most 1.5 * 2^-12, from tables of the vendor's. */
export const RECIPROCAL = mnemonics("Rcpps", "Rcpss", "Rsqrtps", "Rsqrtss");

/** An incomplete reduction (C2 set) has no quotient to leave in C0, C1 and C3. */
export const PARTIAL_REMAINDER = mnemonics("Fprem", "Fprem1");

/** BSF, BSR of zero keep the destination, but vendors differ on bits 63:32 of a 32-bit one. */
export const BIT_SCAN = mnemonics("Bsf", "Bsr");

/**
 * Instructions that write memory in several accesses: what a fault in the middle leaves written,
 * and which of the addresses a page fault names, is up to the processor.
 */
export const MANY_STORES = mnemonics(
  ...[
    "Fxsave",
    "Fxsave64",
    "Fnsave",
    "Fnstenv",
    "Pusha",
    "Pushad",
    "Enter",
  ] as const,
);

/** The reading counterparts: which address a page fault names is up to the processor. */
export const MANY_LOADS = mnemonics(
  ...[
    "Fxrstor",
    "Fxrstor64",
    "Frstor",
    "Fldenv",
    "Popa",
    "Popad",
    "Bound",
  ] as const,
);

/**
 * Where one of these faults in the middle of its repetition, Intel's processors restore the flags
 * (SDM, REP) and AMD's leave those of the last comparison.
 */
export const STRING_COMPARES = mnemonics(
  ...[
    "Cmpsb",
    "Cmpsw",
    "Cmpsd",
    "Cmpsq",
    "Scasb",
    "Scasw",
    "Scasd",
    "Scasq",
  ] as const,
);

/**
 * The bit in MXCSR for misaligned SSE operands (APM volume 2, 11.3.2): reserved on processors
 * without that feature of AMD's, as the software CPU is, and so not to be loaded there.
 */
export const MISALIGNED_SSE = 0x20000;

/** What loads MXCSR, and where in its operand. */
export const MXCSR_LOADS: ReadonlyMap<Mnemonic, number> = new Map([
  [Mnemonic.Ldmxcsr, 0],
  [Mnemonic.Fxrstor, 24],
  [Mnemonic.Fxrstor64, 24],
]);

/**
 * Instructions whose operand AMD's processors access in parts, each of which finds its own way
 * around the end of a segment of 4 GiB. Whether an access across that end faults is the
 * processor's own (SDM volume 3, 5.3).
 */
export const IN_PARTS =
  /^(F(ld|stp)_m80fp|Fb(ld|stp)_|F(nstenv|ldenv|nsave|rstor)_|Fx(save|rstor)_|Bound_|L[defgs]s_|(Call|Jmp)_m16)/;
