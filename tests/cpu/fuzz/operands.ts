// From a form to an iced-x86 Instruction: a table says for each kind of operand how it is chosen
// and how it is written into the Instruction. Memory operands are chosen in `address.ts`.

import {
  Instruction,
  Mnemonic,
  OpCodeOperandKind as Kind,
  OpKind,
  Register,
} from "iced-x86";
import { planMemory, planOffset, planString, planTable } from "./address.ts";
import { type Draft, GPR, type Plan } from "./draft.ts";
import { SELECTORS } from "../native/native.ts";
import { int16, int32, int8, smallCount } from "./values.ts";

interface Operand {
  choose?: (draft: Draft, plan: Plan, operand: number) => void;
  write: (
    instruction: Instruction,
    operand: number,
    plan: Plan,
    draft: Draft,
  ) => void;
}

/** Chooses a general register: any, but seldom RSP, and in company none that is spoken for. */
function chooseGpr(draft: Draft, plan: Plan, operand: number): void {
  const { rng } = draft;
  const limit = draft.mode === 32 || plan.noRex ? 8 : 16;
  const before = plan.registers.find((register) => register !== undefined);
  let register = rng.below(limit);
  for (let attempt = 0; attempt < 16; attempt++) {
    const isStackPointer = register === GPR.rsp && !rng.chance(25);
    const isTaken = !draft.isSingle && draft.isPinned(register);
    if (!isStackPointer && !isTaken) break;
    register = rng.below(limit);
  }
  const repeat = before !== undefined && before < limit && rng.chance(12);
  plan.registers[operand] = repeat ? before : register;
}

/** Without REX, numbers 4 to 7 are the high bytes of the first four registers. */
function chooseByteRegister(draft: Draft, plan: Plan, operand: number): void {
  chooseGpr(draft, plan, operand);
  const isHigh = isWithoutRex(draft, plan);
  if (isHigh) plan.registers[operand] = draft.rng.below(8);
}

function isWithoutRex(draft: Draft, plan: Plan): boolean {
  return draft.mode === 32 || plan.noRex;
}

function chooseVector(draft: Draft, plan: Plan, operand: number): void {
  const { rng } = draft;
  const before = plan.registers.find((register) => register !== undefined);
  const limit = draft.mode === 32 || plan.noRex ? 8 : 16;
  plan.registers[operand] = before !== undefined && rng.chance(12)
    ? before % limit
    : rng.below(limit);
}

function chooseEight(draft: Draft, plan: Plan, operand: number): void {
  plan.registers[operand] = draft.rng.below(8);
}

function chooseSegmentRegister(
  draft: Draft,
  plan: Plan,
  operand: number,
): void {
  const { rng } = draft;
  const isDestination = operand === 0;
  // MOV CS is #UD; the others are loaded with selectors that `preparations.ts` provides.
  plan.registers[operand] = isDestination
    ? rng.pick([0, 2, 3, 3, 4, 5])
    : rng.below(6);
}

function register(
  first: Register,
  choose?: Operand["choose"],
): Operand {
  return {
    ...(choose ? { choose } : {}),
    write: (instruction, operand, plan) => {
      instruction.setOpKind(operand, OpKind.Register);
      instruction.setOpRegister(
        operand,
        first + (plan.registers[operand] ?? 0),
      );
    },
  };
}

const byteRegister: Operand = {
  choose: chooseByteRegister,
  write: (instruction, operand, plan, draft) => {
    const number = plan.registers[operand]!;
    const withRex = !isWithoutRex(draft, plan) && number >= 4;
    instruction.setOpKind(operand, OpKind.Register);
    instruction.setOpRegister(
      operand,
      Register.AL + number + (withRex ? 4 : 0),
    );
  },
};

