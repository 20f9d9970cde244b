// What each operand of an instruction form is, derived from iced-x86's table of
// op codes, so that a definition need not repeat its encoding.

import { Code, CodeExt, OpCodeOperandKind } from "iced-x86";

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

const FIXED_SIZE: Readonly<Record<string, number>> = {
  al: 8,
  cl: 8,
  ax: 16,
  dx: 16,
  eax: 32,
  rax: 64,
  es: 16,
  cs: 16,
  ss: 16,
  ds: 16,
  fs: 16,
  gs: 16,
  seg_reg: 16,
  cr_reg: 64,
  dr_reg: 64,
  tr_reg: 32,
  st0: 80,
  sti_opcode: 80,
};

function sizeOf(name: string): number {
  const fixed = FIXED_SIZE[name];
  if (fixed !== undefined) return fixed;
  const extended = /sex(\d+)/.exec(name);
  if (extended) return Number(extended[1]);
  if (name.startsWith("xmm")) return 128;
  if (name.startsWith("ymm")) return 256;
  if (name.startsWith("mm_")) return 64;
  return Number(/^(?:r|imm)(\d+)/.exec(name)?.[1] ?? 0);
}

function kindOf(name: string): OperandKind {
  if (/_or_mem/.test(name)) return "either";
  if (/^(mem|mem_offs)$/.test(name)) return "memory";
  if (/^(es_rDI|seg_rSI|seg_rDI|seg_rBX_al)$/.test(name)) return "implied";
  if (/^imm/.test(name)) return "immediate";
  if (/^(br|xbegin)/.test(name)) return "branch";
  if (/^farbr/.test(name)) return "far";
  return "register";
}

/** The operands of a form, in iced-x86's order. */
export function operandsOf(code: Code): Operand[] {
  const info = CodeExt.opCode(code);
  const operands = Array.from({ length: info.opCount }, (_, n) => {
    const name = OpCodeOperandKind[info.opKind(n)]!;
    return { kind: kindOf(name), size: sizeOf(name) };
  });
  info.free();
  return operands;
}

/** The `Code` of a name such as `Add_rm32_r32`; throws where there is none. */
export function codeNamed(name: string): Code {
  const code = (Code as unknown as Record<string, Code>)[name];
  if (code === undefined) throw new RangeError(`No instruction form "${name}"`);
  return code;
}
