// Which general registers an instruction uses without naming them in a ModRM byte, so that
// addresses are not built in registers that the instruction itself or a neighbour changes.

import { Mnemonic, OpCodeOperandKind as Kind } from "iced-x86";
import { GPR } from "./draft.ts";
import type { CodeFacts } from "./forms.ts";

const { rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi } = GPR;

const BY_KIND = new Map<Kind, number>([
  [Kind.al, rax],
  [Kind.ax, rax],
  [Kind.eax, rax],
  [Kind.rax, rax],
  [Kind.cl, rcx],
  [Kind.dx, rdx],
  [Kind.seg_rSI, rsi],
  [Kind.es_rDI, rdi],
  [Kind.seg_rDI, rdi],
  [Kind.seg_rBX_al, rbx],
]);

const ROWS: readonly {
  registers: readonly number[];
  mnemonics: readonly (keyof typeof Mnemonic)[];
}[] = [
  {
    registers: [rax, rdx],
    mnemonics: ["Mul", "Imul", "Div", "Idiv", "Cwd", "Cdq", "Cqo"],
  },
  {
    registers: [rax],
    mnemonics: ["Cbw", "Cwde", "Cdqe", "Cmpxchg", "Lahf", "Sahf", "Salc"],
  },
  {
    registers: [rax],
    mnemonics: ["Aaa", "Aas", "Aam", "Aad", "Daa", "Das", "Xlatb", "Fnstsw"],
  },
  { registers: [rax, rbx, rcx, rdx], mnemonics: ["Cmpxchg8b", "Cmpxchg16b"] },
  {
    registers: [rcx],
    mnemonics: ["Loop", "Loope", "Loopne", "Jcxz", "Jecxz", "Jrcxz"],
  },
  { registers: [rdx], mnemonics: ["Mulx"] },
  { registers: [rcx, rax, rdx], mnemonics: ["Pcmpestri", "Pcmpestri64"] },
  { registers: [rax, rdx], mnemonics: ["Pcmpestrm", "Pcmpestrm64"] },
  { registers: [rcx], mnemonics: ["Pcmpistri"] },
  { registers: [rsp, rbp], mnemonics: ["Enter", "Leave"] },
  {
    registers: [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi],
    mnemonics: ["Pusha", "Pushad", "Popa", "Popad"],
  },
];
const BY_MNEMONIC = new Map(
  ROWS.flatMap(({ registers, mnemonics }) =>
    mnemonics.map((name) => [Mnemonic[name], maskOf(registers)] as const)
  ),
);

function maskOf(registers: readonly number[]): number {
  return registers.reduce((mask, register) => mask | 1 << register, 0);
}

/** A bit per general register that the code uses without naming it. */
export function implicitRegisters(facts: CodeFacts): number {
  let mask = BY_MNEMONIC.get(facts.mnemonic) ?? 0;
  for (const kind of facts.operands) {
    const register = BY_KIND.get(kind);
    if (register !== undefined) mask |= 1 << register;
  }
  // Repeated string instructions count in RCX.
  return facts.canRep || facts.canRepe ? mask | 1 << rcx : mask;
}
