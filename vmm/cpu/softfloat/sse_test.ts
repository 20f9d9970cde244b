import { assertEquals } from "@std/assert";
import {
  compile,
  compute,
  type Exact,
  type Mode,
  Random,
  round,
} from "./_reference.ts";

const { exports: sf, size } = compile();
const MASKED = 0x1f80;

interface Format {
  readonly name: "f32" | "f64";
  readonly precision: number;
  readonly exponentBits: number;
}
const FORMATS: readonly Format[] = [
  { name: "f32", precision: 24, exponentBits: 8 },
  { name: "f64", precision: 53, exponentBits: 11 },
];

const view = new DataView(new ArrayBuffer(8));
function toNumber(format: Format, bits: bigint): number {
  view.setBigUint64(0, bits, true);
  return format.name === "f32"
    ? view.getFloat32(0, true)
    : view.getFloat64(0, true);
}
function toBits(format: Format, value: number): bigint {
  view.setBigUint64(0, 0n, true);
  if (format.name === "f32") view.setFloat32(0, value, true);
  else view.setFloat64(0, value, true);
  return view.getBigUint64(0, true);
}

/** A value near the edges or near 1, at random. */
function value(random: Random, { precision, exponentBits }: Format): bigint {
  const emax = (1 << exponentBits) - 1;
  const bias = emax >> 1;
  const fields = [0, emax, 1, emax - 1, random.below(emax + 1)];
  const near = bias - precision + random.below(2 * precision);
  const field = fields[random.below(10)] ?? near;
  const sign = BigInt(random.below(2));
  const fraction = random.pattern(precision - 1);
  const top = (sign << BigInt(exponentBits)) | BigInt(field);
  return (top << BigInt(precision - 1)) | fraction;
}

function exact(
  { precision, exponentBits }: Format,
  bits: bigint,
): Exact | null {
  const fraction = bits & ((1n << BigInt(precision - 1)) - 1n);
  const emax = (1 << exponentBits) - 1;
  const field = Number(bits >> BigInt(precision - 1)) & emax;
  if (field === emax) return null;
  const implicit = field === 0 ? 0n : 1n << BigInt(precision - 1);
  const exp = Math.max(field, 1) - (emax >> 1) - precision + 1;
  const negative = bits >> BigInt(precision + exponentBits - 1) !== 0n;
  return { negative, magnitude: fraction | implicit, exp };
}

function isDenormal(format: Format, x: Exact): boolean {
  return x.magnitude !== 0n &&
    x.magnitude < 1n << BigInt(format.precision - 1);
}

/** JavaScript's own result, which for binary32 rounds twice but never wrongly. */
function native(op: string, a: number, b: number): number {
  switch (op) {
    case "add":
      return a + b;
    case "sub":
      return a - b;
    case "mul":
      return a * b;
    case "div":
      return a / b;
    default:
      return Math.sqrt(a);
  }
}

function call(format: Format, op: string, a: bigint, b: bigint, mxcsr: number) {
  const args = op === "sqrt" ? [a, mxcsr] : [a, b, mxcsr];
  const [bits, flags] = sf[`${format.name}_${op}`]!(...args);
  return { bits: BigInt.asUintN(64, bits), flags };
}

const OPERATIONS = ["add", "sub", "mul", "div", "sqrt"];

for (const format of FORMATS) {
  Deno.test(`softfloat ${format.name}: agrees with native arithmetic`, () => {
    const random = new Random(1n);
    for (let n = 0; n < 10_000; n++) {
      const [a, b] = [value(random, format), value(random, format)];
      for (const op of OPERATIONS) {
        const want = native(op, toNumber(format, a), toNumber(format, b));
        const got = toNumber(format, call(format, op, a, b, MASKED).bits);
        const rounded = format.name === "f32" ? Math.fround(want) : want;
        assertEquals(got, rounded, `${op} ${a.toString(16)} ${b.toString(16)}`);
      }
    }
  });

  Deno.test(`softfloat ${format.name}: rounds and flags exactly`, () => {
    const random = new Random(2n);
    let checked = 0;
    for (let n = 0; n < 8_000; n++) {
      const bits = [value(random, format), value(random, format)] as const;
      const [a, b] = [exact(format, bits[0]), exact(format, bits[1])];
      if (a === null || b === null) continue;
      for (const op of OPERATIONS) {
        const result = compute(op, a, b);
        if (result === null) continue;
        const rc = random.below(4);
        const ftz = random.below(2) === 1;
        const mode: Mode = {
          precision: format.precision,
          emin: 2 - (1 << (format.exponentBits - 1)),
          rc,
          masks: 0x3f,
          ftz,
        };
        const want = round(result, mode);
        const mxcsr = MASKED | (rc << 13) | (ftz ? 0x8000 : 0);
        const got = call(format, op, bits[0], bits[1], mxcsr);
        const denormal = isDenormal(format, a) ||
          op !== "sqrt" && isDenormal(format, b);
        const flags = want.flags | (denormal ? 2 : 0);
        const label = `${op} ${bits.map((v) => v.toString(16))} rc ${rc}`;
        assertEquals(got.flags, flags, label);
        checkValue(format, got.bits, result.negative, want, label);
        checked++;
      }
    }
    assertEquals(checked > 20_000, true);
  });
}