const memory: Operand = {
  write: (instruction, operand, plan) => {
    const { base, index, scale, displacement, displacementSize } = plan.memory!;
    instruction.setOpKind(operand, OpKind.Memory);
    instruction.memoryBase = base;
    instruction.memoryIndex = index;
    instruction.memoryIndexScale = scale;
    // iced names a 32-bit displacement after the size it is extended to.
    const isWide = plan.addressSize === 64 && displacementSize === 4;
    instruction.memoryDisplSize = isWide ? 8 : displacementSize;
    const bits = plan.addressSize === 64 ? 64 : 32;
    instruction.memoryDisplacement = BigInt.asUintN(bits, BigInt(displacement));
    instruction.segmentPrefix = plan.segment;
  },
};

function either(inRegister: Operand): Operand {
  return {
    choose: (draft, plan, operand) => {
      if (plan.form.shape === "reg") inRegister.choose?.(draft, plan, operand);
    },
    write: (instruction, operand, plan, draft) => {
      const chosen = plan.form.shape === "reg" ? inRegister : memory;
      chosen.write(instruction, operand, plan, draft);
    },
  };
}

function immediate(
  choose: (draft: Draft) => number,
  write: (instruction: Instruction, value: number, operand: number) => void,
): Operand {
  return {
    choose: (draft, plan, operand) => {
      plan.immediates[operand] = choose(draft);
    },
    write: (instruction, operand, plan) =>
      write(instruction, plan.immediates[operand]!, operand),
  };
}

function writeImmediate8(
  instruction: Instruction,
  value: number,
  operand: number,
): void {
  // ENTER is the one with two immediates.
  if (instruction.mnemonic === Mnemonic.Enter) {
    instruction.setOpKind(operand, OpKind.Immediate8_2nd);
    instruction.immediate8_2nd = value;
    return;
  }
  instruction.setOpKind(operand, OpKind.Immediate8);
  instruction.immediate8 = value;
}

const signed8 = ({ rng }: Draft) => int8(rng) << 24 >> 24;

const IMMEDIATES: readonly (readonly [Kind, Operand])[] = [
  [
    Kind.imm8,
    immediate(
      ({ rng }) => rng.chance(50) ? smallCount(rng) : int8(rng),
      writeImmediate8,
    ),
  ],
  [Kind.imm8_const_1, immediate(() => 1, writeImmediate8)],
  [
    Kind.imm8sex16,
    immediate(signed8, (instruction, value, operand) => {
      instruction.setOpKind(operand, OpKind.Immediate8to16);
      instruction.immediate8to16 = value;
    }),
  ],
  [
    Kind.imm8sex32,
    immediate(signed8, (instruction, value, operand) => {
      instruction.setOpKind(operand, OpKind.Immediate8to32);
      instruction.immediate8to32 = value;
    }),
  ],
  [
    Kind.imm8sex64,
    immediate(signed8, (instruction, value, operand) => {
      instruction.setOpKind(operand, OpKind.Immediate8to64);
      instruction.immediate8to64 = BigInt(value);
    }),
  ],
  [
    Kind.imm16,
    immediate(({ rng }) => int16(rng), (instruction, value, operand) => {
      instruction.setOpKind(operand, OpKind.Immediate16);
      instruction.immediate16 = value;
    }),
  ],
  [
    Kind.imm32,
    immediate(({ rng }) => int32(rng), (instruction, value, operand) => {
      instruction.setOpKind(operand, OpKind.Immediate32);
      instruction.immediate32 = value;
    }),
  ],
  [
    Kind.imm32sex64,
    immediate(({ rng }) => int32(rng) | 0, (instruction, value, operand) => {
      instruction.setOpKind(operand, OpKind.Immediate32to64);
      instruction.immediate32to64 = BigInt(value);
    }),
  ],
  [Kind.imm64, {
    choose: ({ rng }, plan, operand) => {
      plan.immediates[operand] = int32(rng);
      plan.immediates[operand + 1] = int32(rng);
    },
    write: (instruction, operand, plan) => {
      const low = BigInt(plan.immediates[operand]!);
      const high = BigInt(plan.immediates[operand + 1]!);
      instruction.setOpKind(operand, OpKind.Immediate64);
      instruction.immediate64 = high << 32n | low;
    },
  }],
];

