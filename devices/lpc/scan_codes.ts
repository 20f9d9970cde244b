// Scan codes of PC keyboards: the translation from set 2 to set 1 that an i8042 does
// (IBM PS/2 Hardware Interface Technical Reference, keyboard controller; table in the
// data sheets of its clones), and the way back for hosts that know keys by set 1.

// Set 1 code of each set 2 code below 80h.
const TO_SET1 = Uint8Array.of(
  ...[0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58],
  ...[0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59],
  ...[0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a],
  ...[0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b],
  ...[0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c],
  ...[0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d],
  ...[0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e],
  ...[0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f],
  ...[0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60],
  ...[0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61],
  ...[0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e],
  ...[0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76],
  ...[0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b],
  ...[0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f],
  ...[0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45],
  ...[0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54],
);
// F7 and system request have codes from 80h on.
const F7 = 0x83;
const SYSTEM_REQUEST = 0x84;
const HIGH: ReadonlyMap<number, number> = new Map([
  [F7, 0x41],
  [SYSTEM_REQUEST, 0x54],
]);

const RELEASE = 0xf0;
const EXTENDED = 0xe0;
const SET1_RELEASE = 0x80;

/** The set 1 code of a set 2 code; others pass as they are. */
export function toSet1(code: number): number {
  return HIGH.get(code) ?? TO_SET1[code] ?? code;
}

/** The set 2 code of a set 1 code, or undefined where no key has it. */
export function toSet2(code: number): number | undefined {
  for (const [set2, set1] of HIGH) {
    if (set1 === code) return set2;
  }
  const at = TO_SET1.indexOf(code);
  return at < 0 ? undefined : at;
}

/** Set 2 bytes in, set 1 bytes out: a release prefix becomes bit 7 of the next. */
export function translate(
  byte: number,
  releasing: boolean,
): { out?: number; releasing: boolean } {
  if (byte === RELEASE) return { releasing: true };
  const code = byte === EXTENDED ? byte : toSet1(byte);
  // An extension prefix may stand between the release prefix and the code.
  if (byte === EXTENDED) return { out: code, releasing };
  return {
    out: releasing ? code | SET1_RELEASE : code,
    releasing: false,
  };
}

/**
 * What a keyboard with set 2 sends for a key.
 *
 * @param xt set 1 code as remote consoles give it: bit 7 or a high byte of E0h for
 * extended keys
 * @returns bytes, or none where no key has the code
 */
export function keySequence(xt: number, down: boolean): number[] {
  const extended = (xt & 0x80) !== 0 || xt >> 8 === EXTENDED;
  const code = toSet2(xt & 0x7f);
  if (code === undefined) return [];
  return [
    ...extended ? [EXTENDED] : [],
    ...down ? [] : [RELEASE],
    code,
  ];
}
