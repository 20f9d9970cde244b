// State that instructions need to do something worth comparing: divisors that divide, return
// addresses to return to, images that load. Each row prepares most cases, not all of them, so
// that the faults are met too.

import { Code, Mnemonic, OpCodeOperandKind as Kind, Register } from "iced-x86";
import { type Draft, GPR, type Plan } from "./draft.ts";
import { FX, randomMxcsr, writeFxImage } from "./fx_image.ts";
import { int32, smallCount, writeDecimal, writeFlavoured } from "./values.ts";
import { CODE_BASE, DATA_WINDOW, SELECTORS } from "../native/native.ts";

type Preparation = (draft: Draft, plan: Plan) => void;

/** TF ends a snippet after one instruction; seldom wanted. */
const TF = 0x100;
const POPPED_FLAGS = 0x204ad5;

/** The number of the general register that holds operand `index`, if that may be changed. */
function freeOperand(
  draft: Draft,
  plan: Plan,
  index: number,
): number | undefined {
  const register = plan.registers[index];
  return register === undefined || draft.isPinned(register)
    ? undefined
    : register;
}

function setAndPin(draft: Draft, register: number, value: number): void {
  if (draft.isPinned(register)) return;
  draft.setWhole(register, value);
  draft.pin(register);
}

/** Divisors of at least half the operand's range leave quotients that fit. */
const division: Preparation = (draft, plan) => {
  const { rng } = draft;
  const { size, mnemonic } = plan.form.facts;
  if (rng.chance(12)) return;
  const signed = mnemonic === Mnemonic.Idiv;
  const bits = draft.low(GPR.rax);
  if (size === 1) {
    const extension = signed && bits & 0x80 ? 0xff00 : 0;
    if (!draft.isPinned(GPR.rax)) {
      draft.setLow(GPR.rax, bits & ~0xff00 | extension);
    }
  } else if (!draft.isPinned(GPR.rdx) && plan.registers[0] !== GPR.rdx) {
    const top = size === 8
      ? draft.high(GPR.rax) >>> 31
      : bits >>> (size * 8 - 1) & 1;
    draft.setWhole(
      GPR.rdx,
      signed && top ? -1 : rng.chance(50) ? 0 : signed ? 0 : rng.below(3),
    );
  }
  const divisor = int32(rng) & (size === 1 ? 0x7f : 0x7fff) |
    (rng.chance(50) ? 3 : 0x41);
  if (plan.memory) draft.pokeNumber(plan.memory.target, size, divisor);
  else if (size === 1) setByte(draft, plan, plan.registers[0]!, divisor);
  else {
    const register = freeOperand(draft, plan, 0);
    if (register !== undefined && register !== GPR.rax) {
      draft.setLow(register, divisor);
    }
  }
};

/** Sets a byte register other than AL and AH. */
function setByte(
  draft: Draft,
  plan: Plan,
  register: number,
  value: number,
): void {
  const isLegacy = draft.mode === 32 || plan.noRex;
  const owner = isLegacy ? register & 3 : register;
  const shift = isLegacy && register >= 4 ? 8 : 0;
  if (owner === GPR.rax || draft.isPinned(owner)) return;
  draft.setLow(owner, draft.low(owner) & ~(0xff << shift) | value << shift);
}

/** Half of the comparisons find what they look for. */
const compareExchange: Preparation = (draft, plan) => {
  if (draft.rng.chance(50)) return;
  const { size } = plan.form.facts;
  if (plan.memory) {
    for (let byte = 0; byte < size; byte++) {
      const word = byte < 4 ? draft.low(GPR.rax) : draft.high(GPR.rax);
      draft.poke(plan.memory.target + byte, word >>> (byte % 4 * 8) & 0xff);
    }
  } else if (size > 1) copyAccumulator(draft, freeOperand(draft, plan, 0));
};

function copyAccumulator(draft: Draft, register: number | undefined): void {
  if (register === undefined) return;
  draft.setLow(register, draft.low(GPR.rax));
  draft.setHigh(register, draft.high(GPR.rax));
}

const compareExchangePair: Preparation = (draft, plan) => {
  if (draft.rng.chance(50)) return;
  const half = plan.form.facts.size / 2;
  const pokeHalf = (register: number, at: number) => {
    draft.pokeNumber(at, 4, draft.low(register));
    if (half === 8) draft.pokeNumber(at + 4, 4, draft.high(register));
  };
  pokeHalf(GPR.rax, plan.memory!.target);
  pokeHalf(GPR.rdx, plan.memory!.target + half);
};

