// How long the jump cache's entries hold: as long as translations do that the guest has
// not dropped. Supervisor code lies in global pages as a rule, so that a change of address
// space leaves its entries; user code has entries for each address space that is kept.
// A RIP leads elsewhere in another code segment, so that these have numbers.

import type { CpuModule } from "../cpu_module.ts";
import {
  CS,
  JUMP_BITS,
  JUMP_CACHE,
  JUMP_GENERATION,
  JUMP_KEY,
  JUMP_LARGE,
  JUMP_LOCAL,
  JUMP_PAGES,
  JUMP_PAGES_BITS,
  JUMP_SEGMENT_COUNT,
  JUMP_SEGMENT_STRIDE,
  JUMP_SEGMENTS,
  JUMP_SEGMENTS_MAX,
  JUMP_STRIDE,
  META_GLOBAL,
  META_LARGE,
  MODE_KEY,
  RIP,
  SEG_BASE,
  SEG_LIMIT,
  SPACE_JUMPS,
  SUPERVISOR_JUMPS,
  TLB_BASE,
  TLB_FETCH,
  TLB_SPACE,
  TLB_SPACES,
} from "../state.ts";
import { MODE, MODE_BITS } from "../mode.ts";
import {
  type FunctionBuilder,
  type I32,
  i32,
  type I64,
  i64,
} from "../wasm/mod.ts";
import { largeBit, metaOf, pageOf, tlbEntry } from "./tlb.ts";

// A key: the mode key, whether the CPL is 3, the code segment's number, the generation.
export const JUMP_USER = 1 << MODE_BITS;
const SEGMENT_SHIFT = MODE_BITS + 1;
const GENERATION = (JUMP_SEGMENTS_MAX + 1) << SEGMENT_SHIFT;
const KEY_OF_MODE = GENERATION - 1 & ~JUMP_USER;

/** Signatures of the functions defined here. */
export const JUMP_SIGNATURES = {
  /** Forgets where RIPs lead. */
  dropJumps: { params: [], results: [] },
  /** Forgets what does not outlive a change of address space. */
  changeJumps: { params: [], results: [] },
  /** Forgets where RIPs lead in a page that is no longer translated: linear address. */
  dropPageJumps: { params: ["i64"], results: [] },
  /** Notes that the jump cache may have a RIP: its linear address, just fetched. */
  noteJump: { params: ["i64"], results: [] },
  /** `noteJump` of RIP. */
  noteRip: { params: [], results: [] },
  /** A generation that no entry has. */
  nextGeneration: { params: [], results: ["i32"] },
  /** The number of the code segment in use, not 0, where it lies in a key. */
  segmentJumps: { params: [], results: ["i32"] },
} as const;

/**
 * The key of the mode and code segment given, for the privilege and the address space
 * in use.
 */
export function jumpKey(cpu: CpuModule, mode: I32, isUser: I32): I32 {
  const { state } = cpu;
  const space = state.load32(0, TLB_SPACE).shl(2);
  const user = state.load32(space, SPACE_JUMPS).or(JUMP_USER);
  return user.when(isUser, state.load32(0, SUPERVISOR_JUMPS)).or(mode);
}

function defineGenerations(cpu: CpuModule): void {
  const { state } = cpu;
  cpu.define("nextGeneration", (f) => {
    const next = f.var("i32", state.load32(0, JUMP_GENERATION).add(GENERATION));
    // When they wrap, entries of long ago would match again.
    f.if(next.get().eqz(), () => {
      const bytes = JUMP_STRIDE << JUMP_BITS;
      f.do(state.fill(i32(JUMP_CACHE), 0xff, i32(bytes)));
      f.do(state.fill(i32(SPACE_JUMPS), 0, i32(4 * TLB_SPACES)));
      f.do(state.store32(0, i32(0), SUPERVISOR_JUMPS));
      f.set(next, i32(GENERATION));
    });
    f.do(state.store32(0, next.get(), JUMP_GENERATION));
    f.return(next.get());
  });
}

function renewSupervisor(cpu: CpuModule, f: FunctionBuilder): void {
  const [next] = f.call(cpu.fn.nextGeneration);
  f.do(cpu.state.store32(0, next, SUPERVISOR_JUMPS));
}

// Gives the address space in use a generation where it has none, and derives the key.
function settleKey(cpu: CpuModule, f: FunctionBuilder): void {
  const { state } = cpu;
  const space = f.let(state.load32(0, TLB_SPACE).shl(2));
  f.if(state.load32(space, SPACE_JUMPS).eqz(), () => {
    const [next] = f.call(cpu.fn.nextGeneration);
    f.do(state.store32(space, next, SPACE_JUMPS));
  });
  const key = f.let(state.load32(0, JUMP_KEY));
  const mode = key.and(KEY_OF_MODE);
  const isUser = key.and(JUMP_USER).ne(0);
  f.do(state.store32(0, jumpKey(cpu, mode, isUser), JUMP_KEY));
}

