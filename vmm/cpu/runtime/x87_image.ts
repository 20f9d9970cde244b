// The x87's state in memory: FNSTENV, FLDENV, FNSAVE and FRSTOR in their four
// layouts (Intel SDM vol. 1, 8.1.10), FXSAVE and FXRSTOR (vol. 2, table 3-46).

import type { CpuModule } from "../cpu_module.ts";
import {
  type FunctionBuilder,
  type I32,
  i32,
  type I32Like,
  type I64,
  i64,
  MOSTLY,
  type Width,
} from "../wasm/mod.ts";
import {
  CPL,
  CR0,
  CR4,
  EFER,
  FPR,
  FPU_FCS,
  FPU_FDP,
  FPU_FDS,
  FPU_FIP,
  FPU_FOP,
  FPU_TAGS,
  FPU_TOP,
  MXCSR,
  SYSTEM_FLAGS,
  VECTOR_STRIDE,
  VENDOR_INTEL,
  XMM,
} from "../state.ts";
import { FLAG } from "../flags.ts";
import { uncheckedArray } from "./alignment.ts";
import { raise, VECTOR } from "./traps.ts";
import { CR0_PE, CR4_OSFXSR, NOT_RAM } from "./walk.ts";
import { SUMMARY, X87Stack } from "./x87_stack.ts";

/** Signatures of the functions defined here. */
export const X87_IMAGE_SIGNATURES = {
  /** FNSTENV: linear address, 1 for the 32-bit layout, site. */
  x87StoreEnvironment: { params: ["i64", "i32", "i32"], results: [] },
  /** FLDENV: linear address, 1 for the 32-bit layout, site. */
  x87LoadEnvironment: { params: ["i64", "i32", "i32"], results: [] },
  /** FNSAVE: linear address, 1 for the 32-bit layout, site. */
  x87Save: { params: ["i64", "i32", "i32"], results: [] },
  /** FRSTOR: linear address, 1 for the 32-bit layout, site. */
  x87Restore: { params: ["i64", "i32", "i32"], results: [] },
  /** The tag word in the form of FNSTENV. */
  x87FullTags: { params: [], results: ["i32"] },
  /** FXSAVE: linear address, 1 for FXSAVE64, XMM registers, site. */
  fxSave: { params: ["i64", "i32", "i32", "i32"], results: [] },
  /** FXRSTOR: linear address, 1 for FXRSTOR64, XMM registers, site. */
  fxRestore: { params: ["i64", "i32", "i32", "i32"], results: [] },
} as const;

/** Bytes of the environment, by layout. */
export const ENVIRONMENT_BYTES = [14, 28] as const;
/** Bytes of the eight registers behind it. */
const REGISTER_BYTES = 80;
const FXSAVE_BYTES = 512;
const FX_REGISTERS = 32;
const FX_XMM = 160;
/** Bits of MXCSR that there are, and what FXSAVE says about them. */
const MXCSR_MASK = 0xffff;
/** EFER: FXSAVE leaves XMM registers out in 64-bit mode at CPL 0. */
const EFER_FFXSR = 0x4000;

/** Defines the functions of `X87_IMAGE_SIGNATURES`. */
export function defineX87Image(cpu: CpuModule): void {
  defineFullTags(cpu);
  cpu.define("x87StoreEnvironment", (f) => {
    prepare(cpu, f, i32(0), "write");
    storeEnvironment(cpu, f);
    // What is pending stays so, but masked.
    const s = new X87Stack(cpu, f);
    s.setControl(s.control().or(0x3f));
  });
  cpu.define("x87LoadEnvironment", (f) => {
    prepare(cpu, f, i32(0), "read");
    loadEnvironment(cpu, f);
  });
  cpu.define("x87Save", (f) => {
    const bytes = f.let(environmentBytes(f));
    prepare(cpu, f, i32(REGISTER_BYTES), "write");
    storeEnvironment(cpu, f);
    eachRegister(cpu, f, 10, bytes, (io, register, offset) => {
      io.store(8, offset, cpu.state.load64(register));
      io.store(2, offset.add(8), cpu.state.load16(register, 8).toI64U());
    });
    f.call(cpu.fn.x87Init);
  });
  cpu.define("x87Restore", (f) => {
    const bytes = f.let(environmentBytes(f));
    prepare(cpu, f, i32(REGISTER_BYTES), "read");
    loadEnvironment(cpu, f);
    eachRegister(cpu, f, 10, bytes, (io, register, offset) => {
      f.do(cpu.state.store64(register, io.load(8, offset)));
      f.do(cpu.state.store16(register, io.load(2, offset.add(8)).toI32(), 8));
    });
  });
  cpu.define("fxSave", (f) => emitFxSave(cpu, f));
  cpu.define("fxRestore", (f) => emitFxRestore(cpu, f));
}

