// Steps of the engine between instructions: effective addresses, links, raises.
// They are records like instructions, with operand fields of their own.

import { branchTarget, type Emitter } from "./emitter.ts";
import type { Definition } from "./form.ts";
import { zeroExtend } from "./flags.ts";
import type { Axis, ModeSize } from "./shape.ts";
import { ACCESS, CS, EA, RIP, SEG_BASE, TLB_BASE, TRAP_DATA } from "./state.ts";
import { type I32, i32, type I64, i64 } from "./wasm/mod.ts";
import { countDown, goTo, spend } from "./runtime/run.ts";
import { segmentIsOpen } from "./runtime/segments.ts";
import { STATUS } from "./runtime/traps.ts";
import { ACCESS_FETCH } from "./runtime/walk.ts";

function step(
  name: string,
  define: (x: Emitter) => void,
  options: { axes?: readonly Axis[]; ends?: boolean } = {},
): Definition {
  return {
    name: `step ${name}`,
    operands: [],
    axes: options.axes ?? [],
    ends: options.ends ?? false,
    define,
  };
}

// Operands: 0 base, 1 index, 2 log2 of the scale.
function effective(x: Emitter): I64 {
  const { state } = x.cpu;
  const base = state.load64(x.fields.operand(0));
  const index = state.load64(x.fields.operand(1));
  const scale = x.fields.operand(2).toI64U();
  const sum = base.add(index.shl(scale)).add(x.fields.disp());
  return maskAddress(sum, x.shape.address);
}

function maskAddress(sum: I64, size: ModeSize): I64 {
  return size === 64 ? sum : zeroExtend(sum, size);
}

function setAddress(x: Emitter, la: I64): void {
  x.f.do(x.cpu.state.store64(0, la, EA));
}

/** Effective address without a segment base, for flat segments and LEA. */
export const EA_FLAT = step(
  "ea flat",
  (x) => setAddress(x, effective(x)),
  { axes: ["address"] },
);

/**
 * Effective address plus a segment base, in 64-bit mode, where the address is
 * canonical without it; the immediate is the segment's slot.
 */
export const EA_BASED = step("ea based", (x) => {
  const slot = x.fields.imm().toI32();
  const base = x.cpu.state.load64(slot, SEG_BASE);
  setAddress(x, effective(x).add(base));
}, { axes: ["address"] });

/** As `EA_BASED`, for addresses that may be anything. */
export const EA_BASED_CHECKED = step("ea based checked", (x) => {
  const packed = x.imm();
  const offset = x.let(effective(x));
  x.checkOffset(offset, x.let(packed.toI32().shrU(16)));
  const base = x.cpu.state.load64(packed.toI32().and(0xffff), SEG_BASE);
  setAddress(x, offset.add(base));
}, { axes: ["address"] });

/** Packs what the checked steps need into their immediates. */
export function packCheck(
  slot: number,
  bytes: number,
  access: 0 | 1,
): bigint {
  return BigInt(slot) | BigInt(bytes) << 16n | BigInt(access) << 32n;
}

/** Effective address through a segment with limit and rights checked. */
export const EA_CHECKED = step("ea checked", (x) => {
  const packed = x.imm();
  const slot = x.let(packed.toI32().and(0xffff));
  const bytes = x.let(packed.toI32().shrU(16));
  const offset = x.let(effective(x));
  const isWithin = offset.leU(i64(1n << 32n).sub(bytes.toI64U()));
  const isOpen = segmentIsOpen(x.cpu, slot, ACCESS.WRITABLE);
  x.f.rarely(isOpen.and(isWithin).eqz(), () => {
    const access = packed.shrU(32).toI32();
    x.call("segmentLinear", slot, offset, bytes, access, x.site());
  });
  const base = x.cpu.state.load64(slot, SEG_BASE);
  setAddress(x, zeroExtend(base.add(offset), 32));
}, { axes: ["address"] });

/** What is done for every instruction that does nothing, wherever its operand is. */
export const NOTHING = step("nothing", () => {});

/** The end of a block that goes on elsewhere: a direct branch. */
export const FALL = step("fall", (x) => x.branch(), {
  axes: ["code"],
  ends: true,
});

/** A branch whose target is not linked yet; operand 0 is the branch's record. */
export const LINK = step("link", (x) => {
  const { state } = x.cpu;
  x.f.do(state.store64(0, branchTarget(x), RIP));
  x.f.do(state.store32(0, x.fields.operand(0), TRAP_DATA));
  x.f.return(i32(STATUS.LINK));
}, { axes: ["code"], ends: true });

/** A branch to another page, whose translation may change: looked up each time. */
export const LOOKUP = step(
  "lookup",
  (x) => x.f.returnCall(x.cpu.fn.dispatch, branchTarget(x)),
  { axes: ["code"], ends: true },
);

/**
 * A record whose code changed: its instruction is looked up again. What ran before
 * it is spent, lest a loop that always changes itself never ends.
 */
export const STALE = step("stale", (x) => {
  spend(x.cpu, x.f, x.fields.count().sub(1), () => x.rip());
  x.f.do(x.cpu.state.store64(0, x.rip(), RIP));
  x.f.do(x.cpu.state.store32(0, x.fields.record(), TRAP_DATA));
  x.f.return(i32(STATUS.STALE));
}, { axes: ["code"], ends: true });

/** A dropped block's first record, when its code was decoded again: operand 0. */
export const FORWARD = step(
  "forward",
  (x) => goTo(x.cpu, x.f, x.let(x.fields.operand(0))),
  { ends: true },
);

/**
 * Counts how often a block is entered: operand 0 is what is left until it is hot. It
 * is the block's first record, whose place a compiled region takes.
 */
export const PROFILE = step("profile", (x) => {
  const leave = (status: I32) => x.f.return(status);
  countDown(x.cpu, x.f, x.fields.record(), () => x.rip(), leave);
}, { axes: ["code"] });

/** Raises the exception in operand 0 with the error code in operand 1. */
export const RAISE = step("raise", (x) => {
  x.call("raise", x.site(), x.fields.operand(0), x.fields.operand(1));
  x.f.unreachable();
}, { ends: true });

/**
 * Before an instruction that crosses into the next page: that page must still be
 * the page of memory 1 whose offset is the immediate.
 */
export const CHECK_PAGE = step("check page", (x) => {
  const { state } = x.cpu;
  const here = x.let(x.rip().add(state.load64(0, CS + SEG_BASE)));
  const next = x.let(
    maskAddress(here.and(-4096).add(4096), x.shape.code === 64 ? 64 : 32),
  );
  const [offset] = x.call(
    "translate",
    next,
    i32(ACCESS_FETCH),
    state.load32(0, TLB_BASE),
    x.site(),
  );
  x.f.if(offset.ne(x.fields.imm()), () => {
    x.f.do(state.store64(0, x.rip(), RIP));
    x.f.return(i32(STATUS.MOVED));
  });
}, { axes: ["code"] });
