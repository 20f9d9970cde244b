// Runs of string elements inside one page, for repeated MOVS, STOS, SCAS and CMPS
// (Intel SDM vol. 1, 7.3.9). A run answers how many elements it did; zero where the
// first must go the general way: not in the TLB, across pages, in device memory.

import type { CpuModule } from "../cpu_module.ts";
import { FLAG } from "../flags.ts";
import {
  type FunctionBuilder,
  type I32,
  i32,
  type I64,
  i64,
  type Width,
} from "../wasm/mod.ts";
import {
  SYSTEM_FLAGS,
  TLB_ADDEND,
  TLB_BASE,
  TLB_READ,
  TLB_WRITE,
} from "../state.ts";
import { tlbEntry } from "./tlb.ts";

/** Signatures of the functions defined here; `shift` is log2 of an element's bytes. */
export const STRING_SIGNATURES = {
  /** MOVS: destination, source, elements, shift. */
  copyRun: { params: ["i64", "i64", "i64", "i32"], results: ["i64"] },
  /** STOS: destination, elements, shift, value. */
  fillRun: { params: ["i64", "i64", "i32", "i64"], results: ["i64"] },
  /**
   * SCAS, elements that are equal to a value, or are not: address, elements, shift,
   * value, 1 for equal or 0.
   */
  scanRun: { params: ["i64", "i64", "i32", "i64", "i32"], results: ["i64"] },
  /** CMPS, likewise for two strings: two addresses, elements, shift, 1 or 0. */
  compareRun: {
    params: ["i64", "i64", "i64", "i32", "i32"],
    results: ["i64"],
  },
} as const;

/** An element in RAM and how far its page goes on in the direction of the string. */
interface Window {
  /** offset of the first element in memory 1 */
  readonly host: I64;
  /** bytes from it to the end of the page, itself included */
  readonly room: I64;
}

/** One call's parameters that all runs have. */
interface Run {
  readonly cpu: CpuModule;
  readonly f: FunctionBuilder;
  /** bytes of an element */
  readonly width: I64;
  /** whether the string goes downwards */
  readonly down: I32;
}

function begin(cpu: CpuModule, f: FunctionBuilder, shift: I32): Run {
  const width = f.let(i32(1).shl(shift).toI64U());
  const flags = cpu.state.load32(0, SYSTEM_FLAGS);
  return { cpu, f, width, down: f.let(flags.and(FLAG.DF)) };
}

// Answers zero for the function where the element is not in one page of RAM.
function windowAt(run: Run, la: I64, tag: number): Window {
  const { cpu: { state }, f, width, down } = run;
  const entry = f.let(tlbEntry(state.load32(0, TLB_BASE), la));
  const inPage = f.let(la.xor(state.load64(entry, tag)));
  f.if(inPage.gtU(i64(4096).sub(width)), () => f.return(i64(0)));
  return {
    host: f.let(la.add(state.load64(entry, TLB_ADDEND))),
    room: f.let(inPage.add(width).when(down, i64(4096).sub(inPage))),
  };
}

function least(f: FunctionBuilder, a: I64, b: I64): I64 {
  const x = f.let(a);
  const y = f.let(b);
  return f.let(x.when(x.ltU(y), y));
}

// Bytes of whole elements that fit.
function wholeBytes(run: Run, elements: I64, shift: I32, room: I64): I64 {
  const { f, width } = run;
  const wanted = least(f, elements, i64(4096)).shl(shift.toI64U());
  const fits = least(f, wanted, room);
  return f.let(fits.and(i64(0).sub(width)));
}

// Where the bytes of a run begin: a run downwards begins with its last element.
function lowest(run: Run, host: I64, bytes: I64): I64 {
  return host.sub(bytes.sub(run.width).when(run.down, 0));
}

function defineCopyRun(cpu: CpuModule): void {
  cpu.define("copyRun", (f) => {
    const shift = f.param(3, "i32");
    const run = begin(cpu, f, shift);
    const to = windowAt(run, f.param(0, "i64"), TLB_WRITE);
    const from = windowAt(run, f.param(1, "i64"), TLB_READ);
    const room = least(f, to.room, from.room);
    const most = wholeBytes(run, f.param(2, "i64"), shift, room);
    // What is written before it is read repeats: no farther than the distance.
    const distance = f.let(to.host.sub(from.host));
    const ahead = f.let(i64(0).sub(distance).when(run.down, distance));
    const repeats = ahead.ne(0).and(ahead.ltU(most));
    const whole = ahead.and(i64(0).sub(run.width));
    const bytes = f.let(whole.when(repeats, most));
    f.do(cpu.ram.copy(
      lowest(run, to.host, bytes),
      lowest(run, from.host, bytes),
      bytes,
    ));
    f.return(bytes.shrU(shift.toI64U()));
  });
}

