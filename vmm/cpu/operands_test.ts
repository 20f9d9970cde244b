import { assertEquals } from "@std/assert";
import { type Code, CodeExt, OpCodeOperandKind } from "iced-x86";
import { isInRealMode } from "./block_decoder.ts";
import { hasPlainConstants } from "./constants.ts";
import { FORMS } from "./forms/by_code.ts";
import type { Operand, OperandKind } from "./operands.ts";

const FIXED_SIZE: Readonly<Record<string, number>> = {
  ...{ al: 8, cl: 8, ax: 16, dx: 16, eax: 32, rax: 64 },
  ...{ es: 16, cs: 16, ss: 16, ds: 16, fs: 16, gs: 16, seg_reg: 16 },
  ...{ cr_reg: 64, dr_reg: 64, tr_reg: 32, st0: 80, sti_opcode: 80 },
};

const KINDS: readonly (readonly [RegExp, OperandKind])[] = [
  [/_or_mem/, "either"],
  [/^(mem|mem_offs)$/, "memory"],
  [/^(es_rDI|seg_rSI|seg_rDI|seg_rBX_al)$/, "implied"],
  [/^imm/, "immediate"],
  [/^br/, "branch"],
  [/^farbr/, "far"],
];

function sizeOf(name: string): number {
  const extended = /sex(\d+)/.exec(name);
  if (extended) return Number(extended[1]);
  if (name.startsWith("xmm")) return 128;
  if (name.startsWith("mm_")) return 64;
  return FIXED_SIZE[name] ?? Number(/^(?:r|imm)(\d+)/.exec(name)?.[1] ?? 0);
}

// The same by iced-x86's table of op codes.
function byTable(code: Code): Operand[] {
  const info = CodeExt.opCode(code);
  const operands = Array.from({ length: info.opCount }, (_, n) => {
    const name = OpCodeOperandKind[info.opKind(n)]!;
    const kind = KINDS.find(([pattern]) => pattern.test(name))?.[1];
    return { kind: kind ?? "register" as const, size: sizeOf(name) };
  });
  info.free();
  return operands;
}

Deno.test("names of forms tell what their operands are", () => {
  for (const [code, { name, operands }] of FORMS) {
    assertEquals(operands, byTable(code), name);
  }
});

Deno.test("names of forms tell which real mode has, and which addresses stand alone", () => {
  for (const [code, form] of FORMS) {
    const info = CodeExt.opCode(code);
    const operands = Array.from(
      { length: info.opCount },
      (_, n) => info.opKind(n),
    );
    const isPlain = !operands.includes(OpCodeOperandKind.mem_offs);
    assertEquals(hasPlainConstants(form), isPlain, form.name);
    if (info.mode16 || info.mode32) {
      assertEquals(isInRealMode(form), info.realMode, form.name);
    }
    info.free();
  }
});