function outsideTarget(draft: Draft): number {
  const { rng, codeBase } = draft;
  if (rng.chance(4)) return rng.pick([0x1000, CODE_BASE - 1, 0xfffff000]);
  return rng.chance(50)
    ? codeBase + rng.between(66, 300)
    : codeBase - rng.between(1, 200);
}

const indirectBranch: Preparation = (draft, plan) => {
  const target = outsideTarget(draft);
  if (plan.memory) {
    draft.pokeNumber(plan.memory.target, draft.mode >> 3, target);
  } else setAndPin(draft, plan.registers[0]!, target);
};

const returnAddress: Preparation = (draft, plan) => {
  draft.pokeNumber(draft.low(GPR.rsp), draft.mode >> 3, outsideTarget(draft));
  if (plan.immediates[0] !== undefined) {
    plan.immediates[0] = draft.rng.pick([0, 4, 8, 24, 0x8000]);
  }
};

const popFlags: Preparation = (draft) => {
  const { rng } = draft;
  const bits = rng.u32() & (rng.chance(90) ? POPPED_FLAGS : 0x244fd5);
  draft.pokeNumber(
    draft.low(GPR.rsp),
    8,
    rng.chance(2) ? bits | TF : bits & ~TF,
  );
};

function selector(draft: Draft, segment: Register): number {
  // A null FS or GS keeps its base on AMD and loses it on Intel; a null SS is a fault.
  const mayBeNull = segment === Register.DS || segment === Register.ES;
  return mayBeNull && draft.rng.chance(25) ? 0 : SELECTORS.data;
}

const SEGMENTS = new Map<Kind, Register>([
  [Kind.es, Register.ES],
  [Kind.ss, Register.SS],
  [Kind.ds, Register.DS],
  [Kind.fs, Register.FS],
  [Kind.gs, Register.GS],
]);

/** Selectors of Linux's that are there, are not, or are not for programs. */
const INSPECTED = [
  ...[0, 3, 0x10, 0x13, 0x18, 0x1b, 0x20, 0x23, 0x28, 0x2b, 0x30, 0x33],
  ...[0x40, 0x48, 0x50, 0x60, 0x2f, 0x37, 0x83, 0xffff],
];
/** The descriptor whose limit is the number of the processor. */
const PROCESSOR = 0x78;

const inspect: Preparation = (draft, plan) => {
  const { rng } = draft;
  const any = rng.chance(20) ? rng.u32() & 0xffff : rng.pick(INSPECTED);
  const value = (any & ~7) === PROCESSOR ? 0 : any;
  if (plan.memory) return draft.pokeNumber(plan.memory.target, 2, value);
  const register = plan.registers.findLast((one) => one !== undefined)!;
  if (!draft.isPinned(register)) draft.setLow(register, value);
};

const POINTERS = new Map<Mnemonic, Register>([
  [Mnemonic.Les, Register.ES],
  [Mnemonic.Lss, Register.SS],
  [Mnemonic.Lds, Register.DS],
  [Mnemonic.Lfs, Register.FS],
  [Mnemonic.Lgs, Register.GS],
]);

const loadPointer: Preparation = (draft, plan) => {
  const { mnemonic, size } = plan.form.facts;
  if (draft.rng.chance(8)) return;
  const value = selector(draft, POINTERS.get(mnemonic)!);
  draft.pokeNumber(plan.memory!.target + size - 2, 2, value);
};

/** The code segment that the mode has, seldom another one. */
function codeSelector(draft: Draft): number {
  const { rng, mode } = draft;
  if (rng.chance(8)) return rng.pick([0, 3, 0x10, SELECTORS.data, 0xffff]);
  const own = mode === 64 ? SELECTORS.cs64 : SELECTORS.cs32;
  return rng.chance(10) ? own & ~3 | rng.below(4) : own;
}

const farPointer: Preparation = (draft, plan) => {
  const { size } = plan.form.facts;
  const at = plan.memory!.target;
  draft.pokeNumber(at, size - 2, outsideTarget(draft));
  draft.pokeNumber(at + size - 2, 2, codeSelector(draft));
};

/** Bytes that a far return's words have. */
function farBytes({ form }: Plan): number {
  const { name } = form.facts;
  return /^(Retf|Iret)q/.test(name) ? 8 : /^(Retf|Iret)w/.test(name) ? 2 : 4;
}

const farReturn: Preparation = (draft, plan) => {
  const bytes = farBytes(plan);
  const at = draft.low(GPR.rsp);
  if (plan.immediates[0] !== undefined) {
    plan.immediates[0] = draft.rng.pick([0, 4, 8, 24, 0x8000]);
  }
  draft.pokeNumber(at, bytes, outsideTarget(draft));
  draft.pokeNumber(at + bytes, 2, codeSelector(draft));
};

