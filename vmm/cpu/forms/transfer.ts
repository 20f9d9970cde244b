// Moving data and control inside one mode: MOV family, LEA, XCHG, stack, near
// branches, SETcc, CMOVcc (Intel SDM vol. 2).

import { branchTarget, type Emitter, REG, widthOf } from "../emitter.ts";
import { type OpSize, signExtend, zeroExtend } from "../flags.ts";
import { type Form, form, forms, nothing } from "../form.ts";
import { SITE_STACK } from "../record.ts";
import { RIP_BASE, SS } from "../state.ts";
import { type I64, i64 } from "../wasm/mod.ts";

// Condition codes in the order of their encoding.
const CONDITIONS = [
  ...["o", "no", "b", "ae", "e", "ne", "be", "a"],
  ...["s", "ns", "p", "np", "l", "ge", "le", "g"],
];

const WRITE = { access: "write" } as const;

const MOV = [
  "rm8_r8",
  "rm16_r16",
  "rm32_r32",
  "rm64_r64",
  "AL_moffs8",
  "AX_moffs16",
  "EAX_moffs32",
  "RAX_moffs64",
  "moffs8_AL",
  "moffs16_AX",
  "moffs32_EAX",
  "moffs64_RAX",
  "r8_rm8",
  "r16_rm16",
  "r32_rm32",
  "r64_rm64",
  "r8_imm8",
  "r16_imm16",
  "r32_imm32",
  "r64_imm64",
  "rm8_imm8",
  "rm16_imm16",
  "rm32_imm32",
  "rm64_imm32",
].map((s) => `Mov_${s}`);

const MOV_LOADS = /_(r\d+_rm|[A-Z]+_moffs)/;

// `mem_offs` and `mem` operands have no size of their own: the register's counts.
function movForms(): Form[] {
  return MOV.map((name) =>
    form(name, (x) => {
      const size = (x.operands[0]!.size || x.operands[1]!.size) as OpSize;
      x.write(0, x.read(1, size), size);
    }, MOV_LOADS.test(name) ? {} : WRITE)
  );
}

function extend(
  mnemonic: string,
  size: OpSize,
  encodings: readonly string[],
  extension: (value: I64, size: OpSize) => I64,
): Form[] {
  return forms(
    encodings.map((encoding) => `${mnemonic}_${encoding}`),
    (x) => x.write(0, extension(x.read(1, size), size)),
  );
}

const FROM_8 = ["r16_rm8", "r32_rm8", "r64_rm8"];
const FROM_16 = ["r16_rm16", "r32_rm16", "r64_rm16"];
// With operands of 16 bits it reads 32 of memory on AMD's processors.
const FROM_32 = ["r16_rm16", "r32_rm32", "r64_rm32"];

function lea(): Form[] {
  return forms(
    ["Lea_r16_m", "Lea_r32_m", "Lea_r64_m"],
    (x) => x.write(0, x.address()),
    { access: "none" },
  );
}

function xchg(): Form[] {
  const names = [
    ...["rm8_r8", "rm16_r16", "rm32_r32", "rm64_r64"],
    ...["r16_AX", "r32_EAX", "r64_RAX"],
  ].map((s) => `Xchg_${s}`);
  return forms(names, (x) => {
    const b = x.read(1);
    x.update(0, () => b, (a) => x.write(1, a));
  }, { access: "update" });
}

// --- Stack -----------------------------------------------------------------

const STACK = { axes: ["code", "stack", "flat"] } as const;
type StackSize = 16 | 32 | 64;

function suffixSize(name: string): StackSize {
  return Number(/(16|32|64)/.exec(name)?.[1] ?? 64) as StackSize;
}

function pushPop(): Form[] {
  const pushes = ["Push_r16", "Push_r32", "Push_r64", "Push_rm16", "Push_rm32"]
    .concat(["Push_rm64"])
    .map((name) =>
      form(name, (x) => x.push(x.read(0), suffixSize(name)), STACK)
    );
  const immediates = [
    ["Push_imm16", 16],
    ["Pushd_imm32", 32],
    ["Pushq_imm32", 64],
    ["Pushw_imm8", 16],
    ["Pushd_imm8", 32],
    ["Pushq_imm8", 64],
  ] as const;
  const pushImm = immediates.map(([name, size]) =>
    form(name, (x) => x.push(x.fields.imm(), size), STACK)
  );
  // POP r/m uses the stack pointer after the pop in its address, and a fault
  // in the store must leave the stack pointer: the decoder adds the operand
  // size to a displacement from RSP.
  const pops = ["Pop_r16", "Pop_r32", "Pop_r64", "Pop_rm16", "Pop_rm32"]
    .concat(["Pop_rm64"])
    .map((name) =>
      form(name, (x) => {
        const size = suffixSize(name);
        const value = x.peek(size);
        if (x.isMemory(0)) {
          x.store(widthOf(size), x.address(), value);
          x.release(widthOf(size));
        } else {
          x.release(widthOf(size));
          x.write(0, value);
        }
      }, { ...STACK, access: "write" })
    );
  return [...pushes, ...pushImm, ...pops];
}

const LEAVE_SIZE = { Leavew: 16, Leaved: 32, Leaveq: 64 } as const;

function leave(): Form[] {
  return (["Leavew", "Leaved", "Leaveq"] as const).map((name) => {
    const size = LEAVE_SIZE[name];
    return form(name, (x) => {
      const frame = x.gpr(REG.RBP, x.shape.stack);
      const bytes = widthOf(size);
      const la = x.linear(SS, frame, bytes, 0);
      const value = x.load(bytes, la, x.site().or(SITE_STACK));
      x.setStackPointer(frame.add(bytes));
      x.setGpr(REG.RBP, value, size);
    }, STACK);
  });
}