function checkValue(
  format: Format,
  bits: bigint,
  negative: boolean,
  want: { magnitude: bigint | null; exp: number },
  label: string,
): void {
  const got = exact(format, bits);
  const sign = bits >> BigInt(format.precision + format.exponentBits - 1);
  assertEquals(sign === 1n, negative, label);
  if (got === null || want.magnitude === null) {
    assertEquals(got === null, want.magnitude === null, label);
    return;
  }
  const exp = Math.min(got.exp, want.exp);
  const scale = (m: bigint, e: number) => m << BigInt(e - exp);
  assertEquals(
    scale(got.magnitude, got.exp),
    scale(want.magnitude, want.exp),
    label,
  );
}

const F64 = FORMATS[1]!;
const ONE = toBits(F64, 1);
const QNAN1 = 0x7ff8000000000001n;
const QNAN2 = 0xfff8000000000002n;
const SNAN = 0x7ff0000000000003n;
const INFINITY = 0x7ff0000000000000n;
const TINY = 1n;
const NEGATIVE_ZERO = 1n << 63n;

Deno.test("softfloat SSE: the first NaN wins, quieted", () => {
  const cases: [bigint, bigint, bigint, number][] = [
    [QNAN1, QNAN2, QNAN1, 0],
    [QNAN1, SNAN, QNAN1, 1],
    [SNAN, QNAN1, SNAN | 0x8000000000000n, 1],
    [ONE, SNAN, SNAN | 0x8000000000000n, 1],
    [TINY, QNAN2, QNAN2, 0],
    [INFINITY, INFINITY | NEGATIVE_ZERO, 0xfff8000000000000n, 1],
  ];
  for (const [a, b, bits, flags] of cases) {
    assertEquals(call(F64, "add", a, b, MASKED), { bits, flags });
  }
});

Deno.test("softfloat SSE: minimum and maximum return the second operand", () => {
  const min = (a: bigint, b: bigint) => call(F64, "min", a, b, MASKED);
  assertEquals(min(NEGATIVE_ZERO, 0n), { bits: 0n, flags: 0 });
  assertEquals(min(0n, NEGATIVE_ZERO).bits, NEGATIVE_ZERO);
  assertEquals(min(QNAN1, ONE), { bits: ONE, flags: 1 });
  assertEquals(min(ONE, SNAN), { bits: SNAN, flags: 1 });
  assertEquals(min(TINY, ONE), { bits: TINY, flags: 2 });
  assertEquals(call(F64, "max", TINY, ONE, MASKED).bits, ONE);
  assertEquals(call(F64, "min", TINY, ONE, MASKED | 0x40).bits, 0n);
});

Deno.test("softfloat SSE: an unmasked operand exception hides the result's", () => {
  const unmaskedDenormal = MASKED & ~(2 << 7);
  const { flags } = call(F64, "add", TINY, ONE, unmaskedDenormal);
  assertEquals(flags, 2);
  assertEquals(call(F64, "add", TINY, ONE, MASKED).flags, 0x22);
  assertEquals(call(F64, "div", ONE, 0n, MASKED).flags, 4);
  assertEquals(call(F64, "div", TINY, 0n, MASKED).flags, 4);
  assertEquals(call(F64, "div", 0n, 0n, MASKED).flags, 1);
});

