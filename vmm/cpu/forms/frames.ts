// Flags and frames on the stack: PUSHF POPF, PUSHA POPA, ENTER (Intel SDM vol. 2; vol.
// 3, 20.2.7 for virtual-8086 mode).

import { type Emitter, REG, widthOf } from "../emitter.ts";
import { FLAG, zeroExtend } from "../flags.ts";
import { type Form, form } from "../form.ts";
import { SITE_STACK } from "../record.ts";
import { SS, SYSTEM_FLAGS } from "../state.ts";
import { type I32, i32, type I64 } from "../wasm/mod.ts";

const STACK = { axes: ["code", "stack", "flat"] } as const;
type StackSize = 16 | 32 | 64;
const LETTERS = { w: 16, d: 32, q: 64 } as const;
type Letter = keyof typeof LETTERS;
const ALL_LETTERS: readonly Letter[] = ["w", "d", "q"];

// Linear address of a stack slot for writing or reading.
function slotAt(
  x: Emitter,
  offset: I64,
  size: StackSize,
  access: 0 | 1,
): I64 {
  const kept = x.let(zeroExtend(offset, x.shape.stack));
  return x.linear(SS, kept, widthOf(size), access);
}

function loadSlot(x: Emitter, offset: I64, size: StackSize): I64 {
  const la = slotAt(x, offset, size, 0);
  return x.load(widthOf(size), la, x.site().or(SITE_STACK));
}

function storeSlot(
  x: Emitter,
  offset: I64,
  value: I64,
  size: StackSize,
): void {
  const la = slotAt(x, offset, size, 1);
  x.store(widthOf(size), la, value, x.site().or(SITE_STACK));
}

// --- Flags -------------------------------------------------------------------

// Whether VIF stands in for IF; raises #GP(0) where virtual-8086 mode forbids both.
function virtualFlags(x: Emitter, flags: I32, size: StackSize): I32 {
  if (x.shape.code === 64) return i32(0);
  return x.f.ifValue(
    flags.and(FLAG.VM),
    "i32",
    () => x.call("virtualFlags", i32(size), x.site())[0],
    () => i32(0),
  );
}

function pushFlags(x: Emitter, size: StackSize): void {
  const flags = x.let(x.cpu.state.load32(0, SYSTEM_FLAGS));
  const isVirtual = virtualFlags(x, flags, size);
  const vif = i32(FLAG.IF).when(flags.and(FLAG.VIF), 0);
  const extended = flags.and(~FLAG.IF).or(FLAG.IOPL).or(vif);
  const image = extended.when(isVirtual, flags).and(~(FLAG.VM | FLAG.RF));
  x.push(image.toI64U().or(x.flags.value()), size);
}

function popFlags(x: Emitter, size: StackSize): void {
  const flags = x.let(x.cpu.state.load32(0, SYSTEM_FLAGS));
  const isVirtual = virtualFlags(x, flags, size);
  const image = x.peek(size);
  const [look] = x.call(
    "popSystemFlags",
    x.let(image.toI32()),
    i32(size),
    isVirtual,
    x.site(),
  );
  x.release(widthOf(size));
  x.flags.assign(image);
  x.f.if(look, () => {
    x.call("updateMode");
    x.goOn();
  });
}

function flagForms(): Form[] {
  return ALL_LETTERS.flatMap((letter) => [
    form(`Pushf${letter}`, (x) => pushFlags(x, LETTERS[letter]), STACK),
    form(`Popf${letter}`, (x) => popFlags(x, LETTERS[letter]), STACK),
  ]);
}

// --- All registers -----------------------------------------------------------

// In the order that PUSHA pushes, RAX first, and the stack pointer before it.
function pushAll(x: Emitter, size: 16 | 32): void {
  const sp = x.stackPointer();
  for (let n = 0; n < 8; n++) {
    const offset = sp.sub((n + 1) * widthOf(size));
    storeSlot(x, offset, x.gpr(n, size), size);
  }
  x.setStackPointer(sp.sub(8 * widthOf(size)));
}

// The stack pointer's own slot is skipped.
function popAll(x: Emitter, size: 16 | 32): void {
  const sp = x.stackPointer();
  const registers = [7, 6, 5, 4, 3, 2, 1, 0];
  const values = registers.map((_, n) =>
    loadSlot(x, sp.add(n * widthOf(size)), size)
  );
  registers.forEach((register, n) => {
    if (register !== REG.RSP) x.setGpr(register, values[n]!, size);
  });
  x.setStackPointer(sp.add(8 * widthOf(size)));
}

function allForms(): Form[] {
  return (["w", "d"] as const).flatMap((letter) => [
    form(`Pusha${letter}`, (x) => pushAll(x, LETTERS[letter]), STACK),
    form(`Popa${letter}`, (x) => popAll(x, LETTERS[letter]), STACK),
  ]);
}

// --- ENTER -------------------------------------------------------------------

// Copies the pointers of the enclosing frames and adds the new one's: `level` of them
// in all. Answers the stack's top.
function copyFrames(
  x: Emitter,
  size: StackSize,
  frame: I64,
  level: I64,
): I64 {
  const { f } = x;
  const bytes = widthOf(size);
  const top = f.var("i64", frame);
  const outer = f.var("i64", x.gpr(REG.RBP, x.shape.stack));
  const left = f.var("i64", level);
  const push = (value: I64) => {
    f.set(top, top.get().sub(bytes));
    storeSlot(x, top.get(), value, size);
  };
  f.if(level.ne(0), () => {
    f.block((end) =>
      f.loop((again) => {
        f.set(left, left.get().sub(1));
        f.brIf(end, left.get().eqz());
        f.set(outer, outer.get().sub(bytes));
        push(loadSlot(x, outer.get(), size));
        f.br(again);
      })
    );
    push(frame);
  });
  return f.let(top.get());
}

// The immediate has the frame's bytes, and above 32 bits its nesting level.
function enter(x: Emitter, size: StackSize): void {
  const { stack } = x.shape;
  const immediate = x.imm();
  const level = x.let(immediate.shrU(32).and(31));
  // Copied pointers may lie where others are written: that cannot be done anew.
  x.cpu.direct?.leaveWhere(level.gtU(1));
  const sp = x.stackPointer();
  const frame = x.let(zeroExtend(sp.sub(widthOf(size)), stack));
  storeSlot(x, frame, x.gpr(REG.RBP, size), size);
  const top = copyFrames(x, size, frame, level);
  const low = x.let(zeroExtend(top.sub(immediate.and(0xffff)), stack));
  // The new top must be one that can be pushed to.
  const la = slotAt(x, low, size, 1);
  x.prepareWrite(la, widthOf(size), x.site().or(SITE_STACK));
  x.setGpr(REG.RBP, frame, size);
  x.setStackPointer(low);
}

function enterForms(): Form[] {
  return ALL_LETTERS.map((letter) =>
    form(
      `Enter${letter}_imm16_imm8`,
      (x) => enter(x, LETTERS[letter]),
      STACK,
    )
  );
}

/** The forms of this group. */
export const FRAME_FORMS: readonly Form[] = [
  ...flagForms(),
  ...allForms(),
  ...enterForms(),
];
