// Memory operands of iced-x86's instructions: what their address is made of.

import type { Form } from "./form.ts";
import { FORMS } from "./forms/by_code.ts";
import { OpKind, Register } from "./iced/enumerations.ts";
import type { Instruction } from "./iced/instruction.ts";
import type { ModeSize, Shape } from "./shape.ts";

const IMPLIED_ADDRESS: ReadonlyMap<OpKind, ModeSize> = new Map([
  [OpKind.MemorySegSI, 16],
  [OpKind.MemorySegESI, 32],
  [OpKind.MemorySegRSI, 64],
  [OpKind.MemorySegDI, 16],
  [OpKind.MemorySegEDI, 32],
  [OpKind.MemorySegRDI, 64],
  [OpKind.MemoryESDI, 16],
  [OpKind.MemoryESEDI, 32],
  [OpKind.MemoryESRDI, 64],
]);

const FIXED_TO_ES: ReadonlySet<OpKind> = new Set([
  OpKind.MemoryESDI,
  OpKind.MemoryESEDI,
  OpKind.MemoryESRDI,
]);

/**
 * Size of the address of memory that registers imply. XLAT's operand is the one
 * that is not told by its kind.
 */
export function impliedAddress(
  instruction: Instruction,
  kind: OpKind,
  code: ModeSize,
): ModeSize {
  return IMPLIED_ADDRESS.get(kind) ?? addressSize(instruction, code);
}

/** Whether an operand's segment is ES, whatever the prefixes. */
export function isFixedToEs(kind: OpKind): boolean {
  return FIXED_TO_ES.has(kind);
}

const STACK_BASES: ReadonlySet<Register> = new Set([
  ...[Register.ESP, Register.RSP, Register.EBP, Register.RBP],
]);

/**
 * Whether a bad address raises #SS rather than #GP. In 64-bit mode the prefixes of CS,
 * DS, ES and SS are ignored, and the base register alone decides.
 */
export function isOnStack(instruction: Instruction, code: ModeSize): boolean {
  const segment = instruction.memorySegment;
  if (code !== 64) return segment === Register.SS;
  const isBased = segment === Register.FS || segment === Register.GS;
  return !isBased && STACK_BASES.has(instruction.memoryBase);
}

/**
 * Whether the 64-bit effective address is not a displacement (or next to RIP),
 * which is always canonical.
 */
export function isAnywhere(instruction: Instruction): boolean {
  const base = instruction.memoryBase;
  return (base !== Register.None && base !== Register.RIP) ||
    instruction.memoryIndex !== Register.None ||
    hasWideDisplacement(instruction);
}

/** Whether the operand is an absolute address that does not fit a displacement. */
export function hasWideDisplacement(instruction: Instruction): boolean {
  if (
    instruction.memoryBase !== Register.None ||
    instruction.memoryIndex !== Register.None ||
    instruction.memoryDisplSize !== 8
  ) return false;
  const disp = instruction.memoryDisplacement;
  return BigInt.asIntN(32, disp) !== BigInt.asIntN(64, disp);
}

const XCHG = /^Xchg_rm/;

/** Whether the bus is locked: XCHG with memory locks without the prefix. */
export function isLocked(
  instruction: Instruction,
  memory: Shape["memory"],
): boolean {
  if (memory === "none") return false;
  if (instruction.hasLockPrefix) return true;
  const form = FORMS.get(instruction.code);
  return form !== undefined && XCHG.test(form.name);
}

/** Whether the definition gets its operand's address without a segment. */
export function isOffset(form: Form): boolean {
  return form.access === "none" || form.access === "offset";
}

/** Size of the effective address that an instruction computes. */
export function addressSize(
  instruction: Instruction,
  code: ModeSize,
): ModeSize {
  for (const register of [instruction.memoryBase, instruction.memoryIndex]) {
    if (register === Register.RIP) return 64;
    if (register === Register.EIP) return 32;
    if (register >= Register.RAX && register <= Register.R15) return 64;
    if (register >= Register.EAX && register <= Register.R15D) return 32;
    if (register >= Register.AX && register <= Register.R15W) return 16;
  }
  switch (instruction.memoryDisplSize) {
    case 8:
      return 64;
    case 4:
      return 32;
    case 2:
      return 16;
    default:
      return code;
  }
}
