// MD5 (RFC 1321), by which bhyve makes up serial numbers and UUIDs. The platform's own
// lies in a module that takes each thread longer to load than all devices together.

const BLOCK = 64;
const LENGTH_BYTES = 8;
const ROUND = 16;
const START = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476] as const;

/** How far each of a round's steps rotates. */
const SHIFTS = [
  [7, 12, 17, 22],
  [5, 9, 14, 20],
  [4, 11, 16, 23],
  [6, 10, 15, 21],
] as const;

/** Which word of the block a step adds: `factor * step + first`. */
const ORDER = [[1, 0], [5, 1], [3, 5], [7, 0]] as const;

const MIX: readonly ((b: number, c: number, d: number) => number)[] = [
  (b, c, d) => (b & c) | (~b & d),
  (b, c, d) => (b & d) | (c & ~d),
  (b, c, d) => b ^ c ^ d,
  (b, c, d) => c ^ (b | ~d),
];

const SINES = Int32Array.from(
  { length: 4 * ROUND },
  (_, step) => Math.floor(Math.abs(Math.sin(step + 1)) * 2 ** 32),
);

// The message with a one bit, zeros, and its length in bits at the end of a block.
function padded(message: Uint8Array): DataView {
  const { length } = message;
  const blocks = Math.ceil((length + 1 + LENGTH_BYTES) / BLOCK);
  const bytes = new Uint8Array(blocks * BLOCK);
  bytes.set(message);
  bytes[length] = 0x80;
  const view = new DataView(bytes.buffer);
  view.setBigUint64(bytes.length - LENGTH_BYTES, BigInt(length) * 8n, true);
  return view;
}

function addBlock(state: Int32Array, view: DataView, at: number): void {
  let [a = 0, b = 0, c = 0, d = 0] = state;
  for (let step = 0; step < 4 * ROUND; step++) {
    const round = step >> 4;
    const [factor, first] = ORDER[round]!;
    const word = (factor * step + first) % ROUND;
    const sum = a + MIX[round]!(b, c, d) + SINES[step]! +
      view.getInt32(at + 4 * word, true);
    const shift = SHIFTS[round]![step & 3]!;
    [a, d, c] = [d, c, b];
    b = (b + (sum << shift | (sum | 0) >>> (32 - shift))) | 0;
  }
  [a, b, c, d].forEach((value, n) => state[n] = state[n]! + value);
}

/** The digest of a text in UTF-8. */
export function md5(text: string): Uint8Array<ArrayBuffer> {
  const state = Int32Array.from(START);
  const view = padded(new TextEncoder().encode(text));
  for (let at = 0; at < view.byteLength; at += BLOCK) addBlock(state, view, at);
  const digest = new DataView(new ArrayBuffer(4 * state.length));
  state.forEach((word, n) => digest.setInt32(4 * n, word, true));
  return new Uint8Array(digest.buffer);
}
