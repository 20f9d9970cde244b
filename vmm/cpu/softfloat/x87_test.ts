import { assertEquals } from "@std/assert";
import {
  compile,
  compute,
  type Exact,
  type Mode,
  Random,
  round,
  type Rounded,
} from "./_reference.ts";

const { exports: sf } = compile();
const DEFAULT = 0x37f;
const INTEGER_BIT = 1n << 63n;
const EMIN = -16382;

type Extended = readonly [sig: bigint, se: number];

function value(random: Random): Extended {
  const fields = [0, 1, 0x7ffe, random.below(0x7fff)];
  const near = 16383 - 70 + random.below(140);
  const field = fields[random.below(10)] ?? near;
  const integer = field === 0 && random.below(4) !== 0 ? 0n : INTEGER_BIT;
  return [integer | random.pattern(63), field | (random.below(2) << 15)];
}

function exact([sig, se]: Extended): Exact {
  const exp = Math.max(se & 0x7fff, 1) - 16383 - 63;
  return { negative: se >= 0x8000, magnitude: sig, exp };
}

function isDenormal([sig, se]: Extended): boolean {
  return (se & 0x7fff) === 0 && sig !== 0n;
}

function pack(negative: boolean, r: Rounded): Extended {
  const sign = negative ? 0x8000 : 0;
  if (r.magnitude === null) return [INTEGER_BIT, sign | 0x7fff];
  if (r.magnitude === 0n) return [0n, sign];
  let [sig, exp] = [r.magnitude, r.exp + 63 + 16383];
  while (sig < INTEGER_BIT && exp > 1) [sig, exp] = [sig << 1n, exp - 1];
  while (sig >> 64n) [sig, exp] = [sig >> 1n, exp + 1];
  return [sig, sign | (sig < INTEGER_BIT ? 0 : exp)];
}

const OPERATIONS = ["add", "sub", "mul", "div", "sqrt"];
const PRECISIONS = [[0, 24], [2, 53], [3, 64]] as const;

for (const [pc, precision] of PRECISIONS) {
  Deno.test(`softfloat x87: exact at ${precision} bits`, () => {
    const random = new Random(BigInt(precision));
    for (let n = 0; n < 5_000; n++) {
      const [a, b] = [value(random), value(random)];
      for (const op of OPERATIONS) checkOperation(random, op, pc, a, b);
    }
  });
}

function checkOperation(
  random: Random,
  op: string,
  pc: number,
  a: Extended,
  b: Extended,
): void {
  const result = compute(op, exact(a), exact(b));
  if (result === null) return;
  const rc = random.below(4);
  const masks = 0x27 | (random.below(4) << 3);
  const precision = PRECISIONS.find(([code]) => code === pc)![1];
  const mode: Mode = { precision, emin: EMIN, rc, masks };
  const want = round(result, mode);
  const cw = masks | (pc << 8) | (rc << 10);
  const args = op === "sqrt" ? [...a, cw] : [...a, ...b, cw];
  const [sig, se, flags] = sf[`x87_${op}`]!(...args);
  const denormal = isDenormal(a) || op !== "sqrt" && isDenormal(b);
  const label = `${op} ${a.map((v) => v.toString(16))} ${
    b.map((v) => v.toString(16))
  } cw ${cw.toString(16)}`;
  assertEquals(flags, want.flags | (denormal ? 2 : 0), label);
  const got = [BigInt.asUintN(64, sig), se];
  assertEquals(got, [...pack(result.negative, want)], label);
}

const ONE: Extended = [INTEGER_BIT, 0x3fff];
const ZERO: Extended = [0n, 0];
const INFINITY: Extended = [INTEGER_BIT, 0x7fff];
const QUIET = 3n << 62n;
const INDEFINITE = [BigInt.asIntN(64, QUIET), 0xffff, 1];

function call(name: string, ...args: (bigint | number)[]) {
  return [...sf[`x87_${name}`]!(...args)];
}

