// The string comparisons of SSE4.2: PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM (Intel
// SDM vol. 2, 4.1). `a` is the first source (a set, ranges, a needle), `b` the second.

import type { CpuModule } from "../cpu_module.ts";
import {
  type FunctionBuilder,
  type I32,
  i32,
  splat,
  type V128,
} from "../wasm/mod.ts";
import { SCRATCH } from "../state.ts";
import { FLAG } from "../flags.ts";

/** Signatures of the functions defined here. */
export const SSE_STRING_SIGNATURES = {
  /**
   * Compares strings: a, b, elements of a and of b that are valid, imm8. Gives the
   * result bits (IntRes2) and the flags as in RFLAGS.
   */
  stringCompare: {
    params: ["v128", "v128", "i32", "i32", "i32"],
    results: ["i32", "i32"],
  },
  /** Elements before the first zero: vector, 0 for bytes or 1 for words. */
  stringLength: { params: ["v128", "i32"], results: ["i32"] },
} as const;

type Element = "i8x16" | "i16x8";

interface Strings {
  readonly cpu: CpuModule;
  readonly f: FunctionBuilder;
  readonly element: Element;
  /** elements of a vector */
  readonly count: 8 | 16;
  readonly a: V128;
  readonly b: V128;
  readonly lengthA: I32;
  readonly lengthB: I32;
  readonly imm: I32;
}

/** Defines the functions of `SSE_STRING_SIGNATURES`. */
export function defineSseString(cpu: CpuModule): void {
  cpu.define("stringLength", (f) => {
    const zero = splat("i64x2", i32(0).toI64U());
    const bits = (element: Element) =>
      f.param(0, "v128").binary(`${element}.eq`, zero)
        .test(`${element}.bitmask`);
    f.if(
      f.param(1, "i32"),
      () => f.return(bits("i16x8").or(1 << 8).ctz()),
      () => f.return(bits("i8x16").or(1 << 16).ctz()),
    );
    f.unreachable();
  });
  cpu.define("stringCompare", (f) => {
    const emit = (element: Element) =>
      emitCompare({
        cpu,
        f,
        element,
        count: element === "i8x16" ? 16 : 8,
        a: f.param(0, "v128"),
        b: f.param(1, "v128"),
        lengthA: f.param(2, "i32"),
        lengthB: f.param(3, "i32"),
        imm: f.param(4, "i32"),
      });
    // The elements of `a` are numbered at run time.
    f.do(cpu.state.storeV128(SCRATCH, f.param(0, "v128")));
    f.if(f.param(4, "i32").and(1), () => emit("i16x8"), () => emit("i8x16"));
    f.unreachable();
  });
}

function emitCompare(s: Strings): void {
  const { f, imm } = s;
  const result = f.var("i32");
  const all = (1 << s.count) - 1;
  const validB = f.let(validBits(s.lengthB));
  f.switch(imm.shrU(2).and(3), [
    () => f.set(result, equalAny(s).and(validB)),
    () => f.set(result, inRanges(s).and(validB)),
    () => f.set(result, equalEach(s, validB)),
    () => f.set(result, equalOrdered(s, validB)),
  ]);
  // Negative polarity inverts all bits, or with masking those of valid elements.
  const inverted = validB.when(imm.and(0x20), all);
  const flip = inverted.when(imm.and(0x10), 0);
  const bits = f.let(result.get().xor(flip));
  const flags = bits.ne(0).mul(FLAG.CF)
    .or(s.lengthB.ltU(s.count).mul(FLAG.ZF))
    .or(s.lengthA.ltU(s.count).mul(FLAG.SF))
    .or(bits.and(1).mul(FLAG.OF));
  f.return(bits, flags);
}

function validBits(length: I32): I32 {
  return i32(1).shl(length).sub(1);
}

/** Element `n` of `a` in every lane. */
function splatOfA(s: Strings, n: I32): V128 {
  const { state } = s.cpu;
  return s.element === "i8x16"
    ? splat("i8x16", state.load8(n, SCRATCH))
    : splat("i16x8", state.load16(n.shl(1), SCRATCH));
}

function bitsOf(s: Strings, mask: V128): I32 {
  return mask.test(`${s.element}.bitmask`);
}

/** Runs `body` for 0, `step`, ... while the element and those of its step are valid. */
function forElements(
  s: Strings,
  step: 1 | 2,
  body: (n: I32) => void,
): void {
  const { f } = s;
  const n = f.var("i32");
  f.block((end) =>
    f.loop((again) => {
      f.brIf(end, n.get().add(step).gtU(s.lengthA));
      body(f.let(n.get()));
      f.set(n, n.get().add(step));
      f.br(again);
    })
  );
}

function equalAny(s: Strings): I32 {
  const { f } = s;
  const found = f.var("i32");
  forElements(s, 1, (n) => {
    const equal = s.b.binary(`${s.element}.eq`, splatOfA(s, n));
    f.set(found, found.get().or(bitsOf(s, equal)));
  });
  return found.get();
}

function inRanges(s: Strings): I32 {
  const { f } = s;
  const found = f.var("i32");
  const within = (sign: "s" | "u", n: I32) =>
    bitsOf(
      s,
      s.b.binary(`${s.element}.ge_${sign}`, splatOfA(s, n)).binary(
        "v128.and",
        s.b.binary(`${s.element}.le_${sign}`, splatOfA(s, n.add(1))),
      ),
    );
  forElements(s, 2, (n) => {
    const isSigned = s.imm.and(2);
    const bits = f.ifValue(
      isSigned,
      "i32",
      () => within("s", n),
      () => within("u", n),
    );
    f.set(found, found.get().or(bits));
  });
  return found.get();
}

/** Equal where both are valid, and where both are not. */
function equalEach(s: Strings, validB: I32): I32 {
  const { f } = s;
  const all = (1 << s.count) - 1;
  const validA = f.let(validBits(s.lengthA));
  const equal = bitsOf(s, s.a.binary(`${s.element}.eq`, s.b));
  const neither = validA.or(validB).xor(all);
  return equal.and(validA).and(validB).or(neither);
}

/** Where `a` begins in `b`; what lies beyond the vector counts as equal. */
function equalOrdered(s: Strings, validB: I32): I32 {
  const { f } = s;
  const all = (1 << s.count) - 1;
  const found = f.var("i32", i32(all));
  forElements(s, 1, (n) => {
    const equal = bitsOf(s, s.b.binary(`${s.element}.eq`, splatOfA(s, n)));
    const beyond = i32(all).shrU(n).xor(-1);
    const here = equal.and(validB).shrU(n).or(beyond);
    f.set(found, found.get().and(here));
  });
  return found.get();
}
