// Going on at a computed RIP in threaded code, and deriving what depends
// on the mode (mode key, privilege, TLB arrays) after control state changed.

import type { CpuModule } from "../cpu_module.ts";
import {
  type FunctionBuilder,
  type I32,
  i32,
  type I64,
  MOSTLY,
} from "../wasm/mod.ts";
import { FLAG } from "../flags.ts";
import { MODE } from "../mode.ts";
import { jumpKey } from "./jumps.ts";
import {
  ACCESS,
  BLOCK_INDEX,
  BUDGET,
  CPL,
  CR0,
  CR4,
  CS,
  DR,
  DS,
  EFER,
  ES,
  FORCE_STEP,
  INDEX_BITS,
  INDEX_MULTIPLIER,
  JUMP_BITS,
  JUMP_CACHE,
  JUMP_ENTRY_KEY,
  JUMP_GRAIN,
  JUMP_KEY,
  JUMP_MASK,
  JUMP_RECORD,
  JUMP_STRIDE,
  KICK,
  MODE_KEY,
  RIP,
  RIP_BASE,
  SEG_ACCESS,
  SEG_BASE,
  SS,
  SYSTEM_FLAGS,
  TLB,
  TLB_ARRAY,
  TLB_BASE,
  TLB_MODE_ALIGNED,
  TLB_MODE_OPEN,
  TLB_MODE_SUPERVISOR,
  TLB_MODE_USER,
  TLB_MODES,
  TLB_SPACE,
  TLB_SYSTEM,
  TRAP_DATA,
} from "../state.ts";
import {
  HANDLER_TYPE,
  REC_HANDLER,
  REC_OPERAND,
  SITE_OFFSET,
} from "../record.ts";
import { segmentIsOpen } from "./segments.ts";
import { STATUS } from "./traps.ts";
import { ACCESS_FETCH } from "./walk.ts";
import {
  CR0_AM,
  CR0_EM,
  CR0_MP,
  CR0_PE,
  CR0_TS,
  CR4_OSFXSR,
  CR4_SMAP,
  EFER_LMA,
} from "./control_bits.ts";

/** Signatures of the functions defined here. */
export const RUN_SIGNATURES = {
  /** Runs from a RIP until something wants TypeScript: `STATUS`. Handlers tail-call it. */
  dispatch: { params: ["i64"], results: ["i32"] },
  /** Derives the mode key, the TLB arrays and the jump key. */
  updateMode: { params: [], results: [] },
  /** Derives the TLB arrays alone: after a change of CPL or AC. */
  updatePrivilege: { params: [], results: [] },
} as const;

/** Continues with the handler of a record; ends the path. */
export function goTo(cpu: CpuModule, f: FunctionBuilder, record: I32): void {
  f.returnCallIndirect(
    HANDLER_TYPE,
    cpu.state.load32(record, REC_HANDLER),
    record,
  );
}

/** Address of the jump cache entry for a RIP. */
export function jumpEntry(rip: I64): I32 {
  const mixed = rip.xor(rip.shrU(JUMP_BITS)).toI32();
  return mixed.and(JUMP_MASK).mul(JUMP_STRIDE / JUMP_GRAIN).add(JUMP_CACHE);
}

/** Whether an entry of the jump cache is that of a RIP, and holds. */
export function isKnown({ state }: CpuModule, rip: I64, entry: I32): I32 {
  return state.load64(entry).eq(rip)
    .and(state.load32(entry, JUMP_ENTRY_KEY).eq(state.load32(0, JUMP_KEY)));
}

/** Where the jump cache knows a RIP: sets RIP_BASE; `then` goes on at the record. */
export function ifKnown(
  cpu: CpuModule,
  f: FunctionBuilder,
  { rip, entry }: { readonly rip: I64; readonly entry: I32 },
  then: (record: I32) => void,
): void {
  const { state } = cpu;
  const go = () => {
    const inPage = rip.add(state.load64(0, CS + SEG_BASE)).and(0xfff);
    f.do(state.store64(0, rip.sub(inPage), RIP_BASE));
    then(f.let(state.load32(entry, JUMP_RECORD)));
  };
  f.if(isKnown(cpu, rip, entry), go, undefined, MOSTLY);
}

function defineDispatch(cpu: CpuModule): void {
  const { state } = cpu;
  cpu.define("dispatch", (f) => {
    const rip = f.param(0, "i64");
    const entry = f.let(jumpEntry(rip));
    ifKnown(cpu, f, { rip, entry }, (record) => goTo(cpu, f, record));
    findInIndex(cpu, f, rip, entry);
    f.do(state.store64(0, rip, RIP));
    f.return(i32(STATUS.MISS));
  });
}

