// Keys of a US keyboard by X11 keysym, as VNC clients name them (RFC 6143, 7.5.4; X
// Window System Protocol, appendix A): what `Ps2Keyboard.key` takes for each.

// Characters of each row, plain and with shift, from the set 1 code of its first key on.
const ROWS: readonly [number, string, string][] = [
  [0x02, "1234567890-=", "!@#$%^&*()_+"],
  [0x10, "qwertyuiop[]", "QWERTYUIOP{}"],
  [0x1e, "asdfghjkl;'`", 'ASDFGHJKL:"~'],
  [0x2b, "\\zxcvbnm,./", "|ZXCVBNM<>?"],
  [0x39, " ", " "],
];

// Keysyms without a character; E0h in the high byte marks an extended key.
const FUNCTION_KEYS: readonly (readonly [number, number])[] = [
  [0xff08, 0x0e], // BackSpace
  [0xff09, 0x0f], // Tab
  [0xfe20, 0x0f], // ISO_Left_Tab
  [0xff0d, 0x1c], // Return
  [0xff14, 0x46], // Scroll_Lock
  [0xff1b, 0x01], // Escape
  [0xff50, 0xe047], // Home
  [0xff51, 0xe04b], // Left
  [0xff52, 0xe048], // Up
  [0xff53, 0xe04d], // Right
  [0xff54, 0xe050], // Down
  [0xff55, 0xe049], // Page_Up
  [0xff56, 0xe051], // Page_Down
  [0xff57, 0xe04f], // End
  [0xff61, 0xe037], // Print
  [0xff63, 0xe052], // Insert
  [0xff67, 0xe05d], // Menu
  [0xff7f, 0x45], // Num_Lock
  [0xff8d, 0xe01c], // KP_Enter
  [0xff95, 0x47], // KP_Home
  [0xff96, 0x4b], // KP_Left
  [0xff97, 0x48], // KP_Up
  [0xff98, 0x4d], // KP_Right
  [0xff99, 0x50], // KP_Down
  [0xff9a, 0x49], // KP_Page_Up
  [0xff9b, 0x51], // KP_Page_Down
  [0xff9c, 0x4f], // KP_End
  [0xff9d, 0x4c], // KP_Begin
  [0xff9e, 0x52], // KP_Insert
  [0xff9f, 0x53], // KP_Delete
  [0xffaa, 0x37], // KP_Multiply
  [0xffab, 0x4e], // KP_Add
  [0xffad, 0x4a], // KP_Subtract
  [0xffae, 0x53], // KP_Decimal
  [0xffaf, 0xe035], // KP_Divide
  [0xffc8, 0x57], // F11
  [0xffc9, 0x58], // F12
  [0xffe1, 0x2a], // Shift_L
  [0xffe2, 0x36], // Shift_R
  [0xffe3, 0x1d], // Control_L
  [0xffe4, 0xe01d], // Control_R
  [0xffe5, 0x3a], // Caps_Lock
  [0xffe7, 0x38], // Meta_L
  [0xffe8, 0xe038], // Meta_R
  [0xffe9, 0x38], // Alt_L
  [0xffea, 0xe038], // Alt_R
  [0xfe03, 0xe038], // ISO_Level3_Shift
  [0xffeb, 0xe05b], // Super_L
  [0xffec, 0xe05c], // Super_R
  [0xffff, 0xe053], // Delete
];

const F1 = 0xffbe;
const F1_CODE = 0x3b;
const KEYPAD_0 = 0xffb0;
const KEYPAD_CODES = [
  ...[0x52, 0x4f, 0x50, 0x51, 0x4b],
  ...[0x4c, 0x4d, 0x47, 0x48, 0x49],
];

function usLayout(): Map<number, number> {
  const keys = new Map(FUNCTION_KEYS);
  for (const [first, plain, shifted] of ROWS) {
    [...plain].forEach((_, i) => {
      keys.set(plain.charCodeAt(i), first + i);
      keys.set(shifted.charCodeAt(i), first + i);
    });
  }
  for (let i = 0; i < 10; i++) keys.set(F1 + i, F1_CODE + i);
  KEYPAD_CODES.forEach((code, i) => keys.set(KEYPAD_0 + i, code));
  return keys;
}

/** Set 1 codes by keysym: what keys of a US keyboard are called. */
export const US_LAYOUT: ReadonlyMap<number, number> = usLayout();
