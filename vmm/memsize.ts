// Sizes of memory as vm_parse_memsize(3) reads them: a bare number below 1 MiB
// counts in MiB, and suffixes from K to E are powers of 1024.

import { readNumber } from "./c_number.ts";

const MIB = 2 ** 20;
const SUFFIXES = "kmgtpe";

/**
 * Bytes that a text stands for.
 *
 * @returns undefined where it is no size: garbage, negative, zero, or 2^53 and more
 */
export function parseMemsize(text: string): number | undefined {
  const parsed = readNumber(text);
  if (parsed === undefined) return undefined;
  const bytes = scaled(Number(parsed.value), parsed.rest);
  return bytes !== undefined && bytes > 0 && Number.isSafeInteger(bytes)
    ? bytes
    : undefined;
}

function scaled(value: number, suffix: string): number | undefined {
  if (suffix === "") return value < MIB ? value * MIB : value;
  if (suffix.length !== 1) return undefined;
  const power = SUFFIXES.indexOf(suffix.toLowerCase());
  return power < 0 ? undefined : value * 1024 ** (power + 1);
}
