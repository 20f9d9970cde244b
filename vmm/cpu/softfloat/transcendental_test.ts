// The transcendental functions against series summed with 320 bits; results may
// be one unit in the last place from the correctly rounded ones.

import { assertEquals } from "@std/assert";
import { compile, Random } from "./_reference.ts";
import { ln2, pi, piTruncated } from "./series.ts";

const { exports: sf } = compile();
const BITS = 320n;
const UNIT = 1n << BITS;
const CASES = 1_000;
/** 240 of the 320 bits come from constants with 240 bits. */
const LN2 = ln2(240) << (BITS - 240n);
const PI = pi(240) << (BITS - 240n);

type Extended = readonly [sig: bigint, se: number];

function operand(random: Random, low: number, high: number): Extended {
  const exp = 16383 + low + random.below(high - low);
  const sign = random.below(2) << 15;
  return [(1n << 63n) | random.pattern(63), exp | sign];
}

/** The number in units of 2^-BITS; exact for the exponents tested here. */
function fixed([sig, se]: Extended): bigint {
  const shift = BITS + BigInt((se & 0x7fff) - 16383 - 63);
  const magnitude = shift < 0n ? sig >> -shift : sig << shift;
  return se & 0x8000 ? -magnitude : magnitude;
}

function mul(a: bigint, b: bigint): bigint {
  return (a * b) >> BITS;
}

function exponential(x: bigint): bigint {
  let [sum, term] = [0n, UNIT];
  for (let k = 1n; term > 1n || term < -1n; k++) {
    sum += term;
    term = mul(term, x) / k;
  }
  return sum;
}

function sine(x: bigint): bigint {
  let [sum, term] = [0n, x];
  for (let k = 1n; term > 1n || term < -1n; k += 2n) {
    sum += term;
    term = -mul(mul(term, x), x) / ((k + 1n) * (k + 2n));
  }
  return sum;
}

function cosine(x: bigint): bigint {
  let [sum, term] = [0n, UNIT];
  for (let k = 0n; term > 1n || term < -1n; k += 2n) {
    sum += term;
    term = -mul(mul(term, x), x) / ((k + 1n) * (k + 2n));
  }
  return sum;
}

/** log2 of a positive number by the series of atanh, after halving. */
function log2(x: bigint): bigint {
  let power = 0n;
  while (x >= 2n * UNIT) [x, power] = [x >> 1n, power + 1n];
  while (x < UNIT) [x, power] = [x << 1n, power - 1n];
  const z = ((x - UNIT) << BITS) / (x + UNIT);
  let [sum, term] = [0n, z];
  for (let k = 1n; term > 1n; k += 2n) {
    sum += term / k;
    term = mul(mul(term, z), z);
  }
  return (power << BITS) + ((2n * sum) << BITS) / LN2;
}

/** atan of n / d >= 0 by halving the angle until the series is quick. */
function arctangent(n: bigint, d: bigint): bigint {
  if (n > d) return PI / 2n - arctangent(d, n);
  let z = (n << BITS) / d;
  let halvings = 0n;
  for (; z > UNIT / 16n; halvings++) {
    const root = squareRoot((UNIT + mul(z, z)) << BITS);
    z = (z << BITS) / (UNIT + root);
  }
  let [sum, term] = [0n, z];
  for (let k = 1n; term > 1n || term < -1n; k += 2n) {
    sum += term / k;
    term = -mul(mul(term, z), z);
  }
  return sum << halvings;
}

function squareRoot(n: bigint): bigint {
  let root = 1n << BigInt((n.toString(2).length + 1) >> 1);
  for (;;) {
    const next = (root + n / root) >> 1n;
    if (next >= root) return root;
    root = next;
  }
}

/** The distance in units in the last place of the result, times 1000. */
function distance(want: bigint, [sig, se]: Extended): number {
  const got = fixed([BigInt.asUintN(64, sig), se]);
  const magnitude = want < 0n ? -want : want;
  const ulp = 1n << BigInt(magnitude.toString(2).length - 64);
  const error = got > want ? got - want : want - got;
  return Number((error * 1000n) / ulp);
}

/**
 * Runs a function at random operands in all rounding modes. The error stays
 * below half a unit at round to nearest and below one in the others, with a
 * hundredth for what the series leave; within one unit of the rounded value.
 */
