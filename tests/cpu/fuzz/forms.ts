// The instruction forms to be covered: an iced-x86 `Code` with its operands in registers or with
// one in memory. Facts about each code are read from iced's OpCodeInfo once and kept here.

import {
  Code,
  CodeExt,
  CpuidFeature,
  EncodingKind,
  Instruction,
  MemorySize,
  MemorySizeExt,
  Mnemonic,
  OpCodeInfo,
  OpCodeOperandKind as Kind,
} from "iced-x86";
import type { Flavour } from "./values.ts";

/** Where the operand is that may be in a register or in memory. */
export type Shape = "reg" | "mem";

/** What the generator has to know about a code. */
export interface CodeFacts {
  code: Code;
  name: string;
  mnemonic: Mnemonic;
  operands: readonly Kind[];
  /** Bytes of the memory operand, or of the register in its place. */
  size: number;
  /** What the operand's elements are. */
  flavour: Flavour;
  in64: boolean;
  in32: boolean;
  isVex: boolean;
  isMmx: boolean;
  isX87: boolean;
  isSse: boolean;
  canLock: boolean;
  canRep: boolean;
  canRepe: boolean;
  isStack: boolean;
}

/** A code and a shape of its operands. */
export interface Form {
  /** `Code` name and shape, as matched by `--forms`. */
  name: string;
  facts: CodeFacts;
  shape: Shape;
}

const FEATURES = new Set<CpuidFeature>(
  ([
    ...[
      "INTEL8086",
      "INTEL186",
      "INTEL286",
      "INTEL386",
      "INTEL486",
      "X64",
      "CMOV",
      "CX8",
    ],
    ...[
      "CMPXCHG16B",
      "ADX",
      "BMI1",
      "BMI2",
      "LZCNT",
      "POPCNT",
      "MOVBE",
      "MULTIBYTENOP",
      "PAUSE",
    ],
    ...[
      "PREFETCHW",
      "CLFSH",
      "CLFLUSHOPT",
      "CLWB",
      "FSGSBASE",
      "CET_IBT",
      "FPU",
      "FPU287",
    ],
    ...[
      "FPU387",
      "FXSR",
      "MMX",
      "SSE",
      "SSE2",
      "SSE3",
      "SSSE3",
      "SSE4_1",
      "SSE4_2",
      "AES",
      "PCLMULQDQ",
    ],
  ] as const).map((name) => CpuidFeature[name]),
);

/** What user-mode instructions are left out, and why. */
export const EXCLUDED: readonly {
  reason: string;
  mnemonics: readonly (keyof typeof Mnemonic)[];
}[] = [
  { reason: "ends every snippet", mnemonics: ["Int3"] },
  {
    reason: "emulated by the kernel with answers of its own (UMIP)",
    mnemonics: ["Sldt", "Str", "Sgdt", "Sidt", "Smsw"],
  },
];
const EXCLUDED_MNEMONICS = new Set(
  EXCLUDED.flatMap((row) => row.mnemonics.map((m) => Mnemonic[m])),
);

const RM_KINDS = new Set<Kind>([
  ...[Kind.r8_or_mem, Kind.r16_or_mem, Kind.r32_or_mem, Kind.r64_or_mem],
  ...[Kind.mm_or_mem, Kind.xmm_or_mem],
]);
const MEMORY_KINDS = new Set<Kind>([
  ...[
    Kind.mem,
    Kind.mem_offs,
    Kind.seg_rSI,
    Kind.es_rDI,
    Kind.seg_rDI,
    Kind.seg_rBX_al,
  ],
]);

const FLAVOURS = new Map<MemorySize, Flavour>([
  [MemorySize.Float32, "f32"],
  [MemorySize.Float64, "f64"],
  [MemorySize.Float80, "f80"],
]);

function cpuidFeatures(code: Code): CpuidFeature[] {
  const instruction = Instruction.create(code);
  const features = Array.from(instruction.cpuidFeatures());
  instruction.free();
  return features;
}

function operandKinds(info: OpCodeInfo): Kind[] {
  return Array.from({ length: info.opCount }, (_, index) => info.opKind(index));
}

const factsOf = new Map<Code, CodeFacts>();

/** The facts about a code. */
export function codeFacts(code: Code): CodeFacts {
  let facts = factsOf.get(code);
  if (!facts) {
    facts = readFacts(code);
    factsOf.set(code, facts);
  }
  return facts;
}

function readFacts(code: Code): CodeFacts {
  const info = CodeExt.opCode(code);
  const operands = operandKinds(info);
  const features = new Set(
    cpuidFeatures(code).map((feature) => CpuidFeature[feature]!),
  );
  const facts = {
    code,
    name: Code[code]!,
    mnemonic: info.mnemonic,
    operands,
    size: MemorySizeExt.size(info.memorySize),
    flavour: FLAVOURS.get(MemorySizeExt.elementType(info.memorySize)) ?? "int",
    // AMD alone has 16-bit near branches in 64-bit mode; Intel ignores the prefix.
    in64: info.mode64 && info.intelDecoder64 && info.amdDecoder64,
    in32: info.mode32,
    isVex: info.encoding === EncodingKind.VEX,
    isMmx: operands.some((kind) => MMX_KINDS.has(kind)) || features.has("MMX"),
    isX87: [...features].some((feature) => feature.startsWith("FPU")),
    isSse: [...features].some((feature) => feature.includes("SSE")),
    canLock: info.canUseLockPrefix,
    canRep: info.canUseRepPrefix,
    canRepe: info.canUseRepnePrefix,
    isStack: info.isStackInstruction,
  };
  info.free();
  return facts;
}

const MMX_KINDS = new Set<Kind>([Kind.mm_or_mem, Kind.mm_reg, Kind.mm_rm]);

function isUserForm(code: Code): boolean {
  if (Code[code] === undefined) return false;
  const info = CodeExt.opCode(code);
  const encodings: EncodingKind[] = [EncodingKind.Legacy, EncodingKind.VEX];
  const plain = info.isInstruction && info.cpl3 && !info.mustBeCpl0 &&
    (info.decoderOption === 0 || info.isReservedNop) && !info.fwait &&
    encodings.includes(info.encoding) &&
    !EXCLUDED_MNEMONICS.has(info.mnemonic);
  info.free();
  return plain && cpuidFeatures(code).every((feature) => FEATURES.has(feature));
}

/** All user-mode codes whose results depend on nothing but the state a case sets up. */
export function userModeCodes(): Code[] {
  return Object.values(Code).filter((code): code is Code =>
    typeof code === "number"
  )
    .filter(isUserForm);
}

function shapesOf(facts: CodeFacts): Shape[] {
  if (facts.operands.some((kind) => RM_KINDS.has(kind))) return ["reg", "mem"];
  return facts.operands.some((kind) => MEMORY_KINDS.has(kind))
    ? ["mem"]
    : ["reg"];
}

/** The forms of the codes, in the order of the codes. */
export function formsOf(codes: readonly Code[]): Form[] {
  return codes.map(codeFacts).filter((facts) => facts.in64 || facts.in32)
    .flatMap((facts) =>
      shapesOf(facts).map((shape) => ({
        name: `${facts.name}/${shape}`,
        facts,
        shape,
      }))
    );
}
