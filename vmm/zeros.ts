// Whether memory holds nothing: most of a machine's does, and is not to be touched.

/** Whether all bytes are zero; looks at many at a time, so that zeros are fast. */
export function isZero(bytes: Uint8Array): boolean {
  const head = -bytes.byteOffset & 3;
  const count = (bytes.length - head) >> 4;
  if (count <= 0) return !hasByte(bytes, 0, bytes.length);
  if (hasByte(bytes, 0, head)) return false;
  const from = bytes.byteOffset + head;
  const words = new Int32Array(bytes.buffer, from, count * 4);
  for (let n = 0; n < words.length; n += 4) {
    if (words[n]! | words[n + 1]! | words[n + 2]! | words[n + 3]!) return false;
  }
  return !hasByte(bytes, head + count * 16, bytes.length);
}

function hasByte(bytes: Uint8Array, from: number, to: number): boolean {
  for (let n = from; n < to; n++) if (bytes[n] !== 0) return true;
  return false;
}