// Offset in the block index of the entry for an offset in memory 1. Pages have their
// branch targets at much the same offsets, hence the multiplication.
function blockIndexEntry(offset: I64): I32 {
  const low = offset.toI32();
  const page = offset.shrU(12).toI32();
  const mixed = low.xor(page.mul(INDEX_MULTIPLIER));
  return mixed.and((1 << INDEX_BITS) - 1).mul(JUMP_STRIDE);
}

// Goes on at a block that is decoded, and notes it in the jump cache: after a change
// of address space every RIP comes here once. A fetch that faults is one of the
// instruction at RIP.
function findInIndex(
  cpu: CpuModule,
  f: FunctionBuilder,
  rip: I64,
  entry: I32,
): void {
  const { state } = cpu;
  const mode = f.let(state.load32(0, MODE_KEY));
  f.if(mode.and(MODE.FLAT), () => {
    f.do(state.store64(0, rip.and(-4096), RIP_BASE));
    const [offset] = f.call(
      cpu.fn.translate,
      rip,
      i32(ACCESS_FETCH),
      state.load32(0, TLB_BASE),
      rip.toI32().and(SITE_OFFSET),
    );
    f.call(cpu.fn.noteJump, rip);
    const first = f.let(blockIndexEntry(offset));
    const second = first.xor(JUMP_STRIDE);
    const holds = (at: I32) =>
      state.load64(at, BLOCK_INDEX).eq(offset).and(
        state.load32(at, BLOCK_INDEX + JUMP_ENTRY_KEY).eq(mode),
      );
    const found = f.let(first.when(holds(first), second));
    f.if(holds(found), () => {
      const record = f.let(state.load32(found, BLOCK_INDEX + JUMP_RECORD));
      f.do(state.store64(entry, rip));
      f.do(state.store32(entry, record, JUMP_RECORD));
      f.do(state.store32(entry, state.load32(0, JUMP_KEY), JUMP_ENTRY_KEY));
      goTo(cpu, f, record);
    });
  });
}

function segmentIsFlat(cpu: CpuModule, segment: number, access: number): I32 {
  return cpu.state.load64(0, segment + SEG_BASE).eqz()
    .and(segmentIsOpen(cpu, i32(segment), access));
}

function defineUpdateMode(cpu: CpuModule): void {
  const { state } = cpu;
  cpu.define("updateMode", (f) => {
    const cr0 = f.let(state.load32(0, CR0));
    const cr4 = f.let(state.load32(0, CR4));
    const flags = f.let(state.load32(0, SYSTEM_FLAGS));
    const csAccess = f.let(state.load32(0, CS + SEG_ACCESS));
    const long = f.let(
      state.load32(0, EFER).and(EFER_LMA).ne(0)
        .and(csAccess.and(ACCESS.L).ne(0)),
    );
    const key = f.var("i32");
    const put = (bit: number, on: I32) =>
      f.set(key, key.get().or(i32(bit).when(on, 0)));
    const vm86 = f.let(flags.and(FLAG.VM).ne(0));
    f.if(
      long,
      () => f.set(key, key.get().or(2 | MODE.STACK32 | MODE.FLAT)),
      () => {
        put(1, csAccess.and(ACCESS.DB).ne(0));
        put(
          MODE.STACK32,
          state.load32(0, SS + SEG_ACCESS).and(ACCESS.DB).ne(0),
        );
        const flat = segmentIsFlat(cpu, CS, ACCESS.CODE | ACCESS.WRITABLE)
          .and(segmentIsFlat(cpu, SS, ACCESS.WRITABLE))
          .and(segmentIsFlat(cpu, DS, ACCESS.WRITABLE))
          .and(segmentIsFlat(cpu, ES, ACCESS.WRITABLE));
        put(MODE.FLAT, flat);
      },
    );
    put(MODE.PROTECTED, cr0.and(CR0_PE).ne(0).and(vm86.eqz()));
    put(MODE.EM, cr0.and(CR0_EM).ne(0));
    put(MODE.TS, cr0.and(CR0_TS).ne(0));
    put(MODE.MP, cr0.and(CR0_MP).ne(0));
    put(MODE.OSFXSR, cr4.and(CR4_OSFXSR).ne(0));
    const watched = state.load32(0, DR + 56).and(0xff).ne(0);
    const traced = flags.and(FLAG.TF).ne(0);
    put(MODE.STEP, state.load32(0, FORCE_STEP).or(watched).or(traced).ne(0));
    // Where user code may jump to, supervisor code may not, and vice versa.
    const isUser = state.load32(0, CPL).eq(3);
    const segment = f.ifValue(
      key.get().and(MODE.FLAT),
      "i32",
      () => i32(0),
      () => f.call(cpu.fn.segmentJumps)[0],
    );
    const mode = f.let(key.get().or(segment));
    f.do(state.store32(0, jumpKey(cpu, mode, isUser), JUMP_KEY));
    f.do(state.store32(0, key.get(), MODE_KEY));
    f.returnCall(cpu.fn.updatePrivilege);
  });
}

