// What tests of file systems share: a directory that goes, bytes that repeat, and
// damage to images.

/** Calls with a directory that is removed afterwards. */
export async function inTemporary<T>(
  use: (directory: string) => T | Promise<T>,
): Promise<T> {
  const base = await Deno.makeTempDir();
  try {
    const directory = `${base}/tree`;
    await Deno.mkdir(directory);
    return await use(directory);
  } finally {
    await Deno.remove(base, { recursive: true });
  }
}

/** Numbers below 2^32 that a seed determines: xorshift32. */
export function sequence(seed: number): () => number {
  let state = seed | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

/** Bytes without a pattern, the same each time. */
export function random(length: number): Uint8Array {
  const next = sequence(length);
  return Uint8Array.from({ length }, () => next());
}

/** What to damage. */
export interface Damage {
  readonly seed: number;
  /** how many images */
  readonly count: number;
  /** ranges in which half of the damage is */
  readonly fields: readonly { readonly at: number; readonly length: number }[];
}

/**
 * An image with some of its bits flipped, cut off somewhere or both. It is the same
 * array each time, put right before the next one: copies would take long.
 */
export function* flips(
  whole: Uint8Array,
  { seed, count, fields }: Damage,
): Generator<Uint8Array> {
  const next = sequence(seed);
  const copy = whole.slice();
  const place = () => {
    const field = fields[next() % (2 * fields.length)];
    return field === undefined
      ? next() % whole.length
      : field.at + next() % field.length;
  };
  for (let n = 0; n < count; n++) {
    const places = Array.from({ length: 1 + next() % 8 }, place);
    for (const at of places) copy[at]! ^= 1 << next() % 8;
    const isCut = next() % 4 === 0;
    yield isCut ? copy.subarray(0, next() % whole.length) : copy;
    for (const at of places) copy[at] = whole[at]!;
  }
}
