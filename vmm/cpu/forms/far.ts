// Transfers of control between segments: far JMP, CALL and RET, INT, IRET, SYSCALL
// to SYSEXIT (Intel SDM vol. 2; vol. 3, 5.8, 6.4). The work is in `runtime/`.

import type { Emitter } from "../emitter.ts";
import { type Form, form } from "../form.ts";
import { EXCEPTION_EXITS, RIP } from "../state.ts";
import { i32, type I64 } from "../wasm/mod.ts";
import { EVENT } from "../runtime/events.ts";
import { NO_ERROR_CODE, VECTOR } from "../runtime/traps.ts";

const ENDS = { axes: ["code"], ends: true } as const;
const LOADS = { ...ENDS, access: "read" } as const;

/** Makes RIP the next instruction, as the runtime functions expect it. */
export function setNextRip(x: Emitter): void {
  x.f.do(x.cpu.state.store64(0, x.nextRip(), RIP));
}

/** Goes on at RIP after a transfer. */
export function goOn(x: Emitter): void {
  x.goOnAt(x.cpu.state.load64(0, RIP));
}

const OPERAND_BYTES = { 16: 2, 32: 4, 64: 8 } as const;
type OperandBits = keyof typeof OPERAND_BYTES;

// --- JMP and CALL ----------------------------------------------------------------

function transfer(
  x: Emitter,
  isCall: boolean,
  target: { readonly selector: I64; readonly offset: I64 },
  bits: OperandBits,
): void {
  const selector = target.selector.toI32().and(0xffff);
  setNextRip(x);
  if (isCall) {
    const bytes = i32(OPERAND_BYTES[bits]);
    x.call("farCall", selector, target.offset, bytes, x.site());
  } else {
    x.call("farJump", selector, target.offset, x.site());
  }
  goOn(x);
}

// The address of the second part of an operand wraps as the first's does.
function after(x: Emitter, la: I64, bytes: number): I64 {
  const next = la.add(bytes);
  return x.let(x.shape.code === 64 ? next : next.and(0xffff_ffff));
}

/** Reads a far pointer in memory: the offset, then the selector. */
export function readPointer(
  x: Emitter,
  bits: OperandBits,
): { readonly selector: I64; readonly offset: I64 } {
  const bytes = OPERAND_BYTES[bits];
  const la = x.address();
  const offset = x.load(bytes, la);
  const selector = x.load(2, after(x, la, bytes));
  return { selector, offset };
}

function direct(mnemonic: "Jmp" | "Call", bits: 16 | 32): Form {
  return form(`${mnemonic}_ptr16${bits}`, (x) => {
    const packed = x.imm();
    const offset = x.let(packed.and(0xffff_ffff));
    const selector = x.let(packed.shrU(32));
    transfer(x, mnemonic === "Call", { selector, offset }, bits);
  }, ENDS);
}

function indirect(mnemonic: "Jmp" | "Call", bits: OperandBits): Form {
  return form(
    `${mnemonic}_m16${bits}`,
    (x) => transfer(x, mnemonic === "Call", readPointer(x, bits), bits),
    LOADS,
  );
}

function farBranches(): Form[] {
  return (["Jmp", "Call"] as const).flatMap((mnemonic) => [
    ...([16, 32] as const).map((bits) => direct(mnemonic, bits)),
    ...([16, 32, 64] as const).map((bits) => indirect(mnemonic, bits)),
  ]);
}

// --- RET and IRET ----------------------------------------------------------------

const SUFFIX = { w: 2, d: 4, q: 8 } as const;
const SUFFIXES = ["w", "d", "q"] as const;

function farReturns(): Form[] {
  return SUFFIXES.flatMap((suffix) =>
    ["", "_imm16"].map((tail) =>
      form(`Retf${suffix}${tail}`, (x) => {
        const release = tail === "" ? i32(0) : x.imm(16).toI32();
        setNextRip(x);
        x.call("farReturn", i32(SUFFIX[suffix]), release, x.site());
        goOn(x);
      }, ENDS)
    )
  );
}

function interruptReturns(): Form[] {
  return SUFFIXES.map((suffix) =>
    form(`Iret${suffix}`, (x) => {
      setNextRip(x);
      x.call("interruptReturn", i32(SUFFIX[suffix]), x.site());
      goOn(x);
    }, ENDS)
  );
}

// --- Software interrupts -----------------------------------------------------------

function interrupt(x: Emitter, vector: number | undefined, kind: number): void {
  const number = vector === undefined ? x.imm(8).toI32() : i32(vector);
  setNextRip(x);
  x.call("deliver", number, i32(NO_ERROR_CODE), i32(kind), x.site());
  goOn(x);
}

// INT1, INT3 and INTO, which the engine may want to see undelivered.
function exception(
  x: Emitter,
  vector: number,
  kind: number = EVENT.SOFTWARE_EXCEPTION,
): void {
  const wanted = x.cpu.state.load32(0, EXCEPTION_EXITS).and(1 << vector);
  x.f.if(wanted, () => x.raise(vector));
  interrupt(x, vector, kind);
}

function interrupts(): Form[] {
  return [
    form("Int_imm8", (x) => interrupt(x, undefined, EVENT.SOFTWARE), ENDS),
    form("Int3", (x) => exception(x, VECTOR.BP), ENDS),
    form("Into", (x) => {
      x.f.if(x.flags.of(), () => exception(x, VECTOR.OF));
    }, { axes: ["code"] }),
    form("Int1", (x) => exception(x, VECTOR.DB, EVENT.PRIVILEGED), ENDS),
  ];
}

// --- Fast system calls -------------------------------------------------------------

function systemCall(
  name: string,
  call: "systemCall" | "systemEnter",
): Form {
  return form(name, (x) => {
    setNextRip(x);
    x.call(call, x.site());
    goOn(x);
  }, ENDS);
}

function systemReturn(
  name: string,
  call: "systemReturn" | "systemExit",
  wide: 0 | 1,
): Form {
  return form(name, (x) => {
    x.call(call, i32(wide), x.site());
    goOn(x);
  }, ENDS);
}

/** The forms of this group. */
export const FAR_FORMS: readonly Form[] = [
  ...farBranches(),
  ...farReturns(),
  ...interruptReturns(),
  ...interrupts(),
  systemCall("Syscall", "systemCall"),
  systemCall("Sysenter", "systemEnter"),
  systemReturn("Sysretd", "systemReturn", 0),
  systemReturn("Sysretq", "systemReturn", 1),
  systemReturn("Sysexitd", "systemExit", 0),
  systemReturn("Sysexitq", "systemExit", 1),
];
