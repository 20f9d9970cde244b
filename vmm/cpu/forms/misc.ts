// Small instructions without a family: sign extensions of the accumulator, single
// flags, LAHF SAHF SALC, XLAT, LOOP and JCXZ, BOUND, UD (Intel SDM vol. 2).

import { type Emitter, REG, widthOf } from "../emitter.ts";
import { FLAG, type OpSize, signExtend, zeroExtend } from "../flags.ts";
import { type Form, form, forms } from "../form.ts";
import { SYSTEM_FLAGS } from "../state.ts";
import { type I32, i32, type I64 } from "../wasm/mod.ts";
import { VECTOR } from "../runtime/traps.ts";
import { goDirect } from "./transfer.ts";

// --- Accumulator -------------------------------------------------------------

// The accumulator's lower half extended through the whole.
function convert(name: string, size: 16 | 32 | 64): Form {
  const half = (size / 2) as OpSize;
  return form(name, (x) => {
    x.setGpr(REG.RAX, signExtend(x.gpr(REG.RAX, half), half), size);
  });
}

// The accumulator's sign through all of rDX.
function spread(name: string, size: 16 | 32 | 64): Form {
  return form(name, (x) => {
    const sign = signExtend(x.gpr(REG.RAX, size), size).shrS(63);
    x.setGpr(REG.RDX, sign, size);
  });
}

function conversions(): Form[] {
  return [
    convert("Cbw", 16),
    convert("Cwde", 32),
    convert("Cdqe", 64),
    spread("Cwd", 16),
    spread("Cdq", 32),
    spread("Cqo", 64),
  ];
}

// --- Flags -------------------------------------------------------------------

function setDirection(x: Emitter, down: boolean): void {
  const { state } = x.cpu;
  const flags = state.load32(0, SYSTEM_FLAGS);
  const value = down ? flags.or(FLAG.DF) : flags.and(~FLAG.DF);
  x.f.do(state.store32(0, value, SYSTEM_FLAGS));
}

/** SF, ZF, AF, PF and CF: what AH carries. */
const LOW_FLAGS = FLAG.SF | FLAG.ZF | FLAG.AF | FLAG.PF | FLAG.CF;

function singleFlags(): Form[] {
  return [
    form("Clc", (x) => x.flags.setCf(0)),
    form("Stc", (x) => x.flags.setCf(1)),
    form("Cmc", (x) => x.flags.setCf(x.let(x.flags.cf().xor(1)))),
    form("Cld", (x) => setDirection(x, false)),
    form("Std", (x) => setDirection(x, true)),
    form("Lahf", (x) => {
      const image = x.flags.value().and(LOW_FLAGS).or(2);
      const al = x.gpr(REG.RAX, 8);
      x.setGpr(REG.RAX, image.shl(8).or(al), 16);
    }),
    form("Sahf", (x) => {
      const image = x.gpr(REG.RAX, 16).shrU(8).and(LOW_FLAGS);
      const overflow = x.flags.of().toI64U().shl(11);
      x.flags.assign(image.or(overflow));
    }),
    form("Salc", (x) => {
      const carry = x.flags.cf();
      x.setGpr(REG.RAX, i32(0).sub(carry).toI64S(), 8);
    }),
  ];
}

// --- XLAT --------------------------------------------------------------------

// The decoder puts the slot of the table's segment into field 2.
function xlat(): Form {
  return form("Xlat_m8", (x) => {
    const { address } = x.shape;
    const sum = x.gpr(REG.RBX, address).add(x.gpr(REG.RAX, 8));
    const offset = x.let(zeroExtend(sum, address));
    const la = x.linearIn(x.fields.operand(2), offset, 1, 0);
    x.setGpr(REG.RAX, x.load(1, la), 8);
  }, { axes: ["address", "code", "flat"], access: "offset" });
}

// --- LOOP and JCXZ -----------------------------------------------------------

const COUNTER_SIZE = { CX: 16, ECX: 32, RCX: 64 } as const;
type Counter = keyof typeof COUNTER_SIZE;
const CODE = { axes: ["code"] } as const;

/** Sizes of targets in the modes that have the counter. */
const TARGETS: Readonly<Record<Counter, readonly (16 | 32 | 64)[]>> = {
  CX: [16, 32],
  ECX: [16, 32, 64],
  RCX: [16, 64],
};

/** Conditions besides the counter that a loop goes on by. */
const LOOPS: Readonly<Record<string, (x: Emitter, more: I32) => I32>> = {
  Loop: (_x, more) => more,
  Loope: (x, more) => more.and(x.flags.zf()),
  Loopne: (x, more) => more.and(x.flags.zf().eqz()),
};

function loops(): Form[] {
  const counters = Object.keys(TARGETS) as Counter[];
  return Object.entries(LOOPS).flatMap(([mnemonic, goesOn]) =>
    counters.flatMap((counter) =>
      TARGETS[counter].map((target) =>
        form(`${mnemonic}_rel8_${target}_${counter}`, (x) => {
          const size = COUNTER_SIZE[counter];
          const count = x.gpr(REG.RCX, size).sub(1);
          const left = x.let(zeroExtend(count, size));
          x.setGpr(REG.RCX, left, size);
          x.f.if(goesOn(x, left.ne(0)), () => goDirect(x, target));
        }, CODE)
      )
    )
  );
}

function jumpsIfZero(): Form[] {
  const jumps: readonly [string, Counter][] = [
    ["Jcxz", "CX"],
    ["Jecxz", "ECX"],
    ["Jrcxz", "RCX"],
  ];
  return jumps.flatMap(([mnemonic, counter]) =>
    TARGETS[counter].map((target) =>
      form(`${mnemonic}_rel8_${target}`, (x) => {
        const count = x.gpr(REG.RCX, COUNTER_SIZE[counter]);
        x.f.if(count.eqz(), () => goDirect(x, target));
      }, CODE)
    )
  );
}

// --- The rest ----------------------------------------------------------------

// Both bounds lie in one operand of twice the size, the lower one first; each is
// aligned on its own.
function bound(name: string, size: 16 | 32): Form {
  const bytes = widthOf(size);
  return form(name, (x) => {
    const extend = (value: I64) => x.let(signExtend(value, size));
    const la = x.address();
    const lower = extend(x.load(bytes, la));
    const upper = extend(x.load(bytes, x.let(la.add(bytes))));
    const index = extend(x.read(0));
    const isOut = index.ltS(lower).or(index.gtS(upper));
    x.f.if(isOut, () => x.raise(VECTOR.BR));
  });
}

const UNDEFINED = ["Ud0", "Ud2"].concat(
  ["r16_rm16", "r32_rm32", "r64_rm64"].flatMap((s) => [`Ud0_${s}`, `Ud1_${s}`]),
);

/** The forms of this group. */
export const MISC_FORMS: readonly Form[] = [
  ...conversions(),
  ...singleFlags(),
  xlat(),
  ...loops(),
  ...jumpsIfZero(),
  bound("Bound_r16_m1616", 16),
  bound("Bound_r32_m3232", 32),
  ...forms(UNDEFINED, (x) => x.raise(VECTOR.UD), {
    ends: true,
    access: "none",
  }),
];
