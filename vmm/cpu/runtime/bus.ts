// What locked instructions do where no host atomic can: unaligned in RAM, and in two
// pages of it. All that can trap happens in `prepareLocked`, before the bus is locked.

import type { CpuModule } from "../cpu_module.ts";
import {
  type FunctionBuilder,
  type I32,
  i32,
  type I64,
  i64,
} from "../wasm/mod.ts";
import { BUS_LOCK } from "../shared_code.ts";
import { TLB_BASE } from "../state.ts";
import { crosses, dropCode, secondPage } from "./memory.ts";
import { ACCESS_WRITE, NOT_RAM } from "./walk.ts";

/** Signatures of the functions defined here. */
export const BUS_SIGNATURES = {
  /** Takes the lock for what no host atomic can do; nothing may trap until it is free. */
  lockBus: { params: [], results: [] },
  /** Releases it. */
  unlockBus: { params: [], results: [] },
  /**
   * Makes sure that bytes can be read and written, and answers the offsets in memory
   * 1 of the first and of what lies in the next page, if anything does; the first is
   * `NOT_RAM` where a part is not memory: linear address, bytes, site.
   */
  prepareLocked: {
    params: ["i64", "i32", "i32"],
    results: ["i64", "i64"],
  },
  /** Reads bytes at what `prepareLocked` answered: both offsets, bytes. */
  loadLocked: { params: ["i64", "i64", "i32"], results: ["i64"] },
  /** Writes them: both offsets, bytes, value. */
  storeLocked: { params: ["i64", "i64", "i32", "i64"], results: [] },
} as const;

function definePrepare(cpu: CpuModule): void {
  cpu.define("prepareLocked", (f) => {
    const la = f.param(0, "i64");
    const bytes = f.param(1, "i32");
    const site = f.param(2, "i32");
    const array = f.let(cpu.state.load32(0, TLB_BASE));
    const translate = (at: I64, length: I32) => {
      const [host] = f.call(
        cpu.fn.translate,
        at,
        i32(ACCESS_WRITE),
        array,
        site,
      );
      f.if(host.eq(NOT_RAM), () => f.return(i64(NOT_RAM), i64(0)));
      dropCode(cpu, f, host, length);
      return host;
    };
    f.if(crosses(la, bytes).eqz(), () => {
      f.return(translate(la, bytes), i64(0));
    });
    const here = f.let(i32(4096).sub(la.toI32().and(0xfff)));
    const second = translate(secondPage(cpu, f, la, bytes), bytes.sub(here));
    f.return(translate(la, here), second);
  });
}

// Calls `body` for each byte with its offset in memory 1 and its place in the value.
function eachByte(
  f: FunctionBuilder,
  bytes: I32,
  body: (host: I64, shift: I64) => void,
): void {
  const first = f.param(0, "i64");
  const second = f.param(1, "i64");
  const n = f.var("i64");
  // An offset keeps its place in the page.
  const here = f.let(i64(4096).sub(first.and(0xfff)));
  f.loop((again) => {
    const at = f.let(n.get());
    const isHere = at.ltU(here);
    const host = first.add(at).when(isHere, second.add(at.sub(here)));
    body(f.let(host), f.let(at.shl(3)));
    f.set(n, at.add(1));
    f.brIf(again, n.get().ltU(bytes.toI64U()));
  });
}

// Spins: whoever holds it makes one access.
function defineLock(cpu: CpuModule): void {
  const { common } = cpu;
  cpu.define("lockBus", (f) => {
    f.loop((again) => {
      const found = common.atomicCmpxchg(4, 0, 0, 1, BUS_LOCK);
      f.brIf(again, found.ne(0));
    });
  });
  cpu.define("unlockBus", (f) => f.do(common.atomicStore(4, 0, 0, BUS_LOCK)));
}

/** Defines the functions of `BUS_SIGNATURES`. */
export function defineBus(cpu: CpuModule): void {
  defineLock(cpu);
  definePrepare(cpu);
  cpu.define("loadLocked", (f) => {
    const value = f.var("i64");
    eachByte(f, f.param(2, "i32"), (host, shift) => {
      const byte = cpu.ram.load(1, host);
      f.set(value, value.get().or(byte.shl(shift)));
    });
    f.return(value.get());
  });
  cpu.define("storeLocked", (f) => {
    const value = f.param(3, "i64");
    eachByte(f, f.param(2, "i32"), (host, shift) => {
      f.do(cpu.ram.store(1, host, value.shrU(shift)));
    });
  });
}
