import { assertEquals } from "@std/assert";
import { isZero } from "./zeros.ts";

Deno.test("one byte anywhere is seen, and those around are not", () => {
  for (let offset = 0; offset < 5; offset++) {
    for (let length = 0; length < 40; length++) {
      const buffer = new Uint8Array(64).fill(1);
      const bytes = buffer.subarray(offset, offset + length).fill(0);
      assertEquals(isZero(bytes), true, `${length} from ${offset}`);
      for (let at = 0; at < length; at++) {
        bytes[at] = 0x80;
        assertEquals(isZero(bytes), false, `${at} of ${length} from ${offset}`);
        bytes[at] = 0;
      }
    }
  }
});
