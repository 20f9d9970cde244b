import { assertEquals } from "@std/assert";
import { CodeExt } from "iced-x86";
import { FORMS } from "./forms/by_code.ts";
import { X87_OPCODES } from "./x87_opcodes.ts";

Deno.test("opcodes of the x87 are those of the decoder's table", () => {
  for (const [code, { name, unit }] of FORMS) {
    const { opCode, groupIndex } = CodeExt.opCode(code);
    if (unit !== "x87" || opCode >> (opCode > 0xff ? 11 : 3) !== 0x1b) continue;
    const expected = opCode > 0xff
      ? opCode & 0x7ff
      : (opCode & 7) << 8 | groupIndex << 3;
    assertEquals(X87_OPCODES.get(name), expected, name);
  }
});
