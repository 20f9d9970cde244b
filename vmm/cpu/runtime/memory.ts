// Memory accesses that miss the TLB's fast path: misses, page crossings, device
// memory, pages with code, watchpoints (Intel SDM vol. 3, 17.2.4).

import type { CpuModule } from "../cpu_module.ts";
import {
  type FunctionBuilder,
  type I32,
  i32,
  type I64,
  i64,
} from "../wasm/mod.ts";
import {
  DR,
  TLB_BASE,
  TLB_MODE_ALIGNED,
  TLB_SYSTEM,
  WATCH_HITS,
} from "../state.ts";
import { checkAlignment, checkTop, wrap } from "./alignment.ts";
import { HOST } from "./host.ts";
import { tlbMode } from "./tlb.ts";
import { scratch, setScratch } from "./traps.ts";
import {
  ACCESS_QUIET,
  ACCESS_READ,
  ACCESS_WRITE,
  NOT_RAM,
  SCRATCH_CODE,
  SCRATCH_PA,
} from "./walk.ts";

/** Signatures of the functions defined here. */
export const MEMORY_SIGNATURES = {
  /** Reads 1, 2, 4 or 8 bytes: linear address, bytes, site. Zero-extended. */
  loadSlow: { params: ["i64", "i32", "i32"], results: ["i64"] },
  /** Writes 1, 2, 4 or 8 bytes: linear address, bytes, value, site. */
  storeSlow: { params: ["i64", "i32", "i64", "i32"], results: [] },
  /** As `loadSlow`, through a given TLB array. */
  loadVia: { params: ["i64", "i32", "i32", "i32"], results: ["i64"] },
  /** As `storeSlow`, through a given TLB array. */
  storeVia: { params: ["i64", "i32", "i64", "i32", "i32"], results: [] },
  /** Reads a system structure, always as supervisor: address, bytes, site. */
  loadSystem: { params: ["i64", "i32", "i32"], results: ["i64"] },
  /** Writes a system structure, always as supervisor. */
  storeSystem: { params: ["i64", "i32", "i64", "i32"], results: [] },
  /**
   * Makes sure that bytes can be written (so that nothing faults later) and
   * answers their offset in memory 1, or `NOT_RAM` where the write must go
   * through `storeSlow`: linear address, bytes (up to 4096), site.
   */
  prepareWrite: { params: ["i64", "i32", "i32"], results: ["i64"] },
  /** As `prepareWrite`, for reading. */
  prepareRead: { params: ["i64", "i32", "i32"], results: ["i64"] },
  /**
   * What an address plus it is the offset in memory 1, after the TLB has been filled for
   * an access to plain RAM in one page; `NOT_RAM` for any other, of which nothing was
   * done: linear address, bytes, access (`ACCESS_READ` or `ACCESS_WRITE`).
   */
  refill: { params: ["i64", "i32", "i32"], results: ["i64"] },
} as const;

/** Whether bytes at an address reach into the next page. */
export function crosses(la: I64, bytes: I32): I32 {
  return la.toI32().and(0xfff).add(bytes).gtU(4096);
}

/** The first byte of the second page that an access touches. */
export function secondPage(
  cpu: CpuModule,
  f: FunctionBuilder,
  la: I64,
  bytes: I32,
): I64 {
  const last = f.let(la.add(bytes.sub(1).toI64U()));
  return f.let(wrap(cpu, f.let(last.and(-4096))));
}

// Notes data breakpoints that an access hits. R/W 01 matches writes, 11 both.
function watch(
  cpu: CpuModule,
  f: FunctionBuilder,
  la: I64,
  bytes: I32,
  isWrite: boolean,
): void {
  const { state } = cpu;
  const dr7 = f.let(state.load32(0, DR + 56));
  f.if(dr7.and(0xff), () => {
    for (let n = 0; n < 4; n++) {
      const control = f.let(dr7.shrU(16 + 4 * n));
      const rw = control.and(3);
      const matches = isWrite ? rw.and(1).ne(0) : rw.eq(3);
      const enabled = dr7.and(3 << (2 * n)).ne(0);
      // LEN: 00 one byte, 01 two, 11 four, 10 eight.
      const len = control.shrU(2).and(3);
      const size = f.let(
        i32(8).when(len.eq(2), len.add(1)).toI64U(),
      );
      const start = f.let(state.load64(0, DR + 8 * n).and(size.sub(1).xor(-1)));
      const overlaps = start.ltU(la.add(bytes.toI64U()))
        .and(la.ltU(start.add(size)));
      f.if(
        enabled.and(matches).and(overlaps),
        () =>
          f.do(
            state.store32(
              0,
              state.load32(0, WATCH_HITS).or(1 << n),
              WATCH_HITS,
            ),
          ),
      );
    }
  });
}

