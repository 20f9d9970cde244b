// Makes random test cases for instruction forms. A case follows from the seed, its number and its
// form alone, so one that failed can be made again without the others.

import {
  type Code,
  Encoder,
  type Instruction,
  Mnemonic,
  OpCodeOperandKind as Kind,
  Register,
} from "iced-x86";
import { CODE_BASE, CODE_SIZE, type CpuCase } from "../native/native.ts";
import { isBeyondSegment } from "./address.ts";
import { Draft, GPR, type Plan } from "./draft.ts";
import { type CodeFacts, type Form, formsOf } from "./forms.ts";
import { implicitRegisters } from "./implicit.ts";
import { buildInstruction, chooseMemory, chooseOperands } from "./operands.ts";
import { prepare } from "./preparations.ts";
import { Prng } from "./prng.ts";
import {
  BIT_SCAN,
  mayKeepFlags,
  RECIPROCAL,
  TRANSCENDENTAL,
  undefinedFlags,
  undefinedStatus,
} from "./undefined.ts";

/** An instruction of a snippet and what it leaves undefined. */
export interface SnippetInstruction {
  form: Form;
  /** Linear address. */
  address: number;
  length: number;
  /** Bits of RFLAGS that are undefined once this instruction has run, left by any so far. */
  undefinedFlags: number;
  /** The same for the x87 status word. */
  undefinedStatus: number;
  /** Whether it has a REP prefix. */
  repeats: boolean;
  /** By operand, as far as operands are registers. */
  registers: readonly number[];
  /** Linear address of the memory operand. */
  target?: number;
  /** Whether the memory operand reaches beyond the last offset of its segment. */
  beyondSegment: boolean;
}

/** A case with its origin. */
export interface FuzzCase {
  index: number;
  /** The form that the case is about. */
  form: Form;
  test: CpuCase;
  instructions: SnippetInstruction[];
}

/** What to make cases of. */
export interface GeneratorOptions {
  seed: number;
  /** Everything that may appear in a snippet. */
  codes: readonly Code[];
  /** Only forms whose name matches are covered; neighbours are taken from all. */
  forms?: RegExp | undefined;
  /** No neighbours: each snippet is one instruction. */
  single?: boolean | undefined;
}

/** Kinds of instruction that share a snippet with no other, and why. */
const SOLITARY: readonly {
  reason: string;
  mnemonics: readonly (keyof typeof Mnemonic)[];
}[] = [
  {
    reason:
      "their operands have to suit each other, and a neighbour would change them",
    mnemonics: [
      ...[
        "Div",
        "Idiv",
        "Bound",
        "Xlatb",
        "Enter",
        "Leave",
        "Ret",
        "Retf",
        "Iret",
        "Iretd",
        "Iretq",
        "Wrfsbase",
      ] as const,
      ...[
        "Wrgsbase",
        "Bt",
        "Bts",
        "Btr",
        "Btc",
        "Shld",
        "Shrd",
        "Maskmovq",
      ] as const,
      ...["Maskmovdqu", "Popa", "Popad", "Popf", "Popfd", "Popfq"] as const,
    ],
  },
  {
    reason:
      "they store undefined condition codes, or pointers that processors fill differently",
    mnemonics: ["Fnstsw", "Fnstenv", "Fnsave", "Fxsave", "Fxsave64"],
  },
  {
    reason: "they replace the state that the neighbours were chosen for",
    mnemonics: ["Fxrstor", "Fxrstor64", "Frstor", "Fldenv"],
  },
  {
    reason: "their selectors are to name none of the host's own descriptors",
    mnemonics: ["Lar", "Lsl", "Verr", "Verw"],
  },
  {
    reason: "they load segments that neighbours may be addressed through",
    mnemonics: ["Les", "Lss", "Lds", "Lfs", "Lgs"],
  },
  {
    reason: "they always end the snippet",
    mnemonics: [
      ...["Ud0", "Ud1", "Ud2", "Int", "Int1", "Cli", "Sti"] as const,
      ...["In", "Out", "Insb", "Insw", "Insd"] as const,
      ...["Outsb", "Outsw", "Outsd"] as const,
    ],
  },
];
const SOLITARY_MNEMONICS = new Set([
  ...SOLITARY.flatMap((row) => row.mnemonics.map((name) => Mnemonic[name])),
  // What they compute is not exact, or not defined, and must not become another's input.
  ...[...TRANSCENDENTAL, ...RECIPROCAL, ...BIT_SCAN],
]);