function check(
  name: string,
  operands: (random: Random) => Extended[],
  reference: (...args: bigint[]) => bigint,
): void {
  const random = new Random(17n);
  for (let n = 0; n < CASES; n++) {
    const args = operands(random);
    const rc = n & 3;
    const [sig, se, flags] = sf[`x87_${name}`]!(
      ...args.flat(),
      0x37f | rc << 10,
    );
    const want = reference(...args.map(fixed));
    const error = distance(want, [sig, se]);
    const label = `${name} ${args.flat().map((v) => v.toString(16))} rc ${rc}`;
    assertEquals(error <= (rc === 0 ? 510 : 1010), true, `${label}: ${error}`);
    assertEquals(flags & 0x3f, 32, label);
  }
}

Deno.test("softfloat x87: F2XM1", () => {
  check("exp2m1", (r) => [operand(r, -64, 0)], (x) => {
    return exponential(mul(x, LN2)) - UNIT;
  });
});

// The processor's pi has 66 bits, so that is the pi to reduce by.
const PI66 = piTruncated(64) << (BITS - 64n);

function reduced(x: bigint): { quadrant: bigint; rest: bigint } {
  const half = PI66 / 2n;
  const quotient = (2n * x + half) / (2n * half) -
    (2n * x + half < 0n ? 1n : 0n);
  return { quadrant: ((quotient % 4n) + 4n) % 4n, rest: x - quotient * half };
}

function sine66(x: bigint): bigint {
  const { quadrant, rest } = reduced(x);
  const value = quadrant % 2n === 0n ? sine(rest) : cosine(rest);
  return quadrant >= 2n ? -value : value;
}

function cosine66(x: bigint): bigint {
  const { quadrant, rest } = reduced(x);
  const value = quadrant % 2n === 0n ? cosine(rest) : sine(rest);
  return quadrant === 1n || quadrant === 2n ? -value : value;
}

Deno.test("softfloat x87: FSIN, FCOS and FPTAN with a pi of 66 bits", () => {
  const angle = (r: Random) => [operand(r, -40, 63)];
  check("sin", angle, sine66);
  check("cos", angle, cosine66);
  check("tan", angle, (x) => (sine66(x) << BITS) / cosine66(x));
});

Deno.test("softfloat x87: FSINCOS is FSIN and FCOS", () => {
  const random = new Random(19n);
  for (let n = 0; n < CASES; n++) {
    const [sig, se] = operand(random, -40, 63);
    const [s, sse, c, cse] = sf["x87_sincos"]!(sig, se, 0x37f);
    assertEquals([s, sse], sf["x87_sin"]!(sig, se, 0x37f).slice(0, 2));
    assertEquals([c, cse], sf["x87_cos"]!(sig, se, 0x37f).slice(0, 2));
  }
});

Deno.test("softfloat x87: arguments from 2^63 on are left with C2", () => {
  for (const name of ["sin", "cos", "tan"]) {
    const far = sf[`x87_${name}`]!(-(1n << 63n), 16383 + 63, 0x37f);
    assertEquals([...far], [-(1n << 63n), 16383 + 63, 0x400]);
  }
});

Deno.test("softfloat x87: FPATAN in all quadrants", () => {
  const sides = (r: Random) => [operand(r, -20, 20), operand(r, -20, 20)];
  check("atan", sides, (y, x) => {
    const [height, width] = [y < 0n ? -y : y, x < 0n ? -x : x];
    const angle = arctangent(height, width);
    const turned = x < 0n ? PI - angle : angle;
    return y < 0n ? -turned : turned;
  });
});

Deno.test("softfloat x87: FYL2X and FYL2XP1", () => {
  const positive = (r: Random): Extended => {
    const [sig, se] = operand(r, -30, 30);
    return [sig | 1n, se & 0x7fff];
  };
  const near = (r: Random): Extended => {
    const close = r.below(2) * 0x7ff;
    return [(1n << 63n) | (r.bits() >> BigInt(1 + (close & 40))), 16383];
  };
  const factor = (r: Random) => operand(r, -20, 20);
  check("yl2x", (r) => [positive(r), factor(r)], (x, y) => mul(log2(x), y));
  check("yl2x", (r) => [near(r), factor(r)], (x, y) => mul(log2(x), y));
  check("yl2xp1", (r) => [operand(r, -66, -2), factor(r)], (x, y) => {
    return mul(log2(UNIT + x), y);
  });
});
