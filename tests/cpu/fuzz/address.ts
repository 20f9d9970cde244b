// Memory operands: chooses where one points - aligned, unaligned, across the page boundary, into
// the guard page - and how it says so, then gives the address registers the values this takes.

import { Mnemonic, OpCodeOperandKind as Kind, Register } from "iced-x86";
import { DATA_BASE, DATA_SIZE, DATA_WINDOW } from "../native/native.ts";
import { type Draft, GPR, type Plan, type PlannedMemory } from "./draft.ts";

const TWO_32 = 0x100000000;
const PAGE_BOUNDARY = DATA_BASE + 0x1000;
const DATA_END = DATA_BASE + DATA_SIZE;

/** 16-byte operands that need no alignment; all other legacy SSE ones raise #GP without it. */
const UNALIGNED_OK = new Set<Mnemonic>([
  ...[Mnemonic.Movups, Mnemonic.Movupd, Mnemonic.Movdqu, Mnemonic.Lddqu],
  ...[
    Mnemonic.Pcmpestri,
    Mnemonic.Pcmpestrm,
    Mnemonic.Pcmpistri,
    Mnemonic.Pcmpistrm,
  ],
]);
/** Areas that fill the window, so there is only one place for them. */
const WHOLE_WINDOW = 512;

function needsAlignment(plan: Plan): boolean {
  return plan.form.facts.size >= 16 &&
    !UNALIGNED_OK.has(plan.form.facts.mnemonic) &&
    !plan.form.facts.isX87 && !plan.form.facts.isVex;
}

/** A linear address for an operand of `size` bytes. */
export function chooseTarget(draft: Draft, plan: Plan): number {
  const { rng, dataBase } = draft;
  const size = Math.max(1, plan.form.facts.size);
  const inside = Math.max(1, DATA_WINDOW - size + 1);
  if (size >= WHOLE_WINDOW) {
    return needsAlignment(plan) && rng.chance(92)
      ? dataBase & ~15
      : dataBase + rng.below(4);
  }
  const atEnd = dataBase + DATA_WINDOW === DATA_END;
  if (atEnd && rng.chance(30)) return DATA_END - rng.below(size + 1);
  if (dataBase === DATA_BASE && rng.chance(30)) {
    return DATA_BASE - rng.below(size + 1);
  }
  const mayStray = !needsAlignment(plan) || rng.chance(8);
  // A split locked access costs milliseconds where the kernel throttles it.
  if (mayStray && dataBase < PAGE_BOUNDARY && rng.chance(plan.lock ? 1 : 10)) {
    return PAGE_BOUNDARY - rng.below(size + 1);
  }
  const target = dataBase + rng.below(inside);
  if (mayStray && !plan.lock && rng.chance(40)) return target;
  const alignment = Math.min(16, size & -size);
  const aligned = target - target % alignment;
  return aligned < dataBase ? aligned + alignment : aligned;
}

function segmentBase(draft: Draft, segment: Register): number {
  if (segment === Register.FS) return draft.fsBase;
  return segment === Register.GS ? draft.gsBase : 0;
}

/** The offset that reaches a linear address through the plan's segment. */
function offsetOf(draft: Draft, plan: Plan, target: number): number {
  const offset = target - segmentBase(draft, plan.segment);
  return draft.mode === 32 ? ((offset % TWO_32) + TWO_32) % TWO_32 : offset;
}

/** Whether the plan's memory operand reaches beyond the last offset of a 32-bit segment. */
export function isBeyondSegment(draft: Draft, plan: Plan): boolean {
  if (!plan.memory || draft.mode === 64) return false;
  const offset = offsetOf(draft, plan, plan.memory.target);
  return offset + plan.form.facts.size > TWO_32;
}

/** Chooses address size and segment such that the target can be reached at all. */
function chooseSegment(draft: Draft, plan: Plan, target: number): void {
  const { rng } = draft;
  plan.addressSize = draft.mode === 32 || rng.chance(10) ? 32 : 64;
  plan.segment = rng.chance(12)
    ? rng.pick([Register.FS, Register.GS])
    : Register.None;
  if (plan.addressSize === 64) return;
  const offset = offsetOf(draft, plan, target);
  if (offset < 0 || offset >= TWO_32) plan.segment = Register.None;
}

function addressRegister(plan: Plan, number: number): Register {
  return (plan.addressSize === 64 ? Register.RAX : Register.EAX) + number;
}

function setAddress(
  draft: Draft,
  plan: Plan,
  register: number,
  value: number,
): void {
  draft.pin(register);
  if (plan.addressSize === 64) draft.setWhole(register, value);
  // The upper half is not part of a 32-bit address, whatever it holds.
  else draft.setLow(register, value);
}