const BRANCH_KINDS = new Set<Kind>([
  ...[
    Kind.br16_1,
    Kind.br16_2,
    Kind.br32_1,
    Kind.br32_4,
    Kind.br64_1,
    Kind.br64_4,
    Kind.farbr2_2,
    Kind.farbr4_2,
  ],
]);
const BRANCH_MNEMONICS = new Set([
  ...[Mnemonic.Jmp, Mnemonic.Call, Mnemonic.Ret, Mnemonic.Retf],
  ...[Mnemonic.Iret, Mnemonic.Iretd, Mnemonic.Iretq],
]);
const SIXTY_FOUR_BIT = new Set<Kind>([
  ...[
    Kind.r64_reg,
    Kind.r64_rm,
    Kind.r64_opcode,
    Kind.r64_vvvv,
    Kind.r64_or_mem,
    Kind.rax,
  ],
]);
const NO_EFFECT_64 = [0x26, 0x2e, 0x36, 0x3e];
/** Not CS, which cannot be written through. */
const NO_EFFECT_32 = [0x26, 0x36, 0x3e];
const MAX_NEIGHBOURS = 3;

function isBranch({ facts }: Form): boolean {
  return BRANCH_MNEMONICS.has(facts.mnemonic) ||
    facts.operands.some((kind) => BRANCH_KINDS.has(kind));
}

function loadsSegment({ facts }: Form): boolean {
  const segments: Kind[] = [
    Kind.seg_reg,
    Kind.es,
    Kind.ss,
    Kind.ds,
    Kind.fs,
    Kind.gs,
  ];
  return segments.includes(facts.operands[0]!) &&
    facts.mnemonic !== Mnemonic.Push;
}

function isSociable(form: Form): boolean {
  return !SOLITARY_MNEMONICS.has(form.facts.mnemonic) && !loadsSegment(form);
}

function isInMode(facts: CodeFacts, mode: 64 | 32): boolean {
  return mode === 64 ? facts.in64 : facts.in32;
}

function chooseMode(rng: Prng, facts: CodeFacts): 64 | 32 {
  if (!facts.in64) return 32;
  return facts.in32 && rng.chance(10) ? 32 : 64;
}

function newPlan(draft: Draft, form: Form): Plan {
  const { rng } = draft;
  const { facts } = form;
  const mayDropRex = !facts.operands.some((kind) => SIXTY_FOUR_BIT.has(kind));
  return {
    form,
    addressSize: draft.mode,
    noRex: mayDropRex && rng.chance(35),
    segment: Register.None,
    memory: undefined,
    registers: [],
    immediates: [],
    branchTarget: 0,
    lock: facts.canLock && form.shape === "mem" && rng.chance(35),
    repeat: chooseRepeat(rng, facts),
  };
}

function chooseRepeat(rng: Prng, facts: CodeFacts): Plan["repeat"] {
  if (!facts.canRep || !rng.chance(55)) return "none";
  return facts.canRepe && rng.chance(50) ? "repne" : "rep";
}

function chooseIdlePrefix(draft: Draft, plan: Plan): void {
  // In front of branches these are hints, or CET's.
  if (
    plan.segment !== Register.None || isBranch(plan.form) ||
    !draft.rng.chance(4)
  ) return;
  plan.idlePrefix = draft.rng.pick(
    draft.mode === 64 ? NO_EFFECT_64 : NO_EFFECT_32,
  );
}

