// Port I/O: permission by CPL, IOPL and the TSS's bitmap (Intel SDM vol. 1, 19.5), and
// the way to the host. Values lie in slot 0 of SCRATCH.

import type { CpuModule } from "../cpu_module.ts";
import { FLAG } from "../flags.ts";
import { type FunctionBuilder, type I32, i32, i64 } from "../wasm/mod.ts";
import {
  ACCESS,
  CPL,
  CR0,
  SEG_ACCESS,
  SEG_BASE,
  SEG_LIMIT,
  SYSTEM_FLAGS,
  TR,
} from "../state.ts";
import { HOST } from "./host.ts";
import { raise, scratch, setScratch, VECTOR } from "./traps.ts";
import { CR0_PE } from "./control_bits.ts";

/** Signatures of the functions defined here. */
export const IO_SIGNATURES = {
  /** Raises #GP(0) where a port may not be used: port, bytes, site. */
  checkPort: { params: ["i32", "i32", "i32"], results: [] },
  /** Reads a port that was checked: port, bytes, site. Zero-extended. */
  portIn: { params: ["i32", "i32", "i32"], results: ["i64"] },
  /** Writes a port that was checked: port, bytes, value, site. */
  portOut: { params: ["i32", "i32", "i64", "i32"], results: [] },
} as const;

/** Where a 32-bit or 64-bit TSS has the offset of its bitmap. */
const TSS_BITMAP = 0x66;
/** Least limit of a TSS that has that field. */
const TSS_LIMIT = 0x67;
/** Type and S bit of a TSS with a bitmap, without the bit that says "busy". */
const TSS_TYPE = 9;

function protectionFault(cpu: CpuModule, f: FunctionBuilder, site: I32): void {
  raise(cpu, f, site, i32(VECTOR.GP), i32(0));
}

// Returns from the function where no bitmap need be asked.
function returnIfFree(cpu: CpuModule, f: FunctionBuilder): void {
  const { state } = cpu;
  const flags = f.let(state.load32(0, SYSTEM_FLAGS));
  const isReal = state.load32(0, CR0).and(CR0_PE).eqz();
  const isPrivileged = state.load32(0, CPL).leU(
    flags.and(FLAG.IOPL).shrU(12),
  );
  const isVirtual = flags.and(FLAG.VM);
  f.if(isReal.or(isPrivileged.and(isVirtual.eqz())), () => f.return());
}

function defineCheckPort(cpu: CpuModule): void {
  const { state, fn } = cpu;
  cpu.define("checkPort", (f) => {
    const port = f.param(0, "i32");
    const bytes = f.param(1, "i32");
    const site = f.param(2, "i32");
    returnIfFree(cpu, f);
    const limit = f.let(state.load32(0, TR + SEG_LIMIT));
    const access = state.load32(0, TR + SEG_ACCESS);
    const isTss = access.and(ACCESS.TYPE & ~2).eq(TSS_TYPE)
      .and(limit.geU(TSS_LIMIT));
    f.if(isTss.eqz(), () => protectionFault(cpu, f, site));
    const base = f.let(state.load64(0, TR + SEG_BASE));
    const load = (offset: I32) =>
      f.call(fn.loadSystem, base.add(offset.toI64U()), i32(2), site)[0];
    const bitmap = load(i32(TSS_BITMAP)).toI32();
    const at = f.let(bitmap.add(port.shrU(3)));
    // Two bytes are read always, so the bitmap ends with one of ones.
    f.if(at.geU(limit), () => protectionFault(cpu, f, site));
    const bits = load(at).toI32().shrU(port.and(7));
    const wanted = i32(1).shl(bytes).sub(1);
    f.if(bits.and(wanted), () => protectionFault(cpu, f, site));
  });
}

function unlessDone(
  cpu: CpuModule,
  f: FunctionBuilder,
  answer: I32,
  site: I32,
): void {
  f.if(answer.ne(HOST.DONE), () => {
    f.if(answer.eq(HOST.FAULT), () => protectionFault(cpu, f, site));
    f.call(cpu.fn.leave, site);
    f.unreachable();
  });
}

/** Defines the functions of `IO_SIGNATURES`. */
export function defineIo(cpu: CpuModule): void {
  defineCheckPort(cpu);
  cpu.define("portIn", (f) => {
    const bytes = f.param(1, "i32");
    const [answer] = f.call(cpu.host.portRead, f.param(0, "i32"), bytes);
    unlessDone(cpu, f, answer, f.param(2, "i32"));
    const unused = i64(64).sub(bytes.shl(3).toI64U());
    const value = scratch(cpu, 0);
    f.return(value.shl(unused).shrU(unused));
  });
  cpu.define("portOut", (f) => {
    setScratch(cpu, f, 0, f.param(2, "i64"));
    const [answer] = f.call(
      cpu.host.portWrite,
      f.param(0, "i32"),
      f.param(1, "i32"),
    );
    unlessDone(cpu, f, answer, f.param(3, "i32"));
  });
}
