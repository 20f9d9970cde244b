// The keysyms of a US keyboard.

import { assert, assertEquals } from "@std/assert";
import { US_LAYOUT } from "./keysyms.ts";
import { keySequence } from "./scan_codes.ts";

Deno.test("US_LAYOUT has every printable character on a key", () => {
  for (let code = 0x20; code < 0x7f; code++) {
    const key = US_LAYOUT.get(code);
    assert(key !== undefined, String.fromCharCode(code));
  }
  assertEquals(US_LAYOUT.get("a".charCodeAt(0)), 0x1e);
  assertEquals(US_LAYOUT.get("A".charCodeAt(0)), 0x1e);
  assertEquals(US_LAYOUT.get("/".charCodeAt(0)), 0x35);
  assertEquals(US_LAYOUT.get("~".charCodeAt(0)), 0x29);
});

Deno.test("US_LAYOUT names keys that a set 2 keyboard has", () => {
  for (const [keysym, code] of US_LAYOUT) {
    assert(keySequence(code, true).length > 0, keysym.toString(16));
  }
  // F1, F7, F10, Delete, Alt_R: PS/2 reference, scan code set 2.
  assertEquals(keySequence(US_LAYOUT.get(0xffbe)!, true), [0x05]);
  assertEquals(keySequence(US_LAYOUT.get(0xffc4)!, true), [0x83]);
  assertEquals(keySequence(US_LAYOUT.get(0xffc7)!, false), [0xf0, 0x09]);
  assertEquals(keySequence(US_LAYOUT.get(0xffff)!, true), [0xe0, 0x71]);
  assertEquals(keySequence(US_LAYOUT.get(0xffea)!, false), [0xe0, 0xf0, 0x11]);
});
