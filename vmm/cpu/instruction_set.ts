// Which instructions a virtual CPU has and how they are decoded, by what its CPUID
// shows. iced-x86 knows which features an instruction needs.

import type { Cpuid } from "./cpuid.ts";
import {
  type Code,
  CpuidFeature,
  DecoderOptions,
} from "./iced/enumerations.ts";
import { Instruction } from "./iced/instruction.ts";

const instruction = new Instruction();

// iced-x86 answers for an instruction: one is enough to ask about every code.
function featuresOf(code: Code): Int32Array {
  instruction.code = code;
  return instruction.cpuidFeatures();
}

// Where a feature is missing its prefixes mean nothing: ENDBR is a NOP, LZCNT is
// BSR, TZCNT is BSF, WBNOINVD is WBINVD.
function optionsFor(cpuid: Cpuid): number {
  return DecoderOptions.ForceReservedNop | DecoderOptions.NoWbnoinvd |
    (cpuid.vendor === "amd" ? DecoderOptions.AMD : 0) |
    (cpuid.has("bmi1") ? 0 : DecoderOptions.NoMPFX_0FBC) |
    (cpuid.has("abm") ? 0 : DecoderOptions.NoMPFX_0FBD) |
    (cpuid.has("lahf_lm") ? 0 : DecoderOptions.NoLahfSahf64);
}

/** The instructions of one virtual CPU. */
export class InstructionSet {
  /** iced-x86's decoder options. */
  readonly decoderOptions: number;
  readonly #groups: ReadonlySet<CpuidFeature>;
  readonly #supported: (boolean | undefined)[] = [];

  /** What `cpuid` shows decides. */
  constructor(cpuid: Cpuid) {
    this.decoderOptions = optionsFor(cpuid);
    const groups = [...cpuid.instructions].map((name) => CpuidFeature[name]);
    this.#groups = new Set(groups);
  }

  /** Whether the processor has an instruction: it raises #UD otherwise. */
  supports(code: Code): boolean {
    return this.#supported[code] ??= featuresOf(code)
      .every((f) => this.#groups.has(f));
  }
}