function defineUpdatePrivilege(cpu: CpuModule): void {
  const { state } = cpu;
  cpu.define("updatePrivilege", (f) => {
    const cr4 = f.let(state.load32(0, CR4));
    const hasAc = f.let(state.load32(0, SYSTEM_FLAGS).and(FLAG.AC).ne(0));
    const noSmap = f.let(cr4.and(CR4_SMAP).eqz());
    // SMAP holds for supervisor accesses unless AC is set (SDM vol. 3, 4.6.1),
    // and alignment is checked for the user's with AC and CR0.AM (6.15).
    const isAligned = hasAc.and(state.load32(0, CR0).and(CR0_AM).ne(0));
    const user = i32(TLB_MODE_ALIGNED).when(isAligned, TLB_MODE_USER);
    const kernel = i32(TLB_MODE_OPEN)
      .when(noSmap.or(hasAc), TLB_MODE_SUPERVISOR);
    const mode = user.when(state.load32(0, CPL).eq(3), kernel);
    const space = f.let(
      state.load32(0, TLB_SPACE).mul(TLB_MODES * TLB_ARRAY).add(TLB),
    );
    f.do(state.store32(0, space.add(mode.mul(TLB_ARRAY)), TLB_BASE));
    const system = i32(TLB_MODE_OPEN).when(noSmap, TLB_MODE_SUPERVISOR);
    f.do(state.store32(0, space.add(system.mul(TLB_ARRAY)), TLB_SYSTEM));
  });
}

/** Defines the functions of `RUN_SIGNATURES`. */
export function defineRun(cpu: CpuModule): void {
  defineDispatch(cpu);
  defineUpdateMode(cpu);
  defineUpdatePrivilege(cpu);
}

/** Whether a budget is gone, or the engine is wanted whatever is left of it. */
export function isSpent(cpu: CpuModule, left: I32): I32 {
  return left.or(cpu.state.load32(0, KICK)).ltS(0);
}

/**
 * Spends the instructions of a block that ends here, and leaves for events where
 * the budget is gone or the engine is wanted: `rip` is where the block leads.
 */
export function spend(
  cpu: CpuModule,
  f: FunctionBuilder,
  count: I32,
  rip: () => I64,
): void {
  const { state } = cpu;
  if (cpu.spend !== undefined) return cpu.spend(count);
  const left = f.let(state.load32(0, BUDGET).sub(count));
  f.do(state.store32(0, left, BUDGET));
  f.rarely(isSpent(cpu, left), () => {
    f.do(state.store64(0, rip(), RIP));
    f.return(i32(STATUS.EVENTS));
  });
}

/** Counts as so many executions of what begins at a record; the last is still to come. */
export function countMore(
  { state }: CpuModule,
  f: FunctionBuilder,
  record: number,
  executions: number,
): void {
  const left = f.let(state.load32(record, REC_OPERAND).sub(executions));
  const kept = left.when(left.gtS(1), i32(1));
  f.do(state.store32(record, kept, REC_OPERAND));
}

/**
 * Counts an execution of what begins at a record; where it was the last before that is
 * hot, `leave` is given the status to leave with.
 */
export function countDown(
  { state }: CpuModule,
  f: FunctionBuilder,
  record: I32,
  rip: () => I64,
  leave: (status: I32) => void,
): void {
  const left = f.let(state.load32(record, REC_OPERAND).sub(1));
  f.do(state.store32(record, left, REC_OPERAND));
  f.rarely(left.eqz(), () => {
    f.do(state.store32(0, record, TRAP_DATA));
    f.do(state.store64(0, rip(), RIP));
    leave(i32(STATUS.HOT));
  });
}