/** A register that may take an address; -1 if none is free. */
function freeRegister(draft: Draft, plan: Plan, except: number): number {
  const limit = draft.mode === 32 || plan.noRex ? 8 : 16;
  const single = draft.isSingle && !plan.form.facts.isStack;
  let busy = draft.pinned | except;
  // Alone, an instruction may well be addressed through a register that it also uses.
  if (!single || draft.rng.chance(85)) busy |= draft.implicit;
  if (single && (draft.pinned & ~(1 << GPR.rsp)) === 0) {
    busy &= ~(1 << GPR.rsp) | except;
  }
  for (let attempt = 0; attempt < 24; attempt++) {
    const register = draft.rng.below(limit);
    if ((busy >> register & 1) === 0) return register;
  }
  return -1;
}

function signed32(value: number): number {
  return value | 0;
}

function chooseDisplacement(draft: Draft): { value: number; size: number } {
  const { rng } = draft;
  const kind = rng.below(4);
  if (kind === 0) return { value: 0, size: 0 };
  if (kind < 3) return { value: rng.between(-128, 127), size: 1 };
  return {
    value: rng.chance(50) ? signed32(rng.u32()) : rng.between(-4096, 4096),
    size: 4,
  };
}

function memory(
  base: Register,
  target: number,
  rest: Partial<PlannedMemory> = {},
): PlannedMemory {
  return {
    base,
    index: Register.None,
    scale: 1,
    displacement: 0,
    displacementSize: 0,
    target,
    ...rest,
  };
}

type Addressing = (draft: Draft, plan: Plan, target: number, offset: number) =>
  | PlannedMemory
  | undefined;

/** An index register with a value in it, and what it adds to the address. */
function chooseIndex(draft: Draft, plan: Plan) {
  const { rng } = draft;
  const index = freeRegister(draft, plan, 1 << GPR.rsp);
  if (index < 0) return undefined;
  const scale = 1 << rng.below(4);
  const value = rng.chance(60) ? rng.between(-64, 64) : signed32(rng.u32());
  setAddress(draft, plan, index, value);
  return { index: addressRegister(plan, index), scale, product: value * scale };
}

const baseAndDisplacement: Addressing = (draft, plan, target, offset) => {
  const base = freeRegister(draft, plan, 0);
  if (base < 0) return undefined;
  const { value: displacement, size: displacementSize } = chooseDisplacement(
    draft,
  );
  setAddress(draft, plan, base, offset - displacement);
  return memory(addressRegister(plan, base), target, {
    displacement,
    displacementSize,
  });
};

const baseAndIndex: Addressing = (draft, plan, target, offset) => {
  const base = freeRegister(draft, plan, 0);
  if (base < 0) return undefined;
  draft.pin(base);
  const index = chooseIndex(draft, plan);
  if (!index) return undefined;
  const { value: displacement, size: displacementSize } = chooseDisplacement(
    draft,
  );
  setAddress(draft, plan, base, offset - index.product - displacement);
  return memory(addressRegister(plan, base), target, {
    ...index,
    displacement,
    displacementSize,
  });
};

const indexOnly: Addressing = (draft, plan, target, offset) => {
  const index = chooseIndex(draft, plan);
  if (!index) return undefined;
  const displacement = offset - index.product;
  if (plan.addressSize === 64 && displacement !== signed32(displacement)) {
    return undefined;
  }
  return memory(Register.None, target, {
    ...index,
    displacement: signed32(displacement),
    displacementSize: 4,
  });
};

const sameBaseAndIndex: Addressing = (draft, plan, target, offset) => {
  const register = freeRegister(draft, plan, 1 << GPR.rsp);
  if (register < 0) return undefined;
  const value = draft.rng.between(-1000, 1000);
  const scale = 1 << draft.rng.below(4);
  const displacement = offset - value * (1 + scale);
  if (plan.addressSize === 64 && displacement !== signed32(displacement)) {
    return undefined;
  }
  setAddress(draft, plan, register, value);
  const name = addressRegister(plan, register);
  return memory(name, target, {
    index: name,
    scale,
    displacement: signed32(displacement),
    displacementSize: 4,
  });
};

const relative: Addressing = (draft, plan, target, offset) => {
  if (draft.mode === 32 || plan.segment !== Register.None) return undefined;
  const base = plan.addressSize === 64 ? Register.RIP : Register.EIP;
  return memory(base, target, {
    displacement: offset,
    displacementSize: plan.addressSize >> 3,
  });
};

const absolute: Addressing = (_draft, plan, target, offset) => {
  if (plan.addressSize === 64 && offset !== signed32(offset)) return undefined;
  return memory(Register.None, target, {
    displacement: offset,
    displacementSize: plan.addressSize >> 3,
  });
};

/** Relative to a stack pointer that stays where it is: PUSH [RSP+8], POP [RSP-8]. */
const onStack: Addressing = (draft, plan, _target, _offset) => {
  if (plan.addressSize === 32 || plan.segment !== Register.None) {
    return undefined;
  }
  const displacement = draft.rng.between(-4, 4) * 8;
  return memory(Register.RSP, draft.low(GPR.rsp) + displacement, {
    displacement,
    displacementSize: displacement === 0 ? 0 : 1,
  });
};