/** Any place that is not the snippet will do, because it holds an INT3. */
function chooseBranch(draft: Draft, plan: Plan): void {
  const { rng, codeBase } = draft;
  plan.branchTarget = rng.chance(50)
    ? codeBase + rng.between(66, 100)
    : codeBase - rng.between(1, 40);
}

const BRANCH_WRITERS = {
  16: (instruction: Instruction, operand: number, target: number) => {
    instruction.setOpKind(operand, OpKind.NearBranch16);
    instruction.nearBranch16 = target & 0xffff;
  },
  32: (instruction: Instruction, operand: number, target: number) => {
    instruction.setOpKind(operand, OpKind.NearBranch32);
    instruction.nearBranch32 = target;
  },
  64: (instruction: Instruction, operand: number, target: number) => {
    instruction.setOpKind(operand, OpKind.NearBranch64);
    instruction.nearBranch64 = BigInt(target);
  },
};

function branch(bits: 16 | 32 | 64): Operand {
  return {
    choose: chooseBranch,
    write: (instruction, operand, plan) =>
      BRANCH_WRITERS[bits](instruction, operand, plan.branchTarget),
  };
}

/** Far branches in the instruction: 32-bit mode's own code segment, mostly. */
function farBranch(bits: 16 | 32): Operand {
  return {
    choose: (draft, plan, operand) => {
      chooseBranch(draft, plan);
      const { rng } = draft;
      plan.immediates[operand] = rng.chance(90)
        ? SELECTORS.cs32
        : rng.pick([0, 0x10, SELECTORS.data]);
    },
    write: (instruction, operand, plan) => {
      instruction.farBranchSelector = plan.immediates[operand]!;
      if (bits === 16) {
        instruction.setOpKind(operand, OpKind.FarBranch16);
        instruction.farBranch16 = plan.branchTarget & 0xffff;
      } else {
        instruction.setOpKind(operand, OpKind.FarBranch32);
        instruction.farBranch32 = plan.branchTarget;
      }
    },
  };
}

function stringOperand(kinds: { 64: OpKind; 32: OpKind; 16: OpKind }): Operand {
  return {
    write: (instruction, operand, plan) => {
      instruction.setOpKind(operand, kinds[plan.addressSize]);
      if (plan.segment !== Register.None) {
        instruction.segmentPrefix = plan.segment;
      }
    },
  };
}

const STRINGS: readonly (readonly [Kind, Operand])[] = [
  [
    Kind.seg_rSI,
    stringOperand({
      64: OpKind.MemorySegRSI,
      32: OpKind.MemorySegESI,
      16: OpKind.MemorySegSI,
    }),
  ],
  [
    Kind.seg_rDI,
    stringOperand({
      64: OpKind.MemorySegRDI,
      32: OpKind.MemorySegEDI,
      16: OpKind.MemorySegDI,
    }),
  ],
  [
    Kind.es_rDI,
    stringOperand({
      64: OpKind.MemoryESRDI,
      32: OpKind.MemoryESEDI,
      16: OpKind.MemoryESDI,
    }),
  ],
];

const gpr16 = register(Register.AX, chooseGpr);
const gpr32 = register(Register.EAX, chooseGpr);
const gpr64 = register(Register.RAX, chooseGpr);
const xmm = register(Register.XMM0, chooseVector);
const mm = register(Register.MM0, chooseEight);

