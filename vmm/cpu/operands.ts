// What each operand of an instruction form is, from the name of its `Code`, which spells
// them out: `Add_rm32_imm8`. iced-x86 has a table of them as well, but making it takes
// each thread 50 ms.

/** Where an operand is. */
export type OperandKind =
  /** always in a register */
  | "register"
  /** in a register or in memory, as ModR/M says */
  | "either"
  /** always in memory, by ModR/M or as a plain address */
  | "memory"
  /** memory that the instruction's registers imply: [rDI], [rSI] */
  | "implied"
  | "immediate"
  /** a near branch's target */
  | "branch"
  /** a far branch's target */
  | "far";

/** One operand of a form. */
export interface Operand {
  /** where it is */
  readonly kind: OperandKind;
  /** bits of a general register, of an immediate, or of a vector */
  readonly size: number;
}

const REGISTERS: Readonly<Record<string, number>> = {
  AL: 8,
  CL: 8,
  AX: 16,
  DX: 16,
  EAX: 32,
  RAX: 64,
  ES: 16,
  CS: 16,
  SS: 16,
  DS: 16,
  FS: 16,
  GS: 16,
  Sreg: 16,
  cr: 64,
  dr: 64,
  tr: 32,
  r8: 8,
  r16: 16,
  r32: 32,
  r64: 64,
  mm: 64,
  st0: 80,
  sti: 80,
  xmm: 128,
};

/** Kinds by what comes before a word's digits; `r` is that of `r32m16`. */
const KINDS: Readonly<Record<string, OperandKind>> = {
  rm: "either",
  r: "either",
  mmm: "either",
  xmmm: "either",
  m: "memory",
  moffs: "memory",
  rDI: "implied",
  imm: "immediate",
  rel: "branch",
  ptr: "far",
};

/** Sizes that are not the digits: those are of the memory alone. */
const VECTORS: Readonly<Record<string, number>> = { mmm: 64, xmmm: 128 };
const GENERAL: ReadonlySet<string> = new Set(["rm", "r", "imm"]);

const WORD = /^(\D+)(\d*)/;
const IMPLIED = /^((Movs|Cmps|Stos|Lods|Scas|Ins|Outs)[bwdq]|Xlat)_/;
/** What extends a byte to the size that it operates on. */
const EXTENDS_BYTE = /^(Add|Or|Adc|Sbb|And|Sub|Xor|Cmp|Imul|Push[wdq])_/;
const PUSHES: Readonly<Record<string, number>> = {
  Pushw: 16,
  Pushd: 32,
  Pushq: 64,
};

// What a word of a name stands for; others than operands tell encodings apart.
function operandOf(word: string): Operand | undefined {
  const register = REGISTERS[word];
  if (register !== undefined) return { kind: "register", size: register };
  if (word === "1") return { kind: "immediate", size: 8 };
  const [, letters = "", digits] = WORD.exec(word) ?? [];
  const kind = KINDS[letters];
  if (kind === undefined) return undefined;
  const size = VECTORS[letters] ?? (GENERAL.has(letters) ? Number(digits) : 0);
  return { kind, size };
}

/** The operands of the form of a name, in iced-x86's order. */
export function operandsOf(name: string): Operand[] {
  const [mnemonic = "", ...words] = name.split("_");
  const operands = words.map(operandOf).filter((one) => one !== undefined);
  const extended = PUSHES[mnemonic] ?? operands[0]?.size ?? 0;
  const extendsByte = EXTENDS_BYTE.test(name);
  const isImplied = IMPLIED.test(name);
  return operands.map((one) => {
    const { kind, size } = one;
    if (kind === "memory" && isImplied) return { kind: "implied", size };
    if (kind !== "immediate") return one;
    const isExtended = size === 32 || (size === 8 && extendsByte);
    return isExtended ? { kind, size: extended } : one;
  });
}