function planAll(draft: Draft, forms: readonly Form[]): void {
  for (const form of forms) draft.plans.push(newPlan(draft, form));
  for (const { form } of draft.plans) {
    draft.implicit |= implicitRegisters(form.facts);
  }
  for (const plan of draft.plans) chooseMemory(draft, plan);
  for (const plan of draft.plans) {
    chooseOperands(draft, plan);
    chooseIdlePrefix(draft, plan);
    prepare(draft, plan);
  }
}

/** iced's RflagsBits as RFLAGS has them: OF, SF, ZF, AF, CF, PF. */
const FLAG_POSITIONS = [0x800, 0x80, 0x40, 0x10, 0x1, 0x4];

function architecturalFlags(bits: number): number {
  return FLAG_POSITIONS.reduce(
    (flags, flag, bit) => bits >> bit & 1 ? flags | flag : flags,
    0,
  );
}

/** The shift count of a plan, where it is known. */
function shiftCount(draft: Draft, plan: Plan): number | undefined {
  const { operands } = plan.form.facts;
  if (!operands.includes(Kind.cl)) {
    return plan.immediates.findLast((value) => value !== undefined);
  }
  return draft.isSingle ? draft.low(GPR.rcx) & 0xff : undefined;
}

interface Taint {
  flags: number;
  status: number;
}

/** What is undefined after an instruction, given what was before; undefined if it reads that. */
function taintAfter(
  draft: Draft,
  plan: Plan,
  before: Taint,
): Taint | undefined {
  const instruction = plan.instruction!;
  const { mnemonic, size } = plan.form.facts;
  if (architecturalFlags(instruction.rflagsRead) & before.flags) {
    return undefined;
  }
  const left = undefinedFlags(mnemonic, size, shiftCount(draft, plan));
  const mayKeep = mayKeepFlags(mnemonic) || plan.repeat !== "none";
  const written = mayKeep ? 0 : architecturalFlags(instruction.rflagsModified);
  return {
    flags: before.flags & ~written | left,
    // That a later instruction defines them is not tracked: comparisons are tested on their own.
    status: before.status | undefinedStatus(mnemonic),
  };
}

function taintOf(draft: Draft): Taint[] | undefined {
  const taints: Taint[] = [];
  let taint: Taint | undefined = { flags: 0, status: 0 };
  for (const plan of draft.plans) {
    taint = taintAfter(draft, plan, taint);
    if (!taint) return undefined;
    taints.push(taint);
  }
  return taints;
}

/** Makes cases; deterministic for the same options. */
export class Generator {
  /** The forms to be covered. */
  readonly forms: readonly Form[];
  readonly #options: GeneratorOptions;
  readonly #neighbours: Record<64 | 32, Form[]>;
  readonly #wait: Form | undefined;
  readonly #encoders = { 64: new Encoder(64), 32: new Encoder(32) };

