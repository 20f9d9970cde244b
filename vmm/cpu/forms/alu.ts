// Integer arithmetic and logic with two operands: ADD OR ADC SBB AND SUB XOR CMP
// TEST, and INC DEC NEG NOT (Intel SDM vol. 2).

import type { Emitter } from "../emitter.ts";
import { zeroExtend } from "../flags.ts";
import { type Form, form, forms } from "../form.ts";
import { type I64, i64 } from "../wasm/mod.ts";

// The encodings that the eight classic operations share.
const CLASSIC = [
  "rm8_r8",
  "rm16_r16",
  "rm32_r32",
  "rm64_r64",
  "r8_rm8",
  "r16_rm16",
  "r32_rm32",
  "r64_rm64",
  "AL_imm8",
  "AX_imm16",
  "EAX_imm32",
  "RAX_imm32",
  "rm8_imm8",
  "rm8_imm8_82",
  "rm16_imm16",
  "rm32_imm32",
  "rm64_imm32",
  "rm16_imm8",
  "rm32_imm8",
  "rm64_imm8",
];

function named(mnemonic: string, suffixes: readonly string[]): string[] {
  return suffixes.map((s) => `${mnemonic}_${s}`);
}

// The operation on kept operands; the result may have bits above the size.
type Compute = (a: I64, b: I64, x: Emitter) => I64;
type SetFlags = (x: Emitter, a: I64, b: I64, r: I64) => void;

const addFlags: SetFlags = (x, a, b, r) => x.flags.add(x.size(), a, b, r);
const subFlags: SetFlags = (x, a, b, r) => x.flags.sub(x.size(), a, b, r);
const sbbFlags: SetFlags = (x, a, b, r) => x.flags.sbb(x.size(), a, b, r);
const logicFlags: SetFlags = (x, _a, _b, r) => x.flags.logic(x.size(), r);

function binary(compute: Compute, setFlags: SetFlags): (x: Emitter) => void {
  return (x) => {
    const b = x.read(1);
    x.update(
      0,
      (a) => compute(a, b, x),
      (a, r) => setFlags(x, a, b, r),
    );
  };
}

// The carry must be read before anything is computed, and only once.
function withCarry(
  compute: (a: I64, b: I64, carry: I64) => I64,
  setFlags: SetFlags,
): (x: Emitter) => void {
  return (x) => {
    const b = x.read(1);
    const carry = x.let(x.flags.cf().toI64U());
    x.update(
      0,
      (a) => compute(a, b, carry),
      (a, r) => setFlags(x, a, b, r),
    );
  };
}

function compare(compute: Compute, setFlags: SetFlags): (x: Emitter) => void {
  return (x) => {
    const a = x.read(0);
    const b = x.read(1);
    setFlags(x, a, b, x.let(compute(a, b, x)));
  };
}

const WRITES = { access: "update" } as const;

function classic(
  mnemonic: string,
  define: (x: Emitter) => void,
  options: { access: "update" | "read" } = WRITES,
): Form[] {
  return forms(named(mnemonic, CLASSIC), define, options);
}

const UNARY = ["rm8", "rm16", "rm32", "rm64"];
/** INC and DEC have had encodings of their own for registers, before 64-bit mode. */
const COUNTERS = [...UNARY, "r16", "r32"];

function unary(
  mnemonic: string,
  encodings: readonly string[],
  compute: (a: I64) => I64,
  commit: (x: Emitter, a: I64, r: I64) => void,
): Form[] {
  return forms(
    named(mnemonic, encodings),
    (x) => x.update(0, compute, (a, r) => commit(x, a, r)),
    WRITES,
  );
}

const TEST = [
  "rm8_r8",
  "rm16_r16",
  "rm32_r32",
  "rm64_r64",
  "AL_imm8",
  "AX_imm16",
  "EAX_imm32",
  "RAX_imm32",
  "rm8_imm8",
  "rm16_imm16",
  "rm32_imm32",
  "rm64_imm32",
  "rm8_imm8_F6r1",
  "rm16_imm16_F7r1",
  "rm32_imm32_F7r1",
  "rm64_imm32_F7r1",
];

/** The forms of this group. */
export const ALU_FORMS: readonly Form[] = [
  ...classic("Add", binary((a, b) => a.add(b), addFlags)),
  ...classic("Or", binary((a, b) => a.or(b), logicFlags)),
  ...classic("Adc", withCarry((a, b, c) => a.add(b).add(c), addFlags)),
  ...classic("Sbb", withCarry((a, b, c) => a.sub(b).sub(c), sbbFlags)),
  ...classic("And", binary((a, b) => a.and(b), logicFlags)),
  ...classic("Sub", binary((a, b) => a.sub(b), subFlags)),
  ...classic("Xor", binary((a, b) => a.xor(b), logicFlags)),
  ...classic("Cmp", compare((a, b) => a.sub(b), subFlags), { access: "read" }),
  ...forms(named("Test", TEST), compare((a, b) => a.and(b), logicFlags)),
  ...unary(
    "Inc",
    COUNTERS,
    (a) => a.add(1),
    (x, a, r) => x.flags.incDec(x.size(), a, r, false),
  ),
  ...unary(
    "Dec",
    COUNTERS,
    (a) => a.sub(1),
    (x, a, r) => x.flags.incDec(x.size(), a, r, true),
  ),
  ...unary(
    "Neg",
    UNARY,
    (a) => i64(0).sub(a),
    (x, a, r) => x.flags.sub(x.size(), i64(0), a, r),
  ),
  ...unary("Not", UNARY, (a) => a.xor(-1), () => {}),
  ...["Xadd_rm8_r8", "Xadd_rm16_r16", "Xadd_rm32_r32", "Xadd_rm64_r64"].map(
    (name) =>
      form(name, (x) => {
        const b = x.read(1);
        x.update(0, (a) => a.add(b), (a, r) => {
          // The register first: where both operands are it, the sum stays.
          x.write(1, a);
          if (!x.isMemory(0)) x.write(0, zeroExtend(r, x.size()));
          addFlags(x, a, b, r);
        });
      }, WRITES),
  ),
];
