// An exact reference for the tests of software floating point: numbers are
// bigints times powers of two, and rounding is done by definition. It shares
// nothing with what it checks but the formats' figures.

import { ModuleBuilder } from "../wasm/mod.ts";
import { defineSoftFloat } from "./mod.ts";

/** The exported functions by name. */
// deno-lint-ignore no-explicit-any
export type Exports = Record<string, (...args: any[]) => any>;

/** Compiles all functions of the software floating point. */
export function compile(): { exports: Exports; size: number } {
  const m = new ModuleBuilder();
  const { f32, f64, x87 } = defineSoftFloat(m);
  for (const group of [f32, f64, x87]) {
    for (const ref of Object.values(group)) m.export(ref);
  }
  const bytes = m.encode();
  const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes));
  return { exports: instance.exports as Exports, size: bytes.length };
}

/** A reproducible source of 64-bit numbers (splitmix64). */
export class Random {
  #state: bigint;

  constructor(seed: bigint) {
    this.#state = seed;
  }

  /** 64 random bits. */
  bits(): bigint {
    this.#state = BigInt.asUintN(64, this.#state + 0x9e3779b97f4a7c15n);
    let z = this.#state;
    z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    return z ^ (z >> 31n);
  }

  /** A number below `n`. */
  below(n: number): number {
    return Number(this.bits() % BigInt(n));
  }

  /** `width` bits that are often all the same, a run, or a single one. */
  pattern(width: number): bigint {
    const mask = (1n << BigInt(width)) - 1n;
    const run = (1n << BigInt(this.below(width))) - 1n;
    const kinds = [0n, mask, run + 1n, run, mask ^ run, this.bits() & ~run];
    return (kinds[this.below(8)] ?? this.bits()) & mask;
  }
}

/** A finite number: sign, and magnitude * 2^exp. */
export interface Exact {
  /** whether it is negative, which a zero can be */
  readonly negative: boolean;
  /** what exp scales */
  readonly magnitude: bigint;
  /** power of two */
  readonly exp: number;
  /** whether the true magnitude is above, by less than one */
  readonly more?: boolean;
}

/** How to round. */
export interface Mode {
  /** bits of the significand */
  readonly precision: number;
  /** the least exponent of a normal number, of its leading bit */
  readonly emin: number;
  /** rounding control */
  readonly rc: number;
  /** exception masks in flag order */
  readonly masks: number;
  /** flush to zero */
  readonly ftz?: boolean;
}

/** A rounded number and the flags that it raises. */
export interface Rounded {
  /** null where it is an infinity */
  readonly magnitude: bigint | null;
  /** power of two that scales magnitude */
  readonly exp: number;
  /** OE, UE, PE, and 0x200 where it was rounded up */
  readonly flags: number;
}

function length(n: bigint): number {
  return n === 0n ? 0 : n.toString(2).length;
}

/** Rounds to a multiple of 2^exp. */
function roundTo(
  x: Exact,
  exp: number,
  rc: number,
): { magnitude: bigint; inexact: boolean; up: boolean } {
  const shift = exp - x.exp;
  if (shift <= 0) {
    // With too few bits below, the remainder still counts as less than half.
    const magnitude = x.magnitude << BigInt(-shift);
    const inexact = x.more ?? false;
    const up = inexact && (rc === 1 && x.negative || rc === 2 && !x.negative);
    return { magnitude: magnitude + BigInt(up), inexact, up };
  }
  const kept = x.magnitude >> BigInt(shift);
  const lost = x.magnitude - (kept << BigInt(shift));
  const half = 1n << BigInt(shift - 1);
  const more = x.more ?? false;
  const inexact = lost !== 0n || more;
  const above = lost > half || lost === half && more;
  const tie = lost === half && !more;
  const up = inexact && [
    above || tie && kept % 2n === 1n,
    x.negative,
    !x.negative,
    false,
  ][rc]!;
  return { magnitude: kept + BigInt(up), inexact, up };
}

/** Rounds a number that is not zero as the mode says. */
export function round(x: Exact, mode: Mode): Rounded {
  const { precision, emin, rc, masks } = mode;
  const lead = length(x.magnitude) - 1 + x.exp;
  const exp = lead - precision + 1;
  const free = roundTo(x, exp, rc);
  const finalLead = lead + (length(free.magnitude) > precision ? 1 : 0);
  const flags = (free.inexact ? 32 : 0) | (free.up ? 0x200 : 0);
  const emax = 1 - emin;
  if (finalLead > emax) return overflow(x, mode, free.magnitude, exp, flags);
  if (finalLead >= emin) return { magnitude: free.magnitude, exp, flags };
  if (!(masks & 16)) {
    const adjusted = exp + 24576;
    return { magnitude: free.magnitude, exp: adjusted, flags: flags | 16 };
  }
  if (mode.ftz) return { magnitude: 0n, exp: 0, flags: 48 };
  const least = emin - precision + 1;
  const r = roundTo(x, least, rc);
  const found = (r.inexact ? 48 : 0) | (r.up ? 0x200 : 0);
  return { magnitude: r.magnitude, exp: least, flags: found };
}

function overflow(
  x: Exact,
  { precision, emin, rc, masks }: Mode,
  magnitude: bigint,
  exp: number,
  flags: number,
): Rounded {
  if (!(masks & 8)) return { magnitude, exp: exp - 24576, flags: flags | 8 };
  const infinite = [true, x.negative, !x.negative, false][rc]!;
  if (infinite) return { magnitude: null, exp: 0, flags: 0x228 };
  const greatest = (1n << BigInt(precision)) - 1n;
  return { magnitude: greatest, exp: 2 - emin - precision, flags: 0x28 };
}

/** Exact arithmetic; null where the result is not a finite nonzero number. */
export function compute(op: string, a: Exact, b: Exact): Exact | null {
  if (op === "add" || op === "sub") {
    const exp = Math.min(a.exp, b.exp);
    const value = (n: Exact) =>
      (n.negative ? -n.magnitude : n.magnitude) << BigInt(n.exp - exp);
    const sum = value(a) + (op === "sub" ? -value(b) : value(b));
    if (sum === 0n) return null;
    const magnitude = sum < 0n ? -sum : sum;
    return { negative: sum < 0n, magnitude, exp };
  }
  if (op === "sqrt") {
    return a.negative || a.magnitude === 0n ? null : squareRoot(a);
  }
  if (a.magnitude === 0n || b.magnitude === 0n) return null;
  const negative = a.negative !== b.negative;
  if (op === "mul") {
    const magnitude = a.magnitude * b.magnitude;
    return { negative, magnitude, exp: a.exp + b.exp };
  }
  const n = a.magnitude << 200n;
  const q = n / b.magnitude;
  const more = q * b.magnitude !== n;
  return { negative, magnitude: q, exp: a.exp - b.exp - 200, more };
}

function squareRoot(a: Exact): Exact {
  const odd = a.exp & 1;
  const n = a.magnitude << BigInt(200 + odd);
  let root = 1n << BigInt((length(n) + 1) >> 1);
  for (;;) {
    const next = (root + n / root) >> 1n;
    if (next >= root) break;
    root = next;
  }
  const exp = (a.exp - odd - 200) / 2;
  return { negative: false, magnitude: root, exp, more: root * root !== n };
}