const interruptReturn: Preparation = (draft, plan) => {
  const { rng } = draft;
  const bytes = farBytes(plan);
  const at = draft.low(GPR.rsp);
  farReturn(draft, plan);
  const flags = rng.u32() & POPPED_FLAGS & ~TF;
  draft.pokeNumber(at + 2 * bytes, bytes, flags);
  if (draft.mode === 32) return;
  draft.pokeNumber(at + 3 * bytes, bytes, rng.chance(90) ? at : rng.u32());
  const stack = rng.chance(95) ? SELECTORS.data : rng.pick([0, 3, 0x18]);
  draft.pokeNumber(at + 4 * bytes, 2, stack);
};

const pop: Preparation = (draft, plan) => {
  const segment = SEGMENTS.get(plan.form.facts.operands[0]!);
  if (segment === undefined) return;
  draft.pokeNumber(draft.low(GPR.rsp), 2, selector(draft, segment));
};

const loadSegment: Preparation = (draft, plan) => {
  if (plan.form.facts.operands[0] !== Kind.seg_reg) return;
  const value = selector(draft, Register.ES + plan.registers[0]!);
  if (plan.memory) return draft.pokeNumber(plan.memory.target, 2, value);
  setAndPin(draft, plan.registers[1]!, value);
};

/** What Linux lets programs name does not come back as a fault: breakpoints, system calls. */
const interrupt: Preparation = (_draft, plan) => {
  const vector = plan.immediates[0]!;
  if ([3, 4, 0x80].includes(vector)) plan.immediates[0] = vector + 0x10;
};

const enter: Preparation = (draft, plan) => {
  const { rng } = draft;
  if (rng.chance(5)) return;
  plan.immediates[0] = rng.pick([0, 0, 4, 8, 16, 32]);
  plan.immediates[1] = rng.pick([0, 0, 1, 1, 2, 3, 33]);
  framePointer(draft, plan);
};

const framePointer: Preparation = (draft) => {
  if (draft.rng.chance(95)) {
    setAndPin(
      draft,
      GPR.rbp,
      draft.low(GPR.rsp) + draft.rng.between(-6, 6) * 8,
    );
  }
};

const loop: Preparation = (draft) => {
  if (draft.rng.chance(60)) draft.setLow(GPR.rcx, draft.rng.below(3));
  if (draft.rng.chance(40)) draft.setHigh(GPR.rcx, 0);
};

/** Bit strings reach far from their base: keep them in sight of the window. */
const bitString: Preparation = (draft, plan) => {
  const register = freeOperand(draft, plan, 1);
  if (!plan.memory || register === undefined) return;
  const reach = draft.rng.chance(8) ? 4000 : 100;
  draft.setWhole(register, draft.rng.between(-reach * 8, reach * 8));
};

/** BOUND's pair of limits, lowest and highest mostly. */
const bounds: Preparation = (draft, plan) => {
  const { rng } = draft;
  const half = plan.form.facts.size / 2;
  const top = half === 2 ? 0x8000 : 0x80000000;
  if (rng.chance(30)) return;
  draft.pokeNumber(plan.memory!.target, half, top);
  draft.pokeNumber(plan.memory!.target + half, half, top - 1);
};

const shiftByRegister: Preparation = (draft, plan) => {
  const { operands, size, mnemonic } = plan.form.facts;
  if (!operands.includes(Kind.cl) || draft.isPinned(GPR.rcx)) return;
  // Counts above 16 leave a 16-bit double shift undefined.
  const isDouble = mnemonic === Mnemonic.Shld || mnemonic === Mnemonic.Shrd;
  const count = isDouble && size === 2
    ? draft.rng.below(17)
    : smallCount(draft.rng);
  draft.setLow(GPR.rcx, draft.low(GPR.rcx) & ~0xff | count);
};

const doubleShift: Preparation = (draft, plan) => {
  shiftByRegister(draft, plan);
  const isWord = plan.form.facts.size === 2;
  const count = plan.immediates[2];
  if (isWord && count !== undefined) plan.immediates[2] = count % 17;
};

const bitField: Preparation = (draft, plan) => {
  const register = freeOperand(draft, plan, 2);
  if (register === undefined || draft.rng.chance(25)) return;
  draft.setLow(register, smallCount(draft.rng) | smallCount(draft.rng) << 8);
};

const stringLengths: Preparation = (draft) => {
  for (const register of [GPR.rax, GPR.rdx]) {
    if (draft.rng.chance(80) && !draft.isPinned(register)) {
      draft.setWhole(register, draft.rng.between(-20, 20));
    }
  }
};

