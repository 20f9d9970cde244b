// What of iced-x86's enumerations the processor names. The types are the package's own,
// which cost nothing when a program runs; against them names and numbers are checked.

import type * as iced from "iced-x86";

type PartOf<Enumeration> = {
  readonly [Name in keyof Enumeration]?: Enumeration[Name];
};

/** An instruction with its operands; `CODES` has the names. */
export type Code = iced.Code;

/** The code of what is no instruction. */
export const INVALID = 0 satisfies iced.Code.INVALID;

/** An instruction whatever its operands. */
export const Mnemonic = {
  Ud0: 757,
  Ud1: 758,
} as const satisfies PartOf<typeof iced.Mnemonic>;

/** What an operand is. */
export type OpKind = iced.OpKind;

/** What an operand is. */
export const OpKind = {
  Register: 0,
  NearBranch16: 1,
  NearBranch32: 2,
  NearBranch64: 3,
  FarBranch16: 4,
  FarBranch32: 5,
  Immediate8: 6,
  Immediate8_2nd: 7,
  Immediate16: 8,
  Immediate32: 9,
  Immediate64: 10,
  Immediate8to16: 11,
  Immediate8to32: 12,
  Immediate8to64: 13,
  Immediate32to64: 14,
  MemorySegSI: 15,
  MemorySegESI: 16,
  MemorySegRSI: 17,
  MemorySegDI: 18,
  MemorySegEDI: 19,
  MemorySegRDI: 20,
  MemoryESDI: 21,
  MemoryESEDI: 22,
  MemoryESRDI: 23,
  Memory: 24,
} as const satisfies PartOf<typeof iced.OpKind>;

/** A register. */
export type Register = iced.Register;

/** Registers; those of a kind follow each other in the processor's order. */
export const Register = {
  None: 0,
  AL: 1,
  AH: 5,
  SPL: 9,
  AX: 21,
  R15W: 36,
  EAX: 37,
  ESP: 41,
  EBP: 42,
  R15D: 52,
  RAX: 53,
  RSP: 57,
  RBP: 58,
  R15: 68,
  EIP: 69,
  RIP: 70,
  ES: 71,
  SS: 73,
  FS: 75,
  GS: 76,
  XMM0: 77,
  YMM0: 109,
  CR0: 185,
  DR0: 201,
  ST0: 217,
  MM0: 225,
} as const satisfies PartOf<typeof iced.Register>;

/** What was wrong with what was decoded. */
export type DecoderError = iced.DecoderError;

/** What was wrong with what was decoded. */
export const DecoderError = {
  None: 0,
  InvalidInstruction: 1,
  NoMoreBytes: 2,
} as const satisfies PartOf<typeof iced.DecoderError>;

/** How to decode. */
export const DecoderOptions = {
  NoInvalidCheck: 0x1,
  AMD: 0x2,
  ForceReservedNop: 0x4,
  NoWbnoinvd: 0x4000,
  NoMPFX_0FBC: 0x1_0000,
  NoMPFX_0FBD: 0x2_0000,
  NoLahfSahf64: 0x4_0000,
} as const satisfies PartOf<typeof iced.DecoderOptions>;

/** A group of instructions that a processor has or does not have. */
export type CpuidFeature = iced.CpuidFeature;

/** Groups of instructions that a processor has or does not have. */
export const CpuidFeature = {
  INTEL8086: 0,
  INTEL186: 2,
  INTEL286: 3,
  INTEL386: 5,
  INTEL486: 8,
  X64: 12,
  ADX: 13,
  AES: 14,
  BMI1: 34,
  BMI2: 35,
  CLFLUSHOPT: 40,
  CLFSH: 41,
  CLWB: 42,
  CMOV: 44,
  CMPXCHG16B: 45,
  CPUID: 46,
  CX8: 47,
  FPU: 55,
  FPU287: 56,
  FPU387: 58,
  FSGSBASE: 60,
  FXSR: 61,
  INVPCID: 67,
  LZCNT: 70,
  MMX: 72,
  MONITOR: 73,
  MOVBE: 75,
  MSR: 79,
  MULTIBYTENOP: 80,
  PAUSE: 85,
  PCLMULQDQ: 86,
  POPCNT: 90,
  PREFETCHW: 91,
  RDPID: 94,
  RDPMC: 95,
  RDRAND: 97,
  RDSEED: 98,
  RDTSCP: 99,
  SEP: 101,
  SHA: 103,
  SMAP: 106,
  SSE: 108,
  SSE2: 109,
  SSE3: 110,
  SSE4_1: 111,
  SSE4_2: 112,
  SSSE3: 114,
  SYSCALL: 117,
  TSC: 119,
  XSAVE: 126,
  SERIALIZE: 131,
} as const satisfies PartOf<typeof iced.CpuidFeature>;