const OPERANDS = new Map<Kind, Operand>([
  ...IMMEDIATES,
  ...STRINGS,
  [Kind.r8_reg, byteRegister],
  [Kind.r8_opcode, byteRegister],
  [Kind.r8_or_mem, either(byteRegister)],
  [Kind.r16_reg, gpr16],
  [Kind.r16_opcode, gpr16],
  [Kind.r16_rm, gpr16],
  [Kind.r16_or_mem, either(gpr16)],
  [Kind.r32_reg, gpr32],
  [Kind.r32_opcode, gpr32],
  [Kind.r32_rm, gpr32],
  [Kind.r32_vvvv, gpr32],
  [Kind.r32_or_mem, either(gpr32)],
  [Kind.r64_reg, gpr64],
  [Kind.r64_opcode, gpr64],
  [Kind.r64_rm, gpr64],
  [Kind.r64_vvvv, gpr64],
  [Kind.r64_or_mem, either(gpr64)],
  [Kind.xmm_reg, xmm],
  [Kind.xmm_rm, xmm],
  [Kind.xmm_or_mem, either(xmm)],
  [Kind.mm_reg, mm],
  [Kind.mm_rm, mm],
  [Kind.mm_or_mem, either(mm)],
  [Kind.st0, register(Register.ST0)],
  [Kind.sti_opcode, register(Register.ST0, chooseEight)],
  [Kind.seg_reg, register(Register.ES, chooseSegmentRegister)],
  [Kind.es, register(Register.ES)],
  [Kind.cs, register(Register.CS)],
  [Kind.ss, register(Register.SS)],
  [Kind.ds, register(Register.DS)],
  [Kind.fs, register(Register.FS)],
  [Kind.gs, register(Register.GS)],
  [Kind.al, register(Register.AL)],
  [Kind.cl, register(Register.CL)],
  [Kind.ax, register(Register.AX)],
  [Kind.dx, register(Register.DX)],
  [Kind.eax, register(Register.EAX)],
  [Kind.rax, register(Register.RAX)],
  [Kind.mem, memory],
  [Kind.mem_offs, memory],
  [Kind.seg_rBX_al, memory],
  [Kind.br16_1, branch(16)],
  [Kind.br16_2, branch(16)],
  [Kind.br32_1, branch(32)],
  [Kind.br32_4, branch(32)],
  [Kind.br64_1, branch(64)],
  [Kind.br64_4, branch(64)],
  [Kind.farbr2_2, farBranch(16)],
  [Kind.farbr4_2, farBranch(32)],
]);

function operandOf(kind: Kind): Operand {
  const operand = OPERANDS.get(kind);
  if (!operand) throw new RangeError(`Cannot choose an operand: ${Kind[kind]}`);
  return operand;
}

const STRING_KINDS = new Set(STRINGS.map(([kind]) => kind));

/** Chooses what a plan's memory operands are; to be done for all plans before their registers. */
export function chooseMemory(draft: Draft, plan: Plan): void {
  const { operands } = plan.form.facts;
  if (plan.form.shape === "reg") return;
  const strings = operands.filter((kind) => STRING_KINDS.has(kind));
  if (strings.length > 0) planString(draft, plan, strings);
  else if (operands.includes(Kind.mem_offs)) planOffset(draft, plan);
  else if (operands.includes(Kind.seg_rBX_al)) planTable(draft, plan);
  else planMemory(draft, plan);
}

/** Chooses a plan's registers, immediates and branch target. */
export function chooseOperands(draft: Draft, plan: Plan): void {
  plan.form.facts.operands.forEach((kind, index) =>
    operandOf(kind).choose?.(draft, plan, index)
  );
}

function writePrefixes(instruction: Instruction, plan: Plan): void {
  if (plan.lock) instruction.hasLockPrefix = true;
  if (plan.repeat === "rep") instruction.hasRepPrefix = true;
  if (plan.repeat === "repne") instruction.hasRepnePrefix = true;
}

/** The plan as an iced-x86 Instruction, which the caller frees. */
export function buildInstruction(draft: Draft, plan: Plan): Instruction {
  const instruction = Instruction.create(plan.form.facts.code);
  plan.form.facts.operands.forEach((kind, index) =>
    operandOf(kind).write(instruction, index, plan, draft)
  );
  writePrefixes(instruction, plan);
  return instruction;
}