Deno.test("softfloat x87: the larger significand of two NaNs wins", () => {
  const small: Extended = [QUIET | 1n, 0x7fff];
  const large: Extended = [QUIET | 2n, 0xffff];
  const signalling: Extended = [INTEGER_BIT | 9n, 0x7fff];
  const add = (a: Extended, b: Extended) => {
    const [sig, se, flags] = call("add", ...a, ...b, DEFAULT);
    return [BigInt.asUintN(64, sig), se, flags];
  };
  assertEquals(add(small, large), [...large, 0]);
  assertEquals(add(large, small), [...large, 0]);
  assertEquals(add(signalling, small), [...small, 1]);
  assertEquals(add(ONE, signalling), [QUIET | 9n, 0x7fff, 1]);
});

Deno.test("softfloat x87: unsupported formats are invalid", () => {
  const unnormal: Extended = [1n << 62n, 0x3fff];
  const pseudoInfinity: Extended = [0n, 0x7fff];
  const pseudoNaN: Extended = [1n, 0x7fff];
  for (const bad of [unnormal, pseudoInfinity, pseudoNaN]) {
    assertEquals(call("add", ...bad, ...ONE, DEFAULT), INDEFINITE);
    assertEquals(call("sqrt", ...bad, DEFAULT), INDEFINITE);
    assertEquals(call("compare_quiet", ...bad, ...ONE), [0x45, 1]);
    assertEquals(call("sin", ...bad, DEFAULT), INDEFINITE);
  }
});

Deno.test("softfloat x87: invalid operations give the indefinite", () => {
  const negative: Extended = [INTEGER_BIT, 0xbfff];
  assertEquals(call("sqrt", ...negative, DEFAULT), INDEFINITE);
  assertEquals(call("mul", ...ZERO, ...INFINITY, DEFAULT), INDEFINITE);
  assertEquals(call("div", ...ZERO, ...ZERO, DEFAULT), INDEFINITE);
  assertEquals(call("sub", ...INFINITY, ...INFINITY, DEFAULT), INDEFINITE);
  assertEquals(call("remainder", ...ONE, ...ZERO, DEFAULT), INDEFINITE);
  assertEquals(call("scale", ...ZERO, ...INFINITY, DEFAULT), INDEFINITE);
  assertEquals(call("yl2x", ...ONE, ...INFINITY, DEFAULT), INDEFINITE);
});

function integer(n: bigint): Extended {
  const [sig, se] = call("load_int", n);
  return [sig, se];
}

Deno.test("softfloat x87: remainders and their quotients", () => {
  const remainder = (name: string, a: bigint, b: bigint) => {
    const [sig, se, flags] = call(name, ...integer(a), ...integer(b), DEFAULT);
    return [call("store_int64", sig, se, DEFAULT)[0], flags];
  };
  // Quotient bits 2, 1, 0 are C0, C3, C1.
  assertEquals(remainder("remainder", 17n, 3n), [2n, 0x100 | 0x200]);
  assertEquals(remainder("remainder", -17n, 3n), [-2n, 0x100 | 0x200]);
  assertEquals(remainder("remainder_nearest", 17n, 3n), [-1n, 0x100 | 0x4000]);
  assertEquals(remainder("remainder_nearest", 5n, 2n), [1n, 0x4000]);
  assertEquals(remainder("remainder_nearest", 7n, 2n), [-1n, 0x100]);
  assertEquals(remainder("remainder_nearest", 2n, 3n), [-1n, 0x200]);
  assertEquals(remainder("remainder", 2n, 3n), [2n, 0]);
});

Deno.test("softfloat x87: a far remainder is reached in steps", () => {
  const random = new Random(7n);
  for (let n = 0; n < 200; n++) {
    const far = random.below(1000);
    const divisor = (random.bits() >> 1n) | 1n;
    let a: Extended = [random.bits() | INTEGER_BIT, 16383 + 63 + far];
    const b = integer(divisor);
    const want = (a[0] << BigInt(far)) % divisor;
    let flags = 0x400;
    for (let step = 0; flags & 0x400; step++) {
      const [sig, se, f] = call("remainder", ...a, ...b, DEFAULT);
      [a, flags] = [[sig, se], f];
      assertEquals(step < 40, true);
    }
    assertEquals(call("store_int64", ...a, DEFAULT), [want, 0]);
  }
});

