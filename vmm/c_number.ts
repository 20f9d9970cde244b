// Numbers as C's strtol(3), strtoul(3) and atoi(3) read them from a text's
// beginning (ISO C17, 7.22.1): the commands' options are defined by them.

/** A number and what follows it in the text. */
export interface ParsedNumber {
  readonly value: bigint;
  readonly rest: string;
}

/**
 * Reads a number with an optional sign; base 0 takes `0x` for 16 and `0` for 8.
 *
 * @returns undefined where the text begins with no number
 */
export function readNumber(
  text: string,
  base: 0 | 10 = 0,
): ParsedNumber | undefined {
  const pattern = base === 10
    ? /^[ \t\n\v\f\r]*([+-]?)(\d+)/
    : /^[ \t\n\v\f\r]*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9]\d*)/;
  const match = pattern.exec(text);
  if (match === null) return undefined;
  const [whole, sign, digits] = match as unknown as [string, string, string];
  const magnitude = base === 0 && /^0[0-7]/.test(digits)
    ? BigInt(`0o${digits.slice(1)}`)
    : BigInt(digits);
  return {
    value: sign === "-" ? -magnitude : magnitude,
    rest: text.slice(whole.length),
  };
}

/** A text that is a number and nothing else, in a range; undefined otherwise. */
export function wholeNumber(
  text: string,
  range: { readonly least: number; readonly most: number; base?: 0 | 10 },
): number | undefined {
  const parsed = readNumber(text, range.base ?? 0);
  if (parsed === undefined || parsed.rest !== "") return undefined;
  const { least, most } = range;
  const isInside = parsed.value >= BigInt(least) &&
    parsed.value <= BigInt(most);
  return isInside ? Number(parsed.value) : undefined;
}

const ULONG_MAX = (1n << 64n) - 1n;

/** As `strtoul(text, NULL, 0)`: garbage is 0, too much is 2^64 - 1. */
export function strtoul(text: string): bigint {
  const parsed = readNumber(text);
  if (parsed === undefined) return 0n;
  const { value } = parsed;
  const magnitude = value < 0n ? -value : value;
  return magnitude > ULONG_MAX ? ULONG_MAX : BigInt.asUintN(64, value);
}

/** As `atoi(text)` with an int of 32 bits: garbage is 0. */
export function atoi(text: string): number {
  const parsed = readNumber(text, 10);
  return parsed === undefined ? 0 : Number(BigInt.asIntN(32, parsed.value));
}
