// The registers that bhyvectl(8) has options for, in the order in which it prints them.

import { REGISTER, type RegisterNumber } from "../vmm/cpu/registers.ts";

const CONTROL = [
  ...["efer", "cr0", "cr2", "cr3", "cr4"],
  ...["dr0", "dr1", "dr2", "dr3", "dr6", "dr7", "rsp", "rip", "rax"],
] as const;

/** Registers that can be set. */
export const WRITABLE = [...CONTROL, "rflags"] as const;

/** Registers that can be printed. */
export const READABLE = [
  ...CONTROL,
  ...["rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8", "r9", "r10", "r11"],
  ...["r12", "r13", "r14", "r15", "rflags"],
] as const;

/** Segment registers with selectors, which can be set and printed. */
export const SELECTORS = [
  ...["cs", "ds", "es", "fs", "gs", "ss", "tr", "ldtr"],
] as const;

/** Registers with hidden parts, which can be set and printed. */
export const DESCRIPTORS = [
  ...["ds", "es", "fs", "gs", "ss", "cs", "tr", "ldtr", "gdtr", "idtr"],
] as const;

/** A register's name in options. */
export type RegisterName = Lowercase<keyof typeof REGISTER>;

/** The number of a register in vmm(4). */
export function registerNumber(name: RegisterName): RegisterNumber {
  return REGISTER[name.toUpperCase() as Uppercase<RegisterName>];
}