Deno.test("softfloat SSE: exact denormals underflow only where unmasked", () => {
  const least = 0x0010000000000000n;
  const half = toBits(F64, 0.5);
  assertEquals(call(F64, "mul", least, half, MASKED).flags, 0);
  assertEquals(call(F64, "mul", least, half, MASKED & ~(16 << 7)).flags, 16);
});

Deno.test("softfloat SSE: comparisons", () => {
  const compare = (quiet: boolean, a: bigint, b: bigint) =>
    sf[`f64_compare_${quiet ? "quiet" : "signalling"}`]!(a, b, MASKED);
  assertEquals(compare(true, ONE, toBits(F64, 2)), [1, 0]);
  assertEquals(compare(true, toBits(F64, 2), ONE), [0, 0]);
  assertEquals(compare(true, 0n, NEGATIVE_ZERO), [0x40, 0]);
  assertEquals(compare(true, toBits(F64, -2), toBits(F64, -1)), [1, 0]);
  assertEquals(compare(true, ONE, QNAN1), [0x45, 0]);
  assertEquals(compare(false, ONE, QNAN1), [0x45, 1]);
  assertEquals(compare(true, SNAN, ONE), [0x45, 1]);
  assertEquals(compare(true, TINY, ONE), [1, 2]);
});

Deno.test("softfloat SSE: conversions to integers", () => {
  const convert = (name: string, x: number, rc = 0) => {
    const mxcsr = MASKED | (rc << 13);
    const [v, flags] = sf[`f64_${name}`]!(toBits(F64, x), mxcsr);
    return [v, flags & 0x3f];
  };
  assertEquals(convert("to_int32", 2.5), [2n, 32]);
  assertEquals(convert("to_int32", 2.5, 2), [3n, 32]);
  assertEquals(convert("to_int32", -2.5, 1), [0xfffffffdn, 32]);
  assertEquals(convert("trunc_int32", -2.9), [0xfffffffen, 32]);
  assertEquals(convert("to_int32", 2147483647.5), [0x80000000n, 1]);
  assertEquals(convert("to_int32", -2147483648), [0x80000000n, 0]);
  assertEquals(convert("to_int64", -(2 ** 63)), [-(2n ** 63n), 0]);
  assertEquals(convert("to_int64", 2 ** 63), [-(2n ** 63n), 1]);
  assertEquals(convert("trunc_int64", NaN), [-(2n ** 63n), 1]);
});

Deno.test("softfloat SSE: integers and formats convert as JavaScript does", () => {
  const random = new Random(3n);
  for (let n = 0; n < 10_000; n++) {
    const i = BigInt.asIntN(64, random.bits() >> BigInt(random.below(64)));
    const [bits] = sf["f64_from_int"]!(i, MASKED);
    assertEquals(toNumber(F64, BigInt.asUintN(64, bits)), Number(i));
    const wide = value(random, F64);
    const [narrow] = sf["f64_to_f32"]!(wide, MASKED);
    const want = Math.fround(toNumber(F64, wide));
    assertEquals(toNumber(FORMATS[0]!, narrow), want);
    const single = value(random, FORMATS[0]!);
    const [widened] = sf["f32_to_f64"]!(single, MASKED);
    assertEquals(
      toNumber(F64, BigInt.asUintN(64, widened)),
      toNumber(FORMATS[0]!, single),
    );
  }
});

Deno.test("softfloat SSE: rounding to integral values", () => {
  const integral = (x: number, imm: number, mxcsr = MASKED) => {
    const [v, flags] = sf["f64_round_integral"]!(toBits(F64, x), imm, mxcsr);
    return [toNumber(F64, BigInt.asUintN(64, v)), flags];
  };
  assertEquals(integral(2.5, 0), [2, 32]);
  assertEquals(integral(-2.5, 1), [-3, 32]);
  assertEquals(integral(2.5, 2), [3, 32]);
  assertEquals(integral(-2.9, 3), [-2, 32]);
  assertEquals(integral(2.1, 4, MASKED | (2 << 13)), [3, 32]);
  assertEquals(integral(2.5, 8), [2, 0]);
  assertEquals(integral(-0.3, 0), [-0, 32]);
  assertEquals(integral(2 ** 60, 0), [2 ** 60, 0]);
});

Deno.test("softfloat: the functions stay small", () => {
  assertEquals(size < 100_000, true);
});