// Reads 1, 2, 4 or 8 bytes of RAM at an offset.
function ramLoad(
  cpu: CpuModule,
  f: FunctionBuilder,
  offset: I64,
  bytes: I32,
): I64 {
  const value = f.var("i64");
  f.switch(
    bytes.ctz(),
    ([1, 2, 4, 8] as const).map((width) => () =>
      f.set(value, cpu.ram.load(width, offset))
    ),
  );
  return f.let(value.get());
}

function ramStore(
  cpu: CpuModule,
  f: FunctionBuilder,
  offset: I64,
  bytes: I32,
  value: I64,
): void {
  f.switch(
    bytes.ctz(),
    ([1, 2, 4, 8] as const).map((width) => () =>
      f.do(cpu.ram.store(width, offset, value))
    ),
  );
}

// Acts on the answer of a host function: an exit leaves the instruction.
function unlessDone(
  cpu: CpuModule,
  f: FunctionBuilder,
  answer: I32,
  site: I32,
): void {
  f.if(answer.ne(HOST.DONE), () => {
    f.call(cpu.fn.leave, site);
    f.unreachable();
  });
}

// Reads bytes of one page.
function loadPart(
  cpu: CpuModule,
  f: FunctionBuilder,
  la: I64,
  bytes: I32,
  array: I32,
  site: I32,
): I64 {
  const [offset] = f.call(
    cpu.fn.translate,
    la,
    i32(ACCESS_READ),
    array,
    site,
  );
  return f.ifValue(offset.ne(NOT_RAM), "i64", () => {
    return ramLoad(cpu, f, offset, bytes);
  }, () => {
    const pa = f.let(scratch(cpu, SCRATCH_PA));
    const [answer] = f.call(
      cpu.host.mmioRead,
      pa.toI32(),
      pa.shrU(32).toI32(),
      bytes,
    );
    unlessDone(cpu, f, answer, site);
    return scratch(cpu, 0);
  });
}

function storePart(
  cpu: CpuModule,
  f: FunctionBuilder,
  args: { la: I64; bytes: I32; value: I64; array: I32; site: I32 },
): void {
  const [offset] = f.call(
    cpu.fn.translate,
    args.la,
    i32(ACCESS_WRITE),
    args.array,
    args.site,
  );
  f.if(offset.ne(NOT_RAM), () => {
    dropCode(cpu, f, offset, args.bytes);
    ramStore(cpu, f, offset, args.bytes, args.value);
  }, () => {
    const pa = f.let(scratch(cpu, SCRATCH_PA));
    setScratch(cpu, f, 0, args.value);
    const [answer] = f.call(
      cpu.host.mmioWrite,
      pa.toI32(),
      pa.shrU(32).toI32(),
      args.bytes,
    );
    unlessDone(cpu, f, answer, args.site);
  });
}

/** After a translation for writing: code that the bytes hit is dropped first. */
export function dropCode(
  cpu: CpuModule,
  f: FunctionBuilder,
  offset: I64,
  bytes: I32,
): void {
  f.if(scratch(cpu, SCRATCH_CODE).toI32(), () => {
    f.call(
      cpu.fn.beforeCodeWrite,
      offset.shrU(12).toI32(),
      offset.toI32().and(0xfff),
      bytes,
    );
  });
}

function defineLoadVia(cpu: CpuModule): void {
  cpu.define("loadVia", (f) => {
    const la = f.param(0, "i64");
    const bytes = f.param(1, "i32");
    const array = f.param(2, "i32");
    const site = f.param(3, "i32");
    checkAlignment(cpu, f, { la, bytes, array, site });
    watch(cpu, f, la, bytes, false);
    f.if(crosses(la, bytes).eqz(), () => {
      f.return(loadPart(cpu, f, la, bytes, array, site));
    });
    checkTop(cpu, f, la, bytes, site);
    const value = f.var("i64");
    const n = f.var("i32");
    f.loop((again) => {
      const at = f.let(wrap(cpu, f.let(la.add(n.get().toI64U()))));
      const byte = loadPart(cpu, f, at, i32(1), array, site);
      f.set(value, value.get().or(byte.shl(n.get().shl(3).toI64U())));
      f.set(n, n.get().add(1));
      f.brIf(again, n.get().ltU(bytes));
    });
    f.return(value.get());
  });
}

