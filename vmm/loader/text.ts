// Texts that loaders put into a guest's memory.

import { LoaderError } from "./file.ts";

/** Bytes of a text with a NUL behind it. */
export function cString(text: string): Uint8Array {
  return new TextEncoder().encode(`${text}\0`);
}

/**
 * A kernel's command line with a NUL behind it.
 *
 * @param most bytes without the NUL
 * @throws {LoaderError} where it is longer or has a NUL in it
 */
export function commandLineBytes(text: string, most: number): Uint8Array {
  const bytes = cString(text);
  if (bytes.length - 1 <= most && bytes.indexOf(0) === bytes.length - 1) {
    return bytes;
  }
  throw new LoaderError(
    `Cannot use a command line of ${
      bytes.length - 1
    } bytes: expected at most ${most}, without NUL`,
  );
}