// --- Near branches ---------------------------------------------------------

const CODE = { axes: ["code", "flat"] } as const;

// In 16-bit operand size IP is truncated, so the target depends on RIP_BASE.
function directTarget(x: Emitter): I64 {
  const base = x.cpu.state.load64(0, RIP_BASE);
  return x.let(zeroExtend(base.add(x.fields.imm()), 16));
}

function branchSize(name: string): StackSize {
  return Number(/_(16|32|64)$/.exec(name)?.[1] ?? 64) as StackSize;
}

/** Goes on at the target of the direct branch, for a size of RIP; ends the path. */
export function goDirect(x: Emitter, size: StackSize): void {
  if (size === 16) {
    goIndirect(x, directTarget(x));
    return;
  }
  if (!x.shape.flat) x.checkTarget(branchTarget(x));
  x.branch();
}

function goIndirect(x: Emitter, target: I64): void {
  x.checkTarget(target);
  x.jumpTo(target);
}

function conditional(): Form[] {
  return CONDITIONS.flatMap((cc, n) =>
    ["rel8_16", "rel8_32", "rel8_64", "rel16", "rel32_32", "rel32_64"].map((
      encoding,
    ) => {
      const name = `J${cc}_${encoding}`;
      const size = name.endsWith("rel16") ? 16 : branchSize(name);
      return form(name, (x) => {
        x.f.if(x.flags.condition(n), () => goDirect(x, size));
      }, CODE);
    })
  );
}

function jumps(): Form[] {
  const direct = ["Jmp_rel8_16", "Jmp_rel8_32", "Jmp_rel8_64", "Jmp_rel16"]
    .concat(["Jmp_rel32_32", "Jmp_rel32_64"]).map((name) => {
      const size = name.endsWith("rel16") ? 16 : branchSize(name);
      return form(name, (x) => {
        goDirect(x, size);
      }, { ...CODE, ends: true });
    });
  const indirect = ["Jmp_rm16", "Jmp_rm32", "Jmp_rm64"].map((name) =>
    form(name, (x) => goIndirect(x, x.read(0)), { ...CODE, ends: true })
  );
  return [...direct, ...indirect];
}

// The target is checked before anything is pushed, the stack before the target (APM
// vol. 3, CALL near).
function checkCall(x: Emitter, target: I64, size: StackSize): void {
  x.checkTarget(target, () => x.preparePush(size));
}

const RETURN_SIZE = { Retnw: 16, Retnd: 32, Retnq: 64 } as const;

function calls(): Form[] {
  const options = { ...STACK, ends: true };
  const direct = ["Call_rel16", "Call_rel32_32", "Call_rel32_64"].map(
    (name) => {
      const size = name.endsWith("rel16") ? 16 : branchSize(name);
      return form(name, (x) => {
        if (!x.shape.flat) {
          const target = size === 16 ? directTarget(x) : branchTarget(x);
          checkCall(x, target, size);
        }
        x.push(x.nextRip(), size);
        if (size === 16) x.jumpTo(directTarget(x));
        else x.branch();
      }, options);
    },
  );
  const indirect = ["Call_rm16", "Call_rm32", "Call_rm64"].map((name) =>
    form(name, (x) => {
      const target = x.read(0);
      const size = suffixSize(name);
      checkCall(x, target, size);
      x.push(x.nextRip(), size);
      x.jumpTo(target);
    }, options)
  );
  const returns = (["Retnw", "Retnd", "Retnq"] as const).flatMap((name) => {
    const size = RETURN_SIZE[name];
    const define = (x: Emitter, extra: I64) => {
      const target = x.peek(size);
      x.checkTarget(target);
      x.release(extra.add(widthOf(size)));
      x.jumpTo(target);
    };
    return [
      form(name, (x) => define(x, i64(0)), options),
      form(`${name}_imm16`, (x) => define(x, x.imm(16)), options),
    ];
  });
  return [...direct, ...indirect, ...returns];
}

function setAndMove(): Form[] {
  return CONDITIONS.flatMap((cc, n) => [
    form(
      `Set${cc}_rm8`,
      (x) => x.write(0, x.let(x.flags.condition(n).toI64U())),
      WRITE,
    ),
    ...["r16_rm16", "r32_rm32", "r64_rm64"].map((s) =>
      form(`Cmov${cc}_${s}`, (x) => {
        const b = x.read(1);
        const a = x.read(0);
        x.write(0, b.when(x.flags.condition(n), a));
      })
    ),
  ]);
}

/** The forms of this group. */
export const TRANSFER_FORMS: readonly Form[] = [
  ...movForms(),
  ...extend("Movzx", 8, FROM_8, (value) => value),
  ...extend("Movzx", 16, FROM_16, (value) => value),
  ...extend("Movsx", 8, FROM_8, signExtend),
  ...extend("Movsx", 16, FROM_16, signExtend),
  ...extend("Movsxd", 32, FROM_32, signExtend),
  ...lea(),
  ...xchg(),
  ...pushPop(),
  ...leave(),
  ...conditional(),
  ...jumps(),
  ...calls(),
  ...setAndMove(),
  ...nothing(["Nopw", "Nopd", "Nopq", "Nop_rm16", "Nop_rm32", "Nop_rm64"]),
];
