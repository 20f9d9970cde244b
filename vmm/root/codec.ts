// JSON with 64-bit numbers, for what is kept on disk and sent over sockets: a bigint is
// written as an object with its decimal digits. What is read is untrusted.

const KEY = "$bigint";
const DIGITS = /^-?\d{1,20}$/;

function replace(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? { [KEY]: value.toString() } : value;
}

function revive(_key: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || !(KEY in value)) {
    return value;
  }
  const digits = value[KEY];
  if (typeof digits !== "string" || !DIGITS.test(digits)) {
    throw new SyntaxError(`Cannot read a number from ${JSON.stringify(value)}`);
  }
  return BigInt(digits);
}

/** Plain data with bigints as text. */
export function encodeJson(value: unknown): string {
  return JSON.stringify(value, replace);
}

/** Plain data with bigints from text. @throws {SyntaxError} */
export function decodeJson(text: string): unknown {
  return JSON.parse(text, revive);
}