// An element repeated through 64 bits.
function repeated(f: FunctionBuilder, value: I64, shift: I32): I64 {
  const factor = f.var("i64", i64(1));
  f.switch(
    shift,
    [0x0101_0101_0101_0101n, 0x0001_0001_0001_0001n, 0x0000_0001_0000_0001n]
      .map((ones) => () => f.set(factor, i64(ones))),
    () => {},
  );
  return f.let(value.mul(factor.get()));
}

// Stores a pattern of 64 bits over bytes, two at a time at the end.
function storePattern(
  cpu: CpuModule,
  f: FunctionBuilder,
  start: I64,
  bytes: I64,
  pattern: I64,
): void {
  const at = f.var("i64", start);
  const end = f.let(start.add(bytes));
  const rest = f.var("i64", pattern);
  const whileRoom = (step: number, body: () => void) =>
    f.block((done) =>
      f.loop((again) => {
        f.brIf(done, end.sub(at.get()).ltU(step));
        body();
        f.set(at, at.get().add(step));
        f.br(again);
      })
    );
  whileRoom(8, () => f.do(cpu.ram.store64(at.get(), pattern)));
  whileRoom(2, () => {
    f.do(cpu.ram.store(2, at.get(), rest.get()));
    f.set(rest, rest.get().shrU(16));
  });
}

function defineFillRun(cpu: CpuModule): void {
  cpu.define("fillRun", (f) => {
    const shift = f.param(2, "i32");
    const run = begin(cpu, f, shift);
    const to = windowAt(run, f.param(0, "i64"), TLB_WRITE);
    const bytes = wholeBytes(run, f.param(1, "i64"), shift, to.room);
    const start = f.let(lowest(run, to.host, bytes));
    const pattern = repeated(f, f.param(3, "i64"), shift);
    f.if(
      pattern.rotl(8).eq(pattern),
      () => f.do(cpu.ram.fill(start, pattern.toI32(), bytes)),
      () => storePattern(cpu, f, start, bytes, pattern),
    );
    f.return(bytes.shrU(shift.toI64U()));
  });
}

// Counts elements from the first on for which `differs` is as wanted.
function countWhile(
  run: Run,
  bytes: I64,
  shift: I32,
  wantsEqual: I32,
  differs: (offset: I64, width: Width) => I32,
): void {
  const { f, width, down } = run;
  const step = f.let(i64(0).sub(width).when(down, width));
  const offset = f.var("i64");
  const left = f.var("i64", bytes);
  f.switch(
    shift,
    ([1, 2, 4, 8] as const).map((w) => () =>
      f.block((done) =>
        f.loop((again) => {
          f.brIf(done, left.get().eqz());
          f.brIf(done, differs(offset.get(), w).eq(wantsEqual));
          f.set(offset, offset.get().add(step));
          f.set(left, left.get().sub(width));
          f.br(again);
        })
      )
    ),
  );
  f.return(bytes.sub(left.get()).shrU(shift.toI64U()));
}

function defineSearches(cpu: CpuModule): void {
  cpu.define("scanRun", (f) => {
    const shift = f.param(2, "i32");
    const value = f.param(3, "i64");
    const run = begin(cpu, f, shift);
    const { host, room } = windowAt(run, f.param(0, "i64"), TLB_READ);
    const bytes = wholeBytes(run, f.param(1, "i64"), shift, room);
    countWhile(
      run,
      bytes,
      shift,
      f.param(4, "i32"),
      (offset, w) => cpu.ram.load(w, host.add(offset)).ne(value),
    );
  });
  cpu.define("compareRun", (f) => {
    const shift = f.param(3, "i32");
    const run = begin(cpu, f, shift);
    const a = windowAt(run, f.param(0, "i64"), TLB_READ);
    const b = windowAt(run, f.param(1, "i64"), TLB_READ);
    const room = least(f, a.room, b.room);
    const bytes = wholeBytes(run, f.param(2, "i64"), shift, room);
    const load = (w: Width, from: Window, offset: I64) =>
      cpu.ram.load(w, from.host.add(offset));
    countWhile(
      run,
      bytes,
      shift,
      f.param(4, "i32"),
      (offset, w) => load(w, a, offset).ne(load(w, b, offset)),
    );
  });
}

/** Defines the functions of `STRING_SIGNATURES`. */
export function defineStrings(cpu: CpuModule): void {
  defineCopyRun(cpu);
  defineFillRun(cpu);
  defineSearches(cpu);
}
