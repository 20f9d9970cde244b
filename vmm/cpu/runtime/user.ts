// What instructions of user mode need of TypeScript and of the system flags: POPF's
// rules (Intel SDM vol. 2, POPF; vol. 3, 20.3 for virtual-8086 extensions), random
// numbers.

import type { CpuModule } from "../cpu_module.ts";
import { FLAG } from "../flags.ts";
import { type FunctionBuilder, type I32, i32 } from "../wasm/mod.ts";
import { CPL, CR4, SYSTEM_FLAGS } from "../state.ts";
import { EXIT_REASON } from "./host.ts";
import { raise, scratch, VECTOR } from "./traps.ts";
import { CR4_VME } from "./control_bits.ts";

/** Signatures of the functions defined here. */
export const USER_SIGNATURES = {
  /**
   * Whether PUSHF and POPF of a size in virtual-8086 mode see VIF in place of IF
   * (0 or 1): size, site. Raises #GP(0) where they are not allowed.
   */
  virtualFlags: { params: ["i32", "i32"], results: ["i32"] },
  /**
   * POPF's part of the system flags: image, size, `virtualFlags`, site. Answers
   * whether the engine must look at the new ones. Raises #GP(0).
   */
  popSystemFlags: { params: ["i32", "i32", "i32", "i32"], results: ["i32"] },
  /** 64 random bits. */
  randomBits: { params: [], results: ["i64"] },
  /** Records the exit of a PAUSE. */
  pauseExit: { params: [], results: [] },
} as const;

const { AC, DF, ID, IF, IOPL, NT, RF, TF, VIF, VIP } = FLAG;

function systemFlags(cpu: CpuModule, f: FunctionBuilder): I32 {
  return f.let(cpu.state.load32(0, SYSTEM_FLAGS));
}

function protectionFault(cpu: CpuModule, f: FunctionBuilder, site: I32): void {
  raise(cpu, f, site, i32(VECTOR.GP), i32(0));
}

function defineVirtualFlags(cpu: CpuModule): void {
  cpu.define("virtualFlags", (f) => {
    const site = f.param(1, "i32");
    const iopl = systemFlags(cpu, f).and(IOPL);
    f.if(iopl.eq(IOPL), () => f.return(i32(0)));
    const isExtended = cpu.state.load32(0, CR4).and(CR4_VME).ne(0)
      .and(f.param(0, "i32").eq(16));
    f.if(isExtended, () => f.return(i32(1)));
    protectionFault(cpu, f, site);
  });
}

// Flags that POPF takes from the image as they are.
function changeable(cpu: CpuModule, f: FunctionBuilder, old: I32): I32 {
  const isWide = f.param(1, "i32").ne(16);
  const cpl = f.let(cpu.state.load32(0, CPL));
  return i32(TF | DF | NT).or(i32(AC | ID).when(isWide, 0))
    .or(i32(IOPL).when(cpl.eqz(), 0))
    .or(i32(IF).when(cpl.leU(old.and(IOPL).shrU(12)), 0));
}

function definePopSystemFlags(cpu: CpuModule): void {
  cpu.define("popSystemFlags", (f) => {
    const image = f.param(0, "i32");
    const isVirtual = f.param(2, "i32");
    const old = systemFlags(cpu, f);
    const value = f.var("i32");
    const merge = (mask: I32, source: I32) =>
      f.set(
        value,
        old.and(mask.or(RF).xor(-1)).or(source.and(mask)),
      );
    f.if(isVirtual, () => {
      const isPending = image.and(IF).ne(0).and(old.and(VIP).ne(0));
      f.if(
        image.and(TF).or(isPending),
        () => protectionFault(cpu, f, f.param(3, "i32")),
      );
      const vif = i32(VIF).when(image.and(IF), 0);
      merge(i32(DF | NT | VIF), image.and(DF | NT).or(vif));
    }, () => merge(f.let(changeable(cpu, f, old)), image));
    const now = f.let(value.get());
    f.do(cpu.state.store32(0, now, SYSTEM_FLAGS));
    const changed = f.let(now.xor(old));
    // An interrupt may wait for IF; TF and AC are part of the mode.
    f.return(changed.and(TF | AC).or(changed.and(now).and(IF)));
  });
}

/** Defines the functions of `USER_SIGNATURES`. */
export function defineUser(cpu: CpuModule): void {
  defineVirtualFlags(cpu);
  definePopSystemFlags(cpu);
  cpu.define("randomBits", (f) => {
    f.call(cpu.host.random);
    f.return(scratch(cpu, 0));
  });
  cpu.define("pauseExit", (f) => {
    f.call(cpu.host.exit, i32(EXIT_REASON.PAUSE));
  });
}