/** Random bytes hardly ever compare equal: searches and comparisons need runs of one value. */
const stringSearch: Preparation = (draft, plan) => {
  const { rng } = draft;
  // SSE has a CMPSD as well.
  const isString = plan.form.facts.operands.includes(Kind.es_rDI);
  if (!isString || rng.chance(35)) return;
  const byte = draft.low(GPR.rax) & 0xff;
  if (!draft.isPinned(GPR.rax)) {
    draft.setLow(GPR.rax, byte * 0x01010101);
    draft.setHigh(GPR.rax, byte * 0x01010101);
  }
  for (let at = 0; at < DATA_WINDOW; at++) draft.data.setUint8(at, byte);
  for (let count = rng.below(12); count > 0; count--) {
    draft.data.setUint8(rng.below(DATA_WINDOW), rng.u32());
  }
};

/** Packed shifts by a register take all 64 bits of it: mostly a count in range. */
const vectorShift: Preparation = (draft, plan) => {
  if (draft.rng.chance(25)) return;
  const count = smallCount(draft.rng);
  if (plan.memory) return draft.pokeNumber(plan.memory.target, 8, count);
  const register = plan.registers[1];
  if (register === undefined) return;
  const at = plan.form.facts.size === 8
    ? mmxOffset(draft, register)
    : FX.xmm + register * 16;
  draft.fx.setUint32(at, count, true);
  draft.fx.setUint32(at + 4, 0, true);
};

function topOf(draft: Draft): number {
  return draft.fx.getUint16(FX.status, true) >> 11 & 7;
}

/** The image holds the x87 registers by their place in the stack, MMX numbers them from its base. */
function mmxOffset(draft: Draft, register: number): number {
  return FX.st + (register - topOf(draft) & 7) * 16;
}

const loadMxcsr: Preparation = (draft, plan) => {
  if (draft.rng.chance(95)) {
    draft.pokeNumber(plan.memory!.target, 4, randomMxcsr(draft.rng));
  }
};

const restoreImage: Preparation = (draft, plan) => {
  if (plan.memory!.target !== draft.dataBase || draft.rng.chance(4)) return;
  writeFxImage(draft.rng, draft.data, 0, {
    flavour: "f32",
    mmx: draft.rng.chance(20),
  });
};

/** Environments with everything masked, mostly: the rest faults at the next instruction. */
const loadControl: Preparation = (draft, plan) => {
  if (draft.rng.chance(30)) return;
  draft.poke(plan.memory!.target, 0x7f);
};

const loadDecimal: Preparation = (draft, plan) => {
  const at = plan.memory!.target - draft.dataBase;
  const fits = at >= 0 && at + 10 <= DATA_WINDOW;
  if (fits && draft.rng.chance(85)) writeDecimal(draft.rng, draft.data, at);
};

/** Replaces the exponent of ST(i). */
function setExponent(
  draft: Draft,
  index: number,
  low: number,
  high: number,
): void {
  const at = FX.st + index * 16;
  const sign = draft.fx.getUint16(at + 8, true) & 0x8000;
  draft.fx.setUint16(at + 8, sign | draft.rng.between(low, high), true);
  draft.fx.setUint8(at + 7, draft.fx.getUint8(at + 7) | 0x80);
}

function exponents(low: number, high: number): Preparation {
  return (draft) => {
    if (draft.rng.chance(70)) setExponent(draft, 0, low, high);
  };
}

const writeRoom: Preparation = (draft) => {
  // FLD and its kin overflow a full stack: make room more often than chance does.
  if (draft.rng.chance(50)) draft.fx.setUint8(FX.tags, draft.rng.below(128));
};

const segmentBaseValue: Preparation = (draft, plan) => {
  const register = freeOperand(draft, plan, 0);
  if (register === undefined || draft.rng.chance(20)) return;
  draft.setHigh(register, draft.rng.pick([0, 0x7fff, 0xffff8000]));
};