function defineStoreVia(cpu: CpuModule): void {
  cpu.define("storeVia", (f) => {
    const la = f.param(0, "i64");
    const bytes = f.param(1, "i32");
    const value = f.param(2, "i64");
    const array = f.param(3, "i32");
    const site = f.param(4, "i32");
    checkAlignment(cpu, f, { la, bytes, array, site });
    watch(cpu, f, la, bytes, true);
    f.if(crosses(la, bytes).eqz(), () => {
      storePart(cpu, f, { la, bytes, value, array, site });
      f.return();
    });
    checkTop(cpu, f, la, bytes, site);
    // Both pages must take the write before either is written.
    f.call(cpu.fn.translate, la, i32(ACCESS_WRITE), array, site);
    const second = secondPage(cpu, f, la, bytes);
    f.call(cpu.fn.translate, second, i32(ACCESS_WRITE), array, site);
    const n = f.var("i32");
    f.loop((again) => {
      const at = f.let(wrap(cpu, f.let(la.add(n.get().toI64U()))));
      const byte = f.let(value.shrU(n.get().shl(3).toI64U()));
      storePart(cpu, f, { la: at, bytes: i32(1), value: byte, array, site });
      f.set(n, n.get().add(1));
      f.brIf(again, n.get().ltU(bytes));
    });
  });
}

function definePrepare(
  cpu: CpuModule,
  name: "prepareWrite" | "prepareRead",
): void {
  const isWrite = name === "prepareWrite";
  const access = i32(isWrite ? ACCESS_WRITE : ACCESS_READ);
  cpu.define(name, (f) => {
    const la = f.param(0, "i64");
    const bytes = f.param(1, "i32");
    const site = f.param(2, "i32");
    const array = f.let(cpu.state.load32(0, TLB_BASE));
    checkAlignment(cpu, f, { la, bytes, array, site });
    watch(cpu, f, la, bytes, isWrite);
    f.if(crosses(la, bytes), () => checkTop(cpu, f, la, bytes, site));
    const [offset] = f.call(cpu.fn.translate, la, access, array, site);
    f.if(crosses(la, bytes), () => {
      const second = secondPage(cpu, f, la, bytes);
      f.call(cpu.fn.translate, second, access, array, site);
      f.return(i64(NOT_RAM));
    });
    if (isWrite) {
      f.if(offset.ne(NOT_RAM), () => dropCode(cpu, f, offset, bytes));
    }
    f.return(offset);
  });
}

function defineRefill(cpu: CpuModule): void {
  const { state } = cpu;
  cpu.define("refill", (f) => {
    const la = f.param(0, "i64");
    const bytes = f.param(1, "i32");
    const access = f.param(2, "i32");
    const array = f.let(state.load32(0, TLB_BASE));
    const isWatched = state.load32(0, DR + 56).and(0xff).ne(0);
    const isAligned = tlbMode(array).eq(TLB_MODE_ALIGNED);
    const isOther = crosses(la, bytes).or(isWatched).or(isAligned);
    f.if(isOther, () => f.return(i64(NOT_RAM)));
    const quiet = access.or(ACCESS_QUIET);
    const [offset] = f.call(cpu.fn.translate, la, quiet, array, i32(0));
    const isCode = scratch(cpu, SCRATCH_CODE).ne(0);
    const isFound = offset.geS(0).and(isCode.eqz());
    f.return(offset.sub(la).when(isFound, i64(NOT_RAM)));
  });
}

/** Defines the functions of `MEMORY_SIGNATURES`. */
export function defineMemory(cpu: CpuModule): void {
  const { state, fn } = cpu;
  defineLoadVia(cpu);
  defineStoreVia(cpu);
  definePrepare(cpu, "prepareWrite");
  definePrepare(cpu, "prepareRead");
  defineRefill(cpu);
  for (
    const [load, store, array] of [
      ["loadSlow", "storeSlow", TLB_BASE],
      ["loadSystem", "storeSystem", TLB_SYSTEM],
    ] as const
  ) {
    cpu.define(load, (f) =>
      f.returnCall(
        fn.loadVia,
        f.param(0, "i64"),
        f.param(1, "i32"),
        state.load32(0, array),
        f.param(2, "i32"),
      ));
    cpu.define(store, (f) =>
      f.returnCall(
        fn.storeVia,
        f.param(0, "i64"),
        f.param(1, "i32"),
        f.param(2, "i64"),
        state.load32(0, array),
        f.param(3, "i32"),
      ));
  }
}