  constructor(options: GeneratorOptions) {
    this.#options = options;
    const all = formsOf(options.codes);
    this.forms = options.forms
      ? all.filter(({ name }) => options.forms!.test(name))
      : all;
    if (this.forms.length === 0) {
      throw new RangeError("Cannot make cases: no form matches");
    }
    const sociable = all.filter(isSociable);
    this.#wait = all.find(({ facts }) => facts.mnemonic === Mnemonic.Wait);
    this.#neighbours = {
      64: sociable.filter(({ facts }) => facts.in64),
      32: sociable.filter(({ facts }) => facts.in32),
    };
  }

  /** Case number `index`, which is about form number `index` modulo their count. */
  make(index: number): FuzzCase {
    const form = this.forms[index % this.forms.length]!;
    const rng = new Prng(this.#options.seed, index);
    const mode = chooseMode(rng, form.facts);
    const withNeighbours = rng.chance(30);
    if (withNeighbours && !this.#options.single && isSociable(form)) {
      const forms = this.#chooseNeighbours(rng, form, mode);
      const made = this.#attempt(
        new Prng(this.#options.seed, index ^ 0x40000000),
        mode,
        forms,
      );
      if (made) return { index, form, ...made };
    }
    const made = this.#attempt(rng, mode, [form]);
    if (!made) throw new Error(`Cannot make a case of ${form.name}`);
    return { index, form, ...made };
  }

  /** Frees iced's memory. */
  free(): void {
    this.#encoders[64].free();
    this.#encoders[32].free();
  }

  #chooseNeighbours(rng: Prng, form: Form, mode: 64 | 32): Form[] {
    const forms = [form];
    for (let count = rng.between(1, MAX_NEIGHBOURS); count > 0; count--) {
      const neighbour = this.#chooseNeighbour(rng, form, mode);
      if (isInMode(neighbour.facts, mode)) {
        forms.splice(rng.below(forms.length + 1), 0, neighbour);
      }
    }
    // Unmasked x87 exceptions wait for the next x87 instruction.
    if (form.facts.isX87 && this.#wait && rng.chance(40)) {
      forms.push(this.#wait);
    }
    // Nothing follows a branch, so one at most.
    const branch = forms.find(isBranch);
    const straight = forms.filter((candidate) => !isBranch(candidate));
    const last = isBranch(form) ? form : branch;
    return last ? [...straight, last] : straight;
  }

  /** Neighbours of the same unit are the ones that see each other's results. */
  #chooseNeighbour(rng: Prng, form: Form, mode: 64 | 32): Form {
    let neighbour = rng.pick(this.#neighbours[mode]);
    for (let attempt = 0; attempt < 8 && rng.chance(75); attempt++) {
      const { facts } = neighbour;
      const same = facts.isX87 === form.facts.isX87 &&
        facts.isSse === form.facts.isSse &&
        facts.isMmx === form.facts.isMmx;
      if (same) return neighbour;
      neighbour = rng.pick(this.#neighbours[mode]);
    }
    return neighbour;
  }

  #attempt(rng: Prng, mode: 64 | 32, forms: readonly Form[]) {
    const draft = new Draft(rng, mode, forms);
    planAll(draft, forms);
    const built: Instruction[] = [];
    try {
      for (const plan of draft.plans) {
        plan.instruction = buildInstruction(draft, plan);
        built.push(plan.instruction);
      }
      const taints = taintOf(draft);
      return taints ? this.#finish(draft, taints) : undefined;
    } finally {
      for (const instruction of built) instruction.free();
    }
  }

  #finish(draft: Draft, taints: readonly Taint[]) {
    let { code, starts } = this.#assemble(draft);
    if (
      draft.isSingle && !isBranch(draft.plans[0]!.form) && draft.rng.chance(1)
    ) {
      // Against the end of the code pages, with none or some of its last bytes cut off.
      const kept = code.length - draft.rng.below(code.length);
      draft.codeBase = CODE_BASE + CODE_SIZE - kept;
      ({ code, starts } = this.#assemble(draft));
      code = code.slice(0, kept);
    }
    const instructions = draft.plans.map((plan, index): SnippetInstruction => ({
      form: plan.form,
      address: draft.codeBase + starts[index]!,
      length: (starts[index + 1] ?? code.length) - starts[index]!,
      undefinedFlags: taints[index]!.flags,
      undefinedStatus: taints[index]!.status,
      repeats: plan.repeat !== "none",
      registers: plan.registers,
      beyondSegment: isBeyondSegment(draft, plan),
      ...(plan.memory ? { target: plan.memory.target } : {}),
    }));
    return { test: draft.finish(code), instructions };
  }

  #assemble(draft: Draft): { code: Uint8Array; starts: number[] } {
    const encoder = this.#encoders[draft.mode];
    const starts: number[] = [];
    let length = 0;
    for (const plan of draft.plans) {
      starts.push(length);
      if (plan.idlePrefix !== undefined) {
        encoder.writeU8(plan.idlePrefix);
        length++;
      }
      length += encoder.encode(
        plan.instruction!,
        BigInt(draft.codeBase + length),
      );
    }
    return { code: encoder.takeBuffer(), starts };
  }
}