const pairs16: readonly (readonly [Register, number, Register, number])[] = [
  [Register.BX, GPR.rbx, Register.SI, GPR.rsi],
  [Register.BX, GPR.rbx, Register.DI, GPR.rdi],
  [Register.BP, GPR.rbp, Register.SI, GPR.rsi],
  [Register.BP, GPR.rbp, Register.DI, GPR.rdi],
];

/** 16-bit addresses reach the data window only through a segment whose base is near it. */
const pair16: Addressing = (draft, plan, target) => {
  const wanted = [Register.FS, Register.GS].find((segment) => {
    const offset = target - segmentBase(draft, segment);
    return offset >= 0 && offset < 0x10000;
  });
  const [base, baseNumber, index, indexNumber] = draft.rng.pick(pairs16);
  const busy = draft.pinned | draft.implicit;
  if (
    draft.mode === 64 || !wanted ||
    (busy >> baseNumber | busy >> indexNumber) & 1
  ) return undefined;
  plan.segment = wanted;
  plan.addressSize = 16;
  const offset = target - segmentBase(draft, wanted);
  draft.pin(baseNumber);
  draft.pin(indexNumber);
  draft.setLow(
    baseNumber,
    draft.low(baseNumber) & ~0xffff |
      (offset - draft.low(indexNumber)) & 0xffff,
  );
  return memory(base, target, { index });
};

const ADDRESSINGS: readonly { weight: number; choose: Addressing }[] = [
  { weight: 50, choose: baseAndDisplacement },
  { weight: 25, choose: baseAndIndex },
  { weight: 5, choose: indexOnly },
  { weight: 4, choose: sameBaseAndIndex },
  { weight: 8, choose: relative },
  { weight: 4, choose: absolute },
  { weight: 4, choose: pair16 },
];

function chooseAddressing(draft: Draft, plan: Plan): Addressing {
  if (plan.form.facts.isStack && draft.rng.chance(20)) return onStack;
  let left = draft.rng.below(100);
  for (const { weight, choose } of ADDRESSINGS) {
    if (left < weight) return choose;
    left -= weight;
  }
  return baseAndDisplacement;
}

/** Plans the ModRM memory operand of an instruction. */
export function planMemory(draft: Draft, plan: Plan): void {
  const target = chooseTarget(draft, plan);
  chooseSegment(draft, plan, target);
  const offset = offsetOf(draft, plan, target);
  const pinned = draft.pinned;
  plan.memory = chooseAddressing(draft, plan)(draft, plan, target, offset);
  if (plan.memory) return;
  // The other ways have conditions; this one works unless every register is taken.
  draft.pinned = pinned;
  plan.memory = baseAndDisplacement(draft, plan, target, offset) ??
    absolute(draft, plan, target, offset);
  if (plan.memory) return;
  plan.segment = Register.None;
  plan.memory = absolute(draft, plan, target, target);
}

/** Plans MOV between the accumulator and an address in the instruction. */
export function planOffset(draft: Draft, plan: Plan): void {
  const target = chooseTarget(draft, plan);
  chooseSegment(draft, plan, target);
  plan.memory = memory(Register.None, target, {
    displacement: offsetOf(draft, plan, target),
    displacementSize: plan.addressSize >> 3,
  });
}

/** Plans XLAT's table: RBX such that with AL it points into the window. */
export function planTable(draft: Draft, plan: Plan): void {
  const target = chooseTarget(draft, plan);
  chooseSegment(draft, plan, target);
  const start = target - (draft.low(GPR.rax) & 0xff);
  setAddress(draft, plan, GPR.rbx, offsetOf(draft, plan, start));
  plan.memory = memory(addressRegister(plan, GPR.rbx), target, {
    index: Register.AL,
  });
}

const STRING_REGISTER = new Map<Kind, number>([
  [Kind.seg_rSI, GPR.rsi],
  [Kind.es_rDI, GPR.rdi],
  [Kind.seg_rDI, GPR.rdi],
]);

/** Plans the operands of a string instruction or masked move, and the count if it repeats. */
export function planString(
  draft: Draft,
  plan: Plan,
  kinds: readonly Kind[],
): void {
  const { rng } = draft;
  const repeats = plan.repeat !== "none";
  chooseSegment(draft, plan, draft.dataBase);
  if (!kinds.includes(Kind.seg_rSI) && !kinds.includes(Kind.seg_rDI)) {
    plan.segment = Register.None;
  }
  for (const kind of kinds) {
    const register = STRING_REGISTER.get(kind)!;
    // With room on both sides for a dozen elements in either direction.
    const stray = repeats && !rng.chance(12);
    const target = stray
      ? draft.dataBase + rng.between(104, 400)
      : chooseTarget(draft, plan);
    const offset = kind === Kind.es_rDI
      ? target
      : offsetOf(draft, plan, target);
    setAddress(draft, plan, register, offset);
  }
  if (repeats) {
    setAddress(
      draft,
      plan,
      GPR.rcx,
      rng.chance(10) ? rng.below(60) : rng.below(12),
    );
  }
}
