// Constants and series coefficients as exact fixed-point integers, computed when
// the module is built, so that none is a number from a book (Machin's formula for
// pi, Euler's and Gregory's series for the others).

/** Fraction bits that constants are computed with. */
const WORKING = 256n;

/** An integer scaled down from WORKING fraction bits to `bits`, rounded. */
function scaled(value: bigint, bits: number): bigint {
  const shift = WORKING - BigInt(bits);
  return (value + (1n << (shift - 1n))) >> shift;
}

/** Sum of +-(n/d)^(2k+1) / (2k+1): atan where `alternate`, else atanh. */
function arc(n: bigint, d: bigint, alternate: boolean): bigint {
  let power = (n << WORKING) / d;
  let sum = 0n;
  for (let k = 0n; power !== 0n; k++) {
    const term = power / (2n * k + 1n);
    sum += alternate && k % 2n === 1n ? -term : term;
    power = (power * n * n) / (d * d);
  }
  return sum;
}

const PI = 4n * (4n * arc(1n, 5n, true) - arc(1n, 239n, true));
const LN2 = 2n * arc(1n, 3n, false);
const LN10 = 3n * LN2 + 2n * arc(1n, 9n, false); // 10 = 8 * (1 + 1/9) / (1 - 1/9)

/** pi with `bits` fraction bits, rounded. */
export function pi(bits: number): bigint {
  return scaled(PI, bits);
}

/** pi with `bits` fraction bits, truncated. */
export function piTruncated(bits: number): bigint {
  return PI >> (WORKING - BigInt(bits));
}

/** The natural logarithm of 2. */
export function ln2(bits: number): bigint {
  return scaled(LN2, bits);
}

/** The logarithm of e to base 2. */
export function log2e(bits: number): bigint {
  return scaled((1n << (2n * WORKING)) / LN2, bits);
}

/** The logarithm of 10 to base 2. */
export function log2of10(bits: number): bigint {
  return scaled((LN10 << WORKING) / LN2, bits);
}

/** The logarithm of 2 to base 10. */
export function log10of2(bits: number): bigint {
  return scaled((LN2 << WORKING) / LN10, bits);
}

/** The arc tangent of n / 8. */
export function atanEighths(n: number, bits: number): bigint {
  // Gregory's series stands still at 1.
  return scaled(n === 8 ? PI / 4n : arc(BigInt(n), 8n, true), bits);
}

/** The integer part of sqrt(n * 2^(2 * bits)). */
export function sqrtFixed(n: bigint, bits: number): bigint {
  const target = n << BigInt(2 * bits);
  let root = 1n << BigInt((target.toString(2).length + 1) >> 1);
  for (;;) {
    const next = (root + target / root) >> 1n;
    if (next >= root) return root;
    root = next;
  }
}

/** Fraction bits of series coefficients. */
export const COEFFICIENT_BITS = 127;

/** Bits that a series' first dropped term is below its first term. */
const SERIES_BITS = 104;

/**
 * Coefficients 1/divisor(k) of a power series in t, as far as they matter for
 * t up to `limit`.
 */
export function coefficients(
  divisor: (k: number) => bigint,
  limit: number,
): bigint[] {
  const result: bigint[] = [];
  for (let k = 0;; k++) {
    const d = divisor(k);
    const bits = k * Math.log2(limit) - Math.log2(Number(d));
    if (bits < -SERIES_BITS) return result;
    result.push(((1n << BigInt(COEFFICIENT_BITS)) + d / 2n) / d);
  }
}

/** n! */
export function factorial(n: number): bigint {
  let product = 1n;
  for (let k = 2n; k <= BigInt(n); k++) product *= k;
  return product;
}