Deno.test("softfloat x87: scaling and extraction", () => {
  const three = integer(3n);
  const [sig, se] = call("scale", ...three, ...integer(4n), DEFAULT);
  assertEquals(call("store_int64", sig, se, DEFAULT)[0], 48n);
  const far: Extended = integer(-40000n);
  assertEquals(call("scale", ...three, ...far, DEFAULT), [0n, 0, 0x30]);
  const [m, mse, e, ese, flags] = call("extract", ...integer(-40n), DEFAULT);
  assertEquals(call("store_f64", m, mse, DEFAULT)[0], -0x400c000000000000n);
  assertEquals(call("store_int64", e, ese, DEFAULT), [5n, 0]);
  assertEquals(flags, 0);
  assertEquals(call("extract", ...ZERO, DEFAULT).slice(2), [
    -INTEGER_BIT,
    0xffff,
    4,
  ]);
});

Deno.test("softfloat x87: integers and packed decimals round-trip", () => {
  const random = new Random(11n);
  for (let n = 0; n < 5_000; n++) {
    const i = BigInt.asIntN(64, random.bits() >> BigInt(random.below(64)));
    assertEquals(call("store_int64", ...integer(i), DEFAULT), [i, 0]);
    const small = i % 10n ** 18n;
    const [low, high, flags] = call("store_bcd", ...integer(small), DEFAULT);
    const digits = (BigInt(high & 0x7fff) << 64n) | BigInt.asUintN(64, low);
    const text = (small < 0n ? "-" : "") + BigInt(digits.toString(16));
    assertEquals([text, flags], [String(small), 0]);
    const [sig, se] = call("load_bcd", low, high);
    assertEquals(call("store_int64", sig, se, DEFAULT)[0], small);
  }
  const [low, high, flags] = call("store_bcd", ...INFINITY, DEFAULT);
  assertEquals([BigInt.asUintN(64, low), high, flags], [
    0xc000n << 48n,
    65535,
    1,
  ]);
});

Deno.test("softfloat x87: integer stores saturate to the indefinite", () => {
  assertEquals(call("store_int16", ...integer(32767n), DEFAULT), [32767n, 0]);
  assertEquals(call("store_int16", ...integer(32768n), DEFAULT), [32768n, 1]);
  assertEquals(call("store_int32", ...integer(1n << 31n), DEFAULT), [
    1n << 31n,
    1,
  ]);
  const half: Extended = [INTEGER_BIT | (1n << 62n), 0x4000]; // 3 / 2 * 2
  assertEquals(call("trunc_int32", ...half, DEFAULT), [3n, 0]);
  const inexact: Extended = [INTEGER_BIT | (1n << 62n), 0x3fff];
  assertEquals(call("store_int32", ...inexact, DEFAULT), [2n, 0x220]);
  assertEquals(call("trunc_int32", ...inexact, DEFAULT), [1n, 0x20]);
});

Deno.test("softfloat x87: a widened denormal operand raises DE", () => {
  const [sig, se] = call("widen_f64", 1n);
  assertEquals(call("add", ...ONE, sig, se, DEFAULT)[2], 0x22);
  assertEquals(call("load_f64", 1n)[2], 2);
  assertEquals(call("load_f64", 0x7ff0000000000001n)[2], 1);
  assertEquals(call("store_f64", sig, se & 0xffff, DEFAULT), [1n, 0]);
});

Deno.test("softfloat x87: binary64 survives the extended format", () => {
  const random = new Random(13n);
  for (let n = 0; n < 10_000; n++) {
    const bits = BigInt.asIntN(64, random.bits());
    const [sig, se, flags] = call("load_f64", bits);
    if (flags & 1) continue;
    assertEquals(call("store_f64", sig, se, DEFAULT), [bits, 0]);
  }
});