const ROWS: readonly {
  prepare: Preparation;
  mnemonics: readonly (keyof typeof Mnemonic)[];
}[] = [
  { prepare: division, mnemonics: ["Div", "Idiv"] },
  { prepare: compareExchange, mnemonics: ["Cmpxchg"] },
  { prepare: compareExchangePair, mnemonics: ["Cmpxchg8b", "Cmpxchg16b"] },
  { prepare: returnAddress, mnemonics: ["Ret"] },
  { prepare: popFlags, mnemonics: ["Popf", "Popfd", "Popfq"] },
  { prepare: pop, mnemonics: ["Pop"] },
  { prepare: inspect, mnemonics: ["Lar", "Lsl", "Verr", "Verw"] },
  { prepare: loadPointer, mnemonics: ["Les", "Lss", "Lds", "Lfs", "Lgs"] },
  { prepare: farReturn, mnemonics: ["Retf"] },
  { prepare: interruptReturn, mnemonics: ["Iret", "Iretd", "Iretq"] },
  { prepare: loadSegment, mnemonics: ["Mov"] },
  { prepare: interrupt, mnemonics: ["Int"] },
  { prepare: enter, mnemonics: ["Enter"] },
  { prepare: framePointer, mnemonics: ["Leave"] },
  {
    prepare: loop,
    mnemonics: ["Loop", "Loope", "Loopne", "Jcxz", "Jecxz", "Jrcxz"],
  },
  { prepare: bitString, mnemonics: ["Bt", "Bts", "Btr", "Btc"] },
  { prepare: bounds, mnemonics: ["Bound"] },
  {
    prepare: shiftByRegister,
    mnemonics: ["Rol", "Ror", "Rcl", "Rcr", "Shl", "Shr", "Sal", "Sar"],
  },
  { prepare: doubleShift, mnemonics: ["Shld", "Shrd"] },
  { prepare: bitField, mnemonics: ["Bextr", "Bzhi", "Shlx", "Shrx", "Sarx"] },
  {
    prepare: stringLengths,
    mnemonics: ["Pcmpestri", "Pcmpestri64", "Pcmpestrm", "Pcmpestrm64"],
  },
  {
    prepare: vectorShift,
    mnemonics: [
      "Psllw",
      "Pslld",
      "Psllq",
      "Psrlw",
      "Psrld",
      "Psrlq",
      "Psraw",
      "Psrad",
    ],
  },
  {
    prepare: stringSearch,
    mnemonics: [
      "Scasb",
      "Scasw",
      "Scasd",
      "Scasq",
      "Cmpsb",
      "Cmpsw",
      "Cmpsd",
      "Cmpsq",
    ],
  },
  { prepare: loadMxcsr, mnemonics: ["Ldmxcsr"] },
  { prepare: restoreImage, mnemonics: ["Fxrstor", "Fxrstor64"] },
  { prepare: loadControl, mnemonics: ["Fldcw", "Fldenv", "Frstor"] },
  { prepare: loadDecimal, mnemonics: ["Fbld"] },
  { prepare: exponents(0x3fe0, 0x3ffe), mnemonics: ["F2xm1", "Fyl2xp1"] },
  {
    prepare: exponents(0x3fe0, 0x4010),
    mnemonics: ["Fsin", "Fcos", "Fsincos", "Fptan"],
  },
  {
    prepare: writeRoom,
    mnemonics: [
      "Fld",
      "Fild",
      "Fld1",
      "Fldz",
      "Fldpi",
      "Fldl2t",
      "Fldl2e",
      "Fldlg2",
      "Fldln2",
    ],
  },
  { prepare: segmentBaseValue, mnemonics: ["Wrfsbase", "Wrgsbase"] },
];
const PREPARATIONS = new Map(
  ROWS.flatMap(({ prepare, mnemonics }) =>
    mnemonics.map((name) => [Mnemonic[name], prepare] as const)
  ),
);
const INDIRECT_BRANCHES = new Set<Code>([
  ...[
    Code.Call_rm32,
    Code.Call_rm64,
    Code.Jmp_rm32,
    Code.Jmp_rm64,
    Code.Call_rm16,
  ],
  Code.Jmp_rm16,
]);

const FAR_POINTERS = /^(Call|Jmp)_m16/;

/** Floating-point operands in memory look like numbers. */
function flavourMemory(draft: Draft, plan: Plan): void {
  const { flavour, size } = plan.form.facts;
  const at = plan.memory!.target - draft.dataBase;
  if (
    flavour === "int" || at < 0 || at + size > DATA_WINDOW ||
    draft.rng.chance(10)
  ) return;
  writeFlavoured(draft.rng, flavour, draft.data, at, size);
}

/** Sets up what the planned instruction needs. */
export function prepare(draft: Draft, plan: Plan): void {
  const { code, mnemonic } = plan.form.facts;
  if (plan.memory) flavourMemory(draft, plan);
  if (INDIRECT_BRANCHES.has(code)) indirectBranch(draft, plan);
  else if (FAR_POINTERS.test(plan.form.facts.name)) farPointer(draft, plan);
  else PREPARATIONS.get(mnemonic)?.(draft, plan);
}