/**
 * Accesses to an image at the address in parameter 0, whose alignment has been checked;
 * in memory 1 where it is known to lie at `host` there, which may be `NOT_RAM`.
 */
class Image {
  readonly #array: I32;

  constructor(
    readonly cpu: CpuModule,
    readonly f: FunctionBuilder,
    readonly site: I32,
    readonly host?: I64,
  ) {
    this.#array = f.let(uncheckedArray(cpu));
  }

  #address(offset: I32Like): I64 {
    return this.f.param(0, "i64").add(i32(offset).toI64U());
  }

  store(width: Width, offset: I32Like, value: I64): void {
    const { cpu, f, host } = this;
    const slow = () => {
      const at = this.#address(offset);
      f.call(cpu.fn.storeVia, at, i32(width), value, this.#array, this.site);
    };
    if (host === undefined) return slow();
    const at = host.add(i32(offset).toI64U());
    f.if(
      host.ne(NOT_RAM),
      () => f.do(cpu.ram.store(width, at, value)),
      slow,
      MOSTLY,
    );
  }

  load(width: Width, offset: I32Like): I64 {
    const { cpu, f, host } = this;
    const slow = () => {
      const at = this.#address(offset);
      return f.call(cpu.fn.loadVia, at, i32(width), this.#array, this.site)[0];
    };
    if (host === undefined) return slow();
    const at = host.add(i32(offset).toI64U());
    return f.ifValue(
      host.ne(NOT_RAM),
      "i64",
      () => cpu.ram.load(width, at),
      slow,
      MOSTLY,
    );
  }
}

function environmentBytes(f: FunctionBuilder): I32 {
  const [narrow, wide] = ENVIRONMENT_BYTES;
  return i32(wide).when(f.param(1, "i32"), narrow);
}

// Makes sure of an environment and the bytes behind it. Its first word alone has its
// alignment checked, as AMD's processors do.
function prepare(
  cpu: CpuModule,
  f: FunctionBuilder,
  more: I32,
  access: "read" | "write",
): void {
  const check = access === "read" ? cpu.fn.prepareRead : cpu.fn.prepareWrite;
  const la = f.param(0, "i64");
  const site = f.param(2, "i32");
  f.call(cpu.fn.checkAlignment, la, i32(4).when(f.param(1, "i32"), 2), site);
  f.call(check, la, environmentBytes(f).add(more), site);
}

/** Runs `body` for ST(0) to ST(7): register's address, offset in the image. */
function eachRegister(
  cpu: CpuModule,
  f: FunctionBuilder,
  stride: number,
  first: I32,
  body: (io: Image, register: I32, offset: I32) => void,
): void {
  const io = new Image(cpu, f, f.param(f.type.params.length - 1, "i32"));
  const top = f.let(cpu.state.load32(0, FPU_TOP));
  const n = f.var("i32");
  f.loop((again) => {
    const register = f.let(top.add(n.get()).and(7).shl(4).add(FPR));
    body(io, register, f.let(first.add(n.get().mul(stride))));
    f.set(n, n.get().add(1));
    f.brIf(again, n.get().ltU(8));
  });
}

/** The tag of a register that is not empty: 0 valid, 1 zero, 2 special. */
function contentTag(sig: I64, se: I32): I32 {
  const exp = se.and(0x7fff);
  const zero = exp.eqz().and(sig.eqz());
  const special = exp.eqz().or(exp.eq(0x7fff)).or(sig.geS(0));
  return i32(1).when(zero, i32(2).when(special, 0));
}

function defineFullTags(cpu: CpuModule): void {
  cpu.define("x87FullTags", (f) => {
    const s = new X87Stack(cpu, f);
    const word = f.var("i32");
    const n = f.var("i32", i32(7));
    f.loop((again) => {
      const slot = f.let(n.get());
      const { sig, se } = s.read(slot);
      const tag = i32(3).when(s.isEmpty(slot), contentTag(sig, se));
      f.set(word, word.get().shl(2).or(tag));
      f.set(n, n.get().sub(1));
      f.brIf(again, n.get().geS(0));
    });
    f.return(word.get());
  });
}

/** Whether addresses are stored as in real mode: linear, in 20 or 32 bits. */
function isReal(cpu: CpuModule): I32 {
  const { state } = cpu;
  const protectedMode = state.load32(0, CR0).and(CR0_PE);
  const virtual = state.load32(0, SYSTEM_FLAGS).and(FLAG.VM);
  return protectedMode.eqz().or(virtual.ne(0));
}

function storeEnvironment(cpu: CpuModule, f: FunctionBuilder): void {
  const io = new Image(cpu, f, f.param(2, "i32"));
  const s = new X87Stack(cpu, f);
  const { state } = cpu;
  const [tags] = f.call(cpu.fn.x87FullTags);
  const real = f.let(isReal(cpu));
  const ip = f.let(state.load64(0, FPU_FIP));
  const dp = f.let(state.load64(0, FPU_FDP));
  const cs = f.let(state.load32(0, FPU_FCS).toI64U());
  const ds = f.let(state.load32(0, FPU_FDS).toI64U());
  const opcode = f.let(state.load32(0, FPU_FOP).toI64U());
  const words = [
    s.control().toI64U(),
    s.status().toI64U(),
    tags.toI64U(),
  ].map((word) => f.let(word));
  const realIp = f.let(ip.add(cs.shl(4)));
  const realDp = f.let(dp.add(ds.shl(4)));
  f.if(f.param(1, "i32"), () => {
    // The upper halves of words of 16 bits are ones.
    const filled = (word: I64) => word.or(0xffff0000n);
    words.forEach((word, n) => io.store(4, 4 * n, filled(word)));
    const high = (linear: I64) => linear.shrU(16).and(0xffff).shl(12);
    io.store(4, 12, filled(realIp.and(0xffff)).when(real, ip));
    io.store(4, 16, high(realIp).or(opcode).when(real, opcode.shl(16).or(cs)));
    io.store(4, 20, filled(realDp.and(0xffff)).when(real, dp));
    io.store(4, 24, high(realDp).when(real, filled(ds)));
  }, () => {
    const high = (linear: I64) => linear.shrU(4).and(0xf000);
    words.forEach((word, n) => io.store(2, 2 * n, word));
    io.store(2, 6, realIp.when(real, ip));
    io.store(2, 8, high(realIp).or(opcode).when(real, cs));
    io.store(2, 10, realDp.when(real, dp));
    io.store(2, 12, high(realDp).when(real, ds));
  });
}

interface Pointers {
  readonly ip: I64;
  readonly dp: I64;
  readonly cs: I64;
  readonly ds: I64;
  readonly opcode: I64;
}

function setPointers(cpu: CpuModule, f: FunctionBuilder, p: Pointers): void {
  const { state } = cpu;
  f.do(state.store64(0, p.ip, FPU_FIP));
  f.do(state.store64(0, p.dp, FPU_FDP));
  f.do(state.store32(0, p.cs.and(0xffff).toI32(), FPU_FCS));
  f.do(state.store32(0, p.ds.and(0xffff).toI32(), FPU_FDS));
  f.do(state.store32(0, p.opcode.and(0x7ff).toI32(), FPU_FOP));
}

/** The seven words of an image; the last four hold addresses. */
function loadWords(f: FunctionBuilder, io: Image, width: 2 | 4): I64[] {
  return Array.from({ length: 7 }, (_, n) => f.let(io.load(width, width * n)));
}

function loadEnvironment(cpu: CpuModule, f: FunctionBuilder): void {
  const io = new Image(cpu, f, f.param(2, "i32"));
  const real = f.let(isReal(cpu));
  const zero = i64(0);
  const load = (width: 2 | 4) => {
    const [cw, sw, tw, w3, w4, w5, w6] = loadWords(f, io, width) as [
      ...[I64, I64, I64, I64, I64, I64, I64],
    ];
    const isWide = width === 4;
    const top = (w: I64) => isWide ? w.shrU(12).shl(16) : w.and(0xf000).shl(4);
    const linear = (low: I64, high: I64) => low.and(0xffff).or(top(high));
    // Protected mode's 16-bit layout has no opcode.
    const opcode = isWide ? w4.shrU(16) : zero;
    setPointers(cpu, f, {
      ip: linear(w3, w4).when(real, w3),
      dp: linear(w5, w6).when(real, w5),
      cs: zero.when(real, w4),
      ds: zero.when(real, w6),
      opcode: w4.when(real, opcode),
    });
    setWords(cpu, f, cw, sw, tw);
  };
  f.if(f.param(1, "i32"), () => load(4), () => load(2));
}

function setWords(
  cpu: CpuModule,
  f: FunctionBuilder,
  cw: I64,
  sw: I64,
  tw: I64,
): void {
  const s = new X87Stack(cpu, f);
  s.setControl(cw.toI32());
  s.setStatus(sw.toI32());
  // A register is empty where both bits of its tag are ones.
  const tags = f.let(tw.toI32().and(0xffff));
  const empty = f.let(tags.and(tags.shrU(1)));
  let abridged = i32(0xff);
  for (let n = 0; n < 8; n++) {
    abridged = abridged.xor(empty.shrU(2 * n).and(1).shl(n));
  }
  f.do(cpu.state.store32(0, abridged, FPU_TAGS));
}

/** Whether FXSAVE and FXRSTOR work on XMM registers and MXCSR. */
function hasSse(cpu: CpuModule): I32 {
  return cpu.state.load32(0, CR4).and(CR4_OSFXSR).ne(0);
}

/** Whether they leave XMM registers out for speed. */
function isFast(cpu: CpuModule, f: FunctionBuilder): I32 {
  const { state } = cpu;
  return state.load32(0, EFER).and(EFER_FFXSR).ne(0)
    .and(state.load32(0, CPL).eqz())
    .and(f.param(2, "i32").eq(16));
}

function emitFxSave(cpu: CpuModule, f: FunctionBuilder): void {
  const { state } = cpu;
  const site = f.param(3, "i32");
  const bytes = i32(FXSAVE_BYTES);
  const [host] = f.call(cpu.fn.prepareWrite, f.param(0, "i64"), bytes, site);
  const io = new Image(cpu, f, site, host);
  const s = new X87Stack(cpu, f);
  io.store(2, 0, s.control().toI64U());
  io.store(2, 2, s.status().toI64U());
  io.store(2, 4, state.load32(0, FPU_TAGS).toI64U());
  savePointers(cpu, f, io, s);
  eachRegister(cpu, f, 16, i32(FX_REGISTERS), (_, register, offset) => {
    io.store(8, offset, state.load64(register));
    io.store(8, offset.add(8), state.load16(register, 8).toI64U());
  });
  f.if(hasSse(cpu), () => {
    io.store(4, 24, state.load32(0, MXCSR).toI64U());
    io.store(4, 28, i64(MXCSR_MASK));
    f.if(isFast(cpu, f), () => f.return());
    eachHalf(f, (register, offset) => {
      io.store(8, offset, state.load64(register));
    });
  });
}

/** AMD's processors store the error pointers only while an error is pending. */
function savePointers(
  cpu: CpuModule,
  f: FunctionBuilder,
  io: Image,
  s: X87Stack,
): void {
  const { state } = cpu;
  const known = f.let(
    s.status().and(SUMMARY).or(state.load32(0, VENDOR_INTEL)).ne(0),
  );
  const kept = (value: I64) => f.let(value.when(known, 0));
  const ip = kept(state.load64(0, FPU_FIP));
  const dp = kept(state.load64(0, FPU_FDP));
  const low = (value: I64) => value.and(0xffffffffn);
  const withSegment = (value: I64, at: number) =>
    low(value).or(kept(state.load32(0, at).toI64U()).shl(32));
  const wide = f.param(1, "i32");
  io.store(2, 6, kept(state.load32(0, FPU_FOP).toI64U()));
  const [narrowIp, narrowDp] = [
    f.let(withSegment(ip, FPU_FCS)),
    f.let(withSegment(dp, FPU_FDS)),
  ];
  io.store(8, 8, ip.when(wide, narrowIp));
  io.store(8, 16, dp.when(wide, narrowDp));
}

/** Runs `body` for the halves of the XMM registers that there are. */
function eachHalf(
  f: FunctionBuilder,
  body: (register: I32, offset: I32) => void,
): void {
  const n = f.var("i32");
  const halves = f.let(f.param(2, "i32").shl(1));
  f.loop((again) => {
    const index = f.let(n.get());
    const register = index.shrU(1).mul(VECTOR_STRIDE)
      .add(index.and(1).shl(3)).add(XMM);
    body(f.let(register), f.let(index.shl(3).add(FX_XMM)));
    f.set(n, n.get().add(1));
    f.brIf(again, n.get().ltU(halves));
  });
}

function emitFxRestore(cpu: CpuModule, f: FunctionBuilder): void {
  const { state } = cpu;
  const site = f.param(3, "i32");
  const bytes = i32(FXSAVE_BYTES);
  const [host] = f.call(cpu.fn.prepareRead, f.param(0, "i64"), bytes, site);
  const io = new Image(cpu, f, site, host);
  const s = new X87Stack(cpu, f);
  const mxcsr = f.let(io.load(4, 24).toI32());
  const sse = f.let(hasSse(cpu));
  f.if(
    sse.and(mxcsr.and(~MXCSR_MASK).ne(0)),
    () => raise(cpu, f, site, i32(VECTOR.GP), i32(0)),
  );
  s.setControl(f.let(io.load(2, 0).toI32()));
  s.setStatus(f.let(io.load(2, 2).toI32()));
  f.do(state.store32(0, io.load(1, 4).toI32(), FPU_TAGS));
  restorePointers(cpu, f, io);
  eachRegister(cpu, f, 16, i32(FX_REGISTERS), (_, register, offset) => {
    f.do(state.store64(register, io.load(8, offset)));
    f.do(state.store16(register, io.load(2, offset.add(8)).toI32(), 8));
  });
  f.if(sse, () => {
    f.do(state.store32(0, mxcsr, MXCSR));
    f.if(isFast(cpu, f), () => f.return());
    eachHalf(f, (register, offset) => {
      f.do(state.store64(register, io.load(8, offset)));
    });
  });
}

function restorePointers(cpu: CpuModule, f: FunctionBuilder, io: Image): void {
  const wide = f.param(1, "i32");
  const ip = f.let(io.load(8, 8));
  const dp = f.let(io.load(8, 16));
  const offset = (value: I64) => value.when(wide, value.and(0xffffffffn));
  const segment = (value: I64) => i64(0).when(wide, value.shrU(32));
  setPointers(cpu, f, {
    ip: offset(ip),
    dp: offset(dp),
    cs: segment(ip),
    ds: segment(dp),
    opcode: io.load(2, 6),
  });
}