// What is flat has number 0; where there are more others than numbers, all begin anew.
function defineSegments(cpu: CpuModule): void {
  const { state } = cpu;
  cpu.define("segmentJumps", (f) => {
    const base = f.let(state.load64(0, CS + SEG_BASE));
    const limit = f.let(state.load32(0, CS + SEG_LIMIT));
    const count = f.var("i32", state.load32(0, JUMP_SEGMENT_COUNT));
    const n = f.var("i32");
    const at = () => n.get().mul(JUMP_SEGMENT_STRIDE);
    const number = () => f.return(n.get().add(1).shl(SEGMENT_SHIFT));
    f.block((none) =>
      f.loop((again) => {
        f.brIf(none, n.get().geU(count.get()));
        const isIt = state.load64(at(), JUMP_SEGMENTS).eq(base)
          .and(state.load32(at(), JUMP_SEGMENTS + 8).eq(limit));
        f.if(isIt, () => number());
        f.set(n, n.get().add(1));
        f.br(again);
      })
    );
    f.if(count.get().eq(JUMP_SEGMENTS_MAX), () => {
      f.call(cpu.fn.dropJumps);
      f.set(n, i32(0));
    });
    f.do(state.store64(at(), base, JUMP_SEGMENTS));
    f.do(state.store32(at(), limit, JUMP_SEGMENTS + 8));
    f.do(state.store32(0, n.get().add(1), JUMP_SEGMENT_COUNT));
    number();
  });
}

// Where `JUMP_PAGES` has an address's page.
function pageSlot(la: I64): I32 {
  return la.shrU(12).toI32().and((1 << JUMP_PAGES_BITS) - 1);
}

function defineNotes(cpu: CpuModule): void {
  const { state } = cpu;
  cpu.define("noteRip", (f) => {
    const rip = state.load64(0, RIP);
    const sum = f.let(rip.add(state.load64(0, CS + SEG_BASE)));
    const is64 = state.load32(0, MODE_KEY).and(MODE.CODE).eq(2);
    f.returnCall(cpu.fn.noteJump, f.let(rip.when(is64, sum.and(0xffff_ffff))));
  });
  cpu.define("noteJump", (f) => {
    const la = f.param(0, "i64");
    const entry = f.let(tlbEntry(state.load32(0, TLB_BASE), la));
    const isKnown = state.load64(entry, TLB_FETCH).eq(pageOf(la));
    const meta = f.let(metaOf(cpu, entry).when(isKnown, META_LARGE));
    const isUser = state.load32(0, JUMP_KEY).and(JUMP_USER);
    f.if(
      meta.and(META_GLOBAL).or(isUser).eqz(),
      () => f.do(state.store32(0, i32(1), JUMP_LOCAL)),
    );
    f.do(state.store(1, pageSlot(la), i64(1), JUMP_PAGES));
    f.if(meta.and(META_LARGE), () => {
      const seen = state.load64(0, JUMP_LARGE);
      f.do(state.store64(0, seen.or(largeBit(la)), JUMP_LARGE));
    });
  });
  cpu.define("dropPageJumps", (f) => {
    const la = f.param(0, "i64");
    const isLarge = state.load64(0, JUMP_LARGE).and(largeBit(la)).ne(0);
    const isHere = state.load(1, pageSlot(la), JUMP_PAGES).ne(0);
    f.if(isLarge.or(isHere), () => f.returnCall(cpu.fn.dropJumps));
  });
}

/** Defines the functions of `JUMP_SIGNATURES`. */
export function defineJumps(cpu: CpuModule): void {
  const { state } = cpu;
  defineGenerations(cpu);
  defineSegments(cpu);
  cpu.define("dropJumps", (f) => {
    f.do(state.fill(i32(SPACE_JUMPS), 0, i32(4 * TLB_SPACES)));
    f.do(state.fill(i32(JUMP_PAGES), 0, i32(1 << JUMP_PAGES_BITS)));
    f.do(state.store64(0, i64(0), JUMP_LARGE));
    renewSupervisor(cpu, f);
    settleKey(cpu, f);
  });
  cpu.define("changeJumps", (f) => {
    f.if(state.load32(0, JUMP_LOCAL), () => {
      renewSupervisor(cpu, f);
      f.do(state.store32(0, i32(0), JUMP_LOCAL));
    });
    settleKey(cpu, f);
  });
  defineNotes(cpu);
}
